"""Commands in processes that can be disturbed: forked from this one, which has imported all, so that many are cheap."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

Fault = Callable[[Path], None]
"""What is done in the new process before the command begins; it is given the job's folder."""
LONGEST = 240.0


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status; negative where a signal killed it.
        said: its text on stderr.
        seconds: it took.
    """

    status: int
    said: str
    seconds: float

    @property
    def one_sentence(self) -> bool:
        """Whether it refused as commands refuse: status 2, a line or warnings and a line, no traceback."""
        lines = self.said.splitlines()
        return (
            self.status == 2 and bool(lines) and lines[-1].startswith("scratchcard: ") and "Traceback" not in self.said
        )


class Running:
    """A command in a process group of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path, fault: Fault | None = None) -> None:
        self.place = folder.with_name(f"{folder.name}.said{time.monotonic_ns()}")
        self.begun = time.monotonic()
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            _become(arguments, folder, fault, self.place)
        with contextlib.suppress(OSError):
            os.setpgid(self.process, self.process)
        self._ended: Ended | None = None

    def poll(self) -> Ended | None:
        """How it ended, if it has."""
        if self._ended is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                said = self.place.read_text(errors="replace") if self.place.exists() else ""
                self.place.unlink(missing_ok=True)
                self._ended = Ended(os.waitstatus_to_exitcode(status), said, time.monotonic() - self.begun)
        return self._ended

    def ends(self, seconds: float = LONGEST) -> Ended:
        """Wait for its end; one that takes too long is killed, which is not status 0."""
        while (ended := self.poll()) is None:
            if time.monotonic() - self.begun > seconds:
                self.kill()
            time.sleep(0.005)
        return ended

    def kill(self) -> bool:
        """SIGKILL to it and its children; whether it was still alive."""
        alive = self.poll() is None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process, signal.SIGKILL)
        return alive


def _become(arguments: Sequence[str], folder: Path, fault: Fault | None, place: Path) -> None:
    status = 70
    try:
        os.setpgid(0, 0)
        file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.chdir(folder)
        sys.argv = ["scratchcard", *arguments]
        if fault is not None:
            fault(folder)
        from scratchcard.frontends.cli import main

        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        if fault is note_modules:
            folder.with_name("modules").write_text("\n".join(sys.modules))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


def note_modules(folder: Path) -> None:
    """No fault: the command notes what it imported, for `import_noted`."""


def import_noted(folder: Path) -> None:
    """Import here what a command imported, so that those after it begin at once."""
    for name in folder.with_name("modules").read_text().splitlines():
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def at_write(number: int, act: Callable[[], None]) -> Fault:
    """Do something when a file or folder below the job's is opened for writing, made or renamed the n-th time."""

    def fault(folder: Path) -> None:
        top, count = str(folder), 0

        def hook(event: str, given: tuple[Any, ...]) -> None:
            nonlocal count
            if event not in ("open", "os.rename", "os.mkdir"):
                return
            path = given[0]
            if not isinstance(path, str | bytes | os.PathLike):
                return
            if event == "open" and not (isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            if os.path.abspath(os.fsdecode(path)).startswith(top):
                count += 1
                if count >= number:
                    act()

        sys.addaudithook(hook)

    return fault


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files_of_at_most(size: int) -> Fault:
    """No file may grow beyond this, whatever library writes it."""
    return lambda folder: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def clock_that_jumps(random: Random) -> Fault:
    """The time of day leaps by up to ten days, forward and back, again and again; the steady clock stays steady."""

    def fault(folder: Path) -> None:
        real, offset = time.time, [0.0]

        def leaping() -> float:
            if random.random() < 0.2:
                offset[0] = random.uniform(-1, 1) * 10 * 86_400
            return real() + offset[0]

        time.time = leaping
        utc = time.gmtime
        time.gmtime = lambda seconds=None: utc(leaping() if seconds is None else seconds)

    return fault
