"""Page: what a browser shows at `/`. Its files ask the same routes as every other client; nothing is built or fetched
from elsewhere, and its policy allows no script but these."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from scratchcard.frontends.cli.listing import described
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.shelf import Shelf

FILES = Path(__file__).parent / "page_files"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
FAMILIES = ("networks", "tasks", "scorers", "regimes", "recipes", "recipe", "shipped")


def addresses() -> dict[str, Path]:
    """The page's files by their address; they need no token, since they tell nothing of anybody.

    Examples:
        >>> addresses()["/"].name, addresses()["/page/main.js"].name
        ('index.html', 'main.js')
    """
    found = {f"/page/{path.name}": path for path in sorted(FILES.iterdir()) if path.suffix in KINDS}
    return {"/": found.pop("/page/index.html")} | found


def router() -> APIRouter:
    """The routes of the page's files, each with an ETag. They are read once, and there is no other address.

    Examples:
        >>> [route.path for route in router().routes][:2]
        ['/', '/page/commands.js']
    """
    routes = APIRouter(include_in_schema=False)
    for address, path in addresses().items():
        routes.add_api_route(address, _answer(path), methods=["GET", "HEAD"], response_class=Response)
    return routes


def _answer(path: Path) -> Callable[[Request], Response]:
    content, kind = path.read_bytes(), f"{KINDS[path.suffix]}; charset=utf-8"
    digest, packed = hashlib.sha256(content).hexdigest()[:32], gzip.compress(content, mtime=0)
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY, "Vary": "Accept-Encoding"}
    plain = headers | {"ETag": f'"{digest}"'}
    small = headers | {"ETag": f'"{digest}-gzip"', "Content-Encoding": "gzip"}

    def answer(request: Request) -> Response:
        packs = "gzip" in request.headers.get("accept-encoding", "")
        told = small if packs else plain
        known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
        if told["ETag"] in known:
            return Response(None, 304, {name: value for name, value in told.items() if name != "Content-Encoding"})
        return Response(packed if packs else content, 200, told, kind)

    return answer


def choices_router(shelf: Shelf, allowed: tuple[str, ...], limits: Limits, *, tokens: bool) -> APIRouter:
    """The route that says what a job may name.

    Examples:
        >>> [route.path for route in choices_router(Shelf(None), (), Limits(), tokens=False).routes]
        ['/choices']
    """
    routes = APIRouter(tags=["jobs"])

    @routes.get("/choices")
    def choices() -> dict[str, Any]:
        """What a job may name: registered members with their settings, predictors, and code that is allowed; and how
        large an upload may be, and whether tokens are needed."""
        own: dict[str, Any] = {"predictors": shelf.names(), "allowed": list(allowed), "tokens": tokens}
        own["upload_megabytes"] = limits.upload_megabytes
        return _families() | own

    return routes


@lru_cache(maxsize=1)
def _families() -> dict[str, Any]:
    return {family: described(family) for family in FAMILIES}
