"""Supervisor: a thread that gives jobs to worker processes, ends those that take too long or are cancelled, and sees to
it that none is lost when a process dies."""

from __future__ import annotations

import logging
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from scratchcard.frontends.service.apart import Borrowed, work_apart
from scratchcard.frontends.service.asked import Offer
from scratchcard.frontends.service.jobs import ENDED, Job, Queue
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.news import News
from scratchcard.frontends.service.observed import LOG, Metrics, note
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
LAST_SECONDS = 10.0
"""How long a service that stops still tries to note what became of its jobs; the next one finds out by itself."""
TOO_LARGE = "the files of this token, the job's among them, take more than they may"
AGAIN, DIED = "again", "died"
"""What can become of an attempt beside the states in which a job ends."""


@dataclass
class _Slot:
    """A worker process and what it is at. The job stays in it until the queue knows the outcome."""

    processes: Pool
    future: Future[Any] | None = None
    job: Job | None = None
    outcome: tuple[str, str | None] | None = None
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
        self._take_up()
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
        while not self._is_over():
            try:
                self._step()
            except Exception:  # the database may be locked, the disk full: the next step may go well
                LOG.exception("supervisor")
                time.sleep(TICK_SECONDS)
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()

    def _is_over(self) -> bool:
        late = time.monotonic() > self._deadline + LAST_SECONDS
        return self._stopping and (late or all(slot.job is None for slot in self._slots))

    def _step(self) -> None:
        """Whatever fails here leaves jobs where they are, in their slots or in the queue, for the next step."""
        for slot in self._slots:
            if slot.future is not None and slot.future.done():
                self._gather(slot)
            if slot.job is not None and slot.outcome is None:
                self._check(slot, slot.job)
            if slot.job is not None and slot.outcome is not None:
                self._settle(slot.job, *slot.outcome)
                slot.job, slot.outcome = None, None
        self._take_up()
        for slot in self._slots:
            if slot.future is None and slot.job is None and not self._stopping and not self._lost:
                slot.job = self.queue.take()
                if slot.job is None:
                    break
                self._begin(slot, slot.job)
        if time.monotonic() - self._swept > SWEEP_SECONDS or not self._swept:
            self._swept = time.monotonic()
            self._sweep()

    def _take_up(self) -> None:
        """Jobs that are noted as at work, and that nobody is at."""
        at_work = {slot.job.id for slot in self._slots if slot.job is not None}
        for job in self.queue.running():
            if job.id not in at_work:
                self._settle(job, AGAIN)

    def _processes(self) -> Pool:
        return Processes(1) if self._cluster is None else Borrowed(self._cluster)

    def _warm(self, slot: _Slot) -> None:
        if self._cluster is None:
            self._submit(slot, warm)

    def _submit(self, slot: _Slot, call: Callable[[], Any]) -> None:
        slot.future = slot.processes.submit(call)
        slot.future.add_done_callback(lambda _: self._wake.set())

    def _begin(self, slot: _Slot, job: Job) -> None:
        slot.begun = slot.looked = time.monotonic()
        note("job begun", job=job.id, owner=job.owner, attempt=job.attempts)
        try:
            order = self._order(job)
        except KeyError as error:
            self._became(slot, "failed", str(error.args[0]))
        except Exception:
            LOG.exception("job", extra={"facts": {"job": job.id}})
            self._became(slot, "failed", "the service could not begin this job; what happened is in its log")
        else:
            self._hand_over(slot, order)
        self.news.tell()

    def _order(self, job: Job) -> Order:
        asked, data = job.request.get("predictor"), self.offer.data_dir
        predictor = None if asked is None else str(self.offer.shelf.place(asked))
        folder, leases = self.stored.place(job.owner, "jobs", job.id), self.stored.folder / "leases"
        return Order(
            job.id, str(folder), str(leases), str(data) if data else None, predictor, self.limits.job_megabytes
        )

    def _hand_over(self, slot: _Slot, order: Order) -> None:
        try:
            self._submit(slot, partial(work, order) if self._cluster is None else self._remote(order))
        except Exception as error:
            LOG.exception("worker", extra={"facts": {"job": order.id}})
            if self._cluster is not None and isinstance(error, OSError):
                self._lose(slot, error)
            else:
                self._became(slot, DIED)
                self._kill(slot)

    def _became(self, slot: _Slot, state: str, error: str | None = None) -> None:
        slot.outcome = state, error
        self._wake.set()

    def _remote(self, order: Order) -> Callable[[], Any]:
        return partial(work_apart, order, self.limits.job_seconds)

    def _lose(self, slot: _Slot, error: OSError) -> None:
        """The cluster is gone: the job waits for the next service, and this one is not ready any more."""
        self._lost = str(error)
        note("cluster lost", logging.ERROR, error=self._lost)
        self._became(slot, AGAIN)

    def _gather(self, slot: _Slot) -> None:
        """What came of an attempt; of a process that was warmed, or whose job has an outcome already, nothing."""
        future, slot.future = slot.future, None
        try:
            told: Any = None if future is None else slot.processes.result(future)
        except Exception as error:
            if self._cluster is not None and isinstance(error, OSError):
                self._lose(slot, error)
                return
            text = "the service failed at this job; what happened is in its log"
            told = {"state": "failed", "error": text, "trace": "".join(traceback.format_exception(error))[-3000:]}
        if isinstance(told, dict) and "trace" in told:
            note("job error", logging.ERROR, job=slot.job and slot.job.id, error=told["trace"])
        if slot.job is None or slot.outcome is not None:
            return
        if isinstance(told, Died):
            self.metrics.deaths.inc()
            note("worker died", logging.WARNING, job=slot.job.id, owner=slot.job.owner)
            slot.outcome = DIED, None
        else:
            slot.outcome = told["state"], told.get("error")

    def _settle(self, job: Job, state: str, error: str | None = None) -> None:
        """Note in the queue what became of an attempt. It can be done again where it breaks off."""
        if (self.stored.place(job.owner, "jobs", job.id) / RESULT).is_dir() and state in (AGAIN, DIED):
            state = "done"
        elif state == DIED and job.deaths + 1 >= MOST_DEATHS:
            state, error = "failed", f"its worker died {MOST_DEATHS} times (killed, or out of memory?)"
        if state in (AGAIN, DIED):
            self.queue.again(job.id, died=state == DIED)
            note("job waits again", job=job.id, owner=job.owner)
        else:
            self._end(job, state, error)
        if self.queue.state(job.id) not in ("queued", "done"):  # cancelled meanwhile, or forgotten
            self._clear(job)
        self.stored.forget_used(job.owner)
        self.news.tell()

    def _end(self, job: Job, state: Any, error: str | None) -> None:
        """What a job was given goes with its end, so that it counts no more; what it found counts before it is seen."""
        if state == "done":
            self.stored.keep_only(self.stored.place(job.owner, "jobs", job.id), RESULT)
            self.stored.forget_used(job.owner)
            if self.stored.used(job.owner) > self.limits.quota_megabytes * 1_000_000:
                state, error = "failed", TOO_LARGE
        if self.queue.end(job.id, state, error):
            self.metrics.ended.labels(state).inc()
            note("job ended", job=job.id, owner=job.owner, state=state)

    def _check(self, slot: _Slot, job: Job) -> None:
        """End a job that was cancelled, takes too long, or is at work when all is over."""
        state = self.queue.state(job.id)
        if state is None or state in ENDED:
            slot.outcome = "cancelled", None
        elif time.monotonic() - slot.begun > self.limits.job_seconds:
            slot.outcome = "failed", f"it took longer than the {self.limits.job_seconds:g} s that a job may take"
        elif time.monotonic() - slot.looked > LOOK_SECONDS and self._is_too_large(slot, job):
            slot.outcome = "failed", TOO_LARGE
        elif self._stopping and time.monotonic() > self._deadline:
            slot.outcome = AGAIN, None
        if slot.outcome is not None:
            self._kill(slot)

    def _is_too_large(self, slot: _Slot, job: Job) -> bool:
        slot.looked = time.monotonic()
        return self.stored.used(job.owner) > self.limits.quota_megabytes * 1_000_000

    def _kill(self, slot: _Slot) -> None:
        slot.processes.close(kill=True)
        slot.processes, slot.future = self._processes(), None
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
        removed = self.stored.expire(keep, lambda job: self.queue.state(job) in (None, "failed", "cancelled"))
        if removed:
            note("expired", files=removed)
