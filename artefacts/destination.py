"""Place: where a file or folder is going to be written, checked before the work whose result goes there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal


def check_destination(path: str | Path, kind: Literal["file", "folder"] = "file") -> None:
    """Refuse a place that nothing can be written to; leaves nothing behind.

    What is missing on the way is not made: the nearest folder that exists must take a new (unnamed) file.

    Raises:
        OSError: a folder stands where the file should go (or the other way round), or the folder above cannot be
            written to; one sentence.

    Examples:
        >>> check_destination("ticket.safetensors")
    """
    path = Path(path)
    if path.is_dir() and kind == "file":
        raise IsADirectoryError(f"{path} is a folder, expected the name of a file to write")
    if kind == "folder" and path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file, expected the name of a folder to write to")
    above = path if kind == "folder" else path.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(f"cannot write {path}: {above} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise PermissionError(f"cannot write {path}: nothing can be written to {above} ({error.strerror})") from error
