"""Sweep: many experiments, in parallel, each done once, whatever dies in between."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.destination import check_destination
from scratchcard.artefacts.store import Store
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.estimate import Estimate
from scratchcard.sweeps.fitted import SHARED
from scratchcard.sweeps.grouped_runs import keep_together
from scratchcard.sweeps.run_records import read_result
from scratchcard.sweeps.running import forget, interrupted, remove_unfinished
from scratchcard.sweeps.runs import Outcome, handed_over, is_done, keep_outcome, run_and_keep, run_once, train_dense
from scratchcard.workers.pool import Call, Died, completed, open_pool

Results = Generator[tuple[Experiment | None, Any], None, None]


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: runs with a record, those of earlier sweeps too.
        failed: runs that this sweep recorded as failed.
        total: runs in all.
        seconds_left: estimated; None before anything is known.
    """

    done: int
    failed: int
    total: int
    seconds_left: float | None


@dataclass
class Swept:
    """What a sweep did.

    Attributes:
        total: runs in all.
        ran: runs that it finished.
        failed: errors by digest.
        seconds: it took.
    """

    total: int
    ran: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def runs_per_minute(self) -> float:
        """Finished runs a minute."""
        return 60 * self.ran / self.seconds if self.seconds else 0.0


def sweep(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    dask: str | None = None,
    together: int = 1,
    keep_tickets: bool = False,
    each: Callable[[dict[str, Any], Ticket | None], object] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Swept:
    """Run all experiments that have no record in `folder` yet.

    Each record is written as its run finishes (`<digest>.json`, written beside and renamed). A run that fails is
    recorded with its error (`<digest>.error.json`), does not stop the others, and is tried again by the next sweep. A
    worker that dies costs the run that it was at, which is started again; so does this process, for the runs in flight.
    What runs share (the dense network's training, the rounds of slow regimes, scores of whole networks) lies in
    `folder/.shared` and is computed once; that folder may be deleted at any time.

    Args:
        experiments: what to run; equal ones are run once.
        folder: of the records.
        jobs: runs at once, each in a process with one torch thread; one job runs in this process.
        device: where to run; on a GPU several jobs share it.
        dask: address of a Dask scheduler, whose workers then do the runs; `jobs` is not used. Workers that see `folder`
            share their work there; others keep a `.shared` of their own under the same name.
        together: train so many tickets at once with stacked parameters, in this process: for GPUs, whose steps cost
            about the same for one small network as for many. Slower than one by one on a CPU.
        keep_tickets: keep each trained ticket as `tickets/<digest>.safetensors`; runs whose ticket is missing are run
            again.
        each: called with every new record, and its ticket.
        progress: called at the start and after every run.

    Raises:
        ValueError: fewer than one job, dask is not installed, or `together` with several jobs or a cluster.
        OSError: nothing can be written to the folder (no space, no right, read-only), no Dask scheduler answers, or
            worker processes die whatever they run.
    """
    folder = Path(folder).absolute()
    check_destination(folder, "folder")
    if together > 1 and (jobs > 1 or dask is not None):
        raise ValueError("tickets that are trained together are trained in this process: leave jobs and dask away")
    wanted = {experiment.digest: experiment for experiment in experiments}
    missing = {digest: e for digest, e in wanted.items() if not is_done(folder, digest, keep_tickets)}
    swept = Swept(len(wanted))
    estimate = Estimate.of(folder, wanted.values())
    begin = time.perf_counter()

    def report() -> None:
        if progress is not None:
            left = estimate.seconds(missing.values(), jobs if dask is None else None)
            done = len(wanted) - len(missing) - len(swept.failed)
            progress(Progress(done, len(swept.failed), len(wanted), left))

    run = _caller(folder, str(device), jobs, dask, keep_tickets, each is not None)
    store = Store(folder / SHARED)
    # Last of all come runs at which an earlier sweep was killed: it may have been they who did it.
    last = set(interrupted(folder))
    todo = sorted(in_order(list(missing.values())), key=lambda experiment: experiment.digest in last)
    calls: list[tuple[Experiment | None, Call]] = [(experiment, run(experiment)) for experiment in todo]
    if jobs > 1 or dask is not None:
        calls = [(None, partial(train_dense, e, str(device), store)) for e in _shared_dense(todo)] + calls
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(open_pool(jobs, dask if missing else None))
        report()
        remove_unfinished(folder)
        forget(folder)
        stack.callback(forget, folder)
        results: Results = completed(calls, pool, what="run", once=[None])  # what runs share, they train too
        if together > 1:
            results = keep_together(
                todo, folder, device=device, store=store, keep_tickets=keep_tickets, at_once=together
            )
        for experiment, outcome in stack.enter_context(contextlib.closing(results)):
            if experiment is None:
                continue
            digest = experiment.digest
            died = isinstance(outcome, Died)
            if died:
                outcome = Outcome(digest, None, {"error": str(outcome), "traceback": outcome.cause})
            if died or dask is not None:
                keep_outcome(outcome, experiment, folder, keep_tickets)
            outcome.caught.show_again()
            del missing[digest]
            if outcome.record is None:
                swept.failed[digest] = (outcome.error or {}).get("error", "")
            else:
                estimate.add(experiment, outcome.record)
                swept.ran += not outcome.found
                if each is not None and not outcome.found:
                    each(outcome.record, outcome.ticket or handed_over(folder, digest))
            report()
    swept.seconds = time.perf_counter() - begin
    return swept


def run_all(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """`sweep`, for code that needs every record: returns them in the order of `experiments`.

    Raises:
        ValueError: a run failed, or its record was removed during the sweep.
    """
    report = None if progress is None else lambda now: progress(now.done, now.total)
    swept = sweep(experiments, folder, jobs=jobs, device=device, progress=report)
    for digest, error in swept.failed.items():
        raise ValueError(f"{len(swept.failed)} of {swept.total} runs failed, {digest}.error.json: {error}")
    found = {experiment.digest: read_result(Path(folder), experiment.digest) for experiment in experiments}
    lost = [digest for digest, record in found.items() if record is None]
    if lost:
        raise ValueError(f"the record {lost[0]}.json in {folder} was removed or damaged during the sweep; run it again")
    return [record for e in experiments if (record := found[e.digest]) is not None]


def in_order(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The order in which runs are started: seed by seed, slow regimes first and from high density to low.

    So a seed's comparison is whole early; the runs of one path of rounds follow each other at a distance, each adding
    the rounds that it needs, instead of waiting for each other.
    """
    return sorted(
        experiments, key=lambda e: (e.seed, not e.method.make_regime().trains, -e.density if _slow(e) else e.density)
    )


def _slow(experiment: Experiment) -> bool:
    return experiment.method.make_regime().trains


def _caller(
    folder: Path, device: str, jobs: int, dask: str | None, keep_tickets: bool, show_tickets: bool
) -> Callable[[Experiment], Call]:
    """Makes an experiment a call that another process can make."""
    store = Store(folder / SHARED)
    if dask is not None:  # its workers may see another disk: the records are written here
        return lambda e: partial(run_once, e, device, store, keep_tickets or show_tickets, None)
    apart = jobs > 1
    return lambda e: partial(run_and_keep, e, device, store, folder, keep_tickets, show_tickets, apart)


def _shared_dense(experiments: Sequence[Experiment]) -> list[Experiment]:
    """One run for each dense training that several others begin with: done first, nobody has to wait for it."""
    found: dict[str, list[Experiment]] = {}
    for e in experiments:
        if e.method.make_regime().begins_dense and e.method.initial == "given":
            found.setdefault(f"{e.workload.describe()}{e.seed}{e.dtype}", []).append(e)
    return [group[0] for group in found.values() if len(group) > 1]
