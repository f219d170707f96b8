"""Word-line table files that the macro cannot do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mixcim.compile.table import read_table
from mixcim.errors import MixcimError
from mixcim_hdl.commands import Opcode, decode_command, encode_command
from mixcim_hdl.presets import PRESETS

DEMO = PRESETS["demo"]
SIXTEEN = [[16] * 4] * 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"rows_per_read": [[16, 16, 16, 0]] + SIXTEEN[1:]},
            "rows_per_read must be from 1 to 64 on chip 'demo', not 0",
        ),
        (
            {"rows_per_read": SIXTEEN[1:] + [[65, 16, 16, 16]]},
            "rows_per_read must be from 1 to 64 on chip 'demo', not 65",
        ),
        ({"rows_per_read": [[16, 16, 16, 2.5]] + SIXTEEN[1:]}, "from 1 to 64 on chip 'demo', not 2.5"),
        ({"rows_per_read": [[True] * 4] * 8}, "from 1 to 64 on chip 'demo', not True"),
        ({"rows_per_read": SIXTEEN[1:]}, "rows_per_read must have 8 lists (input bits) of 4 numbers"),
        ({"rows_per_read": SIXTEEN + [[16] * 4]}, "rows_per_read must have 8 lists (input bits) of 4 numbers"),
        ({"rows_per_read": [[16] * 3] * 8}, "rows_per_read must have 8 lists (input bits) of 4 numbers"),
        ({"rows_per_read": [16] * 8}, "rows_per_read must have 8 lists (input bits) of 4 numbers"),
        ({"rows_per_read": SIXTEEN, "step_shift": [[-1] * 4] * 8}, "step_shift must be from 0 to 15"),
        ({"rows_per_read": SIXTEEN, "step_shift": [[0] * 4] * 7}, "step_shift must have 8 lists"),
    ],
)
def test_a_table_that_the_macro_cannot_do_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    path = tmp_path / "table.json"
    for name, document in (
        ("table file", fields),
        ("layer 'conv'", {"rows_per_read": SIXTEEN, "layers": {"conv": fields}}),
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(MixcimError) as error:
            read_table(str(path), DEMO)
        assert name in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("aligned_bits", "planes"), [(0, 8), (8, 9), (12, 12), (16, 16)])
def test_every_input_plane_has_an_entry_and_the_upper_ones_are_read_like_bit_7(
    tmp_path: Path, aligned_bits: int, planes: int
) -> None:
    chip = dataclasses.replace(DEMO, aligned_bits=aligned_bits)
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rows_per_read": [[bit + 1] * 4 for bit in range(8)], "step_shift": [[2] * 4] * 8}))
    table = read_table(str(path), chip).default
    assert table is not None
    _, fields = decode_command(encode_command(Opcode.TABLE, chip, **table.fields(chip)), chip)
    rows = [fields[f"rows_per_read[{entry}]"] for entry in range(4 * planes)]
    assert rows == [min(bit, 7) + 1 for bit in range(planes) for _ in range(4)]
    assert {fields[f"step_shift[{entry}]"] for entry in range(4 * planes)} == {2}
