"""Sweep: many experiments, in parallel, each done once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

from apply.experiment import Experiment, read_result, write_result
from workloads.worker import WorkerWarnings, worker_warnings


def run_all(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Run all experiments that have no record in `folder` yet; returns the records in the order of `experiments`.

    Each run's record is written as it finishes (`<digest>.json`), so that an interrupted sweep goes on; iterative
    regimes go on within a run.

    Args:
        experiments: what to run; equal ones are run once.
        folder: of the records.
        jobs: runs at once, each in a process with one torch thread.
        device: where to run.
        progress: called with (done, total).
    """
    folder = Path(folder)
    todo = {experiment.digest: experiment for experiment in experiments}
    missing = {digest: e for digest, e in todo.items() if read_result(folder, digest) is None}
    done = len(todo) - len(missing)
    if progress is not None:
        progress(done, len(todo))
    work = (joblib.delayed(_run)(e, folder, str(device)) for e in missing.values())
    for caught in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
        done += 1
        caught.show_again()
        if progress is not None:
            progress(done, len(todo))
    records = {digest: read_result(folder, digest) for digest in todo}
    lost = [digest for digest, record in records.items() if record is None]
    if lost:
        raise ValueError(f"the record {lost[0]}.json in {folder} was removed or damaged during the sweep; run it again")
    return [record for e in experiments if (record := records[e.digest]) is not None]


def _run(experiment: Experiment, folder: Path, device: str) -> WorkerWarnings:
    torch.set_num_threads(1)
    digest = experiment.digest
    rounds = folder / ".rounds" / digest
    with worker_warnings() as caught:
        result, _ = experiment.run(device=device, directory=rounds)
    write_result(result, folder)
    shutil.rmtree(rounds, ignore_errors=True)
    return caught
