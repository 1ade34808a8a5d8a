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
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Outcome:
    """What is known of a run at its end: its record, or its error; warnings; the ticket, if it is asked for.

    `found`: another sweep of the same folder had done it meanwhile.
    """

    digest: str
    record: dict[str, Any] | None
    error: dict[str, str] | None
    caught: WorkerWarnings = field(default_factory=WorkerWarnings)
    ticket: Ticket | None = None
    found: bool = False


def is_done(folder: Path, digest: str, keep_tickets: bool = False) -> bool:
    """Whether a run has its record, and its ticket where that is wanted."""
    if keep_tickets and not (folder / TICKETS / f"{digest}.safetensors").is_file():
        return False
    return read_result(folder, digest) is not None


def train_dense(experiment: Experiment, device: str, store: Store) -> None:
    """Train the dense network that several runs begin with, for the store."""
    # What goes wrong here goes wrong in the runs that need it too, and is recorded there.
    with alone(), contextlib.suppress(Exception, SystemExit):
        network = experiment.workload.build(experiment.seed, dtype=experiment.dtype, device=device)
        train_once(network, experiment.workload, store=store, seed=experiment.seed, device=device)


def run_once(experiment: Experiment, device: str, store: Store, tickets: bool, marks: Path | None) -> Outcome:
    """The run, or its error.

    Args:
        experiment: to run.
        device: where.
        store: what runs share; it lies in the folder of results.
        tickets: whether the outcome holds the ticket.
        marks: the folder of results, to note there which process is at the run; None notes nothing.

    Raises:
        OSError: nothing can be written to the folder of results.
    """
    digest, record, error, ticket = experiment.digest, None, None, None
    with alone() as caught:
        if marks is not None:
            mark(marks, digest, os.getpid())
        try:
            record, ticket = experiment.run(Session(device, store=store))
        except (Exception, SystemExit) as problem:  # a user's own network can do anything
            unwritable = unwritable_folder(problem, store.folder.parent)
            if unwritable is not None:
                raise unwritable from problem
            error = describe_error(problem)
        finally:
            if marks is not None:
                mark(marks, digest, None)
    return Outcome(digest, record, error, caught, ticket if tickets else None)


def describe_error(error: BaseException) -> dict[str, str]:
    """What `<digest>.error.json` says of it: one line, and the traceback."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return {"error": text, "traceback": "".join(traceback.format_exception(error))}


def run_and_keep(
    experiment: Experiment, device: str, store: Store, folder: Path, keep: bool, show: bool, apart: bool
) -> Outcome:
    """A run whose record is on the disk before anything else can go wrong.

    Args:
        experiment, device, store: see `run_once`.
        folder: of results.
        keep: its ticket too.
        show: hand the ticket over to the sweep.
        apart: this is another process than the sweep's, which finds the ticket with `handed_over`: of a large message,
            half could be sent when a process dies.

    Raises:
        OSError: nothing can be written to the folder.
    """
    digest = experiment.digest
    if is_done(folder, digest, keep):
        return Outcome(digest, read_result(folder, digest), None, found=True)
    outcome = run_once(experiment, device, store, keep or show, folder)
    try:
        if apart and show and outcome.ticket is not None:
            outcome.ticket.save(_handed_over(folder, digest))
        keep_outcome(outcome, experiment, folder, keep)
    except OSError as problem:
        raise unwritable_folder(problem, folder) or problem from problem
    return replace(outcome, ticket=None) if apart else outcome


def keep_outcome(outcome: Outcome, experiment: Experiment, folder: Path, keep_tickets: bool) -> None:
    """Write the record (and the ticket), or the error."""
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
    """The ticket of a run that another process did, once."""
    path = _handed_over(folder, digest)
    try:
        ticket = Ticket.load(path)
    except (FileNotFoundError, ValueError):  # `.shared` may be deleted at any time
        return None
    path.unlink(missing_ok=True)
    return ticket


def unwritable_folder(problem: BaseException, folder: Path) -> OSError | None:
    """The error as one that ends the sweep, if it says that nothing can be written to its folder."""
    if not isinstance(problem, OSError):
        return None
    told = re.search(r"os error (\d+)", str(problem))  # safetensors says it in words only
    number = int(told[1]) if problem.errno is None and told else problem.errno
    if number not in UNWRITABLE:
        return None
    if problem.filename is not None and not Path(str(problem.filename)).is_relative_to(folder):
        return None
    return OSError(number, os.strerror(number))
