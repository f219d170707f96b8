"""The benchmark's records: form and sense, not speed, which is the machine's."""

import numpy as np

from compile.random_networks import random_network
from mixcim.compile.compiler import compile_network
from mixcim.model_bench import layer_records, network_records
from mixcim_hdl.presets import PRESETS


def test_records_have_all_fields_and_positive_speeds():
    chip = PRESETS["tiny"]
    program = compile_network(random_network(3), chip, ["*=memristor"])
    codes = np.zeros((2, *program.tensors[program.input].shape), np.uint8)
    records = layer_records(0.01) + network_records(program, codes, chip, 0.01)
    assert len({record["name"] for record in records}) == len(records) == 7
    for record in records:
        assert set(record) == {"name", "value", "unit", "paper", "goal", "met", "how"}
        value, goal = record["value"], record["goal"]
        assert isinstance(value, float) and value > 0
        assert record["met"] is (None if goal is None else value >= float(goal))
