"""The Open Inference Protocol (V2): predictors as models, feature columns in, scores out."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict

from scratchcard.artefacts.version import versions
from scratchcard.frontends.service.columns import (
    HEADER,
    INPUT,
    JSON_LIMIT,
    OUTPUT,
    SCORES,
    answer,
    predicted,
    read_request,
)
from scratchcard.frontends.service.problems import Problem, documented
from scratchcard.frontends.service.shelf import Shelf, ShelfAwayError
from scratchcard.meta.predictor import Predictor

HELD = 128 << 20
"""Bytes of all requests together that are kept in memory; more go into files."""
PIECE = 1 << 20


class Tensor(BaseModel):
    """Name, datatype and shape of an input or an output; -1 is any number.

    Examples:
        >>> Tensor(name="magnitude", datatype="FP32", shape=[-1]).shape
        [-1]
    """

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A predictor, as V2 describes a model.

    Examples:
        >>> described(Shelf(None).predictor("policy"), "policy", ["1"]).outputs
        [Tensor(name='scores', datatype='FP64', shape=[-1])]
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, str]


class ServerMetadata(BaseModel):
    """The server, as V2 describes it.

    Examples:
        >>> ServerMetadata(name="scratchcard", version="1", extensions=[]).name
        'scratchcard'
    """

    name: str
    version: str
    extensions: list[str]


class IndexEntry(BaseModel):
    """A predictor in the repository's index.

    Examples:
        >>> IndexEntry(name="policy", version="1", state="READY", reason="").state
        'READY'
    """

    name: str
    version: str
    state: str
    reason: str


class IndexRequest(BaseModel):
    """What the index is asked for.

    Examples:
        >>> IndexRequest().ready
        False
    """

    model_config = ConfigDict(strict=True)

    ready: bool = False


def described(predictor: Predictor, name: str, known: list[str]) -> ModelMetadata:
    """A predictor as V2 describes a model.

    Examples:
        >>> described(Shelf(None).predictor("policy"), "policy", ["1"]).platform
        'scratchcard_multishot'
    """
    about = {"objective": str(predictor.objective), "target": predictor.target, "digest": predictor.digest}
    return ModelMetadata(
        name=name,
        versions=known,
        platform=f"scratchcard_{predictor.family}",
        inputs=[Tensor(name=feature, datatype=INPUT, shape=[-1]) for feature in predictor.features],
        outputs=[Tensor(name=SCORES, datatype=OUTPUT, shape=[-1])],
        parameters=about,
    )


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "datatype": {"const": INPUT},
                                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                                    "data": {"type": "array"},
                                },
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The scores; with binary data the JSON is as long as the header says.",
        "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}},
    }
}


def router(shelf: Shelf) -> APIRouter:
    """The routes of V2 for a shelf of predictors.

    Examples:
        >>> "/v2/models/{name}/infer" in [route.path for route in router(Shelf(None)).routes]
        True
    """
    routes, memory = APIRouter(prefix="/v2", tags=["inference (V2)"]), _Memory()

    def found(name: str, version: str | None) -> Predictor:
        try:
            return shelf.predictor(name, version)
        except KeyError as error:
            raise Problem(404, str(error.args[0])) from error
        except ShelfAwayError:
            raise
        except (ValueError, OSError) as error:
            raise Problem(503, f"the predictor {name!r} cannot be used: its bundle is damaged") from error

    @routes.get("")
    def server() -> ServerMetadata:
        """The server's name, version and extensions."""
        return ServerMetadata(
            name="scratchcard",
            version=str(versions()["scratchcard"]),
            extensions=["binary_tensor_data", "model_repository"],
        )

    @routes.post("/repository/index", responses=documented(400, 422))
    def index(asked: IndexRequest | None = None) -> list[IndexEntry]:
        """All predictors and their versions."""
        entries = []
        for name in shelf.names():
            for version in shelf.versions(name):
                try:
                    shelf.predictor(name, version)
                    entries.append(IndexEntry(name=name, version=version, state="READY", reason=""))
                except (ValueError, OSError):
                    if asked is None or not asked.ready:
                        reason = "its bundle is damaged"
                        entries.append(IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=reason))
        return entries

    def metadata(name: str, version: str | None = None) -> ModelMetadata:
        """The predictor's inputs (its features) and output (the scores)."""
        return described(found(name, version), name, shelf.versions(name) if version is None else [version])

    def ready(name: str, version: str | None = None) -> Response:
        """Whether the predictor can be asked."""
        found(name, version)
        return Response(status_code=200)

    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        """Scores of rows of features: an FP32 column for each feature, JSON or binary tensors; flat or nested data."""
        predictor = await run_in_threadpool(found, name, version)
        header = request.headers.get(HEADER)
        with tempfile.TemporaryFile() as file, memory.room(request.headers.get("content-length")) as room:
            body = await _body(request, room, file, header is None)

            def made() -> Response:
                asked = read_request(body, header, predictor.features)
                scores = predicted(predictor, asked.columns, asked.rows)
                pieces, headers = answer(asked, scores, name, version or shelf.versions(name)[-1])
                return StreamingResponse(pieces, headers=headers)

            return await run_in_threadpool(made)

    for path in ("/models/{name}", "/models/{name}/versions/{version}"):
        routes.add_api_route(path, metadata, methods=["GET"], responses=documented(404, 503))
        routes.add_api_route(
            f"{path}/ready", ready, methods=["GET"], response_class=Response, responses=documented(404, 503)
        )
        routes.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            response_class=Response,
            responses=_ANSWER | documented(400, 404, 408, 413, 415, 503),
            openapi_extra=_BODY,
        )
    return routes


class _Memory:
    """How many bytes of requests are in memory now; beyond `HELD` they go into files."""

    def __init__(self) -> None:
        self.held = 0

    @contextlib.contextmanager
    def room(self, length: str | None) -> Iterator[bytearray | None]:
        """Room for a body of this length; None where there is none."""
        size = int(length) if length is not None and length.isdecimal() else HELD + 1
        if self.held + size > HELD:
            yield None
            return
        self.held += size
        try:
            yield bytearray(size)
        finally:
            self.held -= size


async def _body(request: Request, room: bytearray | None, file: BinaryIO, is_json: bool) -> memoryview:
    """The body in memory, or mapped from a file."""
    size, pieces, gathered = 0, [], 0
    async for piece in request.stream():
        begin, size = size, size + len(piece)
        if is_json and size > JSON_LIMIT:
            raise Problem(413, f"the JSON has more than {JSON_LIMIT:,} bytes: send such batches as binary tensors")
        if room is not None:
            room[begin:size] = piece
            continue
        pieces.append(piece)
        gathered += len(piece)
        if gathered >= PIECE:
            await run_in_threadpool(file.write, b"".join(pieces))
            pieces, gathered = [], 0
    if room is not None:
        return memoryview(room)[:size]
    file.write(b"".join(pieces))
    file.flush()
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")
