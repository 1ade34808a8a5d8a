"""TensorBoard: logs of a sweep's runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scratchcard.pruning.ticket import Ticket

OURS = ".scratchcard"
"""The end of our logs' names: those of other programs in a run's folder stay."""


class Logs:
    """TensorBoard logs below `folder`, one run in `<network>-<task>/<label>/d<density>/s<seed>`.

    Written again, a run's logs replace the earlier ones.

    Args:
        folder: where; made when the first run is written.
        examples: number of training examples by task, for `seconds/epoch`.

    Raises:
        ValueError: tensorboard is not installed.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> record, ticket = sc.Experiment(workload, sc.Method("magnitude"), 0.25, seed=0).run()
        >>> Logs("logs").write(record, ticket).as_posix()
        'logs/Linear-own/magnitude/d0.25/s0'
    """

    def __init__(self, folder: str | Path, examples: Mapping[str, int] | None = None) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise ValueError("TensorBoard logs need tensorboard: pip install 'scratchcard[tensorboard]'") from error
        self.folder, self.examples = Path(folder), dict(examples or {})

    def write(self, record: dict[str, Any], ticket: Ticket | None) -> Path:
        """Write a run's logs; returns their folder.

        Scalars over training steps: `loss/train`, `loss/validation`, `accuracy/validation`. At the step whose weights
        were taken: `loss/test`, `accuracy/test`. Once: `density`, `density/effective`, `seconds/pruning`,
        `seconds/training`, and `seconds/epoch` = seconds of training, its evaluations included, / its steps *
        floor(training examples / batch size), where the examples are known. Over the rounds of slow regimes:
        `rounds/density`, `rounds/accuracy` (validation), `rounds/seconds`. Histograms of each layer's kept weights:
        `initial/<weight>` and `trained/<weight>`. Text: `configuration`. A loss that is no number is left out.

        Args:
            record: the run's.
            ticket: its trained ticket; without one there are no histograms.

        Raises:
            OSError: nothing can be written there.
        """
        from torch.utils.tensorboard import SummaryWriter

        place = self.folder / run_folder(record)
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob(f"events.out.tfevents.*{OURS}"):
            old.unlink()
        with SummaryWriter(str(place), filename_suffix=OURS) as writer:
            for name, step, value in self._scalars(record):
                writer.add_scalar(name, value, step)
            for name, tensor, step in _weights(record, ticket):
                writer.add_histogram(name, tensor, step)
            settings = json.dumps(record["configuration"], indent=2, sort_keys=True)
            writer.add_text("configuration", f"{record['label']}\n\n```\n{settings}\n```")
        return place

    def _scalars(self, record: Mapping[str, Any]) -> Iterator[tuple[str, int, float]]:
        """Name, step and value of all that is a number."""
        training = record["training"]
        found: list[tuple[str, int, Any]] = []
        for step, train_loss, validation_loss, validation_accuracy in record.get("history") or ():
            found += [
                ("loss/train", step, train_loss),
                ("loss/validation", step, validation_loss),
                ("accuracy/validation", step, validation_accuracy),
            ]
        found += [
            ("loss/test", training["best_step"], record["test_loss"]),
            ("accuracy/test", training["best_step"], record["test_accuracy"]),
            ("density", 0, record["kept"] / record["prunable"]),
            ("density/effective", 0, record["effective_density"]),
            ("seconds/pruning", 0, record["pruning_seconds"]),
            ("seconds/training", 0, training["seconds"]),
            ("seconds/epoch", 0, self._seconds_an_epoch(record)),
        ]
        for number, entry in enumerate(record.get("rounds") or (), start=1):
            found += [
                ("rounds/density", number, entry["density"]),
                ("rounds/accuracy", number, entry["validation_accuracy"]),
                ("rounds/seconds", number, entry["seconds"]),
            ]
        yield from ((name, step, value) for name, step, value in found if value is not None and math.isfinite(value))

    def _seconds_an_epoch(self, record: Mapping[str, Any]) -> float | None:
        workload, training = record["configuration"]["workload"], record["training"]
        examples = self.examples.get(workload["task"])
        if examples is None or not training["steps"]:
            return None
        return float(training["seconds"] / training["steps"] * (examples // workload["recipe"]["batch_size"]))


def run_folder(record: Mapping[str, Any]) -> Path:
    """Where a run's logs lie: names of letters, digits and `.+-_` only.

    Examples:
        >>> workload = {"network": "lenet_300_100", "task": "digits"}
        >>> configuration = {"workload": workload, "density": 0.02, "seed": 7}
        >>> run_folder({"label": "synflow, UMS 100", "configuration": configuration}).as_posix()
        'lenet_300_100-digits/synflow_UMS_100/d0.02/s7'
    """
    configuration = record["configuration"]
    workload = configuration["workload"]
    names = (
        f"{workload['network']}-{workload['task']}",
        record["label"],
        f"d{configuration['density']}",
        f"s{configuration['seed']}",
    )
    return Path(*(re.sub(r"[^\w.+-]+", "_", name) for name in names))


def _weights(record: Mapping[str, Any], ticket: Ticket | None) -> Iterator[tuple[str, Tensor, int]]:
    """Name, kept weights and step of every histogram; a layer without kept weights has none."""
    if ticket is None:
        return
    states = (("initial", ticket.initial, 0), ("trained", ticket.trained or {}, record["training"]["best_step"]))
    for when, state, step in states:
        for name, mask in ticket.mask.tensors.items():
            if name in state:
                kept = state[name].cpu()[mask.cpu()]
                kept = kept[kept.isfinite()]
                if len(kept):
                    yield f"{when}/{name}", kept, step
