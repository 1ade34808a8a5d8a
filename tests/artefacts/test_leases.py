"""Leases: one holder at a time, gone with its process, whatever clocks say; and of other machines after a while."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchcard.artefacts import leases as module
from scratchcard.artefacts.leases import EXPIRY_SECONDS, Leases, user_of
from scratchcard.artefacts.process import begun, here, lives
from scratchcard.artefacts.share import Share

HOLDER = """
import sys, time
from pathlib import Path
from scratchcard.artefacts.leases import Leases
leases = Leases(Path(sys.argv[1]))
print(leases.take("run"), flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lease `run`."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def note(where: str, process: int, beats: int = 0, began: str = "") -> str:
    return json.dumps({"where": where, "process": process, "began": began, "beats": beats})


def test_one_has_it_until_it_is_given_back(tmp_path: Path) -> None:
    with Leases(tmp_path / "leases") as one, Leases(tmp_path / "leases") as two:
        assert one.take("a")
        assert not two.take("a")
        assert not one.take("a")  # which is no counting lock
        assert two.take("b")
        two.give_back("a")  # it has none to give
        assert not two.take("a")
        one.give_back("a")
        assert two.take("a")
        assert sorted(path.name for path in (tmp_path / "leases").iterdir()) == ["a", "b"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_goes_with_its_process_at_once(tmp_path: Path, holder: subprocess.Popen[str], number: int) -> None:
    with Leases(tmp_path) as mine:
        assert not mine.take("run")
        holder.send_signal(number)
        holder.wait()
        assert mine.take("run")


def test_a_holder_that_stands_still_keeps_it(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process says nothing, and clocks jump; on one machine neither matters."""
    holder.send_signal(signal.SIGSTOP)
    with Leases(tmp_path) as mine:
        assert not mine.take("run")
        monkeypatch.setattr(time, "time", lambda: 4e9)
        monkeypatch.setattr(time, "monotonic", lambda: 4e9)
        os.utime(tmp_path / "run", (0, 0))
        assert not mine.take("run")
    holder.send_signal(signal.SIGCONT)


def test_another_machines_is_free_when_it_has_said_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network disk that does not pass locks on: only the note is seen."""
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    path = tmp_path / "run"
    path.write_text(note("elsewhe", os.getpid()))
    with Leases(tmp_path) as mine:
        assert not mine.take("run")  # however old the file is: clocks of machines differ
        os.utime(path, (0, 0))
        now += EXPIRY_SECONDS - 1
        assert not mine.take("run")
        path.write_text(note("elsewhe", os.getpid(), beats=1))  # it lives
        now += EXPIRY_SECONDS - 1
        assert not mine.take("run")
        now += EXPIRY_SECONDS - 1
        assert not mine.take("run")
        now += 2
        assert mine.take("run")


def test_a_holder_says_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    with Leases(tmp_path) as mine:
        assert mine.take("run")
        first = json.loads((tmp_path / "run").read_text())
        assert (first["where"], first["process"], first["began"]) == (here(), os.getpid(), begun(os.getpid()))
        deadline = time.monotonic() + 20
        while json.loads((tmp_path / "run").read_text() or "{}").get("beats", 0) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("how", ["no locks", "no such system"])
def test_where_there_are_no_locks_notes_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    class NoLocks:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(*_: int) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(module, "fcntl", NoLocks if how == "no locks" else None)
    path = tmp_path / "run"
    with Leases(tmp_path) as one, Leases(tmp_path) as two:
        assert one.take("run")
        assert not two.take("run")
        one.give_back("run")
        path.write_text(note(here(), 2**30))  # no system has such a process
        assert two.take("run")
        two.give_back("run")
        path.write_text(note(here(), os.getpid(), began="1"))  # an earlier process of this number
        assert two.take("run")


def test_half_a_note_is_another_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    (tmp_path / "run").write_text('{"where": ')
    with Leases(tmp_path) as mine:
        assert not mine.take("run")
        now += EXPIRY_SECONDS
        assert mine.take("run")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Leases(tmp_path / "file") as mine, pytest.raises(OSError, match="file"):
        mine.take("run")


def test_no_folder_is_left_behind_but_those_in_use(tmp_path: Path) -> None:
    with Leases(tmp_path / "far" / "away" / "leases") as mine:
        assert mine.take("run")
        (tmp_path / "far" / "file").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "file"]


def test_whoever_uses_a_folder_is_seen(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with user_of(tmp_path) as mine:
        assert mine.others()
        holder.kill()
        holder.wait()
        assert not mine.others()


RACE = """
import sys, time
from pathlib import Path
from scratchcard.artefacts.leases import Leases
folder = Path(sys.argv[1])
sys.stdin.readline()
with Leases(folder / "leases") as leases:
    left = [f"{number:03}" for number in range(100)]
    while left:
        name = left.pop(0)
        if not leases.take(name):
            left.append(name)
            continue
        if not (folder / name).exists():
            with open(folder / "done", "a") as file:
                file.write(name + "\\n")
            (folder / name).touch()
        leases.give_back(name)
"""


def test_of_many_processes_each_piece_is_done_by_one(tmp_path: Path) -> None:
    start = [sys.executable, "-c", RACE, str(tmp_path)]
    processes = [subprocess.Popen(start, stdin=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert sorted((tmp_path / "done").read_text().split()) == [f"{number:03}" for number in range(100)]
    assert not (tmp_path / "leases").exists()


def test_what_others_are_at_comes_last_and_what_they_ended_is_told(tmp_path: Path) -> None:
    done: dict[str, str] = {"C": "by them"}
    with Leases(tmp_path) as mine, Leases(tmp_path) as theirs:
        share = Share({"a": "A", "b": "B", "c": "C", "d": "D"}, mine, done.get)
        assert theirs.take("a")
        assert share.next(lambda piece: piece != "B") == ("C", "by them")
        assert share.next() == ("D", None)
        assert share.next() == ("B", None)
        assert share.next() is None
        assert share
        done["A"] = "by them too"
        theirs.give_back("a")
        assert share.next() == ("A", "by them too")
        assert not share


def test_a_number_of_a_process_is_not_enough() -> None:
    assert lives(os.getpid())
    assert lives(os.getpid(), begun(os.getpid()))
    assert not lives(os.getpid(), "1")
    assert not lives(2**40)


def test_a_lease_that_cannot_be_noted_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Leases(tmp_path / "leases") as leases:
        with monkeypatch.context() as patched:
            patched.setattr("scratchcard.artefacts.leases._write", full)
            with pytest.raises(OSError, match="No space left"):
                leases.take("run")
        assert leases.take("run")


def test_a_lease_of_the_dead_goes_with_the_last_user(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with Leases(tmp_path):
        pass
    assert (tmp_path / "run").exists()  # its holder lives
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with Leases(tmp_path):  # which has other work: that of `run` may be done
        pass
    assert not tmp_path.exists()
