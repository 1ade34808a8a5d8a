"""Work: what a worker process does at one job. It knows the job's folder, and nothing of queue, owners and tokens."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratchcard.words import said, shortened

PROGRESS = "progress.json"
REQUEST = "request.json"
GIVEN = "given"
"""The folder of what a job reads: the files that were uploaded and a link to the predictor, each by the name that
tickets tell; nothing else lies there, and the job is done from there."""
RESULT = "result"
ROUNDS = "rounds"
REPORT = "report.json"
TICKET, MASK, SCORES = "ticket", "mask", "scores"
PARTS = (TICKET, MASK, SCORES)
WEIGHTS = "network.weights"
"""The name of uploaded weights' file; no task has a full stop in its name."""
SOON = 0.1
"""Seconds between two notes of progress."""


@dataclass(frozen=True)
class Order:
    """What a worker is told.

    Attributes:
        id: the job's.
        folder: the job's, with its request, and the files that it reads in `GIVEN`.
        leases: where workers note what they are at.
        data_dir, predictor: see `Offer.request`; a predictor's folder is linked to from `GIVEN`.
        megabytes: that it may take beside what it has.

    Examples:
        >>> Order("ab", "jobs/ab", "leases", None, None, 100).megabytes
        100
    """

    id: str
    folder: str
    leases: str
    data_dir: str | None
    predictor: str | None
    megabytes: int


def file_name(part: str, density: float) -> str:
    """The name of a result's file.

    Examples:
        >>> file_name("mask", 0.05)
        'mask-0.05.safetensors'
    """
    return f"{part}-{density!r}.safetensors"


def warm() -> None:
    """Do small jobs for nothing, so that all that jobs need is imported before the first one comes.

    Examples:
        >>> warm()
        >>> gc.unfreeze()
    """
    import scratchcard.frontends.service.asked  # noqa: F401
    from scratchcard.apply.pruning_request import PruningRequest
    from scratchcard.apply.ticket_report import ticket_report
    from scratchcard.workers.worker import alone

    with alone(), contextlib.suppress(Exception):
        for words in ({"scorer": "synflow", "regime": "USS"}, {"predictor": "default", "regime": "USS"}):
            for ticket in PruningRequest("lenet_300_100", "digits", (0.1,), method=words).find().values():
                ticket_report(ticket)
    gc.collect()
    gc.freeze()  # libraries stay: to look through them after each job would take half a second


def work(order: Order) -> dict[str, Any]:
    """Do a job, unless it was done before; returns `state` and, of one that failed, `error`.

    The results lie in the job's folder all at once, or not at all.

    Examples:
        >>> folder = Path("work").absolute()
        >>> folder.mkdir()
        >>> _ = (folder / "request.json").write_text('{"task": "digits", "scorer": "magnitude", "density": 0.1}')
        >>> order = Order("ab", str(folder), str(folder / "leases"), None, None, 100_000)
        >>> work(order)
        {'state': 'done'}
        >>> sorted(path.name for path in (folder / "result").iterdir())
        ['mask-0.1.safetensors', 'report.json', 'scores-0.1.safetensors', 'ticket-0.1.safetensors']
    """
    from scratchcard.artefacts.leases import Leases

    try:
        with Leases(Path(order.leases)) as leases, leases.waited_for(order.id):
            return _done(order)
    except Exception:
        return _failed(order)


def _done(order: Order) -> dict[str, Any]:
    from scratchcard.workers.worker import alone

    if (Path(order.folder) / RESULT).is_dir():
        return {"state": "done"}
    before = os.getcwd()
    try:
        (given := Path(order.folder) / GIVEN).mkdir(exist_ok=True)
        os.chdir(given)
        with alone(), _memory(order.megabytes):
            _find(order)
        return {"state": "done"}
    except FileNotFoundError:  # which names folders of the service
        text = "the service lacks a file that this job needs, such as the data of its task; its log says which"
        return _failed(order) | {"error": text}
    except (ValueError, OSError) as error:
        return {"state": "failed", "error": shortened(_without(str(error), order), 600)}
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            return _failed(order)
        return {"state": "failed", "error": f"it took more than the {order.megabytes:,} MB that a job may take"}
    except ImportError as error:
        if "failed to map" not in str(error):  # a library for which there is no memory
            return _failed(order)
        return {"state": "failed", "error": f"it took more than the {order.megabytes:,} MB that a job may take"}
    except Exception:
        return _failed(order)
    finally:
        os.chdir(before)
        gc.collect()


def _failed(order: Order) -> dict[str, Any]:
    error = sys.exc_info()[1]
    text = _without(said(error), order) if error else ""
    return {"state": "failed", "error": text, "trace": traceback.format_exc()[-3000:]}


def _without(text: str, order: Order) -> str:
    """A sentence without the service's own folders, where files have the names that the client gave them."""
    for place in (f"{order.folder}/{GIVEN}", order.folder, order.leases, order.predictor, order.data_dir):
        if place and Path(place).is_absolute():  # a shipped predictor has a name
            text = text.replace(f"{place}/", "").replace(place, "the service's folder")
    try:
        asked = json.loads((Path(order.folder) / REQUEST).read_text())
    except (OSError, ValueError):
        return text
    task = str(asked.get("task"))
    text = text.replace(f"{WEIGHTS}.safetensors", str(asked.get("weights"))[:12])
    return (
        text.replace(f"tensors:{task}.safetensors", task)
        .replace(f"{task}.safetensors", task)
        .replace(f"{task}: {task} ", f"{task} ")
    )


def _find(order: Order) -> None:
    from scratchcard.apply.ticket_report import ticket_report
    from scratchcard.artefacts.json_file import write_json
    from scratchcard.artefacts.store import Store
    from scratchcard.artefacts.tensor_file import write_tensors
    from scratchcard.frontends.service.asked import JobRequest, Offer
    from scratchcard.frontends.service.shelf import Shelf
    from scratchcard.workers.worker import worker_warnings
    from scratchcard.workloads.session import Session

    folder = Path(order.folder)
    asked = JobRequest.model_validate_json((folder / REQUEST).read_bytes())
    own = Path(f"{asked.task}.safetensors")
    weights = Path(f"{WEIGHTS}.safetensors") if asked.weights else None
    offer = Offer(Shelf(None), Path(order.data_dir) if order.data_dir else None)
    request = offer.request(
        asked,
        predictor=_predictor(asked.predictor, order.predictor),
        weights=weights,
        own_task=f"tensors:{own}" if asked.task and own.exists() else None,
    )
    part = folder / f".{RESULT}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()

    def keep_scores(density: float, found: Any) -> None:
        about = {"format": "scratchcard-scores", "density": repr(density), "criterion": found.scores.criterion[:1000]}
        write_tensors(part / file_name(SCORES, density), found.scores.tensors, about)

    session = Session("cpu", store=Store(folder / ROUNDS, brief=len(asked.densities) > 1), progress=_noted(folder))
    with worker_warnings() as warned:
        tickets = request.find(session, keep_scores)
    reports = {}
    for density, ticket in tickets.items():
        ticket.save(part / file_name(TICKET, density))
        about = {"format": "scratchcard-mask", "density": repr(density)}
        write_tensors(part / file_name(MASK, density), ticket.mask.tensors, about)
        reports[repr(density)] = ticket_report(ticket)
    told = [_without(text, order) for text, _ in warned.found]
    write_json(part / REPORT, {"densities": reports, "warnings": told})
    part.replace(folder / RESULT)
    shutil.rmtree(folder / ROUNDS, ignore_errors=True)


def _predictor(name: str | None, place: str | None) -> str | None:
    """A predictor's name within `GIVEN`, so that tickets name no folder of the service."""
    if name is None or place is None or place == name:
        return place
    Path(name).unlink(missing_ok=True)  # of an earlier attempt, perhaps at an earlier version
    os.symlink(place, name)
    return name


def _noted(folder: Path) -> Callable[[int, int], None]:
    last = 0.0

    def note(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SOON or done == total:
            last = now
            with contextlib.suppress(OSError):
                beside = folder / f".{PROGRESS}.part"
                beside.write_text(json.dumps({"done": done, "total": total, "at": time.time()}))
                beside.replace(folder / PROGRESS)

    return note


@contextlib.contextmanager
def _memory(megabytes: int) -> Any:
    """Within it the process may take so much more memory than it has."""
    try:
        import resource

        status = Path("/proc/self/status").read_text()
        has = int(status.partition("VmData:")[2].split()[0]) * 1024
    except (ImportError, OSError, IndexError, ValueError):  # no Linux: the time alone is limited
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = has + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
