"""Experiment: prune, train, evaluate; one result record, one JSON file."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import Progress, evaluate_ticket, find_ticket, history, train_ticket, training_summary
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.store import Store
from scratchcard.artefacts.version import RESULTS_VERSION, machine, versions
from scratchcard.pruning.connectivity import Connectivity
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.engines.training import TrainingRecord
from scratchcard.workloads.workload import Workload


@dataclass(frozen=True, eq=False)
class Experiment:
    """One run of the main job: find a ticket, train it, read the test set once.

    Attributes:
        workload: network, task, recipe.
        method: how the ticket is found.
        density: kept weights / prunable weights.
        seed: of the initial weights, the scoring batch, ties and the data order.
        dtype: precision.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> run = Experiment(workload, sc.Method("snip"), density=0.05, seed=0)
        >>> run.label, len(run.digest)
        ('snip', 64)
    """

    workload: Workload
    method: Method
    density: float
    seed: int
    dtype: torch.dtype = torch.float32

    def describe(self) -> dict[str, Any]:
        """The whole configuration as plain JSON."""
        return {
            "workload": self.workload.describe(),
            "method": self.method.describe(),
            "density": float(self.density),
            "seed": self.seed,
            "dtype": str(self.dtype),
            "results_version": RESULTS_VERSION,
        }

    @property
    def label(self) -> str:
        """The method's short name; `dense` (and the initial weights, if not as given) where nothing is pruned."""
        if self.density < 1:
            return self.method.label
        start = self.method.start_label
        return f"dense, {start}" if start else "dense"

    @property
    def digest(self) -> str:
        """Identity of the run: sha256 of its configuration, the data's digest and the results version."""
        described = self.describe()
        names = ("predictor", "predictor_name", "predictor_identity")  # its digest is what counts
        described["method"] = {k: v for k, v in described["method"].items() if k not in names}
        described["workload"].pop("weights", None)  # and so is that of their file
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def run(
        self,
        *,
        device: torch.device | str = "cpu",
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> tuple[dict[str, Any], Ticket]:
        """Prune, train, evaluate; returns the result record (plain JSON) and the trained ticket.

        `store` keeps what other runs share with this one (see `prune`), and lets an interrupted run go on.
        """
        begin = time.perf_counter()
        placement: dict[str, Any] = {"device": device, "dtype": self.dtype}
        ticket = find_ticket(
            self.workload, self.method, self.density, self.seed, store=store, progress=progress, **placement
        )
        ticket, record = train_ticket(ticket, self.workload, self.seed, store=store, progress=progress, **placement)
        return self.result(ticket, record, seconds=time.perf_counter() - begin, device=device), ticket

    def result(
        self, ticket: Ticket, record: TrainingRecord, *, seconds: float, device: torch.device | str = "cpu"
    ) -> dict[str, Any]:
        """Evaluate the trained ticket; the run's record. `seconds` were spent on it before."""
        begin = time.perf_counter()
        network = self.workload.build(0, dtype=self.dtype)
        found = Connectivity.of(network, ticket.mask, self.workload.task.input_shape)
        tested = evaluate_ticket(ticket, self.workload, device=device, dtype=self.dtype)
        result = {
            "digest": self.digest,
            "label": self.label,
            "configuration": self.describe(),
            "kept": ticket.mask.kept,
            "prunable": ticket.mask.total,
            "effective_density": found.effective_density,
            "layer_density": dict(found.density),
            "live_units": dict(found.live_units),
            "pruning_seconds": ticket.provenance["pruning_seconds"],
            "rounds": ticket.provenance.get("rounds", []),
            "training": training_summary(record),
            "history": history(record),
            "test_accuracy": tested.accuracy,
            "test_loss": tested.loss if math.isfinite(tested.loss) else None,
            "wall_seconds": seconds + time.perf_counter() - begin,
            "device": str(device),
            "machine": machine(),
            "versions": versions(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        decoded: dict[str, Any] = json.loads(json.dumps(result))
        return decoded


def write_result(result: dict[str, Any], folder: Path) -> Path:
    """Write a record as `<digest>.json`; written beside and renamed.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> path = write_result({"digest": "abc", "test_accuracy": 0.9}, folder)
        >>> path.name
        'abc.json'
    """
    path = folder / f"{result['digest']}.json"
    with written_beside(path) as beside:
        beside.write_text(json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return path


def read_result(folder: Path, digest: str) -> dict[str, Any] | None:
    """The record of a run that is done, or None; a damaged file counts as not done.

    Examples:
        >>> import tempfile
        >>> read_result(Path(tempfile.mkdtemp()), "abc") is None
        True
    """
    try:
        result = json.loads((folder / f"{digest}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return result if isinstance(result, dict) and result.get("digest") == digest else None
