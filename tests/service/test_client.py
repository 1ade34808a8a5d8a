"""The client and `scratchcard prune --server`: the local ticket to the bit, and an upload that breaks off goes on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import scratchcard as sc
from scratchcard.frontends.connection import TOKEN
from scratchcard.workloads.weights_file import load_weights
from tests.frontends.calls import as_json, refused
from tests.service.conftest import ANN
from tests.service.running import free_port
from tests.service.test_jobs import same


@pytest.fixture
def client(address: str) -> Iterator[sc.Client]:
    with sc.Client(address, ANN) as found:
        yield found


@pytest.mark.slow
def test_it_finds_the_local_ticket(client: sc.Client) -> None:
    grasp = {"scorer": {"name": "grasp", "temperature": 10.0}}
    found = client.prune("lenet_300_100", "digits", [0.1, 0.05], 4, **grasp)
    for density, ticket in found.items():
        assert same(ticket, sc.prune("lenet_300_100", "digits", density, 4, method=sc.Method.of(**grasp)))
    workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
    local = sc.find_tickets(workload, sc.Method.of(**grasp), [0.1, 0.05], 4)
    assert found._repr_html_() == local._repr_html_()  # a notebook shows the same
    assert "policy" in client.predictors()
    assert client.jobs()[0]["state"] == "done"


@pytest.mark.slow
def test_data_and_weights_go_there(client: sc.Client) -> None:
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 300), torch.nn.ReLU(), torch.nn.Linear(300, 9)
    )
    task = sc.Task.of(torch.randn(90, 1, 8, 8), torch.arange(90) % 9, name="my data")
    with pytest.raises(ValueError, match="do not fit the network"):
        client.prune("lenet_300_100", task, 0.1, scorer="snip", weights=network)
    own = sc.Workload("lenet_300_100", task).build(77)
    ticket = client.prune("lenet_300_100", task, 0.1, scorer="snip", weights=own)
    assert same(ticket, sc.prune(own, task, 0.1, method="snip"))


@pytest.mark.slow
def test_the_command_finds_the_same_there(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, ANN)
    inputs = np.random.default_rng(0).random((90, 1, 8, 8), dtype=np.float32)
    np.savez("mine.npz", train_inputs=inputs, train_targets=np.arange(90) % 10)
    words = ["prune", "--task", "tensors:mine.npz", "--density", "0.1,0.05", "--scorer", "snip", "--seed", "3"]
    here, there = (
        as_json(*words, "--out", name, *more) for name, more in (("a.st", []), ("b.st", ["--server", address]))
    )
    assert [each["kept"] for each in here] == [each["kept"] for each in there]
    for density in (0.1, 0.05):
        assert same(sc.Ticket.load(f"a-{density}.st"), sc.Ticket.load(f"b-{density}.st"))
    assert "--rounds-dir is for searches here" in refused("prune", "--server", address, "--rounds-dir", "rounds")
    assert "unknown task 'nothing'" in refused("prune", "--server", address, "--task", "nothing")
    monkeypatch.setenv(TOKEN, "wrong")
    assert "a token is needed that is known here" in refused("prune", "--server", address, "--out", "c.st")
    assert "cannot be reached" in refused("prune", "--server", "http://127.0.0.1:9", "--out", "c.st")


@pytest.mark.slow
def test_a_ticket_found_there_belongs_to_the_data_here(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, ANN)
    inputs = np.random.default_rng(0).random((90, 4), dtype=np.float32)
    np.savez("pets.npz", train_inputs=inputs, train_targets=np.arange(90) % 3)
    for number in range(60):
        path = Path("mail", "good" if number % 2 else "bad", f"{number}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the {number % 7} words of {'a friend' if number % 2 else 'nobody'} came {number % 5}")
    short = ["--max-steps", "2", "--batch-size", "8"]
    for task, network in (("tensors:pets.npz", "lenet_300_100"), ("text_folder:mail,length=8", "text_bag")):
        words = ["prune", "--task", task, "--network", network, "--scorer", "snip", "--density", "0.2", *short]
        as_json(*words, "--out", "here.st", "--overwrite")
        as_json(*words, "--out", "there.st", "--overwrite", "--server", address)
        here, there = sc.Ticket.load("here.st"), sc.Ticket.load("there.st")
        assert same(here, there)
        took = {"pruning_seconds", "scoring_memory"}
        known = [{n: v for n, v in each.provenance.items() if n not in took} for each in (here, there)]
        assert known[0] == known[1]
        as_json("train", "there.st", "--out", "trained.st", "--overwrite")


class Cutting:
    """Passes connections on to a service, and cuts the first ones after so many bytes."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self.port, self.cuts, self.passed = port, cuts, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self.listening.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._pass, args=(one, other, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(other, one, False), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, counted: bool) -> None:
        size = 0
        try:
            while data := one.recv(65536):
                other.sendall(data)
                size += len(data)
                self.passed += len(data) if counted else 0
                if counted and self.cuts and size > self.cuts[0]:
                    self.cuts.pop(0)
                    break
        except OSError:
            pass
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.mark.slow
def test_an_upload_that_breaks_off_goes_on(address: str, tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    save_file({"weight": torch.rand(6_000_000)}, path)
    size = path.stat().st_size
    cutting = Cutting(int(address.rpartition(":")[2]), [size // 2, size // 4])
    with sc.Client(cutting.address, ANN) as client:
        digest = client.upload_network(path)
        assert not cutting.cuts
        assert cutting.passed < 1.4 * size  # not from the beginning each time
        before = cutting.passed
        assert client.upload_network(path) == digest  # it is there
        assert cutting.passed - before < 10_000
    cutting.listening.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"network": torch.nn.Linear(64, 10)}, "the network is Linear, expected the name of its architecture"),
        ({"task": (torch.zeros(2, 3), torch.zeros(2))}, "the task is tuple, expected a name or a Task"),
        ({"method": "snip"}, "a service takes a method by its words"),
        (
            {"task": None, "weights": {"1.weight": torch.zeros(2)}},
            "the weights are dict, expected a network, or a file",
        ),
    ],
)
def test_what_no_service_can_be_sent_is_refused_here(words: dict[str, Any], said: str) -> None:
    with sc.Client("http://127.0.0.1:1") as nobody, pytest.raises(ValueError, match=said):
        nobody.prune(**words)


class Answering(BaseHTTPRequestHandler):
    """Answers every GET: the job is done; and keeps what is PUT."""

    def do_GET(self) -> None:
        self._answer(200, b'{"state": "done", "progress": null}')

    def do_HEAD(self) -> None:
        self._answer(404)

    def do_PUT(self) -> None:
        self.server.kept = self.rfile.read(int(self.headers["Content-Length"]))  # type: ignore[attr-defined]
        self._answer(201, b"{}")

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def answering(port: int) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", port), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_who_waits_goes_on_waiting_while_the_service_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with sc.Client(f"http://127.0.0.1:{port}") as client, contextlib.ExitStack() as later:
        threading.Timer(0.5, lambda: later.enter_context(answering(port))).start()
        assert client.wait("ab")["state"] == "done"
    monkeypatch.setattr("scratchcard.frontends.client.PATIENCE_SECONDS", 0.3)
    with sc.Client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(
            ConnectionError, match=r"cannot be reached .*; the job is ab: `wait` and `ticket` of a client"
        ):
            client.wait("ab")
        with pytest.raises(ConnectionError, match=r"cannot be reached \([^)]*\)$"):
            client.jobs()  # whoever only asks is told at once


def test_a_file_of_torch_is_sent_as_safetensors(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "model": {"module.weight": torch.eye(3)[:, :2]}}, tmp_path / "net.pt")
    port = free_port()
    with answering(port) as server, sc.Client(f"http://127.0.0.1:{port}") as client:
        with pytest.warns(UserWarning, match="checkpoint"):
            digest = client.upload_network(tmp_path / "net.pt")
        assert sha256(server.kept).hexdigest() == digest  # type: ignore[attr-defined]
        network = torch.nn.Linear(2, 3, bias=False)
        with pytest.warns(UserWarning, match="wrapper"):
            load_weights(network, server.kept)  # type: ignore[attr-defined]
    assert torch.equal(network.weight, torch.eye(3)[:, :2])
    (tmp_path / "code.pt").write_bytes(b"nothing")
    with sc.Client("http://127.0.0.1:1") as nobody, pytest.raises(ValueError, match="holds more than plain tensors"):
        nobody.upload_network(tmp_path / "code.pt")
    for name in ("absent.pt", "absent.safetensors"):
        with (
            sc.Client("http://127.0.0.1:1") as nobody,
            pytest.raises(FileNotFoundError, match=r"no weights at .*absent"),
        ):
            nobody.upload_network(tmp_path / name)
