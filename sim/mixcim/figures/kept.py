"""`Kept`: results of long work on disk, by the contents of what they were made from: it goes on after Ctrl-C."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mixcim_hdl.files import write_whole


class Kept:
    """A folder of JSON files, one a result, named by the hash of its key. It is made when the first result is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, key: Sequence[bytes], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of that key: from the folder, or else made, and written whole. A damaged file is made again."""
        total = hashlib.sha256()
        for part in key:
            total.update(len(part).to_bytes(8, "little") + part)
        path = self.folder / f"{total.hexdigest()[:32]}.json"
        try:
            return json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            result = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(result).encode())
        return result
