"""Gate: what every request passes: who asks, how often, how much and how slowly; and what is noted of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scratchcard.frontends.service.limits import Limits, Rate, retry_after
from scratchcard.frontends.service.observed import LOG, Metrics, note
from scratchcard.frontends.service.page import addresses
from scratchcard.frontends.service.problems import Problem
from scratchcard.frontends.service.tokens import Tokens

OPEN = frozenset(("/v2/health/live", "/v2/health/ready", *addresses()))
"""Addresses that need no token."""
BODY_LIMIT = 1 << 16
LEAST_RATE = 1000
"""Bytes a second that a long body must have on average."""
LINGER_SECONDS, LINGER_BYTES = 1.0, 1 << 24
"""How long, and how much, is still read of a body that is refused: whoever is cut off while sending reads no answer."""
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]{1,5})?")
CLOSE = {"Connection": "close"}
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


class Gate:
    """An ASGI application before another.

    Examples:
        >>> gate = Gate(lambda scope, receive, send: None, Tokens(), Limits(), Metrics(), loopback=True)
        >>> gate.limit("PUT", "/networks/ab"), gate.limit("POST", "/jobs")
        (2000000000, 65536)
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, limits: Limits, metrics: Metrics, *, loopback: bool) -> None:
        self.app, self.tokens, self.limits, self.metrics, self.loopback = app, tokens, limits, metrics, loopback
        self._rate = Rate(limits.requests_per_second)
        self._open: Counter[str] = Counter()
        self._strangers = Rate(min(10.0, limits.requests_per_second))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or hand on the life of the application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        visit = _Visit(self, scope, receive, send)
        begun, owner = time.perf_counter(), ""
        try:
            self._admit(scope)
            owner = str(scope["state"]["owner"])
            self._open[owner] += 1
            if self._open[owner] > self.limits.connections // 2 and scope["path"] not in OPEN:
                raise Problem(429, f"{self._open[owner]:,} requests of this token are under way", retry_after(1))
            await self.app(scope, visit.receive, visit.send)
        except Problem as problem:
            await visit.answer(problem)
        except TimeoutError:  # whoever asked does not read the answer
            visit.status = visit.status or 408
        except Exception:
            LOG.exception("error", extra={"facts": {"method": scope["method"], "route": _route(scope)}})
            await visit.answer(Problem(500, "the service failed; what happened is in its log"))
        finally:
            if owner:
                self._open[owner] -= 1
            self._note(scope, visit, time.perf_counter() - begun)

    def limit(self, method: str, path: str) -> int:
        """How many bytes a body may have."""
        if method == "PUT" and path.startswith(("/networks/", "/tasks/")):
            return self.limits.upload_megabytes * 1_000_000
        if path.endswith("/infer"):
            return self.limits.infer_megabytes * 1_000_000
        return BODY_LIMIT

    def _admit(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        if len(path) > 1 and path.endswith("/"):  # V2 clients differ in this
            scope["path"] = path = path.rstrip("/") or "/"
        owner = self.tokens.owner(headers.get("authorization"))
        scope.setdefault("state", {})["owner"] = owner
        if path in OPEN:
            return
        if not self.tokens and self.loopback:
            _check_is_no_foreign_page(headers)
        if owner is None:
            wait = self._strangers.wait_for(scope["client"][0] if scope.get("client") else "")
            if wait:
                raise Problem(429, "too many requests without a token that is known", retry_after(wait))
            raise Problem(
                401, "a token is needed that is known here: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        wait = self._rate.wait_for(owner)
        if wait:
            most = self.limits.requests_per_second
            raise Problem(429, f"too many requests: up to {most:g} a second are answered", retry_after(wait))
        limit, told = self.limit(scope["method"], path), headers.get("content-length", "0")
        if told.isdecimal() and int(told[:20]) > limit:
            raise Problem(
                413, f"the body has {told[:20]} bytes, at most {limit:,} are taken here", {"Connection": "close"}
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "bodies are taken as they are: send no Content-Encoding")

    def _note(self, scope: Scope, visit: _Visit, seconds: float) -> None:
        route, method, status = _route(scope), scope["method"], visit.status or 499
        known = method if method in ("GET", "HEAD", "PUT", "POST", "DELETE") else "other"
        self.metrics.requests.labels(known, route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        self.metrics.received.inc(visit.received)
        level = logging.DEBUG if scope["path"] in OPEN else logging.INFO
        note(
            "request",
            level,
            method=known,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            owner=scope["state"].get("owner") if "state" in scope else None,
        )


class _Visit:
    """One request: its body as it comes, within the limits, and its answer."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.received, self.status, self._ended = 0, 0, False
        self._gate, self._scope, self._receive, self._send = gate, scope, receive, send
        self._begun = time.monotonic()

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        slow = self._gate.limits.slow_seconds
        try:
            message = await asyncio.wait_for(self._receive(), slow)
        except TimeoutError as error:
            raise Problem(408, f"no part of the body came for {slow:g} seconds", CLOSE) from error
        self._ended = not message.get("more_body", False)
        self.received += len(message.get("body", b""))
        limit = self._gate.limit(self._scope["method"], self._scope["path"])
        if self.received > limit:
            raise Problem(
                413, f"the body has more than the {limit:,} bytes that are taken here", {"Connection": "close"}
            )
        took = time.monotonic() - self._begun
        if not self._ended and took > slow and self.received < LEAST_RATE * took:
            raise Problem(408, f"the body comes at less than {LEAST_RATE:,} bytes a second", CLOSE)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._read_off()
            has = list(message.get("headers", []))
            own = {name for name, _ in has}
            message = dict(message) | {"headers": has + [each for each in HEADERS if each[0] not in own]}
        await asyncio.wait_for(self._send(message), 3 * self._gate.limits.slow_seconds)

    async def _read_off(self) -> None:
        """What is left of the body, in part; not where the sender waits for a word before it sends."""
        told = dict(self._scope["headers"])
        none = told.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in told
        if none or b"expect" in told:  # where there is none, its end would be waited for in vain beside a file's answer
            return
        until, size = time.monotonic() + LINGER_SECONDS, 0
        with contextlib.suppress(TimeoutError):
            while not self._ended and size < LINGER_BYTES:
                message = await asyncio.wait_for(self._receive(), until - time.monotonic())
                size += len(message.get("body", b""))
                self._ended = not message.get("more_body", False)

    async def answer(self, problem: Problem) -> None:
        if not self.status:
            await problem.response()(self._scope, self._receive, self.send)


def _route(scope: Scope) -> str:
    """The address's pattern: no names of anybody's things in metrics and logs."""
    return getattr(scope.get("route"), "path", None) or "other"


def _check_is_no_foreign_page(headers: Mapping[str, str]) -> None:
    """Refuse what a page of another site sends through the browser of whoever runs the service."""
    host = headers.get("host", "")
    told = _HOST.fullmatch(host)
    if told is None:
        raise Problem(400, "the Host is not as expected: NAME or NAME:PORT")
    if not is_loopback(told["name"].strip("[]").lower()):
        raise Problem(403, "this service answers on this machine alone: its name here is localhost or 127.0.0.1")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        raise Problem(403, "requests from pages of other sites are not answered")


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("example.org")
        (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
