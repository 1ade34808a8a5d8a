"""`scratchcard serve`: what it refuses at the start, each in one sentence."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scratchcard.frontends.service.app import Service, Settled
from tests.frontends.calls import refused


def test_what_is_refused_at_the_start(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert "name a --token-file with lines NAME TOKEN" in refused("serve", "--host", "0.0.0.0", "--state", state)  # noqa: S104
    assert "no folder of predictors" in refused("serve", "--predictors", tmp_path / "nothing", "--state", state)
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
