"""Runs in flight: notes in a folder of results of which process is at which run, and what killed ones leave behind."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

RUNNING = ".running"
DAY_SECONDS = 24 * 3600


def mark(folder: Path, digest: str, process: int | None) -> None:
    """Note which process is at a run, or (None) that it is at an end. Only a note: nothing depends on its success.

    Examples:
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
            path.write_text(f"{process} {_begun(process)}")


def running(folder: Path) -> list[str]:
    """Digests of the runs that a process was at, whether it still lives or not.

    Examples:
        >>> mark(Path("seen"), "ab12", os.getpid())
        >>> mark(Path("seen"), "cd34", os.getpid())
        >>> running(Path("seen"))
        ['ab12', 'cd34']
    """
    return sorted(path.name for path in (folder / RUNNING).glob("*"))


def in_flight(folder: Path) -> list[str]:
    """Digests of the runs that a living process of this machine is at.

    Examples:
        >>> mark(Path("flying"), "ab12", os.getpid())
        >>> in_flight(Path("flying"))
        ['ab12']
    """
    return [digest for digest in running(folder) if _lives(folder / RUNNING / digest)]


def interrupted(folder: Path) -> list[str]:
    """Digests of the runs whose process died at them.

    Examples:
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


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half written, here and in folders below, once it is a day old.

    Examples:
        >>> half = Path("unfinished/.ab12.part.json")
        >>> half.parent.mkdir()
        >>> _ = half.write_text("half")
        >>> os.utime(half, (0, 0))  # long ago
        >>> remove_unfinished(half.parent)
        >>> half.exists()
        False
    """
    with contextlib.suppress(OSError):
        for path in folder.rglob(".*.part*"):
            if time.time() - path.stat().st_mtime > DAY_SECONDS:
                path.unlink(missing_ok=True)


def _lives(note: Path) -> bool:
    """Whether the process of a note lives: a later one with the same number began at another time."""
    try:
        process, _, begun = note.read_text().partition(" ")
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return begun in ("", _begun(int(process)))


def _begun(process: int) -> str:
    """When a process began, in ticks since the machine did; empty where the system does not say."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
