"""The records of the model's speed: form and sense, not the speed itself, which is the machine's."""

import numpy as np

from compile.random_networks import random_network
from mixcim.bench.reads import layer_records, network_records
from mixcim.compile.compiler import compile_network
from mixcim_hdl.presets import PRESETS


def test_records_have_all_fields_and_positive_speeds():
    chip = PRESETS["tiny"]
    program = compile_network(random_network(3), chip, ["*=memristor"])
    codes = np.zeros((2, *program.tensors[program.input].shape), np.uint8)
    records = layer_records(0.01) + network_records("small", program, codes, chip, 0.01)
    assert len({record.name for record in records}) == len(records) == 7
    assert [record.goal for record in records] == [40_000, 40_000, 20_000, None, 40, 20, None]
    for record in records:
        assert record.how == "model" and record.value > 0 and record.name.endswith(", model, a thread")
