"""Supervisor: a thread that gives jobs to worker processes, ends those that take too long or are cancelled, and sees to
it that none is lost when a process dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from scratchcard.frontends.service.apart import Borrowed, work_apart
from scratchcard.frontends.service.asked import Offer
from scratchcard.frontends.service.jobs import ENDED, Job, Queue
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.observed import Metrics, note
from scratchcard.frontends.service.stored import Stored
from scratchcard.frontends.service.work import RESULT, Order, warm, work
from scratchcard.workers.cluster import Cluster
from scratchcard.workers.pool import Died, Pool
from scratchcard.workers.processes import Processes

MOST_DEATHS = 3
"""A job whose worker died so often is given up: it is likely to be what kills it."""
TICK_SECONDS = 0.5
SWEEP_SECONDS = 600.0
LOOK_SECONDS = 5.0
"""Between two looks at how much a job has written."""


class News:
    """Tells whoever waits in the event loop that something about jobs has changed.

    Examples:
        >>> news = News()
        >>> news.tell()  # nobody waits
        >>> asyncio.run(news.wait(0.01))
    """

    def __init__(self) -> None:
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.stopping = False

    def tell(self) -> None:
        """From any thread."""
        for loop, event in list(self._waiting):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    async def wait(self, seconds: float) -> None:
        """Until there is news, but not longer."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(entry)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry[1].wait(), seconds)
        finally:
            self._waiting.discard(entry)


@dataclass
class _Slot:
    """A worker process and what it is at."""

    processes: Pool
    future: Future[Any] | None = None
    job: Job | None = None
    begun: float = 0.0
    looked: float = 0.0


class Supervisor:
    """Gives jobs to worker processes.

    Args:
        queue, stored, offer, limits, metrics, news: of the service.
        cluster: whose workers do the jobs, in place of processes on this machine.

    Examples:
        >>> from pathlib import Path
        >>> from scratchcard.frontends.service.shelf import Shelf
        >>> stored, news = Stored(Path("supervised")), News()
        >>> queue = Queue(Path("supervised/jobs.sqlite"))
        >>> supervisor = Supervisor(queue, stored, Offer(Shelf(None)), Limits(), Metrics(), news)
        >>> supervisor.alive
        False
    """

    def __init__(
        self,
        queue: Queue,
        stored: Stored,
        offer: Offer,
        limits: Limits,
        metrics: Metrics,
        news: News,
        cluster: Cluster | None = None,
    ) -> None:
        self.queue, self.stored, self.offer, self.limits = queue, stored, offer, limits
        self.metrics, self.news, self._cluster = metrics, news, cluster
        self._lost = ""
        self._wake, self._stopping, self._deadline = threading.Event(), False, 0.0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._slots: list[_Slot] = []
        self._swept = 0.0

    @property
    def alive(self) -> bool:
        """Whether jobs are being done."""
        return self._thread.is_alive() and not self._stopping and not self._lost

    def start(self) -> None:
        """Take up what an earlier service left, and begin."""
        for job in self.queue.running():
            if (self.stored.place(job.owner, "jobs", job.id) / RESULT).is_dir():
                self.queue.end(job.id, "done")
            else:
                self.queue.again(job.id, died=False)
        self._slots = [_Slot(self._processes()) for _ in range(self.limits.workers)]
        for slot in self._slots:
            self._warm(slot)
        self._thread.start()

    def look(self) -> None:
        """Say that there is a new job, or one that was cancelled."""
        self._wake.set()

    def stop(self) -> None:
        """Let jobs finish for a while; those that do not wait again, for the next service."""
        self._deadline = time.monotonic() + self.limits.stop_seconds
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        for slot in self._slots:
            slot.processes.close(kill=True)

    def _run(self) -> None:
        while not (self._stopping and all(slot.job is None for slot in self._slots)):
            try:
                self._step()
            except Exception:  # the database may be locked, the disk full: the next step may go well
                logging.getLogger("scratchcard.service").exception("supervisor")
                time.sleep(TICK_SECONDS)
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()

    def _step(self) -> None:
        for slot in self._slots:
            if slot.future is not None and slot.future.done():
                self._finish(slot)
            if slot.job is not None:
                self._check(slot)
        for slot in self._slots:
            if slot.future is None and not self._stopping and not self._lost:
                job = self.queue.take()
                if job is None:
                    break
                self._begin(slot, job)
        if time.monotonic() - self._swept > SWEEP_SECONDS or not self._swept:
            self._swept = time.monotonic()
            self._sweep()

    def _processes(self) -> Pool:
        return Processes(1) if self._cluster is None else Borrowed(self._cluster)

    def _warm(self, slot: _Slot) -> None:
        if self._cluster is None:
            self._submit(slot, warm)

    def _submit(self, slot: _Slot, call: Callable[[], Any]) -> None:
        slot.future = slot.processes.submit(call)
        slot.future.add_done_callback(lambda _: self._wake.set())

    def _begin(self, slot: _Slot, job: Job) -> None:
        asked = job.request.get("predictor")
        try:
            predictor = None if asked is None else str(self.offer.shelf.place(asked))
        except KeyError as error:
            self._ended(job, "failed", str(error.args[0]))
            return
        data = self.offer.data_dir
        folder, leases = self.stored.place(job.owner, "jobs", job.id), self.stored.folder / "leases"
        order = Order(
            job.id, str(folder), str(leases), str(data) if data else None, predictor, self.limits.job_megabytes
        )
        slot.job, slot.begun, slot.looked = job, time.monotonic(), time.monotonic()
        note("job begun", job=job.id, owner=job.owner, attempt=job.attempts)
        try:
            self._submit(slot, partial(work, order) if self._cluster is None else self._remote(order))
        except OSError as error:
            self._lose(slot, job, error)
        self.news.tell()

    def _remote(self, order: Order) -> Callable[[], Any]:
        return partial(work_apart, order, self.limits.job_seconds)

    def _lose(self, slot: _Slot, job: Job, error: OSError) -> None:
        """The cluster is gone: the job waits for the next service, and this one is not ready any more."""
        slot.future, slot.job, self._lost = None, None, str(error)
        note("cluster lost", logging.ERROR, error=self._lost)
        self.queue.again(job.id, died=False)

    def _finish(self, slot: _Slot) -> None:
        future, job = slot.future, slot.job
        slot.future, slot.job = None, None
        try:
            outcome: Any = None if future is None else slot.processes.result(future)
        except OSError as error:
            if job is None or self._cluster is None:
                raise
            self._lose(slot, job, error)
            return
        if job is None:
            return
        if isinstance(outcome, Died):
            self.metrics.deaths.inc()
            note("worker died", logging.WARNING, job=job.id, owner=job.owner)
            if (self.stored.place(job.owner, "jobs", job.id) / RESULT).is_dir():
                self._ended(job, "done")
            elif self.queue.again(job.id, died=True) >= MOST_DEATHS:
                self._ended(job, "failed", f"its worker died {MOST_DEATHS} times (killed, or out of memory?)")
            self.news.tell()
            return
        if "trace" in outcome:
            note("job error", logging.ERROR, job=job.id, owner=job.owner, error=outcome["trace"])
        self._ended(job, outcome["state"], outcome.get("error"))

    def _ended(self, job: Job, state: Any, error: str | None = None) -> None:
        if self.queue.end(job.id, state, error):
            self.metrics.ended.labels(state).inc()
            note("job ended", job=job.id, owner=job.owner, state=state)
        self.stored.forget_used(job.owner)
        if self.queue.state(job.id) != "done":
            self._clear(job)
        self.news.tell()

    def _check(self, slot: _Slot) -> None:
        """End a job that was cancelled, takes too long, or is at work when all is over."""
        job = slot.job
        if job is None:
            return
        state = self.queue.state(job.id)
        if state is None or state in ENDED:
            self._kill(slot)
            self._clear(job)
        elif time.monotonic() - slot.begun > self.limits.job_seconds:
            self._kill(slot)
            self._ended(job, "failed", f"it took longer than the {self.limits.job_seconds:g} s that a job may take")
        elif time.monotonic() - slot.looked > LOOK_SECONDS and self._is_too_large(slot, job):
            self._kill(slot)
            self._ended(job, "failed", "the files of this token, the job's among them, take more than they may")
        elif self._stopping and time.monotonic() > self._deadline:
            self._kill(slot)
            self.queue.again(job.id, died=False)
            note("job waits again", job=job.id, owner=job.owner)

    def _is_too_large(self, slot: _Slot, job: Job) -> bool:
        slot.looked = time.monotonic()
        return self.stored.used(job.owner) > self.limits.quota_megabytes * 1_000_000

    def _kill(self, slot: _Slot) -> None:
        slot.processes.close(kill=True)
        slot.processes, slot.future, slot.job = self._processes(), None, None
        if not self._stopping:
            self._warm(slot)

    def _clear(self, job: Job) -> None:
        """Remove what a job that came to nothing has written."""
        shutil.rmtree(self.stored.place(job.owner, "jobs", job.id), ignore_errors=True)

    def _sweep(self) -> None:
        keep = self.limits.keep_days * 24 * 3600
        for job in self.queue.old(keep):
            self._clear(job)
            self.queue.forget(job.id)
        removed = self.stored.expire(keep)
        for folder in (self.stored.folder / "owners").glob("*/jobs/*"):  # of requests that broke off
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > 3600 and self.queue.state(folder.name) is None:
                    shutil.rmtree(folder, ignore_errors=True)
        if removed:
            note("expired", files=removed)
