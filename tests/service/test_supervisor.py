"""Whatever fails around a job, the queue is told what became of it; the workers here are feigned."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scratchcard.frontends.service import supervisor as supervising
from scratchcard.frontends.service.asked import JobRequest, Offer
from scratchcard.frontends.service.jobs import Job, Queue, new_id
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.news import News
from scratchcard.frontends.service.observed import Metrics
from scratchcard.frontends.service.shelf import Shelf
from scratchcard.frontends.service.stored import Stored
from scratchcard.frontends.service.supervisor import Supervisor
from scratchcard.frontends.service.work import RESULT, Order, warm
from scratchcard.workers.pool import Died

Worker = Callable[[Order], Any]


class Feigned:
    """A pool whose calls are answered at once."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def room(self, busy: int) -> bool:
        return not busy

    def submit(self, call: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(None if call is warm else self.worker(call.args[0]))
        except Exception as error:
            future.set_exception(error)
        return future

    def result(self, future: Future[Any]) -> Any:
        return future.result()

    def close(self, *, kill: bool) -> None:
        pass


class Setting:
    """A queue and its supervisor."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        (folder / "predictors").mkdir()
        self.stored, self.queue = Stored(folder / "state"), Queue(folder / "jobs.sqlite")
        offer = Offer(Shelf(folder / "predictors"))
        self.supervisor = Supervisor(self.queue, self.stored, offer, limits, Metrics(), News())

    def ask(self, *, given: Path | None = None, name: str | None = None, **request: Any) -> Job:
        name = name or new_id()
        folder = self.stored.place("ann", "jobs", name)
        folder.mkdir(parents=True)
        if given is not None:
            os.link(given, folder / given.name)
        return self.queue.add("ann", request, Limits(), new=name)[0]

    def folder(self, job: Job) -> Path:
        return self.stored.place(job.owner, "jobs", job.id)

    def ended(self, job: Job) -> Job:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = self.queue.find(job.owner, job.id)
            assert found is not None
            if found.state not in ("queued", "running"):
                return found
            time.sleep(0.01)
        raise AssertionError("the job is lost")


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(supervising, "TICK_SECONDS", 0.01)

    @contextmanager
    def made(worker: Worker, limits: Limits | None = None) -> Iterator[Setting]:
        setting = Setting(tmp_path, limits or Limits())
        monkeypatch.setattr(setting.supervisor, "_processes", lambda: Feigned(worker))
        setting.supervisor.start()
        try:
            yield setting
        finally:
            setting.supervisor.stop()

    return made


def finds(order: Order) -> Any:
    """A worker that finds something."""
    (Path(order.folder) / RESULT).mkdir()
    (Path(order.folder) / RESULT / "ticket").write_bytes(b"0" * 1000)
    return {"state": "done"}


@pytest.mark.parametrize("what", ["end", "state", "take", "running"])
def test_no_job_is_lost_where_the_queue_is_locked_for_a_while(
    supervised: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with supervised(finds) as setting:
        times, real = 3, getattr(setting.queue, what)

        def locked(*given: Any) -> Any:
            nonlocal times
            times -= 1
            if times >= 0:
                raise sqlite3.OperationalError("database is locked")
            return real(*given)

        monkeypatch.setattr(setting.queue, what, locked)
        job = setting.ask()
        assert setting.ended(job).state == "done"
        assert (setting.folder(job) / RESULT).is_dir()


def test_what_a_worker_raises_is_how_its_job_ended(supervised: Any) -> None:
    def raises(order: Order) -> Any:
        raise PermissionError(f"{order.leases} is not for writing")

    with supervised(raises) as setting:
        found = setting.ended(setting.ask())
        assert (found.state, found.error) == (
            "failed",
            "the service failed at this job; what happened is in its log",
        )


def test_a_job_that_cannot_begin_is_told(supervised: Any, tmp_path: Path) -> None:
    with supervised(finds) as setting:
        shutil.rmtree(tmp_path / "predictors")
        with pytest.raises(OSError, match="the folder of predictors cannot be read now"):
            setting.supervisor.offer.check(JobRequest(predictor="line"), ())
        found = setting.ended(setting.ask(predictor="line"))
        assert (found.state, found.error) == (
            "failed",
            "the service could not begin this job; what happened is in its log",
        )
        assert setting.ended(setting.ask()).state == "done"


def test_a_worker_that_no_job_can_be_handed_to_is_another_next_time(
    supervised: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = Feigned.submit, 0

    def submit(self: Feigned, call: Any) -> Future[Any]:
        nonlocal times
        times += call is not warm
        if call is not warm and times < 3:
            raise RuntimeError("no process can be made")
        return real(self, call)

    monkeypatch.setattr(Feigned, "submit", submit)
    with supervised(finds) as setting:
        found = setting.ended(setting.ask())
        assert (found.state, found.attempts) == ("done", 3)


def test_a_job_that_nobody_is_at_waits_again(supervised: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with supervised(finds) as setting:
        with monkeypatch.context() as patch:
            patch.setattr(setting.supervisor.queue, "take", lambda: None)
            job = setting.ask()
            assert Queue(tmp_path / "jobs.sqlite").take() is not None  # by somebody who forgets it
        assert setting.ended(job).state == "done"


def test_a_worker_that_dies_at_a_cancelled_job_leaves_nothing(supervised: Any) -> None:
    with supervised(lambda _: None) as setting:

        def dies(order: Order) -> Any:
            setting.queue.end(order.id, "cancelled")
            return Died("killed")

        for slot in setting.supervisor._slots:
            slot.processes.worker = dies
        job = setting.ask()
        assert setting.ended(job).state == "cancelled"
        until = time.monotonic() + 10
        while setting.folder(job).exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert not setting.folder(job).exists()


def test_results_beyond_the_quota_are_no_results(supervised: Any) -> None:
    def finds_much(order: Order) -> Any:
        finds(order)
        (Path(order.folder) / RESULT / "scores").write_bytes(b"0" * 2_000_000)
        return {"state": "done"}

    with supervised(finds_much, Limits(quota_megabytes=1)) as setting:
        job = setting.ask()
        found = setting.ended(job)
        assert (found.state, found.error) == ("failed", supervising.TOO_LARGE)
        until = time.monotonic() + 10
        while setting.folder(job).exists() and time.monotonic() < until:
            time.sleep(0.01)
        setting.stored.forget_used("ann")
        assert setting.stored.used("ann") == 0


def test_a_file_counts_once_and_no_more_when_it_is_deleted(supervised: Any) -> None:
    with supervised(lambda order: finds(order) if order.id != failing else {"state": "failed"}) as setting:
        upload = setting.stored.place("ann", "tasks", "mine")
        upload.parent.mkdir(parents=True)
        upload.write_bytes(b"0" * 800_000)
        size = setting.stored.used("ann")
        failing = new_id()
        jobs = [setting.ask(given=upload, name=name) for name in (None, None, failing)]
        setting.stored.forget_used("ann")
        assert setting.stored.used("ann") <= size + 2 * 1000
        for job in jobs:
            setting.ended(job)
        setting.stored.remove(upload)
        until = time.monotonic() + 10
        while setting.stored.used("ann") > 2 * 1000 and time.monotonic() < until:
            setting.stored.forget_used("ann")
            time.sleep(0.01)
        assert setting.stored.used("ann") == 2 * 1000  # the results
