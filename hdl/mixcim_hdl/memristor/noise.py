"""Read noise of one column: a seeded generator and its scaling by the number of cells that are read."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ChipConfig
from ..formats import NOISE_BITS


def noise_range() -> int:
    """Width of a noise value, two's complement: 510 * (2**NOISE_BITS - 1) / 2**12, rounded."""
    return 11


def xorshift32(m: Module, state: Value, name: str) -> Signal:
    """Next state of the generator, 32 bits (Marsaglia, J. Stat. Softw. 8(14), 2003; shifts 13, 17, 5)."""
    first, second, third = (Signal(32, name=f"{name}_{part}") for part in ("first", "second", "third"))
    m.d.comb += [
        first.eq(state ^ (state << 13)),
        second.eq(first ^ (first >> 17)),
        third.eq(second ^ (second << 5)),
    ]
    return third


def gauss(state: Value) -> Value:
    """About Gaussian, mean 0, deviation 147.8: the sum of the four bytes of a state less 510; 11 bits, signed."""
    return state[0:8] + state[8:16] + state[16:24] + state[24:32] - 510


class NoiseSource(wiring.Component):
    """noise = (gauss(state) * scale + 2**11) >> 12, combinational from state and scale (commands.py).

    Members
    -------
    seed_enable, seed : sets the state (0 becomes 1).    step : the state advances.
    scale : entry of the noise table.    noise : signed, conductance codes.
    """

    def __init__(self, chip: ChipConfig):
        super().__init__(
            {
                "seed_enable": In(1),
                "seed": In(32),
                "step": In(1),
                "scale": In(NOISE_BITS),
                "noise": Out(signed(noise_range())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Not reset: a run that begins or fails must not disturb the sequence; the host sets it before it counts.
        state = Signal(32, init=1, reset_less=True)
        value = Signal(signed(11))
        m.d.comb += [value.eq(gauss(state)), self.noise.eq((value * self.scale + (1 << 11)) >> 12)]
        with m.If(self.seed_enable):
            m.d.sync += state.eq(Cat(self.seed[0] | (self.seed == 0), self.seed[1:]))
        with m.Elif(self.step):
            m.d.sync += state.eq(xorshift32(m, state, "step"))
        return m
