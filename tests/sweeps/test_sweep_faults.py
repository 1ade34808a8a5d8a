"""Sweeps in which things die, fail, fill up: real processes, killed; real file systems, full."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.sweeps.run_records import read_failure
from scratchcard.sweeps.running import running
from scratchcard.sweeps.sweep import Progress, sweep
from tests.frontends.calls import refused
from tests.sweeps.sweeping import (
    IMP,
    RUNS,
    SNIP,
    Command,
    call,
    children,
    lives,
    results,
    runs,
    until,
    workers_at_runs,
    workload,
    write_grid,
    written,
)

NETWORKS = """
import os, signal, sys
from pathlib import Path
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

def raises():
    if torch.initial_seed() == 2 and not (Path(__file__).parent / "mended").exists():
        raise RuntimeError("no luck with\\nseed 2")
    return plain()

def leaves():
    if torch.initial_seed() == 2:
        sys.exit("enough")
    return plain()

def kills():
    if torch.initial_seed() == 2:
        with open(Path(__file__).parent / "deaths", "a") as file:
            file.write(".")
        os.kill(os.getpid(), signal.SIGKILL)
    return plain()
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's module of networks, some of which fail."""
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "faulty_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("faulty_networks", None)


class Killer(threading.Thread):
    """Kills one process that is at a run, once `after` records are there."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.after, self.killed = folder, after, 0

    def run(self) -> None:
        until(lambda: len(results(self.folder)) >= self.after)
        victim = until(lambda: workers_at_runs(self.folder))[0]
        os.kill(victim, signal.SIGKILL)
        self.killed = victim


@pytest.mark.slow
def test_a_killed_worker_costs_one_run_that_is_done_again(tmp_path: Path) -> None:
    experiments = runs([SNIP, IMP], seeds=range(1, 6), steps=400)
    killer = Killer(tmp_path / "killed", 2)
    killer.start()
    swept = sweep(experiments, tmp_path / "killed", jobs=2)
    assert killer.killed
    assert (swept.ran, swept.failed) == (10, {})
    assert running(tmp_path / "killed") == []
    sweep(experiments, tmp_path / "quiet")
    assert results(tmp_path / "killed") == results(tmp_path / "quiet")
    until(lambda: not lives(killer.killed), 5)


@pytest.mark.slow
def test_runs_that_raise_or_kill_their_worker_are_recorded_and_stop_no_other(tmp_path: Path, networks: Path) -> None:
    # An iterative regime on the first: its dense training, done beforehand for all, kills its worker too.
    killing = runs([Method.of("magnitude", regime="ISS", rounds=1), IMP], network="faulty_networks:kills")
    raising = runs(seeds=(1, 2), network="faulty_networks:raises")
    leaving = runs(seeds=(2,), network="faulty_networks:leaves")
    others = runs(seeds=range(1, 5))
    told: list[Progress] = []
    folder = tmp_path / "results"
    swept = sweep([*killing, *raising, *leaving, *others], folder, jobs=2, progress=told.append)
    failed = {e.digest: swept.failed[e.digest] for e in [*killing[2:], raising[1], *leaving]}
    assert swept.failed == failed
    assert set(results(folder)) == {e.digest for e in [*killing[:2], raising[0], *others]}
    assert swept.ran == swept.total - 4 == told[-1].done
    assert [(now.done + now.failed, now.total) for now in told] == [(count, 11) for count in range(12)]
    assert told[-1].seconds_left == 0
    assert (networks / "deaths").read_text() == "." * 5  # both runs twice, and the training for both
    for experiment in killing[2:]:
        assert "worker process died 2 times" in failed[experiment.digest]
    assert "exit" in failed[leaving[0].digest].lower()
    assert "\n" not in failed[raising[1].digest]
    failure = read_failure(folder, raising[1].digest)
    assert failure is not None
    assert failure["error"] == failed[raising[1].digest]
    assert "no luck with seed 2" in failure["error"]
    assert "Traceback" in failure["traceback"]
    assert failure["configuration"] == json.loads(json.dumps(raising[1].describe()))
    # The next sweep tries them again, and nothing else; what succeeds has failed no more.
    (networks / "mended").touch()
    before = written(folder)
    swept = sweep([*raising, *others], folder)
    assert (swept.ran, swept.failed) == (1, {})
    assert read_failure(folder, raising[1].digest) is None
    after = written(folder)
    assert {name: after.get(name) for name in before if name in after} == {
        n: t for n, t in before.items() if n in after
    }


def test_scores_that_are_all_zero_fail_their_run_alone(tmp_path: Path, networks: Path) -> None:
    with open(networks / "faulty_networks.py", "a") as file:
        file.write("\ndef dead():\n    net = plain()\n    nn.init.constant_(net[1].bias, -1e9)\n    return net\n")
    dead = workload("faulty_networks:dead")
    zero = Experiment(dead, Method("magnitude", initial="saw", initial_scorer="snip"), 0.05, 1)
    fine = Experiment(dead, Method("magnitude"), 0.05, 1)
    with pytest.warns(Warning, match="score"):  # a worker's warning is shown here
        swept = sweep([zero, fine], tmp_path / "results")
    assert list(swept.failed) == [zero.digest]
    assert "are zero" in swept.failed[zero.digest]
    assert swept.ran == 1


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    experiments = runs([IMP], seeds=(1, 2))
    sweep(experiments, tmp_path)
    first, times = results(tmp_path), written(tmp_path)
    record = tmp_path / f"{experiments[0].digest}.json"
    record.write_text(record.read_text()[:-200])
    shared = list((tmp_path / ".shared").rglob("*.safetensors"))
    assert shared
    for path in shared:
        path.write_bytes(path.read_bytes()[:-50])
    assert sweep(experiments, tmp_path).ran == 1
    assert results(tmp_path) == first
    assert written(tmp_path)[f"{experiments[1].digest}.json"] == times[f"{experiments[1].digest}.json"]
    record.write_text('{"digest": "another"}')
    assert sweep(experiments, tmp_path).ran == 1
    assert results(tmp_path) == first


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own; skips where this process may not mount any."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount`")
    if done.returncode:
        pytest.skip(f"this process may not mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_sweep_and_keeps_what_is_done(tmp_path: Path, jobs: int) -> None:
    experiments = runs(seeds=range(1, 5))
    with mounted(tmp_path / "small", "size=1m") as folder:
        sweep(experiments[:1], folder)
        filler = folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 512)
        with pytest.raises(OSError, match="No space left") as caught:
            sweep(experiments, folder, jobs=jobs)
        assert caught.value.errno == 28
        assert list(results(folder)) == [experiments[0].digest]
        filler.unlink()
        assert sweep(experiments, folder, jobs=jobs).ran == 3
        assert len(results(folder)) == 4
        assert not list(folder.rglob("*.part*"))


def test_no_space_for_what_runs_share_ends_the_sweep_too(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=200k") as folder:  # a record goes in, the dense network's states don't
        with pytest.raises(OSError, match="No space left"):
            sweep(runs([IMP]), folder)
        assert results(folder) == {}
        assert not list(folder.glob("*.error.json"))


def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    grid = write_grid(tmp_path, steps=100)
    with mounted(tmp_path / "fixed", "ro,size=1m") as folder:
        with pytest.raises(OSError, match="nothing can be written"):
            sweep(runs(), folder)
        line = refused("sweep", grid, "--out", folder / "results")
    assert line.startswith(f"scratchcard: cannot write to {folder / 'results'} (Read-only file system): finished runs")
    assert line.endswith("then run the same command again")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The results of the grid, by digest."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = call("sweep", write_grid(folder), "--out", folder / "results", "--jobs", 2)
    assert command.process.returncode == 0, command.stderr
    found = results(folder / "results")
    assert len(found) == RUNS
    return found


def goes_on(grid: Path, out: Path, undisturbed: dict[str, object]) -> None:
    """The same command runs what is missing, and only that."""
    before = written(out)
    command = call("sweep", grid, "--out", out, "--jobs", 2, "--json")
    assert command.process.returncode == 0, command.stderr
    assert json.loads(command.stdout)["ran"] == RUNS - len(before)
    after = written(out)
    assert {name: after[name] for name in before} == before
    assert results(out) == undisturbed
    assert running(out) == []


@pytest.mark.slow
def test_a_killed_parent_leaves_whole_records_and_no_process(tmp_path: Path, undisturbed: dict[str, object]) -> None:
    grid, out = write_grid(tmp_path), tmp_path / "results"
    with Command("sweep", grid, "--out", out, "--jobs", 2) as command:
        until(lambda: len(written(out)) >= 5 and len(workers_at_runs(out)) == 2)
        processes = children(command.process.pid)
        assert set(workers_at_runs(out)) <= set(processes)
        command.process.kill()
        command.process.wait()
        until(lambda: not any(map(lives, processes)), 10)
    found = results(out)  # which reads every record
    assert 5 <= len(found) < RUNS
    assert found == {digest: undisturbed[digest] for digest in found}
    goes_on(grid, out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("everyone", [True, False])
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "the terminal has gone")],
)
def test_what_stops_it_ends_it_soon_and_it_says_how_to_go_on(
    tmp_path: Path, undisturbed: dict[str, object], jobs: int, everyone: bool, number: signal.Signals, told: str
) -> None:
    grid, out = write_grid(tmp_path), tmp_path / "results"
    with Command("sweep", grid, "--out", out, "--jobs", jobs) as command:
        until(lambda: len(written(out)) >= 5)
        processes = children(command.process.pid)
        begin = time.monotonic()
        if everyone:
            os.killpg(command.process.pid, number)
        else:
            os.kill(command.process.pid, number)
        assert command.ends(30) == 128 + number
        took = time.monotonic() - begin
    *progress, last = command.stderr.splitlines()
    assert last == f"scratchcard: {told}; finished runs are kept in {out}, the same command goes on"
    assert all(line.startswith("grid faults, ") for line in progress)
    assert command.stdout == ""
    assert took < 8
    until(lambda: not any(map(lives, processes)), 5)
    assert len(results(out)) < RUNS
    assert running(out) == []
    assert not list(out.rglob("*.part*"))
    assert not (out / ".leases").exists()
    if everyone and number == signal.SIGINT:
        goes_on(grid, out, undisturbed)


@pytest.mark.slow
def test_two_sweeps_of_one_folder_at_once_do_each_run_once(tmp_path: Path, undisturbed: dict[str, object]) -> None:
    grid, out = write_grid(tmp_path), tmp_path / "results"
    with Command("sweep", grid, "--out", out, "--json") as one, Command("sweep", grid, "--out", out, "--json") as two:
        assert one.ends() == two.ends() == 0, one.stderr + two.stderr
    assert results(out) == undisturbed
    ran = [json.loads(command.stdout)["ran"] for command in (one, two)]
    assert sum(ran) == RUNS
    assert running(out) == []
    assert not list(out.rglob("*.part*"))


@pytest.mark.slow
def test_failures_are_exit_status_1_and_one_line_each(tmp_path: Path, networks: Path) -> None:
    grid, out = write_grid(tmp_path, "faulty_networks:raises", 100), tmp_path / "results"
    path = {"PYTHONPATH": str(networks)}
    with Command("sweep", grid, "--out", out, "--jobs", 2, env=path) as command:
        assert command.ends() == 1
    lines = [line for line in command.stderr.splitlines() if not line.startswith("grid faults, ")]
    assert len(lines) == 6  # seed 2: three methods at two densities
    assert all(line.startswith("scratchcard: warning: run ") and "no luck with seed 2" in line for line in lines)
    assert "Traceback" not in command.stderr
    assert len(list(out.glob("*.error.json"))) == 6
    assert len(results(out)) == RUNS - 6
    (networks / "mended").touch()
    with Command("sweep", grid, "--out", out, "--json", env=path) as command:
        assert command.ends() == 0
    assert json.loads(command.stdout)["ran"] == 6
    assert not list(out.glob("*.error.json"))


@pytest.mark.slow
def test_workers_that_always_die_end_the_sweep(tmp_path: Path, networks: Path) -> None:
    (networks / "faulty_networks.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(OSError, match="12 worker processes died and no run came to its end"):
        sweep(runs(seeds=range(20), network="faulty_networks:any"), tmp_path / "results", jobs=2)
