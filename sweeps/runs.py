"""Runs: what a worker does of a sweep, one run at a time, and how a run's end is kept."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.artefacts.store import Store
from scratchcard.pruning.ticket import Ticket
from scratchcard.sweeps.fitted import SHARED
from scratchcard.sweeps.run_records import clear_failure, read_result, write_failure, write_result
from scratchcard.sweeps.running import mark
from scratchcard.workers.worker import WorkerWarnings, alone
from scratchcard.workloads.session import Session
from scratchcard.workloads.stored_training import train_once

TICKETS = "tickets"
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Outcome:
    """What is known of a run at its end: its record, or its error; warnings; the ticket, if it is asked for.

    `found`: another sweep of the same folder had done it meanwhile.

    Examples:
        >>> failed = Outcome("ab12", record=None, error={"error": "ValueError: no weights"})
        >>> failed.record is None, failed.error
        (True, {'error': 'ValueError: no weights'})
    """

    digest: str
    record: dict[str, Any] | None
    error: dict[str, str] | None
    caught: WorkerWarnings = field(default_factory=WorkerWarnings)
    ticket: Ticket | None = None
    found: bool = False


def is_done(folder: Path, digest: str, keep_tickets: bool = False) -> bool:
    """Whether a run has its record, and its ticket where that is wanted.

    Examples:
        >>> _ = write_result({"digest": "ab12"}, Path("some_runs"))
        >>> is_done(Path("some_runs"), "ab12"), is_done(Path("some_runs"), "ab12", keep_tickets=True)
        (True, False)
    """
    if keep_tickets and not (folder / TICKETS / f"{digest}.safetensors").is_file():
        return False
    return read_result(folder, digest) is not None


def train_dense(experiment: Experiment, folder: Path, device: str) -> None:
    """Train the dense network that several runs begin with, for the store.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> train_dense(Experiment(workload, sc.Method("magnitude", regime="ISS"), 0.25, 0), Path("dense"), "cpu")
        >>> len(list(Path("dense").rglob("*.safetensors")))
        1
    """
    # What goes wrong here goes wrong in the runs that need it too, and is recorded there.
    with alone(), contextlib.suppress(Exception, SystemExit):
        network = experiment.workload.build(experiment.seed, dtype=experiment.dtype, device=device)
        session = Session(device, store=Store(folder / SHARED))
        train_once(network, experiment.workload, session, seed=experiment.seed)


def run_once(experiment: Experiment, folder: Path, device: str, tickets: bool, marks: bool = False) -> Outcome:
    """The run, or its error.

    Args:
        experiment: to run.
        folder: of results, in which lies what runs share.
        device: where.
        tickets: whether the outcome holds the ticket.
        marks: whether the folder is to say which process is at the run.

    Raises:
        OSError: nothing can be written to the folder of results.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> run = Experiment(workload, sc.Method("magnitude"), 0.25, 0)
        >>> outcome = run_once(run, Path("once"), "cpu", tickets=True)
        >>> outcome.record["kept"], outcome.ticket
        (2, Ticket(2 of 8 weights, density 0.25, magnitude, trained))
    """
    digest, record, error, ticket = experiment.digest, None, None, None
    with alone() as caught:
        if marks:
            mark(folder, digest, os.getpid())
        try:
            record, ticket = experiment.run(Session(device, store=Store(folder / SHARED)))
        except (Exception, SystemExit) as problem:  # a user's own network can do anything
            unwritable = unwritable_folder(problem, folder)
            if unwritable is not None:
                raise unwritable from problem
            error = describe_error(problem)
        finally:
            if marks:
                mark(folder, digest, None)
    return Outcome(digest, record, error, caught, ticket if tickets else None)


def describe_error(error: BaseException) -> dict[str, str]:
    """What `<digest>.error.json` says of it: one line, and the traceback.

    Examples:
        >>> describe_error(ValueError("no weights"))["error"]
        'ValueError: no weights'
    """
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return {"error": text, "traceback": "".join(traceback.format_exception(error))}


def run_and_keep(experiment: Experiment, folder: Path, device: str, keep: bool, show: bool, apart: bool) -> Outcome:
    """A run whose record is on the disk before anything else can go wrong.

    Args:
        experiment, folder, device: see `run_once`.
        keep: its ticket too.
        show: hand the ticket over to the sweep.
        apart: this is another process than the sweep's, which finds the ticket with `handed_over`: of a large message,
            half could be sent when a process dies.

    Raises:
        OSError: nothing can be written to the folder.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> run, folder = Experiment(workload, sc.Method("magnitude"), 0.25, 0), Path("kept")
        >>> settings = {"keep": False, "show": False, "apart": False}
        >>> [run_and_keep(run, folder, "cpu", **settings).found for _ in range(2)]
        [False, True]
    """
    digest = experiment.digest
    if is_done(folder, digest, keep):
        return Outcome(digest, read_result(folder, digest), None, found=True)
    outcome = run_once(experiment, folder, device, keep or show, marks=True)
    try:
        if apart and show and outcome.ticket is not None:
            outcome.ticket.save(_handed_over(folder, digest))
        keep_outcome(outcome, experiment, folder, keep)
    except OSError as problem:
        raise unwritable_folder(problem, folder) or problem from problem
    return replace(outcome, ticket=None) if apart else outcome


def keep_outcome(outcome: Outcome, experiment: Experiment, folder: Path, keep_tickets: bool) -> None:
    """Write the record (and the ticket), or the error.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> run = Experiment(workload, sc.Method("magnitude"), 0.25, 0)
        >>> outcome = Outcome(run.digest, record={"digest": run.digest}, error=None)
        >>> keep_outcome(outcome, run, Path("outcomes"), keep_tickets=False)
        >>> is_done(Path("outcomes"), run.digest)
        True
    """
    if outcome.record is None:
        write_failure(folder, experiment, **(outcome.error or {}))
        return
    if keep_tickets and outcome.ticket is not None:
        outcome.ticket.save(folder / TICKETS / f"{outcome.digest}.safetensors")
    write_result(outcome.record, folder)
    clear_failure(folder, outcome.digest)


def _handed_over(folder: Path, digest: str) -> Path:
    return folder / SHARED / TICKETS / f"{digest}.safetensors"


def handed_over(folder: Path, digest: str) -> Ticket | None:
    """The ticket of a run that another process did, once.

    Examples:
        >>> handed_over(Path("elsewhere"), "ab12") is None
        True
    """
    path = _handed_over(folder, digest)
    try:
        ticket = Ticket.load(path)
    except (FileNotFoundError, ValueError):  # `.shared` may be deleted at any time
        return None
    path.unlink(missing_ok=True)
    return ticket


def unwritable_folder(problem: BaseException, folder: Path) -> OSError | None:
    """The error as one that ends the sweep, if it says that nothing can be written to its folder.

    Examples:
        >>> unwritable_folder(OSError(errno.ENOSPC, "No space left on device"), Path("results"))
        OSError(28, 'No space left on device')
        >>> unwritable_folder(ValueError("no weights"), Path("results")) is None
        True
    """
    if not isinstance(problem, OSError):
        return None
    told = re.search(r"os error (\d+)", str(problem))  # safetensors says it in words only
    number = int(told[1]) if problem.errno is None and told else problem.errno
    if number not in UNWRITABLE:
        return None
    if problem.filename is not None and not Path(str(problem.filename)).is_relative_to(folder):
        return None
    return OSError(number, os.strerror(number))
