"""The routes of jobs: asked for, watched, fetched, cancelled."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel

from scratchcard.artefacts.json_file import read_json
from scratchcard.frontends.service.asked import JobRequest, Offer
from scratchcard.frontends.service.jobs import ENDED, Job, Queue, State, new_id
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.news import News
from scratchcard.frontends.service.problems import Problem, documented, refused
from scratchcard.frontends.service.stored import JOB, TASK, Stored
from scratchcard.frontends.service.supervisor import Supervisor
from scratchcard.frontends.service.work import GIVEN, PROGRESS, REPORT, REQUEST, RESULT, WEIGHTS, file_name

BEAT_SECONDS = 0.5
Responses = dict[int | str, dict[str, Any]]
JobId = Annotated[str, InPath(description="As `POST /jobs` gave it")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200, pattern="^[\x21-\x7e]+$")]


class JobProgress(BaseModel):
    """How far a job is.

    Examples:
        >>> JobProgress(done=1, total=4, seconds_left=3.0).total
        4
    """

    done: int
    total: int
    seconds_left: float | None


class JobDocument(BaseModel):
    """A job as it stands; times are seconds since 1970.

    Examples:
        >>> JobDocument.model_fields["state"].annotation.__args__
        ('queued', 'running', 'done', 'failed', 'cancelled')
    """

    id: str
    state: State
    created: float
    started: float | None
    ended: float | None
    attempts: int
    waiting_before: int | None
    progress: JobProgress | None
    error: str | None
    densities: list[float]
    request: dict[str, Any]


class JobRoutes:
    """What the routes of jobs need.

    Examples:
        >>> JobRoutes.__name__
        'JobRoutes'
    """

    def __init__(
        self, queue: Queue, stored: Stored, offer: Offer, limits: Limits, supervisor: Supervisor, news: News
    ) -> None:
        self.queue, self.stored, self.offer, self.limits = queue, stored, offer, limits
        self.supervisor, self.news = supervisor, news

    def find(self, owner: str, job: str) -> Job:
        """The owner's job.

        Raises:
            Problem: there is none.
        """
        found = self.queue.find(owner, job)
        if found is None:
            raise Problem(404, f"there is no job {job[:60]!r}")
        return found

    def document(self, job: Job) -> JobDocument:
        """A job as it is told."""
        progress = None
        if job.state == "running":
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                told = json.loads((self.stored.place(job.owner, "jobs", job.id) / PROGRESS).read_text())
                done, total = int(told["done"]), int(told["total"])
                took = max(0.0, told["at"] - (job.started or told["at"]))
                left = round(took * (total - done) / done, 1) if done else None
                progress = JobProgress(done=done, total=total, seconds_left=left)
        names = ("id", "state", "created", "started", "ended", "attempts", "error")
        return JobDocument(
            **{name: getattr(job, name) for name in names},
            waiting_before=self.queue.place(job) if job.state == "queued" else None,
            progress=progress,
            densities=list(JobRequest(**job.request).densities),
            request=job.request,
        )

    def add(self, owner: str, asked: JobRequest, key: str | None) -> Job:
        """Check a job, and let it wait.

        Raises:
            Problem: it is refused.
        """
        request = asked.model_dump(exclude_unset=True)
        if key is not None and self.queue.with_key(owner, key) is not None:
            return self.queue.add(owner, request, self.limits, key)[0]
        own = self.stored.place(owner, "tasks", asked.task) if asked.task and TASK.fullmatch(asked.task) else None
        uploaded = (asked.task,) if asked.task and own is not None and own.exists() else ()
        try:
            self.offer.check(asked, uploaded)
        except (ValueError, OSError) as error:
            raise refused(422, error) from error
        if self.stored.used(owner) > self.limits.quota_megabytes * 1_000_000:
            raise Problem(413, "the files of this token take all that they may; delete some first")
        folder = self.stored.place(owner, "jobs", name := new_id())
        (given := folder / GIVEN).mkdir(parents=True)
        try:
            (folder / REQUEST).write_text(json.dumps(request))
            if uploaded and own is not None:
                self._link(own, given / own.name)
            if asked.weights is not None:
                self._link(self.stored.place(owner, "networks", asked.weights), given / f"{WEIGHTS}.safetensors")
            job, is_new = self.queue.add(owner, request, self.limits, key, name)
        except BaseException:
            self.stored.remove(folder)
            raise
        if not is_new:
            self.stored.remove(folder)
        self.supervisor.look()
        return job

    def _link(self, source: Path, place: Path) -> None:
        """The file has a name in the job's folder too, so that the job has it whatever is deleted or replaced."""
        try:
            os.link(source, place)
        except FileNotFoundError as error:
            raise Problem(422, f"there is no {source.stem!r} among the files of this token; PUT it first") from error
        self.stored.touch(source)

    def result(self, owner: str, job: str, part: str, density: float | None) -> Path:
        """The file of a job's result.

        Raises:
            Problem: the job has none yet, or of several densities none is named. Results may be removed at any moment.
        """
        found = self.find(owner, job)
        if found.state != "done":
            raise Problem(409, f"the job is {found.state}" + (f": {found.error}" if found.error else ""))
        folder = self.stored.place(owner, "jobs", job) / RESULT
        if part == REPORT:
            return folder / REPORT
        known = JobRequest(**found.request).densities
        if density is None and len(known) > 1:
            raise Problem(400, f"the job has the densities {', '.join(map(str, known))}; name one: ?density={known[0]}")
        density = known[0] if density is None else density
        if density not in known:
            raise Problem(404, f"the job has no density {density}; it has {', '.join(map(str, known))}")
        return folder / file_name(part, density)

    def cancel(self, owner: str, job: str) -> None:
        """End a job that is unfinished; forget one that has ended."""
        found = self.find(owner, job)
        if self.queue.end(job, "cancelled"):
            self.supervisor.look()
            self.news.tell()
            if found.state == "queued":
                self.stored.remove(self.stored.place(owner, "jobs", job))
        else:
            self.queue.forget(job)
            self.stored.remove(self.stored.place(owner, "jobs", job))
        self.stored.forget_used(owner)


@contextlib.contextmanager
def _still_there() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:  # deleted, perhaps just now
        raise Problem(404, "the results of this job were removed") from error


def router(jobs: JobRoutes) -> APIRouter:
    """The routes of jobs.

    Examples:
        >>> "/jobs/{job}/events" in [route.path for route in router(None).routes]
        True
    """
    routes = APIRouter(prefix="/jobs", tags=["jobs"])
    waits: Responses = {202: {"description": "It waits.", "headers": {"Location": {"schema": {"type": "string"}}}}}

    @routes.post("", status_code=202, responses=waits | documented(413, 415, 422, 503))
    def post(request: Request, response: Response, asked: JobRequest, key: Key = None) -> JobDocument:
        """Let a network be pruned. The same Idempotency-Key gives the same job again."""
        job = jobs.add(request.state.owner, asked, key)
        response.headers["Location"] = f"/jobs/{job.id}"
        return jobs.document(job)

    @routes.get("", responses=documented(422))
    def listed(
        request: Request,
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
        before: Annotated[str | None, Query(pattern=f"^{JOB.pattern}$", description="The last job of a page")] = None,
    ) -> list[JobDocument]:
        """Jobs of this token, the newest first."""
        return [jobs.document(job) for job in jobs.queue.listed(request.state.owner, state, limit, before)]

    @routes.get("/{job}", responses=documented(404, 422))
    async def get(
        request: Request,
        job: JobId,
        wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")] = 0.0,
    ) -> JobDocument:
        """A job as it stands, at its end if that comes in time."""
        until = time.monotonic() + wait
        while True:
            found = await run_in_threadpool(jobs.find, request.state.owner, job)
            left = until - time.monotonic()
            if found.state in ENDED or left <= 0 or jobs.news.stopping:
                return await run_in_threadpool(jobs.document, found)
            await jobs.news.wait(min(left, BEAT_SECONDS))

    told_of = {"description": "Events `progress` and, last, `end`: the job.", "content": {"text/event-stream": {}}}
    stream: Responses = {200: told_of}

    @routes.get("/{job}/events", response_class=Response, responses=stream | documented(404, 422))
    async def events(request: Request, job: JobId) -> Response:
        """Server-sent events: the job whenever something about it has changed, until it has ended."""
        owner = request.state.owner
        await run_in_threadpool(jobs.find, owner, job)

        async def told() -> AsyncIterator[str]:
            last = ""
            while not jobs.news.stopping:
                found = await run_in_threadpool(jobs.queue.find, owner, job)
                if found is None:
                    return
                text = (await run_in_threadpool(jobs.document, found)).model_dump_json()
                ended = found.state in ENDED
                if ended or text != last:
                    last = text
                    yield f"event: {'end' if ended else 'progress'}\ndata: {text}\n\n"
                else:
                    yield ": still here\n\n"
                if ended:
                    return
                await jobs.news.wait(BEAT_SECONDS)

        return StreamingResponse(told(), media_type="text/event-stream")

    @routes.get("/{job}/report", response_class=JSONResponse, responses=documented(404, 409, 422))
    def report(request: Request, job: JobId) -> Any:
        """Of each density the kept weights a layer, effective density, live units, checks and cost."""
        path = jobs.result(request.state.owner, job, REPORT, None)
        with _still_there():
            return JSONResponse(read_json(path))

    file = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    files: Responses = {
        200: {"description": "The file (safetensors)."} | file,
        206: {"description": "The part of the file that was asked for."} | file,
        416: {"description": "There is no such part."},
    }

    @routes.get("/{job}/{part}", response_class=Response, responses=files | documented(400, 404, 409, 422))
    def part_of(
        request: Request,
        job: JobId,
        part: Literal["ticket", "mask", "scores"],
        density: Annotated[float | None, Query(gt=0, le=1, description="Where the job has several")] = None,
    ) -> Response:
        """The ticket, its mask or the last scores: a safetensors file, or a range of it."""
        path = jobs.result(request.state.owner, job, part, density)
        with _still_there():
            state = path.stat()
        return FileResponse(path, media_type="application/octet-stream", filename=path.name, stat_result=state)

    @routes.delete("/{job}", status_code=204, responses=documented(404, 422))
    def delete(request: Request, job: JobId) -> Response:
        """Cancel a job that is unfinished; forget one that has ended, with its results."""
        jobs.cancel(request.state.owner, job)
        return Response(status_code=204)

    return routes
