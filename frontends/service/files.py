"""Files: the routes of networks' weights and tasks' data."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel

from scratchcard.frontends.service.problems import Problem, documented
from scratchcard.frontends.service.stored import DIGEST, TASK
from scratchcard.frontends.service.uploads import OFFSET, Uploads
from scratchcard.workloads.tasks import TASKS

Digest = Annotated[str, InPath(pattern=f"^{DIGEST.pattern}$", description="sha256 of the file, in hexadecimal")]
TaskName = Annotated[str, InPath(pattern=f"^{TASK.pattern}$", description="The task's name")]
ReprDigest = Annotated[
    str, Header(pattern="^(sha-256=:[A-Za-z0-9+/]{43}=:)?$", description="sha256 of the whole file: sha-256=:BASE64:")
]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_REFUSALS = documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 507)


class StoredFile(BaseModel):
    """A file that was uploaded: its name (of a network's weights the sha256), size, and when it was used last.

    Examples:
        >>> StoredFile(name="mine", bytes=8, used=0.0).name
        'mine'
    """

    name: str
    bytes: int
    used: float


def _told_digest(header: str) -> str | None:
    """The sha256 of a header `Repr-Digest: sha-256=:BASE64:` (RFC 9530) in hexadecimal."""
    return base64.b64decode(header[9:-1]).hex() if header else None


def router(uploads: Uploads) -> APIRouter:
    """The routes of networks and tasks.

    Examples:
        >>> from scratchcard.frontends.service.limits import Limits
        >>> from scratchcard.frontends.service.stored import Stored
        >>> routes = router(Uploads(Stored(Path("routed")), Limits())).routes
        >>> sorted({route.path for route in routes})
        ['/networks', '/networks/{digest}', '/tasks', '/tasks/{name}']
    """
    routes, stored = APIRouter(responses=_REFUSALS), uploads.stored

    def told(path: Path) -> StoredFile:
        state = path.stat()
        return StoredFile(name=path.stem, bytes=state.st_size, used=state.st_mtime)

    def found(owner: str, kind: str, name: str, digest: str | None = None) -> StoredFile:
        path = stored.place(owner, kind, name)
        if path.exists():
            return told(path)
        part = stored.part(owner, kind, name, digest or "unknown")
        headers = {OFFSET: str(part.stat().st_size)} if part.exists() else {OFFSET: "0"}
        raise Problem(404, f"there is nothing called {name!r} in {kind}", headers)

    async def put(request: Request, response: Response, kind: str, name: str, digest: str | None) -> Any:
        path, is_new = await uploads.take(request, request.state.owner, kind, name, digest)
        response.status_code = 201 if is_new else 200
        return told(path)

    new: dict[int | str, dict[str, Any]] = {201: {"description": "It is stored.", "model": StoredFile}}

    @routes.put("/networks/{digest}", tags=["networks"], openapi_extra=_BODY, responses=new)
    async def put_network(request: Request, response: Response, digest: Digest) -> StoredFile:
        """Store a network's weights; an upload that broke off goes on with `Content-Range: bytes FIRST-LAST/TOTAL`."""
        return await put(request, response, "networks", digest, digest)  # type: ignore[no-any-return]

    @routes.put("/tasks/{name}", tags=["tasks"], openapi_extra=_BODY, responses=new)
    async def put_task(
        request: Request,
        response: Response,
        name: TaskName,
        repr_digest: ReprDigest = "",
    ) -> StoredFile:
        """Store a task's data: train_inputs, train_targets, perhaps validation_* and test_*."""
        if name in TASKS:
            raise Problem(409, f"{name!r} is the name of a registered task; take another")
        return await put(request, response, "tasks", name, _told_digest(repr_digest))  # type: ignore[no-any-return]

    @routes.get("/networks", tags=["networks"])
    def networks(request: Request) -> list[StoredFile]:
        """The networks' weights that were uploaded with this token."""
        return [StoredFile(**each) for each in stored.listed(request.state.owner, "networks")]

    @routes.get("/tasks", tags=["tasks"])
    def tasks(request: Request) -> list[StoredFile]:
        """The tasks that were uploaded with this token."""
        return [StoredFile(**each) for each in stored.listed(request.state.owner, "tasks")]

    def network(request: Request, digest: Digest) -> StoredFile:
        """Whether the weights are here; of an upload that broke off, `Upload-Offset` says how much of it is."""
        return found(request.state.owner, "networks", digest, digest)

    def task(
        request: Request,
        name: TaskName,
        repr_digest: ReprDigest = "",
    ) -> StoredFile:
        """Whether the task is here; of an upload that broke off, `Upload-Offset` says how much of it is."""
        return found(request.state.owner, "tasks", name, _told_digest(repr_digest))

    for method in ("GET", "HEAD"):
        routes.add_api_route(
            "/networks/{digest}", network, methods=[method], tags=["networks"], responses=documented(404)
        )
        routes.add_api_route("/tasks/{name}", task, methods=[method], tags=["tasks"], responses=documented(404))

    def removed(owner: str, kind: str, name: str) -> Response:
        if not stored.remove(stored.place(owner, kind, name)):
            raise Problem(404, f"there is nothing called {name!r} in {kind}")
        stored.forget_used(owner)
        return Response(status_code=204)

    @routes.delete("/networks/{digest}", tags=["networks"], status_code=204, responses=documented(404))
    def delete_network(request: Request, digest: Digest) -> Response:
        """Remove a network's weights; jobs that wait have theirs."""
        return removed(request.state.owner, "networks", digest)

    @routes.delete("/tasks/{name}", tags=["tasks"], status_code=204, responses=documented(404))
    def delete_task(request: Request, name: TaskName) -> Response:
        """Remove a task; jobs that wait have theirs."""
        return removed(request.state.owner, "tasks", name)

    return routes
