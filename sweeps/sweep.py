"""Sweep: many experiments, in parallel, each done once, whatever dies in between."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.destination import check_destination
from scratchcard.artefacts.files import remove_unfinished
from scratchcard.artefacts.leases import Leases
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.estimate import Estimate
from scratchcard.sweeps.grouped_runs import keep_together
from scratchcard.sweeps.results_folder import LEASES, check_results, claim_results, share_of
from scratchcard.sweeps.run_records import read_result
from scratchcard.sweeps.running import forget, interrupted
from scratchcard.sweeps.runs import Outcome, handed_over, is_done, keep_outcome, run_and_keep, run_once, train_dense
from scratchcard.workers.pool import Call, Died, Ready, completed, open_pool
from scratchcard.workloads.session import Session

Each = Callable[[dict[str, Any], Ticket | None], object]
"""Called with every new record, and its ticket."""
Results = Generator[tuple[Experiment | None, Any], None, None]


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: runs with a record, those of earlier sweeps too.
        failed: runs that this sweep recorded as failed.
        total: runs in all.
        seconds_left: estimated; None before anything is known.

    Examples:
        >>> now = Progress(done=30, failed=1, total=40, seconds_left=120.0)
        >>> now.total - now.done
        10
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

    Examples:
        >>> Swept(total=40, ran=30, seconds=90.0).runs_per_minute
        20.0
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
    session: Session | None = None,
    *,
    together: int = 1,
    keep_tickets: bool = False,
    each: Each | None = None,
    progress: Callable[[Progress], None] | None = None,
    **how: Any,
) -> Swept:
    """Run all experiments that have no record in `folder` yet.

    Each record is written as its run finishes (`<digest>.json`, written beside and renamed). A run that fails is
    recorded with its error (`<digest>.error.json`), does not stop the others, and is tried again by the next sweep. A
    worker that dies costs the run that it was at, which is started again; so does this process, for the runs in flight.
    Several sweeps may write into one folder at once, on one machine or on several: each run is done by one of them, and
    all end when all runs have an end.
    What runs share (the dense network's training, the rounds of slow regimes, scores of whole networks) lies in
    `folder/.shared` and is computed once; that folder may be deleted at any time.

    Args:
        experiments: what to run; equal ones are run once.
        folder: of the records.
        session: where and how: its device, and its `jobs` or `dask`. Jobs are spread over the GPUs if the device is
            `cuda`; where there are more jobs, several share one. A cluster's workers that see `folder` share their work
            there; others keep a `.shared` of their own under the same name.
        together: train so many tickets at once with stacked parameters, in this process: for GPUs, whose steps cost
            about the same for one small network as for many. Slower than one by one on a CPU.
        keep_tickets: keep each trained ticket as `tickets/<digest>.safetensors`; runs whose ticket is missing are run
            again.
        each: called with every new record, and its ticket.
        progress: called at the start and after every run.
        how: changes to the session, such as `jobs=2`.

    Raises:
        ValueError: fewer than one job, dask is not installed, or `together` with several jobs or a cluster.
        OSError: the folder holds something other than results, nothing can be written to it (no space, no right,
            read-only), no Dask scheduler answers, or worker processes die whatever they run.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> runs = [Experiment(workload, sc.Method("magnitude"), 0.25, seed) for seed in (0, 1)]
        >>> [sweep(runs, "swept_twice").ran for _ in range(2)]
        [2, 0]
    """
    folder, session = Path(folder).absolute(), Session.of(session, **how).without_memory("a run")
    device, apart = str(session.device), session.jobs > 1
    check_destination(folder, "folder")
    check_results(folder)
    if together > 1 and (apart or session.dask is not None):
        raise ValueError("tickets that are trained together are trained in this process: leave jobs and dask away")
    wanted = {experiment.digest: experiment for experiment in experiments}
    missing = {digest: e for digest, e in wanted.items() if not is_done(folder, digest, keep_tickets)}
    swept = Swept(len(wanted))
    estimate = Estimate.of(folder, wanted.values())
    begin = time.perf_counter()

    def report() -> None:
        if progress is not None:
            left = estimate.seconds(missing.values(), session.jobs if session.dask is None else None)
            done = len(wanted) - len(missing) - len(swept.failed)
            progress(Progress(done, len(swept.failed), len(wanted), left))

    def call(e: Experiment) -> Call:
        if session.dask is not None:  # its workers may see another disk: the records are written here
            return partial(run_once, e, folder, device, keep_tickets or each is not None)
        return partial(run_and_keep, e, folder, device, keep_tickets, each is not None, apart)

    # Last of all come runs at which an earlier sweep was killed: it may have been they who did it.
    last = set(interrupted(folder))
    todo = sorted(in_order(list(missing.values())), key=lambda experiment: experiment.digest in last)
    with contextlib.ExitStack() as stack:
        claim_results(folder)
        remove_unfinished(folder)
        forget(folder)
        stack.callback(remove_unfinished, folder)  # what killed workers were writing
        stack.callback(forget, folder)
        leases = stack.enter_context(Leases(folder / LEASES))
        pool = stack.enter_context(open_pool(session.jobs, session.dask if missing else None, device))
        report()
        share = share_of({e.digest: e for e in todo}, folder, leases, keep_tickets)
        calls: Iterable[tuple[Experiment | None, Call | Ready] | None] = share.calls(call)
        if apart or session.dask is not None:
            dense = [(None, partial(train_dense, e, folder, device)) for e in _shared_dense(todo)]
            calls = itertools.chain(dense, calls)
        results: Results = completed(calls, pool, what="run", once=[None])  # what runs share, they train too
        if together > 1:
            results = keep_together(share, folder, device, keep_tickets, together)
        for experiment, outcome in stack.enter_context(contextlib.closing(results)):
            if experiment is None:
                continue
            digest = experiment.digest
            died = isinstance(outcome, Died)
            if died:
                outcome = Outcome(digest, None, {"error": str(outcome), "traceback": outcome.cause})
            if died or (session.dask is not None and not outcome.found):
                keep_outcome(outcome, experiment, folder, keep_tickets)
            leases.give_back(digest)
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
    experiments: Sequence[Experiment], folder: str | Path, session: Session | None = None, **how: Any
) -> list[dict[str, Any]]:
    """`sweep`, for code that needs every record: returns them in the order of `experiments`.

    Raises:
        ValueError: a run failed, or its record was removed during the sweep.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> runs = [Experiment(workload, sc.Method("magnitude"), density, 0) for density in (0.5, 0.25)]
        >>> [record["kept"] for record in run_all(runs, "all_runs")]
        [4, 2]
    """
    session = Session.of(session, **how)
    report = session.progress
    shown = None if report is None else lambda now: report(now.done, now.total)
    swept = sweep(experiments, folder, session, progress=shown)
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

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> fast = [Experiment(workload, sc.Method("snip"), 0.25, seed) for seed in (0, 1)]
        >>> slow = [Experiment(workload, sc.Method("magnitude", regime="ISS"), d, 0) for d in (0.25, 0.5)]
        >>> [(run.seed, run.density, run.label) for run in in_order(fast + slow)]
        [(0, 0.5, 'magnitude, ISS 10'), (0, 0.25, 'magnitude, ISS 10'), (0, 0.25, 'snip'), (1, 0.25, 'snip')]
    """

    def rank(e: Experiment) -> tuple[int, bool, float]:
        trains = e.method.make_regime().trains
        return e.seed, not trains, -e.density if trains else e.density

    return sorted(experiments, key=rank)


def _shared_dense(experiments: Sequence[Experiment]) -> list[Experiment]:
    """One run for each dense training that several others begin with: done first, nobody has to wait for it."""
    found: dict[str, list[Experiment]] = {}
    for e in experiments:
        if e.method.make_regime().begins_dense and e.method.initial == "given":
            found.setdefault(f"{e.workload.describe()}{e.seed}{e.dtype}", []).append(e)
    return [group[0] for group in found.values() if len(group) > 1]
