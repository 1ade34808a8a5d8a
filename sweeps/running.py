"""Runs in flight: notes in a folder of results of which process is at which run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from scratchcard.artefacts.process import begun, lives

RUNNING = ".running"


def mark(folder: Path, digest: str, process: int | None) -> None:
    """Note which process is at a run, or (None) that it is at an end. Only a note: nothing depends on its success.

    Examples:
        >>> import os
        >>> mark(Path("marked"), "ab12", os.getpid())
        >>> running(Path("marked"))
        ['ab12']
        >>> mark(Path("marked"), "ab12", None)
        >>> running(Path("marked"))
        []
    """
    path = folder / RUNNING / digest
    with contextlib.suppress(OSError):
        if process is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{process} {begun(process)}")


def running(folder: Path) -> list[str]:
    """Digests of the runs that a process was at, whether it still lives or not.

    Examples:
        >>> import os
        >>> mark(Path("seen"), "ab12", os.getpid())
        >>> mark(Path("seen"), "cd34", os.getpid())
        >>> running(Path("seen"))
        ['ab12', 'cd34']
    """
    return sorted(path.name for path in (folder / RUNNING).glob("*"))


def in_flight(folder: Path) -> list[str]:
    """Digests of the runs that a living process of this machine is at.

    Examples:
        >>> import os
        >>> mark(Path("flying"), "ab12", os.getpid())
        >>> in_flight(Path("flying"))
        ['ab12']
    """
    return [digest for digest in running(folder) if _lives(folder / RUNNING / digest)]


def interrupted(folder: Path) -> list[str]:
    """Digests of the runs whose process died at them.

    Examples:
        >>> import os
        >>> mark(Path("killed"), "ab12", os.getpid())
        >>> mark(Path("killed"), "cd34", 2**30)  # no system has such a process
        >>> interrupted(Path("killed"))
        ['cd34']
    """
    return [digest for digest in running(folder) if not _lives(folder / RUNNING / digest)]


def forget(folder: Path) -> None:
    """Forget the runs of dead processes.

    Examples:
        >>> mark(Path("forgotten"), "cd34", 2**30)  # no system has such a process
        >>> forget(Path("forgotten"))
        >>> running(Path("forgotten"))
        []
    """
    for digest in interrupted(folder):
        mark(folder, digest, None)


def _lives(note: Path) -> bool:
    """Whether the process of a note lives: a later one with the same number began at another time."""
    try:
        process, _, began = note.read_text().partition(" ")
        return lives(int(process), began)
    except (OSError, ValueError):
        return False
