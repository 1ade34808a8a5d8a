"""Files that are never half there: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scratchcard.artefacts.destination import destination
from scratchcard.artefacts.process import here, lives

DAY_SECONDS = 24 * 3600
_PART = re.compile(r"\.(?P<where>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part(\.|$)")


@contextmanager
def written_beside(path: str | Path) -> Iterator[Path]:
    """A path in the same folder to write to; renamed to `path` on success, removed on any error.

    The folder is made if it is missing. The ending stays the same, for writers that go by it. A file that is replaced
    leaves its mode to the new one; a symbolic link stays, and what it names is replaced.

    Raises:
        OSError: what is there is no regular file (see `artefacts.destination`), or nothing can be written there.

    Examples:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
        >>> with written_beside(path) as beside:
        ...     _ = beside.write_text("whole or not there")
        >>> path.read_text()
        'whole or not there'
    """
    place = destination(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Processes in containers may have the same number.
    token = f"{here()}-{os.getpid()}-{secrets.token_hex(4)}"
    beside = place.with_name(f".{place.stem}.{token}.part{place.suffix}")
    try:
        yield beside
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(place.stat().st_mode))
        destination(place)  # something else may have come there meanwhile
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half written, here and in folders below.

    That is what a process of this machine began that is no more, and what others began a day ago.

    Examples:
        >>> half = Path("unfinished/.ab12.0a1b2c3d-77-0a1b2c3d.part.json")
        >>> half.parent.mkdir()
        >>> _ = half.write_text("half")
        >>> remove_unfinished(half.parent)
        >>> half.exists()  # it may be another machine's, which writes on
        True
        >>> os.utime(half, (0, 0))  # long ago
        >>> remove_unfinished(half.parent)
        >>> half.exists()
        False
    """
    with contextlib.suppress(OSError):
        for path in folder.rglob(".*.part*"):
            found = _PART.search(path.name)
            with contextlib.suppress(FileNotFoundError):
                if found is not None and path.is_file() and _is_left(path, found["where"], int(found["process"])):
                    path.unlink(missing_ok=True)


def _is_left(path: Path, where: str, process: int) -> bool:
    if where == here() and not lives(process):
        return True
    return time.time() - path.stat().st_mtime > DAY_SECONDS
