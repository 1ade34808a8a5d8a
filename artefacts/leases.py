"""Leases: who is at which piece of work, in a folder that several processes share, on one machine or on several."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from scratchcard.artefacts.process import begun, here, lives

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

BEAT_SECONDS = 10.0
"""So often a holder says in its leases that it is still there."""
EXPIRY_SECONDS = 120.0
"""A lease of another machine that has said nothing for so long is free, by the clock of whoever waits."""
WAIT_SECONDS = 0.1
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Leases:
    """Leases by name, each a small file: who takes one has it until it gives it back or its process dies.

    On one machine the system's lock on the file says whether its holder lives: it goes with the process, whatever the
    clock does. Another machine's locks may not be seen (some network disks keep them to themselves): there the holder
    counts up in the file, and a lease whose count has stood still for `EXPIRY_SECONDS` of the waiting process' own
    steady clock is free. No time of day is compared with any other.

    A context manager; leaving it gives all back.

    Examples:
        >>> with Leases(Path("leases")) as mine, Leases(Path("leases")) as theirs:
        ...     mine.take("run"), theirs.take("run")
        ...     mine.give_back("run")
        ...     theirs.take("run")
        (True, False)
        True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = [place for place in (folder, *folder.parents) if not place.exists()]
        self._held: dict[str, int] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._mutex = threading.Lock()
        self._closed = threading.Event()
        self._beats = 0
        self._heart: threading.Thread | None = None

    def __enter__(self) -> Leases:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        for name in list(self._held):
            self.give_back(name)
        with contextlib.suppress(OSError):  # others may have leases there, or files
            for path in self.folder.glob("*"):  # of the dead, who had ended their work: nobody takes those again
                if self.take(path.name):
                    self.give_back(path.name)
            self.folder.rmdir()
            for place in self._made[1:] if self._made else ():
                place.rmdir()

    def take(self, name: str) -> bool:
        """Whether the lease is had from now on; without waiting.

        Raises:
            OSError: nothing can be written to the folder.
        """
        path = self.folder / name
        while True:
            file = _opened(path)
            locked = _locked(file)
            if locked is False:
                os.close(file)
                return False
            try:
                same = os.path.samestat(os.fstat(file), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                break
            os.close(file)  # its holder gave it back meanwhile
        note = os.pread(file, 1000, 0)
        if note and not self._is_left(name, note, locked is True):
            os.close(file)
            return False
        try:
            with self._mutex:
                _write(file, self._note())
        except OSError:  # a full disk: the lock would stay as long as the process
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(file)
            raise
        if locked is None and os.pread(file, 1000, 0) != self._note():  # pragma: no cover (another was as quick)
            os.close(file)
            return False
        self._seen.pop(name, None)
        self._held[name] = file
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, daemon=True)
            self._heart.start()
        return True

    def give_back(self, name: str) -> None:
        """Give a lease back; one that is not had is none to give."""
        with self._mutex:
            file = self._held.pop(name, None)
            if file is None:
                return
            path = self.folder / name
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    path.unlink()
            os.close(file)  # which opens the lock

    @contextmanager
    def waited_for(self, name: str) -> Iterator[None]:
        """Have a lease as long as the block takes, once whoever has it gives it back."""
        while not self.take(name):
            time.sleep(WAIT_SECONDS)
        try:
            yield
        finally:
            self.give_back(name)

    def others(self) -> bool:
        """Whether somebody else has a lease in the folder now."""
        for path in self.folder.glob("*"):
            if path.name not in self._held:
                if not self.take(path.name):
                    return True
                self.give_back(path.name)
        return False

    def _note(self) -> bytes:
        process = os.getpid()
        note = {"where": here(), "process": process, "began": begun(process), "beats": self._beats}
        return json.dumps(note | {"leases": id(self)}).encode()

    def _is_left(self, name: str, note: bytes, locked: bool) -> bool:
        """Whether the process that wrote a note is no more, or has said nothing for long."""
        try:
            told = json.loads(note)
            where, process, began = str(told["where"]), int(told["process"]), str(told["began"])
        except (ValueError, KeyError, TypeError):  # half written
            where, process, began = "", 0, ""
        if where == here():
            return locked or not lives(process, began)
        seen, since = self._seen.get(name, (b"", 0.0))
        if seen != note:
            self._seen[name] = note, time.monotonic()
            return False
        return time.monotonic() - since >= EXPIRY_SECONDS

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            with self._mutex:
                self._beats += 1
                for file in self._held.values():
                    with contextlib.suppress(OSError):
                        _write(file, self._note())


def _opened(path: Path) -> int:
    """The file, made if it is missing; its folder may go at any moment, when its last lease is given back."""
    for _ in range(1000):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    raise FileNotFoundError(f"the folder {path.parent} is removed again and again by somebody else")


def _locked(file: int) -> bool | None:
    """Whether the system's lock was had; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        os.close(file)
        raise
    return True


def _write(file: int, note: bytes) -> None:
    os.pwrite(file, note, 0)
    os.ftruncate(file, len(note))


@contextmanager
def user_of(folder: Path, entered: AbstractContextManager[Any] | None = None) -> Iterator[Leases]:
    """Be one of the users of a folder, as long as the block takes; become one inside of `entered`.

    Examples:
        >>> with user_of(Path("used")) as one, user_of(Path("used")) as two:
        ...     one.others()
        True
        >>> with user_of(Path("used")) as one:
        ...     one.others()
        False
    """
    with Leases(folder) as leases:
        with entered or contextlib.nullcontext():
            leases.take(f"{here()}-{os.getpid()}-{id(leases):x}")
        yield leases
