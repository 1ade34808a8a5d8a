"""Experiment: prune, train, evaluate; one result record."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.apply.training_summary import finite, history, training_summary
from scratchcard.artefacts.digest import json_digest
from scratchcard.artefacts.json_file import as_read
from scratchcard.artefacts.version import RESULTS_VERSION, machine, versions
from scratchcard.clock import utc_now
from scratchcard.pruning.findings import observe
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.engines.training import TrainingRecord
from scratchcard.workloads.session import Session
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

    Raises:
        ValueError: density 1 for a regime that chooses its density: a run at 1 is the dense network.

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

    def __post_init__(self) -> None:
        regime = self.method.make_regime()
        if self.density >= 1 and regime.chooses:
            raise ValueError(
                f"a run at density 1 is the dense network, and {regime.name} chooses its density below the one that is "
                "asked for; ask for 0.99"
            )

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
        return json_digest(described)

    def run(self, session: Session | None = None) -> tuple[dict[str, Any], Ticket]:
        """Prune, train, evaluate; returns the result record (plain JSON) and the trained ticket.

        The session's store keeps what other runs share with this one, and lets an interrupted run go on; its dtype is
        the run's own.
        """
        begin = time.perf_counter()
        session = Session.of(session, dtype=self.dtype).without_memory("a run")
        ticket = find_ticket(self.workload, self.method, self.density, self.seed, session)
        ticket, record = train_ticket(ticket, self.workload, self.seed, session)
        return self.result(ticket, record, seconds=time.perf_counter() - begin, device=session.device), ticket

    def result(
        self, ticket: Ticket, record: TrainingRecord, *, seconds: float, device: torch.device | str = "cpu"
    ) -> dict[str, Any]:
        """Evaluate the trained ticket; the run's record. `seconds` were spent on it before."""
        begin = time.perf_counter()
        known = self._checks(ticket)
        tested = evaluate_ticket(ticket, self.workload, session=Session(device, self.dtype))
        result = {
            "digest": self.digest,
            "label": self.label,
            "configuration": self.describe(),
            "kept": ticket.mask.kept,
            "prunable": ticket.mask.total,
            "effective_density": known["effective_density"],
            "layer_density": {name: int(kept.sum()) / kept.numel() for name, kept in ticket.mask.tensors.items()},
            "live_units": known.get("live_units", {}),
            "pruning_seconds": ticket.provenance["pruning_seconds"],
            "passes": ticket.provenance.get("passes"),
            "rounds": ticket.provenance.get("rounds", []),
            "training": training_summary(record),
            "history": history(record),
            "test_accuracy": finite(tested.metric),
            "test_loss": finite(tested.loss),
            "wall_seconds": seconds + time.perf_counter() - begin,
            "device": str(device),
            "machine": machine(),
            "versions": versions(),
            "finished": utc_now(),
        }
        checks = {finding.kind: finding.text for finding in ticket.check()}
        result |= {"checks": checks} if checks else {}
        headline = next(iter(tested.metrics))
        if headline != "accuracy":
            measured = {name: finite(value) for name, value in tested.metrics.items()}
            result |= {"metric": headline, "test_metrics": measured}
        return as_read(result)

    def _checks(self, ticket: Ticket) -> dict[str, Any]:
        """What was seen of the ticket when it was found; a ticket of an earlier release is looked at now."""
        known = ticket.provenance.get("checks")
        if known is None:
            known = observe(self.workload.build(0, dtype=self.dtype), ticket.mask, self.workload.task.example)
        if known["effective_density"] is None:  # such as of a network that sorts its activations
            warnings.warn(f"the effective density is not known: {known['effective_density_unknown']}", stacklevel=2)
        return dict(known)
