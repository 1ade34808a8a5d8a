"""Many experiments on one device: pruned one by one, trained together, evaluated one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.pipeline import find_ticket, with_training
from scratchcard.artefacts.digest import canonical
from scratchcard.artefacts.store import Store
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.runs import Outcome, describe_error, keep_outcome, unwritable_folder
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import TrainingRecord
from scratchcard.workloads.session import Progress, Session

AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class _Found:
    """A ticket that waits for its training, and the seconds that it took."""

    experiment: Experiment
    ticket: Ticket
    seconds: float


def run_together(
    experiments: Sequence[Experiment],
    *,
    device: torch.device | str = "cpu",
    store: Store | None = None,
    at_once: int = AT_ONCE,
    failed: Callable[[Experiment, Exception], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[dict[str, Any], Ticket]]:
    """Run experiments, training those of one workload and precision together; yields what `Experiment.run` returns.

    The records are those of `Experiment.run` but for rounding, seconds, and the engine, which is `together`. Their
    `training.seconds` is the run's share of its group's training (see `train_stacked`), part of `wall_seconds`.
    Trainings inside a regime (ISS, IMS) are done as always, one by one. A group that does not fit into the GPU's memory
    is halved.

    Args:
        experiments: what to run; records come group by group, in this order within each.
        device: where to prune, train and evaluate.
        store: what runs share (see `prune`); the final trainings are neither looked up there nor added.
        at_once: networks trained together at most; memory grows with it.
        failed: called with a run that failed, in the place of its record; None lets the error through.
        progress: of each group's training, see `train_stacked`.

    Raises:
        ValueError: `at_once` below 1; and, without `failed`, what `Experiment.run` raises.
    """
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, got {at_once}")
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        described = canonical(experiment.workload.describe())
        groups.setdefault(f"{described}{experiment.dtype}", []).append(experiment)
    for group in groups.values():
        for start in range(0, len(group), at_once):
            yield from _run(group[start : start + at_once], device, store, failed, progress)


def keep_together(
    experiments: Sequence[Experiment],
    folder: Path,
    *,
    device: torch.device | str,
    store: Store,
    keep_tickets: bool,
    at_once: int,
) -> Generator[tuple[Experiment | None, Outcome], None, None]:
    """`run_together` for a sweep: each outcome is on the disk before it is yielded; a run that fails stops no other.

    Raises:
        OSError: nothing can be written to the folder.
    """
    known = {experiment.digest: experiment for experiment in experiments}
    failures: list[tuple[Experiment, Outcome]] = []

    def failed(experiment: Experiment, error: Exception) -> None:
        unwritable = unwritable_folder(error, folder)
        if unwritable is not None:
            raise unwritable from error
        failures.append((experiment, Outcome(experiment.digest, None, describe_error(error))))

    def kept(experiment: Experiment, outcome: Outcome) -> tuple[Experiment, Outcome]:
        keep_outcome(outcome, experiment, folder, keep_tickets)
        return experiment, outcome

    for record, ticket in run_together(experiments, device=device, store=store, at_once=at_once, failed=failed):
        yield from (kept(*failures.pop()) for _ in range(len(failures)))
        yield kept(known[record["digest"]], Outcome(record["digest"], record, None, ticket=ticket))
    yield from (kept(*failure) for failure in failures)


def _run(
    experiments: Sequence[Experiment],
    device: torch.device | str,
    store: Store | None,
    failed: Callable[[Experiment, Exception], None] | None,
    progress: Progress | None,
) -> Iterator[tuple[dict[str, Any], Ticket]]:
    waiting: list[_Found] = []
    for experiment in experiments:
        try:
            waiting.append(_find(experiment, device, store))
        except Exception as error:
            if failed is None:
                raise
            failed(experiment, error)
    try:
        trained = _train(waiting, device, progress)
    except Exception as error:
        if failed is None:
            raise
        for found in waiting:
            failed(found.experiment, error)
        return
    for found, (ticket, record) in zip(waiting, trained, strict=True):
        seconds = found.seconds + record.seconds
        yield found.experiment.result(ticket, record, seconds=seconds, device=device), ticket


def _find(experiment: Experiment, device: torch.device | str, store: Store | None) -> _Found:
    begin = time.perf_counter()
    session = Session(device, experiment.dtype, store)
    ticket = find_ticket(experiment.workload, experiment.method, experiment.density, experiment.seed, session)
    return _Found(experiment, ticket, time.perf_counter() - begin)


def _train(
    waiting: Sequence[_Found], device: torch.device | str, progress: Progress | None
) -> list[tuple[Ticket, TrainingRecord]]:
    """The tickets with their trained weights, as `train_ticket` returns them."""
    if not waiting:
        return []
    workload, dtype = waiting[0].experiment.workload, waiting[0].experiment.dtype
    networks = [workload.build(0, dtype=dtype) for _ in waiting]
    for network, found in zip(networks, waiting, strict=True):
        found.ticket.apply_to(network)
    try:
        records = train_stacked(
            networks,
            workload.task,
            workload.recipe,
            masks=[found.ticket.mask for found in waiting],
            seeds=[found.experiment.seed for found in waiting],
            device=device,
            progress=progress,
        )
    except torch.OutOfMemoryError:
        if len(waiting) == 1:
            raise
        half = len(waiting) // 2
        del networks
        torch.cuda.empty_cache()
        return _train(waiting[:half], device, progress) + _train(waiting[half:], device, progress)
    return [
        (with_training(found.ticket, network, record, workload, found.experiment.seed), record)
        for found, network, record in zip(waiting, networks, records, strict=True)
    ]
