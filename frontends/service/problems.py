"""Problems: every refusal is a document after RFC 9457, which also has the member `error` that V2 clients show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match

from scratchcard.frontends.service.limits import retry_after
from scratchcard.words import shortened

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(BaseModel):
    """What a refusal holds.

    Examples:
        >>> ProblemDocument(**Problem(404, "there is no such job").document()).status
        404
    """

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    error: str


class Problem(HTTPException):
    """A request that is refused, in one sentence.

    Examples:
        >>> Problem(404, "there is no job 'a'").document()["title"]
        'Not Found'
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(status, detail, headers)
        self.more = more

    def document(self) -> dict[str, Any]:
        """The problem document as plain JSON."""
        title = HTTPStatus(self.status_code).phrase
        told = {"type": "about:blank", "title": title, "status": self.status_code, "detail": self.detail}
        return told | {"error": self.detail} | self.more

    def response(self) -> Response:
        """The problem as a response."""
        content = json.dumps(self.document(), ensure_ascii=True)
        return Response(content, self.status_code, self.headers, MEDIA_TYPE)


def refused(status: int, error: Exception) -> Problem:
    """The library's sentence as a problem.

    Examples:
        >>> refused(422, ValueError("the density is 2")).detail
        'the density is 2'
    """
    return Problem(status, shortened(str(error), 600))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: these statuses are answered with problem documents.

    Examples:
        >>> list(documented(404)[404]["content"])
        ['application/problem+json']
    """
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def answer_with_problems(app: FastAPI, unavailable: type[Exception]) -> None:
    """Let an application answer every error with a problem document; one of the kind `unavailable` with 503.

    Examples:
        >>> app = FastAPI()
        >>> answer_with_problems(app, OSError)
        >>> HTTPException in app.exception_handlers
        True
    """

    async def http(request: Request, error: Exception) -> Response:
        if isinstance(error, Problem):
            return error.response()
        found = error if isinstance(error, HTTPException) else HTTPException(500)
        headers = {"Allow": _allowed(app, request)} if found.status_code == 405 else found.headers
        return Problem(found.status_code, _plain(found), headers).response()

    async def invalid(_: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        places = {_place(each["loc"]) for each in found}
        # Of what may be of several kinds, the fault inside of the kind that came says more than that it is no other.
        inner = {place.rpartition(".")[0] for place in places}
        told = [each for each in found if _place(each["loc"]) not in inner or not each["type"].endswith("_type")]
        first = [*{_place(each["loc"]): _said(each) for each in reversed(told[:10])}.values()][
            ::-1
        ]  # one of each place
        status = 400 if any(each["type"] == "json_invalid" for each in found) else 422
        return Problem(status, "; ".join(first[:3]) or "the request is not what is expected", errors=first).response()

    async def away(_: Request, error: Exception) -> Response:
        return Problem(503, str(error), retry_after(2)).response()

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(unavailable, away)
    app.add_exception_handler(RequestValidationError, invalid)


def _allowed(app: FastAPI, request: Request) -> str:
    """The methods of an address, of all its routes."""
    found: set[str] = set()
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        scope = dict(request.scope) | {"method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in app.routes):
            found.add(method)
    return ", ".join(sorted(found))


def _plain(error: HTTPException) -> str:
    said = {
        404: "there is nothing at this address; /openapi.json lists what there is",
        405: "this address has other methods",
    }
    return said.get(error.status_code, str(error.detail))


def _said(error: Mapping[str, Any]) -> str:
    place, came = _place(error["loc"]), shortened(str(error.get("input")), 80)
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    context = {name: f"{told:g}" if isinstance(told, float) else told for name, told in error.get("ctx", {}).items()}
    if kind == "missing":
        return f"{place} is missing"
    if kind == "json_invalid":
        return f"the body is no JSON: {context.get('error', message)} at character {error['loc'][-1]}"
    if kind == "extra_forbidden":
        return f"{place} is no member of what is asked here; /openapi.json lists those that are"
    if isinstance(error.get("input"), bytes):
        return "the body is not read as JSON: send it with the header Content-Type: application/json"
    if kind in _EXPECTED:
        return f"{place} is {came}, expected {_EXPECTED[kind].format(**context)}"
    if kind.endswith(("_type", "_parsing")):
        return f"{place} is {came}, expected {_KINDS.get(kind.rpartition('_')[0], 'another kind of value')}"
    return f"{place} is {came}: {shortened(message)}"


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "dict": "an object with names",
    "model_attributes": "an object with names",
}
_EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "int_from_float": "a whole number",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "string_too_long": "a text of at most {max_length} characters",
    "string_too_short": "a text of at least {min_length} characters",
    "too_long": "at most {max_length} of them",
    "too_short": "at least {min_length} of them",
}
"""By pydantic's names of errors, what its own sentences say."""


def _place(loc: Sequence[Any]) -> str:
    """Where in a request, without the names of types that stand between."""
    named = [str(part) for part in loc if part != "body" and re.fullmatch(r"\w+", str(part))]
    return shortened(".".join(named), 80) or "the body"
