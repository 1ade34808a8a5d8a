"""Several sweeps of one folder at once: each run is done by one of them, whoever dies."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scratchcard.artefacts.leases import Leases
from scratchcard.artefacts.share import Share
from scratchcard.sweeps.results_folder import LEASES, claim_results
from scratchcard.sweeps.sweep import sweep
from tests.sweeps.sweeping import IMP, ROOT, SNIP, results, runs, until

SWEEP = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [str(Path(sys.argv[1]).parent), os.getcwd()]
from scratchcard.sweeps.sweep import sweep
from tests.sweeps.sweeping import IMP, SNIP, runs

if __name__ == "__main__":
    network = "counted_networks:" + sys.argv[2]
    wanted = runs([SNIP, IMP], seeds=(1, 2, 3), network=network, steps=60)
    print("ready", flush=True)
    sys.stdin.readline()
    swept = sweep(wanted, sys.argv[1], jobs=int(sys.argv[3]), together=int(sys.argv[4]))
    print(json.dumps({"ran": swept.ran, "failed": len(swept.failed), "total": swept.total}))
"""
NETWORKS = """
import os, time
from pathlib import Path
from torch import nn
import torch

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

def fails():
    with open(Path(__file__).parent / "calls", "a") as file:
        file.write(f"{os.getpid()} ")
    time.sleep(0.3)  # so that the other sweep comes to it meanwhile
    raise RuntimeError("no luck")

def hangs():
    Path(__file__).parent.joinpath("hangs").touch()
    if not Path(__file__).parent.joinpath("go").exists():
        time.sleep(600)
    return plain()
"""


class Sweeping:
    """A sweep in a process of its own; always ended."""

    def __init__(self, folder: Path, network: str, *, jobs: int = 1, together: int = 1) -> None:
        (folder.parent / "counted_networks.py").write_text(NETWORKS)
        words = [sys.executable, "-c", SWEEP, str(folder), network, str(jobs), str(together)]
        if jobs > 1:  # its workers import the main module
            script = folder.parent / "sweeps.py"
            script.write_text(SWEEP)
            words[1:3] = [str(script)]
        self.process = subprocess.Popen(
            words, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self) -> Sweeping:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        said, errors = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, errors
        found: dict[str, Any] = json.loads(said)
        return found


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "together"), [((1, 1), (1, 1)), ((2, 1), (1, 3))])
def test_each_run_is_done_once(tmp_path: Path, jobs: tuple[int, int], together: tuple[int, int]) -> None:
    folder = tmp_path / "results"
    with (
        Sweeping(folder, "plain", jobs=jobs[0], together=together[0]) as one,
        Sweeping(folder, "plain", jobs=jobs[1], together=together[1]) as two,
    ):
        one.begin()
        two.begin()
        found = [one.end(), two.end()]
    assert sum(each["ran"] for each in found) == 6
    assert [each["failed"] for each in found] == [0, 0]
    assert len(results(folder)) == 6
    assert not (folder / LEASES).exists()
    assert not list(folder.rglob("*.part*"))


def test_two_threads_share_the_runs_too(tmp_path: Path) -> None:
    experiments = runs([SNIP, IMP], seeds=(1, 2, 3), steps=60)
    ran: list[int] = []
    threads = [threading.Thread(target=lambda: ran.append(sweep(experiments, tmp_path).ran)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ran) == 6
    assert len(ran) == 2
    assert len(results(tmp_path)) == 6
    assert not (tmp_path / LEASES).exists()


@pytest.mark.slow
def test_a_run_that_fails_fails_once_and_both_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with Sweeping(folder, "fails") as one, Sweeping(folder, "fails") as two:
        one.begin()
        two.begin()
        found = [one.end(), two.end()]
    assert [each["failed"] for each in found] == [6, 6]
    assert len((tmp_path / "calls").read_text().split()) == 6
    with Sweeping(folder, "fails") as later:  # the next sweep tries again
        later.begin()
        later.end()
    assert len((tmp_path / "calls").read_text().split()) == 12


@pytest.mark.slow
def test_the_runs_of_one_that_is_killed_are_done_by_the_other(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with Sweeping(folder, "hangs") as one, Sweeping(folder, "hangs") as two:
        one.begin()
        until((tmp_path / "hangs").exists)
        (tmp_path / "go").touch()
        two.begin()
        until(lambda: len(results(folder)) == 5)
        time.sleep(0.5)
        assert two.process.poll() is None  # it waits for the run that the first one is at
        one.process.kill()
        assert two.end() == {"ran": 6, "failed": 0, "total": 6}
    assert len(results(folder)) == 6


def test_what_another_sweep_is_at_comes_last(tmp_path: Path) -> None:
    experiments = runs([SNIP], seeds=(1, 2, 3))
    claim_results(tmp_path)
    order: list[int] = []
    with Leases(tmp_path / LEASES) as theirs:
        assert theirs.take(experiments[0].digest)

        def each(record: dict[str, Any], _: object) -> None:
            order.append(record["configuration"]["seed"])
            if len(order) == 2:
                theirs.give_back(experiments[0].digest)

        assert sweep(experiments, tmp_path, each=each).ran == 3
    assert order == [2, 3, 1]


def test_a_share_without_others_is_everything(tmp_path: Path) -> None:
    with Leases(tmp_path / LEASES) as leases:
        share = Share({str(n): n for n in range(3)}, leases, lambda _: None)
        assert [share.next() for _ in range(3)] == [(0, None), (1, None), (2, None)]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not a folder of results but holds 1 file of another kind"):
        sweep(runs([IMP], seeds=(1,)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_of_an_earlier_release_is_gone_on_with(tmp_path: Path) -> None:
    experiments = runs(seeds=(1, 2))
    sweep(experiments[:1], tmp_path)
    (tmp_path / ".scratchcard.json").unlink()
    (tmp_path / "notes.txt").write_text("mine")
    assert sweep(experiments, tmp_path).ran == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"
