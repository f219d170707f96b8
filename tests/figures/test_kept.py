"""Results of long work on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixcim.figures.kept import Kept


def test_a_result_is_made_once(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, int]:
        made.append(1)
        return {"number": len(made)}

    for _ in range(2):
        assert Kept(tmp_path / "kept").of((b"a", b"bc"), make) == {"number": 1}
    assert Kept(tmp_path / "kept").of((b"ab", b"c"), make) == {"number": 2}  # parts of a key do not run together
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.of((b"key",), lambda: {"number": 1})
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-3])
    assert kept.of((b"key",), lambda: {"number": 2}) == {"number": 2}
    assert kept.of((b"key",), lambda: {"number": 3}) == {"number": 2}


def test_nothing_is_kept_of_work_that_was_stopped(tmp_path: Path) -> None:
    def stopped() -> dict[str, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Kept(tmp_path).of((b"key",), stopped)
    assert not list(tmp_path.iterdir())
