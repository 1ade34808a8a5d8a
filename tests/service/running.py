"""A service that answers on a port, in this process or in one of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from scratchcard.frontends.service.app import Service, Settled
from scratchcard.frontends.service.server import Server, configured, listening

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(settled: Settled) -> Iterator[str]:
    """In a thread of this process; gives the address."""
    found = listening("127.0.0.1", 0)
    service = Service(settled)
    server = Server(configured(service.app, settled.limits), service.stopping)
    thread = threading.Thread(target=server.run, args=([found],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{found.getsockname()[1]}"
    finally:
        service.stopping()
        server.should_exit = True
        thread.join()


class Process:
    """The command, in a process group of its own."""

    def __init__(self, state: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        words = ["serve", "--state", str(state), "--port", str(self.port), *options]
        command = [sys.executable, "-c", "from scratchcard.frontends.cli import main; main()", *words]
        self.log = (state.parent / f"{state.name}.log").open("ab")
        self.process = subprocess.Popen(command, stderr=self.log, start_new_session=True, cwd=state.parent)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if httpx2.get(f"{self.address}/v2/health/ready").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            assert self.process.poll() is None, Path(self.log.name).read_text()
            time.sleep(0.05)
        raise AssertionError("the service did not start")

    def children(self) -> list[int]:
        """The processes of its group but itself."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdecimal():
                try:
                    stat = (path / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(stat[2]) == self.process.pid and int(path.name) != self.process.pid:
                    found.append(int(path.name))
        return found

    def kill(self, *, workers: bool = True) -> None:
        """Server and workers, at once and without a word; or the server alone."""
        (os.killpg if workers else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.log.close()
        return status


def ended(client: httpx2.Client, job: str, seconds: float = 120) -> dict[str, Any]:
    """The job once it has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found: dict[str, Any] = client.get(f"/jobs/{job}", params={"wait": 10}, timeout=30).json()
        if found["state"] in ("done", "failed", "cancelled"):
            return found
    raise AssertionError(f"the job {job} has not ended")
