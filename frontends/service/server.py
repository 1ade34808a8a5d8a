"""The server: uvicorn, with answers in one form and a limit on connections that send no request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from scratchcard.frontends.service.limits import Limits, retry_after
from scratchcard.frontends.service.problems import Problem

HEADER_BYTES = 32_768
BACKLOG = 256


def protocol(limits: Limits) -> type[H11Protocol]:
    """The HTTP protocol with these limits.

    Examples:
        >>> issubclass(protocol(Limits()), H11Protocol)
        True
    """

    class Guarded(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # Head and body are two writes: without this the second waits 40 ms for the client's word of the first.
            # asyncio sets it on sockets that name their protocol alone, and `socket.create_server` names none.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self.connections) > limits.connections:
                self._refuse(Problem(503, "too many connections are open", retry_after(1)))
                return
            self._expect_request()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget_timer()
            else:
                self._expect_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_timer()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(Problem(400, "this is no HTTP request that can be read, or its header is too large"))

        def _expect_request(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(limits.slow_seconds, self._too_slow)

        def _forget_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self._refuse(Problem(408, f"no request came for {limits.slow_seconds:g} seconds"))

        def _refuse(self, problem: Problem) -> None:
            """Answer before there is a request, and close."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                response = problem.response()
                headers = [*response.raw_headers, (b"connection", b"close")]
                event = h11.Response(status_code=problem.status_code, headers=headers, reason=b"")
                content = bytes(response.body)
                for each in (event, h11.Data(data=content), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(each) or b"")
            self.transport.close()

    return Guarded


class Server(uvicorn.Server):
    """A server that says when it begins to stop, so that what waits for news ends.

    Examples:
        >>> server = Server(uvicorn.Config("app:app"), stopping=lambda: print("stopping"))
        >>> server.handle_exit(15, None)
        stopping
    """

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop."""
        self._stopping()
        super().handle_exit(sig, frame)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the port is taken, or the address is none of this machine's; one sentence.

    Examples:
        >>> with listening("127.0.0.1", 0) as found:
        ...     found.getsockname()[0]
        '127.0.0.1'
    """
    try:
        return socket.create_server((host, port), family=socket.getaddrinfo(host, port)[0][0], backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise OSError(f"cannot listen on {host} port {port} ({why}): name another --host or --port") from error


def configured(app: Any, limits: Limits) -> uvicorn.Config:
    """The server's configuration.

    Examples:
        >>> configured(None, Limits()).server_header
        False
    """
    return uvicorn.Config(
        app,
        http=protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=max(1, int(limits.slow_seconds)),
        timeout_graceful_shutdown=5,
    )
