"""A group of sub-commands whose modules are imported when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

#: Sub-command -> (module in mixcim.commands, one line of help).
Commands = Mapping[str, tuple[str, str]]


class LazyCommands(click.Group):
    """A group that imports a sub-command's module when it is asked for: numpy and onnxruntime take a second to load,
    and a help page should not."""

    def __init__(self, *arguments: Any, lazy: Commands, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        return importlib.import_module(f"{__package__}.{self._lazy[cmd_name][0]}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])
