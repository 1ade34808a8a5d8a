"""Stored: the files of every owner in the state folder; each owner has a folder, and no name leads out of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scratchcard.artefacts.folders import claim_folder

DIGEST = re.compile(r"[0-9a-f]{64}")
TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
JOB = re.compile(r"[0-9a-f]{24}")
NAMES = {"networks": DIGEST, "tasks": TASK, "jobs": JOB}
PART_SECONDS = 24 * 3600.0
"""After which an upload that was not gone on with is removed."""
STRAY_SECONDS = 3600.0
"""After which the folder of a job is removed that nobody waits for."""
USED_SECONDS = 2.0


class Stored:
    """The files in a state folder.

    Examples:
        >>> stored = Stored(Path("state"))
        >>> stored.place("ann", "tasks", "mine")
        PosixPath('.../state/owners/ann/tasks/mine.safetensors')
        >>> stored.place("ann", "tasks", "../bob/tasks/mine")
        Traceback (most recent call last):
            ...
        ValueError: '../bob/tasks/mine' is no name of anything in tasks
    """

    def __init__(self, folder: Path) -> None:
        self.folder = claim_folder(folder, "service", "a service's state folder").resolve()
        self.folder.chmod(0o700)  # what is in it is nobody else's
        self._used: dict[str, tuple[float, int]] = {}

    def place(self, owner: str, kind: str, name: str) -> Path:
        """Where an owner's network or task lies, or the folder of its job.

        Raises:
            ValueError: no name of such a thing.
        """
        if not NAMES[kind].fullmatch(name):
            raise ValueError(f"{name[:100]!r} is no name of anything in {kind}")
        folder = self.folder / "owners" / owner / kind
        return folder / (name if kind == "jobs" else f"{name}.safetensors")

    def part(self, owner: str, kind: str, name: str, digest: str) -> Path:
        """Where an upload lies as long as it is not whole."""
        return self.place(owner, kind, name).with_name(f".{name}-{digest[:16]}.part")

    def listed(self, owner: str, kind: str) -> list[dict[str, Any]]:
        """An owner's networks or tasks: name, bytes, and when each was used last."""
        found = []
        for path in sorted((self.folder / "owners" / owner / kind).glob("*.safetensors")):
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                found.append({"name": path.stem, "bytes": state.st_size, "used": state.st_mtime})
        return found

    def touch(self, path: Path) -> None:
        """Note that a file is used."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)

    def used(self, owner: str) -> int:
        """Bytes of all files of an owner, each once whatever names it has, as of two seconds ago at most."""
        then, size = self._used.get(owner, (0.0, 0))
        if time.monotonic() - then > USED_SECONDS or not then:
            found: dict[tuple[int, int], int] = {}
            for folder, _, files in os.walk(self.folder / "owners" / owner):
                for name in files:
                    with contextlib.suppress(OSError):
                        state = os.lstat(os.path.join(folder, name))
                        found[state.st_dev, state.st_ino] = state.st_size
            size = sum(found.values())
            self._used[owner] = time.monotonic(), size
        return size

    def forget_used(self, owner: str) -> None:
        """Count an owner's bytes anew when they are next asked for."""
        self._used.pop(owner, None)

    def remove(self, path: Path) -> bool:
        """Remove a file or a job's folder; whether it was there."""
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            return True
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            return True
        return False

    def keep_only(self, folder: Path, name: str) -> None:
        """Remove all in a job's folder but one entry."""
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name != name:
                self.remove(path)

    def expire(self, keep_seconds: float, is_over: Callable[[str], bool]) -> int:
        """Remove files that were not used for so long, and old parts of uploads; returns how many.

        Folders of jobs go with them that are of no job, because its request broke off, or of one that found nothing.
        """
        removed, now = 0, time.time()
        for kind in ("networks", "tasks"):
            for path in (self.folder / "owners").glob(f"*/{kind}/*"):
                with contextlib.suppress(FileNotFoundError):
                    age = now - path.stat().st_mtime
                    if age > (min(PART_SECONDS, keep_seconds) if path.suffix == ".part" else keep_seconds):
                        removed += self.remove(path)
        for folder in (self.folder / "owners").glob("*/jobs/*"):
            with contextlib.suppress(FileNotFoundError):
                if now - folder.stat().st_mtime > STRAY_SECONDS and is_over(folder.name):
                    self.remove(folder)
        self._used.clear()
        return removed
