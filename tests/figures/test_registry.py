"""`mixcim figures` offers every figure that there is."""

import importlib
import pkgutil

import pytest

import mixcim.figures
from mixcim import cli
from mixcim.figures import FIGURES


def test_every_module_that_makes_a_figure_has_a_name() -> None:
    modules = [item.name for item in pkgutil.iter_modules(mixcim.figures.__path__)]
    makers = {name for name in modules if hasattr(importlib.import_module(f"mixcim.figures.{name}"), "make")}
    assert makers == set(FIGURES)


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["figures", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in FIGURES)
