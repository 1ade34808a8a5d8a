"""Processes: who wrote a file or holds a lease, told apart on machines, in containers and after numbers are reused."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import lru_cache
from pathlib import Path

from scratchcard.artefacts.digest import sha256


@lru_cache(maxsize=1)
def here() -> str:
    """Eight letters for the space of process numbers that this process lives in: this start of this machine, or of a
    container on it. A process number means something only together with it.

    Examples:
        >>> here() == here(), len(here())
        (True, 8)
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return sha256(parts)[:8]


def begun(process: int) -> str:
    """When a process began, in ticks since the machine did; empty where the system does not say.

    Examples:
        >>> begun(os.getpid()) == begun(os.getpid())
        True
    """
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def lives(process: int, began: str = "") -> bool:
    """Whether a process of this machine lives; with `began`, whether it is that one and no later one of its number.

    Examples:
        >>> lives(os.getpid()), lives(os.getpid(), "an hour ago"), lives(2**30)  # no system has such a process
        (True, False, False)
    """
    if os.name == "nt":  # there a signal ends the process
        return True
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return began in ("", begun(process))
