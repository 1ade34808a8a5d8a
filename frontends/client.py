"""Client: pruning on a service, from Python."""

from __future__ import annotations

import base64
import os
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from scratchcard.apply.pruning_request import method_request
from scratchcard.artefacts.digest import file_digest
from scratchcard.frontends.connection import Connection
from scratchcard.pruning.ticket import Ticket
from scratchcard.pruning.ticket_html import Tickets
from scratchcard.workloads.encoding import encoding_kept
from scratchcard.workloads.session import Progress
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.weights_file import is_torch_file, read_state, weights_at

WAIT_SECONDS = 20.0
PATIENCE_SECONDS = 120.0
"""For which a service that does its jobs may be away, as while it starts again."""


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
        self._connection = Connection(server, token, timeout)
        self.server = self._connection.server

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
        self._connection.close()

    def predictors(self) -> list[str]:
        """The names of the predictors there."""
        return sorted({each["name"] for each in self._connection.call("POST", "/v2/repository/index").json()})

    def jobs(self) -> list[dict[str, Any]]:
        """The latest jobs of this token, the newest first."""
        found: list[dict[str, Any]] = self._connection.call("GET", "/jobs").json()
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
            weights: initial weights, a file as `load_weights` reads it or a network that holds them; they are uploaded.
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
        _check_words(network, task, weights, method)
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
            self._connection.call("DELETE", f"/jobs/{job}")
            raise
        for text in self._connection.call("GET", f"/jobs/{job}/report").json()["warnings"]:
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
        return str(self._connection.call("POST", "/jobs", json=dict(request), headers=key).json()["id"])

    def wait(self, job: str, progress: Progress | None = None) -> dict[str, Any]:
        """Wait for the end of a job; returns what is told of it. Meanwhile the service may end and start again.

        Raises:
            ValueError: it failed, or was cancelled.
            ConnectionError: nobody answers for two minutes; the job, which the sentence names, may go on there.
        """
        seconds = WAIT_SECONDS if progress is None else 0.5
        while True:
            try:
                answer = self._connection.call(
                    "GET", f"/jobs/{job}", patience=PATIENCE_SECONDS, params={"wait": seconds}
                )
            except ConnectionError as error:
                raise ConnectionError(
                    f"{error}; the job is {job}: `wait` and `ticket` of a client go on with it"
                ) from error
            found: dict[str, Any] = answer.json()
            if progress is not None and found["progress"]:
                progress(found["progress"]["done"], found["progress"]["total"])
            if found["state"] == "done":
                return found
            if found["state"] in ("failed", "cancelled"):
                raise ValueError(f"the job {found['state']}" + (f": {found['error']}" if found["error"] else ""))

    def ticket(self, job: str, density: float | None = None) -> Ticket:
        """A ticket of a job that is done."""
        which = {} if density is None else {"density": density}
        return Ticket.load(self._connection.call("GET", f"/jobs/{job}/ticket", params=which).content)

    def upload_network(self, weights: Path | str | nn.Module) -> str:
        """Upload initial weights, unless they are there; returns their sha256. An upload that breaks off goes on.

        Args:
            weights: a network, or a file of its state; one of torch's own is sent as safetensors.

        Raises:
            ValueError: see `load_weights`, or what is refused there.
            FileNotFoundError: there is no such file.
        """
        from safetensors.torch import save_file

        if isinstance(weights, nn.Module):
            known: Mapping[str, Tensor] = weights.state_dict()
        elif is_torch_file(path := weights_at(Path(weights))):
            known = read_state(path)
        else:
            digest = file_digest(path)
            self._connection.upload(f"/networks/{digest}", path, digest, kept=True)
            return digest
        with tempfile.TemporaryDirectory(prefix="scratchcard-") as folder:
            path = Path(folder) / "weights.safetensors"
            save_file({name: value.detach().cpu().contiguous().clone() for name, value in known.items()}, path)
            return self.upload_network(path)

    def upload_task(self, task: Task, name: str) -> str:
        """Upload a task's data under a name; returns the name. An upload that breaks off goes on.

        Raises:
            ValueError: a task that no file can hold, or what is refused there.
        """
        with tempfile.TemporaryDirectory(prefix="scratchcard-") as folder:
            path = task.save(Path(folder) / "task.safetensors")
            self._connection.upload(f"/tasks/{name}", path, file_digest(path), kept=False)
        return name

    def _upload_own(self, task: Task) -> str:
        stem = Path(task.name.rpartition(":")[2].partition(",")[0]).stem
        return self.upload_task(task, re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:64] or "own")


def _check_words(network: Any, task: Any, weights: Any, method: Mapping[str, Any]) -> None:
    """Refuse what no service can be sent, before anything is uploaded."""
    if not isinstance(network, str):
        kind = type(network).__name__
        raise ValueError(f"the network is {kind}, expected the name of its architecture; give a module as weights")
    if not isinstance(task, str | Task | None):
        raise ValueError(f"the task is {type(task).__name__}, expected a name or a Task, such as Task.of(*tensors)")
    if not isinstance(weights, str | Path | nn.Module | None):
        raise ValueError(f"the weights are {type(weights).__name__}, expected a network, or a file of its state")
    if "method" in method:
        raise ValueError("a service takes a method by its words: scorer, regime, predictor and their settings")


def _of_task(ticket: Ticket, task: Task) -> Ticket:
    """The ticket with what a search here notes of a task; there it was one of an uploaded file."""
    told = {"task": task.name, "data_digest": task.digest} | ({} if task.code is None else {"task_code": task.code})
    known = dict(ticket.provenance) | {"workload": ticket.provenance["workload"] | told}
    return replace(ticket, provenance=encoding_kept(known, task.encoding))
