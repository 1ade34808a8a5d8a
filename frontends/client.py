"""Client: pruning on a service, from Python."""

from __future__ import annotations

import base64
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn

from scratchcard.apply.pruning_request import method_request
from scratchcard.artefacts.digest import file_digest
from scratchcard.pruning.ticket import Ticket
from scratchcard.pruning.ticket_html import Tickets
from scratchcard.words import shortened
from scratchcard.workloads.encoding import encoding_kept
from scratchcard.workloads.session import Progress
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task

TOKEN = "SCRATCHCARD_TOKEN"  # noqa: S105  (the name of a variable)
"""The environment variable that holds the token where none is given."""
TRIES = 8
PIECE = 1 << 20
WAIT_SECONDS = 20.0


class Client:
    """A service at an address, `scratchcard serve`, and what can be asked of it.

        client = sc.Client("http://127.0.0.1:8000")
        ticket = client.prune("lenet_300_100", "digits", density=0.05, scorer="snip", regime="UMS", rounds=16)

    What is asked for is tried again where the connection breaks or the service is busy; a job is asked for once.

    Args:
        server: the service's address.
        token: who asks; by default what the environment variable `SCRATCHCARD_TOKEN` holds.
        timeout: seconds to wait for an answer.

    Raises:
        ValueError: no address, or the package httpx2 is missing.

    Examples:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     client
        Client('http://127.0.0.1:8000')
        >>> Client("127.0.0.1:8000")
        Traceback (most recent call last):
            ...
        ValueError: '127.0.0.1:8000' is no address of a service: expected one such as http://127.0.0.1:8000
    """

    def __init__(self, server: str, token: str | None = None, *, timeout: float = 60.0) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise ValueError("a client needs one more package: pip install 'scratchcard[serve]'") from error
        if not re.match(r"https?://[^/\s]", server):
            raise ValueError(f"{server!r} is no address of a service: expected one such as http://127.0.0.1:8000")
        self.server = server.rstrip("/")
        token = os.environ.get(TOKEN) if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=self.server, headers=headers, timeout=timeout)
        self._broken = httpx2.TransportError

    def __repr__(self) -> str:
        return f"Client({self.server!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predictors(self) -> list[str]:
        """The names of the predictors there."""
        return sorted({each["name"] for each in self._call("POST", "/v2/repository/index").json()})

    def jobs(self) -> list[dict[str, Any]]:
        """The latest jobs of this token, the newest first."""
        found: list[dict[str, Any]] = self._call("GET", "/jobs").json()
        return found

    def prune(
        self,
        network: str = "lenet_300_100",
        task: Task | str | None = "digits",
        density: float | Sequence[float] = 0.02,
        seed: int = 0,
        *,
        passes: float | None = None,
        weights: Path | nn.Module | None = None,
        recipe: str | None = None,
        recipe_settings: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        **method: Any,
    ) -> Any:
        """Find a ticket there: the same one, to the bit, that `scratchcard.prune` finds here.

        Args:
            network: a name that is registered there, `torchvision:NAME`, or a factory that is allowed there.
            task: a name that is registered there; a `Task`, or a name of files such as `tensors:mine.npz`, is uploaded.
                None for pruning that reads no data: then `input_shape` and `outputs` are named.
            density: kept weights / prunable weights; of several, one search finds a ticket each.
            seed: see `scratchcard.prune`.
            passes: a budget in place of a method.
            weights: initial weights, a safetensors file or a network that holds them; they are uploaded.
            recipe, recipe_settings: how to train, where the method trains.
            progress: called with (done, total).
            method: the words of `Method.of`; `predictor` is the name of one there; and `input_shape`, `outputs`.

        Returns:
            The ticket; of several densities a ticket by density.

        Raises:
            ValueError: it is refused there, or failed; one sentence.
            ConnectionError: the service cannot be reached, or is too busy.

        Warns:
            UserWarning: what the search warned of.
        """
        _check_words(network, task, method)
        shape = {name: method.pop(name) for name in ("input_shape", "outputs") if name in method}
        asked: dict[str, Any] = {"network": network, "seed": seed, "density": density, "passes": passes} | shape
        own = load_task(task) if isinstance(task, str) and ":" in task else task
        asked["task"] = self._upload_own(own) if isinstance(own, Task) else own
        asked |= {"recipe": recipe, "recipe_settings": recipe_settings or None} | method_request(method)
        if weights is not None:
            asked["weights"] = self.upload_network(weights)
        job = self.ask({name: value for name, value in asked.items() if value is not None})
        try:
            self.wait(job, progress)
        except KeyboardInterrupt:
            self._call("DELETE", f"/jobs/{job}")
            raise
        for text in self._call("GET", f"/jobs/{job}/report").json()["warnings"]:
            warnings.warn(text, stacklevel=2)
        several = sorted(density) if isinstance(density, Sequence) else [density]
        found = Tickets((each, self.ticket(job, each)) for each in several)
        if isinstance(own, Task):
            found = Tickets((each, _of_task(ticket, own)) for each, ticket in found.items())
        return found if isinstance(density, Sequence) else found[density]

    def ask(self, request: Mapping[str, Any]) -> str:
        """Let a job wait there, the body of `POST /jobs`; returns its id.

        Raises:
            ValueError, ConnectionError: see `prune`.
        """
        key = {"Idempotency-Key": base64.b32encode(os.urandom(20)).decode()}
        return str(self._call("POST", "/jobs", json=dict(request), headers=key).json()["id"])

    def wait(self, job: str, progress: Progress | None = None) -> dict[str, Any]:
        """Wait for the end of a job; returns what is told of it.

        Raises:
            ValueError: it failed, or was cancelled.
        """
        seconds = WAIT_SECONDS if progress is None else 0.5
        while True:
            found: dict[str, Any] = self._call("GET", f"/jobs/{job}", params={"wait": seconds}).json()
            if progress is not None and found["progress"]:
                progress(found["progress"]["done"], found["progress"]["total"])
            if found["state"] == "done":
                return found
            if found["state"] in ("failed", "cancelled"):
                raise ValueError(f"the job {found['state']}" + (f": {found['error']}" if found["error"] else ""))

    def ticket(self, job: str, density: float | None = None) -> Ticket:
        """A ticket of a job that is done."""
        which = {} if density is None else {"density": density}
        return Ticket.load(self._call("GET", f"/jobs/{job}/ticket", params=which).content)

    def upload_network(self, weights: Path | str | nn.Module) -> str:
        """Upload initial weights, unless they are there; returns their sha256. An upload that breaks off goes on."""
        if not isinstance(weights, nn.Module):
            if not isinstance(weights, str | Path) or Path(weights).suffix.lower() in (".pt", ".pth"):
                given = weights if isinstance(weights, str | Path) else type(weights).__name__
                raise ValueError(f"the weights are {given}, expected a network, or a safetensors file of its state")
            digest = file_digest(path := Path(weights))
            self._upload(f"/networks/{digest}", path, digest, kept=True)
            return digest
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory(prefix="scratchcard-") as folder:
            path = Path(folder) / "weights.safetensors"
            state = {name: value.detach().cpu().contiguous().clone() for name, value in weights.state_dict().items()}
            save_file(state, path)
            return self.upload_network(path)

    def upload_task(self, task: Task, name: str) -> str:
        """Upload a task's data under a name; returns the name. An upload that breaks off goes on.

        Raises:
            ValueError: a task that no file can hold, or what is refused there.
        """
        with tempfile.TemporaryDirectory(prefix="scratchcard-") as folder:
            path = task.save(Path(folder) / "task.safetensors")
            self._upload(f"/tasks/{name}", path, file_digest(path), kept=False)
        return name

    def _upload_own(self, task: Task) -> str:
        stem = Path(task.name.rpartition(":")[2].partition(",")[0]).stem
        return self.upload_task(task, re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:64] or "own")

    def _upload(self, address: str, path: Path, digest: str, *, kept: bool) -> None:
        told = base64.b64encode(bytes.fromhex(digest)).decode()
        headers = {"Repr-Digest": f"sha-256=:{told}:", "Content-Type": "application/octet-stream"}
        size = path.stat().st_size
        for left in reversed(range(TRIES)):
            try:
                has = self._http.head(address, headers=headers)
                if has.status_code == 200 and kept:
                    return
                begin = min(int(has.headers.get("Upload-Offset", "0")), size - 1) if has.status_code == 404 else 0
                length = {"Content-Length": str(size - begin), "Content-Range": f"bytes {begin}-{size - 1}/{size}"}
                sent = self._http.put(address, content=_pieces(path, begin), headers=headers | length)
            except self._broken as error:
                if not left:
                    raise ConnectionError(f"{self.server} broke off the upload again and again ({error})") from error
                time.sleep(0.2 * (TRIES - left))
                continue
            if sent.status_code in (408, 409, 429, 503) and left:
                time.sleep(float(sent.headers.get("Retry-After", "1")))
                continue
            self._check(sent)
            return

    def _call(self, method: str, address: str, **more: Any) -> Any:
        for left in reversed(range(TRIES)):
            try:
                answer = self._http.request(method, address, **more)
            except self._broken as error:
                if not left or isinstance(error, self._refused):
                    raise ConnectionError(f"{self.server} cannot be reached ({error})") from error
                time.sleep(0.2 * (TRIES - left))
                continue
            if answer.status_code in (429, 503) and left:
                time.sleep(float(answer.headers.get("Retry-After", "1")))
                continue
            self._check(answer)
            return answer
        raise AssertionError  # pragma: no cover

    @property
    def _refused(self) -> type[Exception]:
        import httpx2

        return httpx2.ConnectError

    def _check(self, answer: Any) -> None:
        if answer.status_code < 400:
            return
        try:
            said = shortened(str(answer.json()["detail"]), 600)
        except (ValueError, KeyError, TypeError):
            said = f"it answered {answer.status_code}"
        if answer.status_code in (429,) or answer.status_code >= 500:
            raise ConnectionError(f"{self.server}: {said}")
        raise ValueError(f"{self.server}: {said}")


def _check_words(network: Any, task: Any, method: Mapping[str, Any]) -> None:
    """Refuse what no service can be sent, before anything is uploaded."""
    if not isinstance(network, str):
        kind = type(network).__name__
        raise ValueError(f"the network is {kind}, expected the name of its architecture; give a module as weights")
    if not isinstance(task, str | Task | None):
        raise ValueError(f"the task is {type(task).__name__}, expected a name or a Task, such as Task.of(*tensors)")
    if "method" in method:
        raise ValueError("a service takes a method by its words: scorer, regime, predictor and their settings")


def _of_task(ticket: Ticket, task: Task) -> Ticket:
    """The ticket with what a search here notes of a task; there it was one of an uploaded file."""
    told = {"task": task.name, "data_digest": task.digest} | ({} if task.code is None else {"task_code": task.code})
    known = dict(ticket.provenance) | {"workload": ticket.provenance["workload"] | told}
    return replace(ticket, provenance=encoding_kept(known, task.encoding))


def _pieces(path: Path, begin: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(begin)
        while piece := file.read(PIECE):
            yield piece
