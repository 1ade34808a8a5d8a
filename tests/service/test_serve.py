"""`scratchcard serve`: what it refuses at the start, each in one sentence."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from scratchcard.frontends.service.app import Service, Settled
from scratchcard.frontends.service.gate import Gate
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.observed import Metrics
from scratchcard.frontends.service.tokens import Tokens
from tests.frontends.calls import refused
from tests.service.running import serving


def test_what_is_refused_at_the_start(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert "name a --token-file with lines NAME TOKEN" in refused("serve", "--host", "0.0.0.0", "--state", state)  # noqa: S104
    assert "no folder of predictors" in refused("serve", "--predictors", tmp_path / "nothing", "--state", state)
    assert "no folder of data" in refused("serve", "--data", tmp_path / "nothing", "--state", state)
    assert "no token file at" in refused("serve", "--token-file", tmp_path / "nothing", "--state", state)
    assert "cannot import the network 'os:nothing'" in refused("serve", "--allow", "os:nothing", "--state", state)
    assert "workers is 0" in refused("serve", "--workers", "0", "--state", state)
    (tmp_path / "note.txt").write_text("mine")
    assert "is not a service's state folder" in refused("serve", "--state", tmp_path)
    (tmp_path / "tokens").write_text("ann short")
    (tmp_path / "tokens").chmod(0o600)
    assert "is too short" in refused("serve", "--token-file", tmp_path / "tokens", "--state", state)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "name another --host or --port" in refused("serve", "--port", taken.getsockname()[1], "--state", state)


def test_one_service_uses_a_state_folder(tmp_path: Path) -> None:
    service = Service(Settled(tmp_path / "state"))
    with pytest.raises(FileExistsError, match="is in use by another service"):
        Service(Settled(tmp_path / "state"))
    service.close()
    Service(Settled(tmp_path / "state")).close()


def test_no_answer_waits_for_the_clients_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transports: list[asyncio.Transport] = []
    made = H11Protocol.connection_made

    def noted(self: H11Protocol, transport: asyncio.Transport) -> None:
        transports.append(transport)
        made(self, transport)  # type: ignore[arg-type]

    monkeypatch.setattr(H11Protocol, "connection_made", noted)
    with serving(Settled(tmp_path / "state")) as address, httpx2.Client(base_url=address) as client:
        assert client.get("/v2").status_code == 200
        (transport,) = transports
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("headers", "reads"), [([], 0), ([(b"content-length", b"0")], 0), ([(b"content-length", b"9")], 1)]
)
def test_an_answer_reads_off_a_body_that_there_is_and_waits_for_no_other(
    headers: list[tuple[bytes, bytes]], reads: int
) -> None:
    """A file's answer listens for the end of the connection meanwhile: its word took a second to be waited for."""
    calls: list[str] = []

    async def receive() -> dict[str, Any]:
        calls.append("receive")
        return {"type": "http.request", "body": b"123456789", "more_body": False}

    async def send(message: Any) -> None:
        calls.append(message["type"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    gate = Gate(app, Tokens(), Limits(), Metrics(), loopback=False)
    scope = {"type": "http", "method": "GET", "path": "/v2", "headers": headers, "client": ("127.0.0.1", 1)}
    asyncio.run(gate(scope, receive, send))
    assert calls == ["receive"] * reads + ["http.response.start"]
