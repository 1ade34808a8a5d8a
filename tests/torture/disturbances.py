"""Disturbances of a command; each says what is wrong afterwards, in a sentence, and nothing where all is well."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.sweeps.sweeping import ROOT, children, lives, until
from tests.torture.commands import (
    Ended,
    Fault,
    Running,
    at_write,
    clock_that_jumps,
    dies,
    files_of_at_most,
    import_noted,
    is_full,
    note_modules,
)
from tests.torture.job import GRID, STEPS, copy, digest, left_over


@dataclass
class Torture:
    """The job, done once undisturbed, and what came of disturbing it.

    Attributes:
        folder: for all files.
        random: decides what is done when.
        wanted: digests of what each step finds undisturbed.
        seconds: each step took.
        counts: what was done, and what came of it.
        wrong: what should not have been, a sentence each.
    """

    folder: Path
    random: Random
    wanted: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def whole(self) -> Path:
        """The folder where the whole job is done."""
        return self.folder / "whole"

    @property
    def place(self) -> Path:
        """The folder of the trial under way."""
        return self.folder / "trial"

    def begin(self) -> None:
        """Do the job undisturbed, twice: equal work gives equal results."""
        self.whole.mkdir()
        (self.whole / "grid.toml").write_text(GRID)
        for name, step in STEPS.items():
            step.prepare(self.whole, self.place)
            for folder in (self.whole, self.place):
                ended = Running(step.arguments, folder, note_modules).ends()
                import_noted(folder)
                if ended.status != 0:
                    raise RuntimeError(f"{name} ended with {ended.status} undisturbed: {ended.said}")
                self.seconds[name] = ended.seconds
            self.wanted[name] = digest(step, self.whole)
            if digest(step, self.place) != self.wanted[name]:
                raise RuntimeError(f"{name} finds something else a second time")

    def start(self, name: str, fault: Fault | None = None, extra: tuple[str, ...] = ()) -> Running:
        return Running((*STEPS[name].arguments, *extra), self.place, fault)

    def check_disturbed(self, what: str, name: str, ended: Ended) -> None:
        """A disturbed command may end well, be killed, or refuse in one sentence."""
        if ended.status not in (0, -signal.SIGKILL) and not ended.one_sentence:
            self.wrong.append(f"{what} of {name}: status {ended.status}, {ended.said[-600:]!r}")

    def check_goes_on(self, what: str, name: str, extra: tuple[str, ...] = ()) -> None:
        """The same command, undisturbed, ends well, finds the same to the bit, and leaves nothing half written."""
        ended = self.start(name, extra=extra).ends()
        made = self.place / STEPS[name].makes[0]
        if ended.status == 2 and "overwrite" in ended.said and made.exists():
            self.counts["it was done already"] += 1  # the disturbed command had come to its end
        elif ended.status != 0:
            self.wrong.append(f"after {what} {name} does not go on: status {ended.status}, {ended.said[-600:]!r}")
            return
        try:
            if digest(STEPS[name], self.place) != self.wanted[name]:
                self.wrong.append(f"after {what} {name} finds something else")
                return
        except Exception as error:
            self.wrong.append(f"after {what} what {name} made cannot be read: {type(error).__name__}: {error}"[:600])
            return
        self.counts["results compared, equal to the bit"] += 1
        left = [path for path in left_over(self.place) if not path.startswith(".")]
        beside = [path for path in left_over(self.place) if path.startswith(".")]
        if left:
            self.wrong.append(f"after {what} {name} leaves {', '.join(left[:5])}")
        self.counts["files of killed writers left beside a destination"] += len(beside)


def _step(torture: Torture, *names: str) -> str:
    name = torture.random.choice(names or tuple(STEPS))
    STEPS[name].prepare(torture.whole, torture.place)
    return name


def kill_at_any_time(torture: Torture) -> None:
    """SIGKILL at random moments, up to three times in a row."""
    name = _step(torture)
    for _ in range(torture.random.choice((1, 2, 3))):
        running = torture.start(name)
        time.sleep(torture.random.uniform(0, torture.seconds[name]))
        torture.counts["kills of the command at any time"] += running.kill()
        torture.check_disturbed("a kill", name, running.ends())
    torture.check_goes_on("a kill", name)


def kill_at_a_write(torture: Torture) -> None:
    """SIGKILL just before a file is opened for writing, or renamed."""
    name = _step(torture)
    for _ in range(torture.random.choice((1, 2))):
        ended = torture.start(name, at_write(torture.random.randint(1, 40), dies)).ends()
        torture.counts["kills of the command at a write"] += ended.status == -signal.SIGKILL
        torture.check_disturbed("a kill at a write", name, ended)
    torture.check_goes_on("a kill at a write", name)


def disk_full(torture: Torture) -> None:
    """From the n-th write on nothing can be opened, made or renamed."""
    _full(torture, "at a write", at_write(torture.random.randint(1, 40), is_full))


def disk_full_within_a_file(torture: Torture) -> None:
    """No file may grow beyond a size: what is being written ends in its middle, whoever writes it."""
    # The text on stderr is in a file too: it has some room.
    _full(torture, "within a file", files_of_at_most(int(2 ** torture.random.uniform(11, 22))))


def _full(torture: Torture, where: str, fault: Fault) -> None:
    name = _step(torture)
    ended = torture.start(name, fault).ends()
    torture.counts[f"disks full {where}"] += 1
    torture.counts[f"... {where} refused in one sentence"] += ended.one_sentence
    torture.check_disturbed(f"a disk full {where}", name, ended)
    torture.check_goes_on(f"a disk full {where}", name)


def clock_jumps(torture: Torture) -> None:
    """The time of day leaps while a command runs; then it is killed or comes to its end."""
    name = _step(torture)
    running = torture.start(name, clock_that_jumps(Random(torture.random.random())))
    if torture.random.random() < 0.5:
        time.sleep(torture.random.uniform(0, torture.seconds[name]))
        torture.counts["kills of the command while its clock leaps"] += running.kill()
    ended = running.ends()
    torture.counts["clocks that leap"] += 1
    torture.check_disturbed("a leap of the clock", name, ended)
    torture.check_goes_on("a leap of the clock", name)


def two_writers(torture: Torture) -> None:
    """Two or three of the same command at once in one folder, with clocks that leap; perhaps one is killed."""
    name = _step(torture, "build", "sweep")
    clocks = [clock_that_jumps(Random(torture.random.random())) for _ in range(2)]
    all_of_them = [torture.start(name, fault) for fault in (None, *clocks[: torture.random.choice((1, 2))])]
    torture.counts["folders with several writers at once"] += 1
    if torture.random.random() < 0.6:
        time.sleep(torture.random.uniform(0, torture.seconds[name]))
        torture.counts["kills of one of several writers"] += torture.random.choice(all_of_them).kill()
    for running in all_of_them:
        torture.check_disturbed("several writers", name, running.ends())
    torture.check_goes_on("several writers", name)


def flip_a_bit(torture: Torture) -> None:
    """A bit of a stored file is another: it is found, or it changes nothing."""
    name = _step(torture)
    interrupted = torture.random.random() < 0.4 and name in ("build", "prune", "sweep")
    if interrupted:
        torture.start(name, at_write(torture.random.randint(6, 40), dies)).ends()
    else:
        for made in STEPS[name].makes if name in ("build", "sweep") else ():
            copy(torture.whole / made, torture.place / made)
    files = [path for path in sorted(torture.place.rglob("*")) if path.is_file() and path.stat().st_size]
    files = [path for path in files if path.suffix in (".json", ".parquet", ".safetensors")]
    if not files:
        return
    path = torture.random.choice(files)
    content = bytearray(path.read_bytes())
    content[torture.random.randrange(len(content))] ^= 1 << torture.random.randrange(8)
    path.write_bytes(bytes(content))
    kind = f"{path.suffix[1:]} flipped"
    ended = torture.start(name).ends()
    torture.counts[f"{kind}"] += 1
    if ended.status == 2 and ended.one_sentence:
        torture.counts[f"{kind}: refused in one sentence"] += 1
        return
    if ended.status != 0:
        torture.check_disturbed(f"a flipped bit of {path.name}", name, ended)
        return
    try:
        same = digest(STEPS[name], torture.place) == torture.wanted[name]
    except (ValueError, OSError):
        torture.counts[f"{kind}: found when the result is read"] += 1
        return
    torture.counts[f"{kind}: " + ("equal results" if same else "OTHER RESULTS")] += 1
    if not same and path.suffix == ".safetensors":
        torture.wrong.append(f"a flipped bit of {path.relative_to(torture.place)} changed what {name} finds")


def kill_workers(torture: Torture) -> None:
    """SIGKILL of workers of two jobs, and of their parent."""
    name = _step(torture, "build", "sweep")
    more = ("--jobs", "2")
    running = torture.start(name, extra=more)
    begin, once = time.monotonic(), torture.random.choice((1, 2, 3))
    seen: set[int] = set()
    while running.poll() is None and once:
        workers = [process for process in children(running.process) if lives(process)]
        seen |= set(workers)
        if workers and time.monotonic() - begin > torture.random.uniform(0, 4):
            if torture.random.random() < 0.25:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running.process, signal.SIGKILL)  # its workers are left alone
                torture.counts["kills of a parent with workers"] += 1
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(torture.random.choice(workers), signal.SIGKILL)
                torture.counts["kills of workers"] += 1
            once -= 1
        time.sleep(torture.random.uniform(0.05, 1.5))
    ended = running.ends()
    torture.check_disturbed("a kill of workers", name, ended)
    torture.check_goes_on("a kill of workers", name)
    for process in seen:
        if lives(process):
            with contextlib.suppress(AssertionError):
                until(lambda process=process: not lives(process), 20)  # type: ignore[misc]
        if lives(process):
            torture.wrong.append(f"a worker outlived its {name}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def kill_a_cluster(torture: Torture) -> None:
    """SIGKILL of a Dask worker or of the scheduler while it sweeps or builds."""
    name = _step(torture, "build", "sweep")
    with _cluster(torture.folder / "dask") as (scheduler, workers, address):
        running = torture.start(name, extra=("--dask", address))
        time.sleep(torture.random.uniform(1, 12))
        victim = scheduler if torture.random.random() < 0.4 else torture.random.choice(workers)
        torture.counts["kills of a Dask " + ("scheduler" if victim is scheduler else "worker")] += 1
        for process in children(victim.pid) if victim is not scheduler else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        ended = running.ends(150)
    if ended.status == -signal.SIGKILL:
        torture.wrong.append(f"{name} waits for a cluster that is gone")
    torture.check_disturbed("a kill in a cluster", name, ended)
    torture.check_goes_on("a kill in a cluster", name)


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[subprocess.Popen[bytes]], str]]:
    import json

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    note = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    where = ["--port", "0", "--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", str(note)]
    started = [subprocess.Popen([*dask, "scheduler", *where], **quiet)]  # type: ignore[call-overload]
    try:
        until(note.exists)
        time.sleep(0.2)
        address = json.loads(note.read_text())["address"]
        place = ["--local-directory", str(folder), "--nthreads", "1", "--no-dashboard"]
        started += [subprocess.Popen([*dask, "worker", address, *place], **quiet) for _ in range(2)]  # type: ignore[call-overload]
        yield started[0], started[1:], address
    finally:
        for process in started:
            for child in children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait(30)


DISTURBANCES: dict[Callable[[Torture], None], int] = {
    kill_at_any_time: 30,
    kill_at_a_write: 30,
    disk_full: 12,
    disk_full_within_a_file: 12,
    flip_a_bit: 25,
    clock_jumps: 8,
    two_writers: 8,
    kill_workers: 5,
    kill_a_cluster: 2,
}
"""And how often each is drawn."""
