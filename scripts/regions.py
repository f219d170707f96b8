"""Regions of Markdown files that scripts write: the text between `<!-- begin:NAME -->` and `<!-- end:NAME -->`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

_REGION = re.compile(r"<!-- begin:(?P<name>[\w-]+) -->\n(?P<text>.*?)<!-- end:(?P=name) -->", re.DOTALL)


def filled(text: str, regions: Mapping[str, str], name: str) -> str:
    """`text` with every region replaced; `name`: the file, for errors. Raises SystemExit for an unknown region."""

    def fill(match: re.Match[str]) -> str:
        if match["name"] not in regions:
            raise SystemExit(f"{name}: region '{match['name']}' is unknown; known: {', '.join(sorted(regions))}")
        return f"<!-- begin:{match['name']} -->\n{regions[match['name']].strip()}\n<!-- end:{match['name']} -->"

    return _REGION.sub(fill, text)


def names(text: str) -> list[str]:
    """Names of the regions of a text, in order."""
    return [match["name"] for match in _REGION.finditer(text)]


def update(paths: list[Path], regions: Mapping[str, str], *, check: bool, command: str) -> int:
    """Write the regions into the files, or with `check` only compare. Returns the exit code: 1 if a file differs.

    Every region must occur in exactly one file. `command`: what a reader runs to mend a difference.
    """
    found = [name for path in paths for name in names(path.read_text())]
    if sorted(found) != sorted(regions):
        missing, twice = set(regions) - set(found), {name for name in found if found.count(name) > 1}
        unknown = set(found) - set(regions)
        for what, wrong in (("missing", missing), ("there twice", twice), ("unknown", unknown)):
            if wrong:
                print(f"region {', '.join(sorted(wrong))}: {what}", file=sys.stderr)
        return 1
    wrong = 0
    for path in paths:
        old = path.read_text()
        new = filled(old, regions, path.name)
        if new == old:
            continue
        wrong += 1
        if check:
            print(f"{path.name} is out of date; run '{command}'", file=sys.stderr)
        else:
            path.write_text(new)
            print(f"written: {path.name}")
    return 1 if check and wrong else 0


def table(headings: list[str], rows: list[list[str]], right: int | None = None) -> str:
    """A Markdown table; columns from number `right` on are aligned to the right."""
    rules = ["---:" if right is not None and index >= right else "---" for index in range(len(headings))]
    lines = [headings, rules, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
