"""`mixcim fpga run`: `mixcim run --on fpga`, with the options that mean something there."""

from __future__ import annotations

from typing import Any

import click

from . import run

#: Options of `mixcim run` that are about simulation.
_OTHERS = {"engine": "fpga", "tensors": False, "wave": None, "jobs": None}


def _run(**arguments: Any) -> int:
    assert run.command.callback is not None
    return run.command.callback(**_OTHERS, **arguments)


command = click.Command(
    "run",
    callback=_run,
    params=[parameter for parameter in run.command.params if parameter.name not in _OTHERS],
    help="Run a program (from mixcim compile) or a network (compiled first, same options) on a board.\n\n"
    "The same as mixcim run --on fpga; see there for the inputs.",
)
