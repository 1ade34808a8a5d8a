"""The application: everything that the service answers, put together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer

from scratchcard.artefacts.leases import Leases
from scratchcard.artefacts.version import versions
from scratchcard.frontends.service import files, inference, job_routes, page
from scratchcard.frontends.service.asked import Offer
from scratchcard.frontends.service.gate import Gate, is_loopback
from scratchcard.frontends.service.jobs import Queue
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.news import News
from scratchcard.frontends.service.observed import CONTENT_TYPE, Metrics, note
from scratchcard.frontends.service.problems import Problem, ProblemDocument, answer_with_problems, documented
from scratchcard.frontends.service.shelf import Shelf, ShelfAwayError
from scratchcard.frontends.service.stored import Stored
from scratchcard.frontends.service.supervisor import Supervisor
from scratchcard.frontends.service.tokens import Tokens
from scratchcard.frontends.service.uploads import Uploads
from scratchcard.workers.cluster import Cluster

LOCK = "service"


@dataclass(frozen=True)
class Settled:
    """How a service is set up.

    Attributes:
        state: the folder of uploads, jobs and results.
        predictors, data_dir: folders, or None; seen from the working folder.
        host: the address that it listens on; on any but this machine's own, tokens are needed.
        tokens: who may ask.
        allowed: factories of networks and tasks that jobs may name, `package.module:factory`.
        limits: how much of everything.
        dask: the address of a Dask scheduler whose workers do the jobs; `state`, `predictors` and `data_dir` then lie
            where all of them see these under the same names.

    Raises:
        ValueError: an address that others reach, without tokens.

    Examples:
        >>> Settled(Path("state"), host="0.0.0.0")
        Traceback (most recent call last):
            ...
        ValueError: the address 0.0.0.0 can be reached from other machines: name a --token-file with lines NAME TOKEN
    """

    state: Path
    predictors: Path | None = None
    data_dir: Path | None = None
    host: str = "127.0.0.1"
    tokens: Tokens = field(default_factory=Tokens)
    allowed: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    dask: str | None = None

    def __post_init__(self) -> None:
        for name in ("predictors", "data_dir"):  # jobs are done in folders of their own, from where these are as well
            folder: Path | None = getattr(self, name)
            object.__setattr__(self, name, folder and folder.expanduser().resolve())
        if not self.tokens and not is_loopback(self.host):
            raise ValueError(
                f"the address {self.host} can be reached from other machines: name a --token-file with lines NAME TOKEN"
            )


class Service:
    """A service: its application and what it stands on.

    Raises:
        OSError: the state folder holds something else, or another service uses it; or there is no such folder of
            predictors or data.

    Examples:
        >>> service = Service(Settled(Path("a_service")))
        >>> service.app.title
        'scratchcard'
        >>> service.close()
    """

    def __init__(self, settled: Settled) -> None:
        limits = settled.limits
        if settled.data_dir is not None and not settled.data_dir.is_dir():
            raise FileNotFoundError(f"no folder of data at {settled.data_dir}: expected that of the tasks' files")
        self.settled, self.news, self.metrics = settled, News(), Metrics()
        self.stored, shelf = Stored(settled.state), Shelf(settled.predictors)
        self._leases = Leases(self.stored.folder / "lock")
        if not self._leases.take(LOCK):
            raise FileExistsError(
                f"the state folder {settled.state} is in use by another service: name another --state"
            )
        self.queue = Queue(self.stored.folder / "jobs.sqlite")
        offer = Offer(shelf, settled.data_dir, settled.allowed)
        self._cluster = None if settled.dask is None else Cluster(settled.dask)
        self.supervisor = Supervisor(self.queue, self.stored, offer, limits, self.metrics, self.news, self._cluster)
        secured: Any = [Security(HTTPBearer(auto_error=False))] if settled.tokens else []
        app = FastAPI(
            title="scratchcard",
            version=str(versions()["scratchcard"]),
            description="Predictors of winning lottery tickets behind the Open Inference Protocol (V2), and pruning.",
            docs_url=None,
            redoc_url=None,
            lifespan=self._life,
            redirect_slashes=False,
        )
        self.app = app
        common: Any = {"dependencies": secured, "responses": documented(400, 401, 403, 413, 415, 422, 429)}
        app.include_router(inference.router(shelf), **common)
        app.include_router(files.router(Uploads(self.stored, limits)), **common)
        jobs = job_routes.JobRoutes(self.queue, self.stored, offer, limits, self.supervisor, self.news)
        app.include_router(job_routes.router(jobs), **common)
        app.include_router(page.choices_router(shelf, settled.allowed, limits, tokens=bool(settled.tokens)), **common)
        app.include_router(page.router())
        self._add_health(common)
        answer_with_problems(app, unavailable=ShelfAwayError)
        app.add_middleware(
            Gate, tokens=settled.tokens, limits=limits, metrics=self.metrics, loopback=is_loopback(settled.host)
        )
        schema = app.openapi

        def with_problems() -> dict[str, Any]:
            told = schema()
            model = ProblemDocument.model_json_schema()
            told.setdefault("components", {}).setdefault("schemas", {})["ProblemDocument"] = model
            return told

        app.openapi = with_problems  # type: ignore[method-assign]

    def _add_health(self, common: Any) -> None:
        app = self.app

        @app.get("/v2/health/live", tags=["health"], response_class=Response)
        def live() -> Response:
            """Whether the server answers."""
            return Response(status_code=200)

        @app.get("/v2/health/ready", tags=["health"], response_class=Response, responses=documented(503))
        def ready() -> Response:
            """Whether predictors can be asked and jobs are done."""
            if self.news.stopping or not self.supervisor.alive:
                raise Problem(503, "the service is starting or stopping")
            return Response(status_code=200)

        text: Any = {200: {"description": "As Prometheus reads it.", "content": {"text/plain": {}}}}

        @app.get(
            "/metrics", tags=["health"], response_class=Response, **(common | {"responses": common["responses"] | text})
        )
        def metrics() -> Response:
            """Counters for Prometheus."""
            for state, count in self.queue.counts().items():
                self.metrics.jobs.labels(state).set(count)
            return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    def stopping(self) -> None:
        """Say that the server begins to stop: whoever waits for news is answered."""
        self.news.stopping = True
        self.news.tell()

    def close(self) -> None:
        """Let go of the state folder."""
        self.queue.close()
        if self._cluster is not None:
            self._cluster.close(kill=False)
        self._leases.__exit__(None, None, None)

    @contextlib.asynccontextmanager
    async def _life(self, _: FastAPI) -> AsyncIterator[None]:
        self.supervisor.start()
        note("started", host=self.settled.host, workers=self.settled.limits.workers)
        try:
            yield
        finally:
            self.stopping()
            await run_in_threadpool(self.supervisor.stop)
            self.close()
            note("stopped")
