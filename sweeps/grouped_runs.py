"""Many experiments on one device: pruned one by one, trained together, evaluated one by one."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.pipeline import find_ticket, with_training
from scratchcard.artefacts.digest import canonical
from scratchcard.artefacts.share import Share
from scratchcard.artefacts.store import Store
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.fitted import SHARED
from scratchcard.sweeps.runs import Outcome, describe_error, keep_outcome, unwritable_folder
from scratchcard.workers.pool import POLL_SECONDS
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import TrainingRecord
from scratchcard.workloads.session import Session

AT_ONCE = 32
Ran = tuple[dict[str, Any], Ticket]
Waiting = tuple[Experiment, Ticket, float]
"""An experiment, its ticket that waits for the training, and the seconds that it took."""


def run_together(
    experiments: Sequence[Experiment], session: Session | None = None, at_once: int = AT_ONCE
) -> Iterator[tuple[Experiment, Ran | Exception]]:
    """Run experiments, training those of one workload and precision together; what `Experiment.run` returns, or raises.

    The records are those of `Experiment.run` but for rounding, seconds, and the engine, which is `together`. Their
    `training.seconds` is the run's share of its group's training (see `train_stacked`), part of `wall_seconds`.
    Trainings inside a regime (ISS, IMS) are done as always, one by one. A group that does not fit into the GPU's memory
    is halved.

    Args:
        experiments: what to run; records come group by group, in this order within each, after the group's failures.
        session: where to prune, train and evaluate, and what runs share (see `prune`); the final trainings are neither
            looked up in its store nor added. Its progress is of each group's training, see `train_stacked`.
        at_once: networks trained together at most; memory grows with it.

    Raises:
        ValueError: `at_once` below 1.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> runs = [Experiment(workload, sc.Method("magnitude"), density, 0) for density in (0.5, 0.25)]
        >>> [(record["kept"], record["training"]["engine"]) for _, (record, ticket) in run_together(runs)]
        [(4, 'together'), (2, 'together')]
    """
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, got {at_once}")
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        groups.setdefault(_alike(experiment), []).append(experiment)
    for group in groups.values():
        for start in range(0, len(group), at_once):
            yield from _run(group[start : start + at_once], session or Session())


def keep_together(
    share: Share[Experiment], folder: Path, device: str, keep_tickets: bool, at_once: int
) -> Generator[tuple[Experiment | None, Outcome], None, None]:
    """`run_together` for a sweep: each outcome is on the disk before it is yielded; a run that fails stops no other.

    Raises:
        OSError: nothing can be written to the folder.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> run, folder = Experiment(workload, sc.Method("magnitude"), 0.25, 0), Path("grouped")
        >>> from scratchcard.artefacts.leases import Leases
        >>> with Leases(folder / ".leases") as leases:
        ...     share = Share({run.digest: run}, leases, lambda _: None)
        ...     done = list(keep_together(share, folder, device="cpu", keep_tickets=False, at_once=2))
        >>> [outcome.record["kept"] for _, outcome in done]
        [2]
    """
    session = Session(device, store=Store(folder / SHARED))
    while share:
        group, ended = _next_group(share, at_once)
        yield from ended
        if share and not group and not ended:
            time.sleep(POLL_SECONDS)
        for experiment, found in run_together(group, session, at_once):
            if isinstance(found, Exception):
                unwritable = unwritable_folder(found, folder)
                if unwritable is not None:
                    raise unwritable from found
                outcome = Outcome(experiment.digest, None, describe_error(found))
            else:
                outcome = Outcome(experiment.digest, found[0], None, ticket=found[1])
            keep_outcome(outcome, experiment, folder, keep_tickets)
            yield experiment, outcome


def _next_group(share: Share[Experiment], at_once: int) -> tuple[list[Experiment], list[tuple[Experiment, Outcome]]]:
    """Runs that may be trained together and are ours from now on, and those that others have ended meanwhile."""
    group: list[Experiment] = []
    ended: list[tuple[Experiment, Outcome]] = []
    while len(group) < at_once:
        taken = share.next(lambda e: not group or _alike(e) == _alike(group[0]))
        if taken is None:
            break
        experiment, outcome = taken
        if outcome is None:
            group.append(experiment)
        else:
            ended.append((experiment, outcome))
    return group, ended


def _alike(experiment: Experiment) -> str:
    """What runs that are trained together have in common."""
    return f"{canonical(experiment.workload.describe())}{experiment.dtype}"


def _run(experiments: Sequence[Experiment], session: Session) -> Iterator[tuple[Experiment, Ran | Exception]]:
    waiting: list[Waiting] = []
    for e in experiments:
        begin = time.perf_counter()
        try:
            ticket = find_ticket(
                e.workload, e.method, e.density, e.seed, replace(session, dtype=e.dtype, progress=None)
            )
            waiting.append((e, ticket, time.perf_counter() - begin))
        except Exception as error:
            yield e, error
    try:
        trained = _train(waiting, session)
    except Exception as error:
        yield from ((e, error) for e, _, _ in waiting)
        return
    for (e, _, seconds), (ticket, record) in zip(waiting, trained, strict=True):
        yield e, (e.result(ticket, record, seconds=seconds + record.seconds, device=session.device), ticket)


def _train(waiting: Sequence[Waiting], session: Session) -> list[tuple[Ticket, TrainingRecord]]:
    """The tickets with their trained weights, as `train_ticket` returns them."""
    if not waiting:
        return []
    workload, dtype = waiting[0][0].workload, waiting[0][0].dtype
    networks = [workload.build(0, dtype=dtype) for _ in waiting]
    for network, (_, ticket, _) in zip(networks, waiting, strict=True):
        ticket.apply_to(network)
    try:
        records = train_stacked(
            networks,
            workload.task,
            workload.recipe,
            masks=[ticket.mask for _, ticket, _ in waiting],
            seeds=[experiment.seed for experiment, _, _ in waiting],
            device=session.device,
            progress=session.progress,
        )
    except torch.OutOfMemoryError:
        if len(waiting) == 1:
            raise
        half = len(waiting) // 2
        del networks
        torch.cuda.empty_cache()
        return _train(waiting[:half], session) + _train(waiting[half:], session)
    return [
        (with_training(ticket, network, record, workload, experiment.seed), record)
        for (experiment, ticket, _), network, record in zip(waiting, networks, records, strict=True)
    ]
