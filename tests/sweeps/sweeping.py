"""What the tests of sweeps share: small runs, what of a record is a result, processes and waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

ROOT = Path(__file__).resolve().parents[2]
SNIP = Method("snip")
IMP = Method.of("magnitude", regime="ISS", rounds=2)


def workload(network: str = "lenet_300_100", steps: int = 100) -> Workload:
    recipe = Recipe(max_steps=steps, evaluation_interval=20, scoring_examples=100, patience=1000)
    return Workload(network, load_task("digits"), recipe)


def runs(
    methods: Sequence[Method] = (SNIP,),
    *,
    seeds: Sequence[int] = (1, 2),
    density: float = 0.05,
    network: str = "lenet_300_100",
    steps: int = 100,
) -> list[Experiment]:
    base = workload(network, steps)
    return [Experiment(base, method, density, seed) for seed in seeds for method in methods]


def results(folder: Path) -> dict[str, Any]:
    """Of each whole record what the run found, to the bit, without times and machine."""
    found = {}
    for path in folder.glob("[!.]*.json"):
        if not path.name.endswith(".error.json"):
            record = json.loads(path.read_text())
            assert record["digest"] == path.stem
            found[path.stem] = {
                key: record[key]
                for key in ("test_accuracy", "test_loss", "history", "kept", "effective_density", "layer_density")
            } | {key: record["training"][key] for key in ("best_step", "validation_loss", "validation_accuracy")}
    return found


def written(folder: Path) -> dict[str, int]:
    """When each record was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*.json")}


def until(condition: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.02)
    return found


def workers_at_runs(folder: Path) -> list[int]:
    """Process ids of other processes that are at a run."""
    found = []
    for path in (folder / ".running").glob("*"):
        try:
            process = int(path.read_text().split()[0])
        except (OSError, IndexError, ValueError):
            continue
        if process != os.getpid():
            found.append(process)
    return found


def children(process: int) -> list[int]:
    """Process ids of the children, theirs too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == process:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def lives(process: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


GRID = """
name = "faults"
title = "Many short runs"
densities = [0.2, 0.05]
seeds = "1-5"

[workload]
network = "NETWORK"
task = "digits"
recipe = { max_steps = STEPS, evaluation_interval = 100, scoring_examples = 100, patience = 1000 }

[[methods]]
scorer = ["snip", "random"]

[[methods]]
scorer = "magnitude"
regime = "ISS"
rounds = 2
"""
RUNS = 30


def write_grid(folder: Path, network: str = "lenet_300_100", steps: int = 600) -> Path:
    path = folder / "grid.toml"
    path.write_text(GRID.replace("NETWORK", network).replace("STEPS", str(steps)))
    return path


class Command:
    """`scratchcard` in a process, and a process group, of its own; always ended."""

    def __init__(
        self, *arguments: object, env: dict[str, str] | None = None, ignores: Sequence[signal.Signals] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scratchcard.frontends.cli", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: _as_in_a_terminal(ignores),
        )
        self.stdout = self.stderr = ""

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def ends(self, seconds: float = 240) -> int:
        """Its exit status."""
        self.stdout, self.stderr = self.process.communicate(timeout=seconds)
        return self.process.returncode


def _as_in_a_terminal(ignores: Sequence[signal.Signals]) -> None:
    """A shell's background jobs ignore SIGINT, and children inherit that: the tests may run in one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number in ignores else signal.SIG_DFL)


def call(*arguments: object) -> Command:
    """Run `scratchcard` to its end."""
    with Command(*arguments) as command:
        command.ends()
    return command
