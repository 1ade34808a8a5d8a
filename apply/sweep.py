"""Sweep: many experiments, in parallel, each done once, whatever dies in between."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool

from apply.estimate import Estimate
from apply.experiment import Experiment, read_result, write_result
from apply.fitted import SHARED
from apply.records import clear_failure, forget, mark, running, write_failure
from pruning.place import check_place
from pruning.store import Store
from pruning.ticket import Ticket
from workloads.shared import train_once
from workloads.worker import WorkerWarnings, worker_warnings

MOST_DEATHS = 2
"""A run whose worker died so often is recorded as failed: it is likely to be what kills it."""
TICKETS = "tickets"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


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


@dataclass(frozen=True)
class Outcome:
    """What a worker hands back of a run: its record, or its error; warnings; the ticket, if it is kept."""

    digest: str
    record: dict[str, Any] | None
    error: dict[str, str] | None
    caught: WorkerWarnings
    ticket: Ticket | None


def sweep(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    jobs: int = 1,
    device: torch.device | str = "cpu",
    dask: str | None = None,
    keep_tickets: bool = False,
    each: Callable[[dict[str, Any], Ticket | None], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Swept:
    """Run all experiments that have no record in `folder` yet.

    Each record is written as its run finishes (`<digest>.json`, written beside and renamed). A run that fails is
    recorded with its error (`<digest>.error.json`), does not stop the others, and is tried again by the next sweep. A
    worker that dies costs the runs in flight, which are started again; so does this process. What runs share (the dense
    network's training, the rounds of slow regimes, scores of whole networks) lies in `folder/.shared` and is computed
    once; that folder may be deleted at any time.

    Args:
        experiments: what to run; equal ones are run once.
        folder: of the records.
        jobs: runs at once, each in a process with one torch thread.
        device: where to run; on a GPU several jobs share it.
        dask: address of a Dask scheduler: joblib then sends the runs to its workers, `jobs` is not used.
        keep_tickets: keep each trained ticket as `tickets/<digest>.safetensors`; runs whose ticket is missing are run
            again.
        each: called with every new record, and its ticket.
        progress: called at the start and after every run.

    Raises:
        ValueError: fewer than one job.
        OSError: nothing can be written to the folder (no space, no right, read-only).
    """
    folder = Path(folder).absolute()
    check_place(folder, "folder")
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    wanted = {experiment.digest: experiment for experiment in experiments}
    missing = {digest: e for digest, e in wanted.items() if not is_done(folder, digest, keep_tickets)}
    swept = Swept(len(wanted))
    estimate = Estimate.of(folder, wanted.values())
    begin = time.perf_counter()

    def report() -> None:
        if progress is not None:
            left = estimate.seconds(missing.values(), jobs if dask is None else None)
            progress(Progress(len(wanted) - len(missing) - len(swept.failed), len(swept.failed), len(wanted), left))

    report()
    deaths: Counter[str] = Counter()
    while missing.keys() - swept.failed.keys():
        todo = in_order([e for digest, e in missing.items() if digest not in swept.failed])
        forget(folder)
        try:
            for outcome in _outcomes(todo, folder, jobs, str(device), dask, keep_tickets or each is not None):
                outcome.caught.show_again()
                _keep(outcome, missing[outcome.digest], folder, keep_tickets)
                if outcome.record is None:
                    swept.failed[outcome.digest] = (outcome.error or {}).get("error", "")
                else:
                    experiment = missing.pop(outcome.digest)
                    estimate.add(experiment, outcome.record)
                    swept.ran += 1
                    if each is not None:
                        each(outcome.record, outcome.ticket)
                report()
        except _deaths() as error:
            _count_deaths(error, running(folder), missing, deaths, folder, swept)
            report()
    forget(folder)
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


def is_done(folder: Path, digest: str, keep_tickets: bool = False) -> bool:
    """Whether a run has its record, and its ticket where that is wanted."""
    if keep_tickets and not (folder / TICKETS / f"{digest}.safetensors").is_file():
        return False
    return read_result(folder, digest) is not None


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


def _outcomes(
    experiments: Sequence[Experiment], folder: Path, jobs: int, device: str, dask: str | None, tickets: bool
) -> Iterator[Outcome]:
    """The runs' outcomes as they finish."""
    store = Store(folder / SHARED)
    first = [joblib.delayed(_dense)(e, device, store) for e in _shared_dense(experiments)] if jobs > 1 or dask else []
    marks = None if dask else folder
    runs = [joblib.delayed(_run)(e, device, store, tickets, marks) for e in experiments]
    with _backend(jobs, dask):
        # Nothing is dispatched ahead of the workers by more than one run each, so that Ctrl-C has little to undo.
        parallel = joblib.Parallel(return_as="generator_unordered", pre_dispatch="2 * n_jobs", batch_size=1)
        for outcome in parallel(itertools.chain(first, runs)):
            if outcome is not None:
                yield outcome


@contextlib.contextmanager
def _backend(jobs: int, dask: str | None) -> Iterator[None]:
    """One torch thread for each run, here or in a worker."""
    if dask is None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
                yield
        finally:
            torch.set_num_threads(threads)
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("a Dask cluster needs dask: pip install 'scratchcard[cluster]'") from error
    try:
        client = Client(dask, timeout=10)
    except OSError as error:
        raise OSError(f"no Dask scheduler answers at {dask}: start one, or name its address") from error
    with client, joblib.parallel_config(backend="dask", wait_for_workers_timeout=30):
        yield


def _deaths() -> tuple[type[BaseException], ...]:
    """What it means that a worker died, in the words of the backends."""
    found: list[type[BaseException]] = [BrokenProcessPool]
    with contextlib.suppress(ImportError):
        from distributed.scheduler import KilledWorker

        found.append(KilledWorker)
    return tuple(found)


def _shared_dense(experiments: Sequence[Experiment]) -> list[Experiment]:
    """One run for each dense training that several others begin with: done first, nobody has to wait for it."""
    found: dict[str, list[Experiment]] = {}
    for e in experiments:
        if _slow(e) and e.method.rewind_step == 0 and e.method.initial == "given":
            found.setdefault(f"{e.workload.describe()}{e.seed}{e.dtype}", []).append(e)
    return [group[0] for group in found.values() if len(group) > 1]


def _dense(experiment: Experiment, device: str, store: Store) -> None:
    torch.set_num_threads(1)
    network = experiment.workload.build(experiment.seed, dtype=experiment.dtype, device=device)
    # What goes wrong here goes wrong in the runs that need it too, and is recorded there.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_once(network, experiment.workload, store=store, seed=experiment.seed, device=device)


def _run(experiment: Experiment, device: str, store: Store, tickets: bool, marks: Path | None) -> Outcome:
    torch.set_num_threads(1)
    digest, record, error, ticket = experiment.digest, None, None, None
    if marks is not None:
        mark(marks, digest, os.getpid())
    with worker_warnings() as caught:
        try:
            record, ticket = experiment.run(device=device, store=store)
        except Exception as problem:
            if isinstance(problem, OSError) and problem.errno in FULL:
                raise
            text = " ".join(str(problem).split())
            error = {"error": f"{type(problem).__name__}: {text}", "traceback": traceback.format_exc()}
    if marks is not None:
        mark(marks, digest, None)
    return Outcome(digest, record, error, caught, ticket if tickets else None)


def _keep(outcome: Outcome, experiment: Experiment, folder: Path, keep_tickets: bool) -> None:
    if outcome.record is None:
        write_failure(folder, experiment, **(outcome.error or {}))
        return
    if keep_tickets and outcome.ticket is not None:
        outcome.ticket.save(folder / TICKETS / f"{outcome.digest}.safetensors")
    write_result(outcome.record, folder)
    clear_failure(folder, outcome.digest)


def _count_deaths(
    error: BaseException,
    suspects: Sequence[str],
    missing: dict[str, Experiment],
    deaths: Counter[str],
    folder: Path,
    swept: Swept,
) -> None:
    """Count a worker's death against the runs in flight; those that it happens to again and again are given up."""
    suspects = [digest for digest in suspects if digest in missing]
    deaths.update(suspects or ["unknown"])
    for digest in suspects:
        if deaths[digest] >= MOST_DEATHS:
            text = f"its worker process died {deaths[digest]} times (killed, or out of memory?)"
            write_failure(folder, missing[digest], error=text, traceback=str(error))
            swept.failed[digest] = text
    if deaths["unknown"] > MOST_DEATHS:
        raise OSError("worker processes keep dying before they begin a run; run with fewer jobs or more memory")
