"""Files that are never half there: written beside their place, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """A path in the same folder to write to; renamed to `path` on success, removed on any error.

    The folder is made if it is missing. The ending stays the same, for writers that go by it.

    Examples:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
        >>> with written_beside(path) as beside:
        ...     _ = beside.write_text("whole or not there")
        >>> path.read_text()
        'whole or not there'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes in containers may have the same number.
    beside = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
