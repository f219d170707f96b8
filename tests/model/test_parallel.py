"""Work on several threads: all parts are done, at the same time, and errors come out; runs do not depend on threads."""

import os
import threading

import numpy as np
import pytest

from mixcim.errors import MixcimError
from mixcim.model import ProcessorModel
from mixcim.model.activation import ActivationMemory
from mixcim.native import parallel
from mixcim_hdl.presets import PRESETS
from model.random_program import random_program


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 2)


def test_parts_are_worked_on_at_the_same_time(two_cores):
    meeting, done = threading.Barrier(2, timeout=20), []
    parallel.for_each(lambda part: (meeting.wait(), done.append(part)), range(4))
    assert sorted(done) == [0, 1, 2, 3]


def test_one_core_works_in_order_and_by_itself(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    done = []
    parallel.for_each(lambda part: done.append((part, threading.current_thread())), range(3))
    assert done == [(part, threading.main_thread()) for part in range(3)]


def test_the_error_of_the_first_part_that_failed_is_raised(two_cores):
    def work(part):
        if part:
            raise MixcimError(f"part {part}")

    with pytest.raises(MixcimError, match="^part 1$"):
        parallel.for_each(work, range(5))


def test_a_forked_process_has_threads_of_its_own(two_cores):
    parallel.for_each(lambda part: None, range(2))
    child = os.fork()
    if not child:
        threading.Timer(20, os._exit, (1,)).start()
        parallel.for_each(lambda part: None, range(2))  # would wait for ever for the parent's threads
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_cores_are_those_that_the_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert parallel.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("seed", range(6))
def test_results_do_not_depend_on_threads_or_batches(seed, monkeypatch):
    """Noise and counters neither; the last batch is smaller and takes the memory of the one before."""
    chip = PRESETS["tiny"]
    program, codes = random_program(chip, seed, inputs=5)
    model = ProcessorModel(chip, program)
    events = ("memristor_reads", "adc_saturations", "word_lines_on", "memristor_skips")
    seeds = np.arange(5, dtype=np.uint32)
    results = []
    for cores, batch in ((1, 5), (2, 5), (4, 5), (2, 3), (1, 2)):
        monkeypatch.setattr("mixcim.model.run.cores", lambda cores=cores: cores)
        monkeypatch.setattr(parallel, "cores", lambda cores=cores: cores)
        monkeypatch.setattr("mixcim.model.run.SHARE_CODES", 1)
        output = model.run(codes, noise_seeds=seeds, batch=batch)
        results.append([output, *(getattr(model, event) for event in events)])
    for result in results[1:]:
        for got, want in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, want)


def test_memory_that_is_used_again_is_as_new():
    memory = ActivationMemory(3, PRESETS["tiny"])
    memory.words[...] = 7
    memory.exponents[...] = 7
    memory.reset(2)
    fresh = ActivationMemory(2, PRESETS["tiny"])
    for got, want in ((memory.words, fresh.words), (memory.exponents, fresh.exponents)):
        np.testing.assert_array_equal(got, want)
