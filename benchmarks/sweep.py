"""Runs a minute of a sweep with one job and with two: `python -m benchmarks.sweep [--runs N] [--jobs N] [--json]`.

Tickets of SNIP at density 0.1 on MNIST, each trained to its end: a worker's start is paid once a sweep, as by users.
Without MNIST (`SCRATCHCARD_DATA` or `--data-dir`) on the embedded digits.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.sweeps.sweep import sweep
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

DENSITY = 0.1


def mnist_or_digits(data_dir: Path | None) -> Task:
    """MNIST; where it is not there, the embedded digits, which is said on stderr."""
    try:
        return load_task("mnist", data_dir)
    except FileNotFoundError as error:
        print(f"no MNIST, measured on digits instead ({error})", file=sys.stderr, flush=True)
        return load_task("digits")


def measure(runs: int, jobs: int, data_dir: Path | None) -> dict[str, Any]:
    """Runs a minute with one job and with `jobs`, and their ratio."""
    workload = Workload("lenet_300_100", mnist_or_digits(data_dir), Recipe(scoring_examples=256))
    experiments = [Experiment(workload, Method("snip"), DENSITY, seed) for seed in range(runs)]
    rates = {}
    for count in (1, jobs):
        with tempfile.TemporaryDirectory() as folder:
            rates[count] = sweep(experiments, folder, jobs=count).runs_per_minute
    return {"runs": runs, "jobs": jobs, "one": rates[1], "many": rates[jobs], "ratio": rates[jobs] / rates[1]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.runs, options.jobs, options.data_dir)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"{found['runs']} runs: {found['one']:.1f} a minute with 1 job, {found['many']:.1f} with {found['jobs']} jobs, "
        f"ratio {found['ratio']:.2f}, goal 1.7"
    )


if __name__ == "__main__":
    main()
