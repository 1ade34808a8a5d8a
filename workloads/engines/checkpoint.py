"""Checkpoint: a training that is under way, in a file, from which it goes on to the bit."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.artefacts.digest import sha256, tensor_bytes
from scratchcard.artefacts.tensor_file import read_tensors, write_tensors
from scratchcard.artefacts.version import RESULTS_VERSION
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.network_code import network_code
from scratchcard.setting import shown
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task


class Checkpoint:
    """Where a training is kept while it goes on.

    The loop tells it where the training stands after each stretch of steps (at most 430, or those to an evaluation):
    weights and buffers, the optimiser's moments, the random state, the best state and the snapshots, the history. It is
    held in memory, and written when `every` seconds have passed since the last time, and when the training is broken
    off by Ctrl-C or an error: then the steps of the last stretch are done again. The file is written beside and
    renamed, has a checksum, and holds tensors and plain JSON.

    With it lies what decides the training; one that would go another way is refused.

    Attributes:
        path: the file.
        resume: go on from the file, where there is one; otherwise a training begins anew and replaces it.
        every: seconds between two times that it is written.
        resumed: the step that the training went on from; 0 if it began anew.
        seconds: that were spent before it went on.

    Examples:
        >>> task, path = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2), Path("training.checkpoint")
        >>> from scratchcard.workloads.engines.training import train
        >>> def stop(step, most):
        ...     raise KeyboardInterrupt
        >>> network, recipe = nn.Linear(4, 2), sc.Recipe(max_steps=20, evaluation_interval=5, batch_size=32)
        >>> first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        >>> try:
        ...     train(network, task, recipe, progress=stop, checkpoint=Checkpoint(path))
        ... except KeyboardInterrupt:
        ...     _ = network.load_state_dict(first)
        >>> checkpoint = Checkpoint(path, resume=True)
        >>> train(network, task, recipe, checkpoint=checkpoint).steps, checkpoint.resumed
        (20, 5)
    """

    def __init__(self, path: str | Path, *, resume: bool = False, every: float = 60.0) -> None:
        self.path, self.resume, self.every = Path(path), resume, every
        self.resumed, self.seconds = 0, 0.0
        self._decided: dict[str, Any] = {}
        self._spent: Callable[[], float] = time.perf_counter
        self._kept: Mapping[str, Tensor] | None = None
        self._written = time.monotonic()

    def begin(self, decided: Mapping[str, Any], spent: Callable[[], float]) -> None:
        """Before the first step: what decides the training, and a clock of the seconds that it takes from now on."""
        self._decided, self._spent = json.loads(json.dumps(dict(decided))), spent
        self._written = time.monotonic()

    def found(self) -> dict[str, Tensor] | None:
        """Where the training stood when the file was written; None where it is to begin anew.

        Raises:
            ValueError: the file is damaged, or of a training that something else decided; says what.
        """
        if not self.resume:
            return None
        try:
            tensors, texts = read_tensors(self.path)
            about = json.loads(texts["training"])
            seconds, decided = float(about["seconds"]), dict(about["decided"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{self.path} cannot be resumed from ({error}); delete it, or begin anew without resuming"
            ) from error
        for what in (*self._decided, *decided):
            if self._decided.get(what) != decided.get(what):
                raise ValueError(
                    f"{self.path} is of a training of which {what} was another{_other(decided, self._decided, what)}; "
                    "resume it with the same, or begin anew without resuming"
                )
        self.seconds = seconds
        return tensors

    def keep(self, standing: Mapping[str, Tensor]) -> None:
        """Where the training stands now; the tensors are its own."""
        self._kept = standing
        if time.monotonic() - self._written >= self.every:
            self.write()

    def write(self) -> None:
        """Write what was kept last, if there is something that was not written yet.

        Warns:
            UserWarning: nothing can be written there. That ends no training.
        """
        if self._kept is None:
            return
        about = {"seconds": self.seconds + self._spent(), "decided": self._decided}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(self.path, self._kept, {"training": json.dumps(about)})
        except OSError as error:
            warnings.warn(f"the training cannot be kept in {self.path} ({error})", stacklevel=2)
        self._kept, self._written = None, time.monotonic()

    def remove(self) -> None:
        """Remove the file: the training is done, and its outcome lies elsewhere."""
        self._kept = None
        self.path.unlink(missing_ok=True)


def deciding(
    network: nn.Module, mask: Mask | None, task: Task, recipe: Recipe, seed: int, snapshot_steps: Collection[int]
) -> dict[str, Any]:
    """What decides a training, by what it is called in sentences; plain JSON.

    Args:
        network: with its initial weights, the pruned ones zero.
        mask: None trains all.
        task: its data and its objective count.
        recipe: what it says of scoring does not count.
        seed: of the data order.
        snapshot_steps: whose states are kept.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> decided = deciding(nn.Linear(4, 2), None, task, Recipe(), 0, ())
        >>> decided["the recipe's learning_rate"], decided["the seed"]
        (0.1, 0)
    """
    settings = {n: value for n, value in recipe.describe().items() if not n.startswith("scoring_")}
    return {f"the recipe's {name}": value for name, value in settings.items()} | {
        "the seed": seed,
        "the data": task.digest,
        "the objective": task.objective.describe(),
        "the network's code": network_code(network, learning=True),
        "the mask": None if mask is None else _digest(mask.tensors),
        "the initial weights": _digest(network.state_dict()),
        "the rewinding steps": sorted(snapshot_steps),
        "the version of torch": torch.__version__,
        "the results version": RESULTS_VERSION,
    }


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return sha256(p for n, t in tensors.items() for p in (f"{n} {t.dtype} {tuple(t.shape)}\n", tensor_bytes(t)))


def _other(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> str:
    """The two values, where a person knows them."""
    if not what.startswith(("the recipe's", "the seed", "the version", "the device")):
        return ""
    default = "the default"
    return f" ({shown(before.get(what, default))}, not {shown(now.get(what, default))})"
