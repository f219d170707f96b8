"""The noise generators' sequence, and the ways to any place in it."""

import numpy as np

from mixcim.model.noise import advanced, gauss, placed, stepped

STATES = np.random.default_rng(0).integers(1, 1 << 32, (3, 5)).astype(np.uint32)


def by_hand(state: int) -> int:
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ (state << 5 & 0xFFFFFFFF)


def test_step_and_gauss_of_single_states():
    want = [[by_hand(int(state)) for state in row] for row in STATES]
    np.testing.assert_array_equal(stepped(STATES), want)
    assert gauss(np.array([0, 0xFFFFFFFF, 0x01020304], np.uint32)).tolist() == [-510, 510, 10 - 510]


def test_jumps_equal_steps():
    states = STATES
    for count in range(130):
        np.testing.assert_array_equal(advanced(STATES, count), states)
        states = stepped(states)
    np.testing.assert_array_equal(advanced(advanced(STATES, 123_456_789), 987_654_321), advanced(STATES, 1_111_111_110))
    np.testing.assert_array_equal(advanced(STATES, (1 << 32) - 1), STATES)  # xorshift32 has that period


def test_every_window_has_its_place():
    places = np.array([[0, 3, 7], [5, 5, 900], [1, 2, 3]])
    windows = placed(STATES, places)
    for number, window in np.ndindex(places.shape):
        np.testing.assert_array_equal(windows[number, window], advanced(STATES[number], int(places[number, window])))


def test_noise_has_the_stated_spread():
    draws = gauss(placed(STATES, np.tile(np.arange(1 << 15), (3, 1))))
    assert abs(draws.mean()) < 2 and abs(draws.std() - 147.8) < 1
