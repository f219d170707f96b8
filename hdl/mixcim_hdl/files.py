"""Files are written whole or not at all: into a temporary file beside the target, which is then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def write_whole(path: Path | str, data: bytes) -> None:
    """Write a file; whatever happens, the old contents or the new ones are there, never a part.

    Raises OSError that names `path`, also when it is there and no regular file (a device would be replaced by a file).
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:  # a full disk names no file, and a temporary name says nothing to the user
        raise OSError(error.errno, error.strerror, str(path)) from None
