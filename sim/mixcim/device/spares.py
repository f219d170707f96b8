"""Columns with given-up cells are replaced by spare columns."""

from __future__ import annotations

import numpy as np

from ..errors import MixcimError


def column_map(given_up: np.ndarray, columns: int, allowed: int = 0) -> np.ndarray:
    """Physical column of each logical column, int64 (groups, columns).

    `given_up`: bool (groups, physical columns, rows), cells that write-verify gave up; a group is what is read
    together (a digit of a slot), its physical columns from `columns` on are spares. A logical column stays where it is
    unless more than `allowed` of its cells are given up; then the first unused spare with at most `allowed` replaces
    it. Raises MixcimError, naming group and column, when the spares do not suffice, and for fewer columns than logical.
    """
    groups, physical, _ = given_up.shape
    if physical < columns:
        raise MixcimError(f"a group has {physical} columns, fewer than the {columns} that are wanted")
    bad = given_up.sum(axis=2) > allowed
    result = np.tile(np.arange(columns), (groups, 1))
    for group in np.flatnonzero(bad[:, :columns].any(axis=1)):
        spares = list(columns + np.flatnonzero(~bad[group, columns:]))
        for column in np.flatnonzero(bad[group, :columns]):
            if not spares:
                raise MixcimError(
                    f"column {column} of group {group} has {int(given_up[group, column].sum())} cells given up and no "
                    f"good spare is left of {physical - columns}: allow more, or use a bank with more spare columns"
                )
            result[group, column] = spares.pop(0)
    return result


def mapped_lines(lines: np.ndarray, mapping: np.ndarray, physical: int) -> np.ndarray:
    """Logical lines (groups * columns, rows) laid onto physical ones: (groups * physical, rows); unused ones are 0.

    `mapping`: from `column_map`.
    """
    groups, columns = mapping.shape
    result = np.zeros((groups, physical, lines.shape[1]), lines.dtype)
    result[np.arange(groups)[:, None], mapping] = lines.reshape(groups, columns, -1)
    return result.reshape(groups * physical, -1)
