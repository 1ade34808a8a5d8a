"""Objective: what training lowers and what its result is measured by, with the checks of outputs and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.inputs import check_tensor

Function = Callable[[Tensor, Tensor], Tensor]


class Objective(Protocol):
    """Loss and metrics of a task, from a network's outputs and the targets of a batch.

    A metric need not be a mean over examples (an F1 is not). So each batch gives *statistics*, a float64 vector whose
    sum over all batches holds all that the metrics need; `metrics` turns the sum into numbers. That also works for
    many networks at once, and for batches of any size.

    Attributes:
        name: as it is registered.
        metric_names: of what `metrics` gives; the first is the headline, by which tickets are compared.

    Examples:
        >>> objective: Objective = Classification()
        >>> one = objective.statistics(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        >>> two = objective.statistics(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        >>> objective.metrics(one + two)
        {'accuracy': 0.75}
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """See above."""

    @property
    def loss(self) -> Function:
        """Mean loss of outputs and targets, a scalar; one function object for equal objectives."""

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What a batch adds to the sums: float64, `(k,)`; for `vmap` and autograd's inference mode alike."""

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """The metrics of all examples, from the summed statistics; keys are `metric_names`, in order."""

    def check_targets(self, targets: Tensor, *, outputs: int, what: str) -> None:
        """Refuse targets that no network of so many outputs can be trained on.

        Raises:
            ValueError: dtype, shape, range or finiteness; one sentence that begins with `what`.
        """

    def check_outputs(self, outputs: Tensor, targets: Tensor, *, outputs_expected: int, what: str) -> None:
        """Refuse outputs of a network that do not fit the targets; by default all but logits `(n, outputs)`.

        Raises:
            ValueError: no tensor, or of another shape; one sentence that begins with `what`.
        """
        check_shape(outputs, targets, (len(targets), outputs_expected), "logits", what)

    def outputs_of(self, targets: Tensor) -> int:
        """How many outputs a network for these targets needs: classes, or by default labels or numbers."""
        return targets.shape[-1]

    def describe(self) -> dict[str, Any]:
        """Plain JSON that identifies the objective: its name, its settings, the code of the user's own functions."""
        return {"name": self.name}


@dataclass(frozen=True)
class Classification(Objective):
    """One class an example: cross-entropy of logits `(n, classes)` and class indices `(n,)`, int64; accuracy.

    Examples:
        >>> objective, logits = Classification(), torch.tensor([[2.0, 0.0], [2.0, 0.0]])
        >>> objective.metrics(objective.statistics(logits, torch.tensor([0, 1])))
        {'accuracy': 0.5}
        >>> objective.check_targets(torch.tensor([0, 3]), outputs=3, what="the targets")
        Traceback (most recent call last):
            ...
        ValueError: the targets hold the class index 3; 3 classes go from 0 to 2
    """

    name: str = "classification"
    metric_names: tuple[str, ...] = ("accuracy",)

    @property
    def loss(self) -> Function:
        """Mean cross-entropy."""
        return F.cross_entropy

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Correct examples, and all."""
        correct = (outputs.argmax(1) == targets).sum(dtype=torch.float64)
        return torch.stack([correct, torch.full_like(correct, len(targets))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """`accuracy` = correct / all."""
        correct, examples = statistics.tolist()
        return {"accuracy": correct / examples}

    def check_targets(self, targets: Tensor, *, outputs: int, what: str) -> None:
        """See `Objective`: class indices from 0 to `outputs` - 1."""
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise ValueError(
                f"{what} are {targets.dtype} of shape {tuple(targets.shape)}; classification takes class indices, "
                "int64 of shape (examples,); for several labels an example or for numbers name another objective"
            )
        check_indices(targets, outputs, what)

    def check_outputs(self, outputs: Tensor, targets: Tensor, *, outputs_expected: int, what: str) -> None:
        """See `Objective`: logits of shape `(n, classes)`."""
        kind = f"logits for the classes 0 to {outputs_expected - 1}"
        check_shape(outputs, targets, (len(targets), outputs_expected), kind, what)

    def outputs_of(self, targets: Tensor) -> int:
        """The number of classes: the largest index and one."""
        return int(targets.max()) + 1


def training_loss(objective: Objective, label_smoothing: float = 0.0) -> Function:
    """The loss that training lowers: the objective's, with label smoothing where it is asked for.

    Raises:
        ValueError: label smoothing of an objective that is no plain classification.

    Examples:
        >>> logits, targets = torch.tensor([[5.0, 0.0]]), torch.tensor([0])
        >>> [round(float(training_loss(Classification(), share)(logits, targets)), 3) for share in (0.0, 0.1)]
        [0.007, 0.257]
    """
    if not label_smoothing:
        return objective.loss
    if objective.loss is not F.cross_entropy:
        raise ValueError(
            f"the recipe's label_smoothing is for classification, and the objective is {objective.name}; leave it out"
        )
    return partial(F.cross_entropy, label_smoothing=label_smoothing)


def check_indices(targets: Tensor, outputs: int, what: str, also: str = "") -> None:
    """Refuse class indices below 0, or `outputs` and above; `also` ends the sentence.

    Raises:
        ValueError: names the index and the classes that there are.

    Examples:
        >>> check_indices(torch.tensor([0, 2]), outputs=3, what="the targets")
    """
    low, high = (int(end) for end in targets.aminmax())
    if low < 0 or high >= outputs:
        wrong = low if low < 0 else high
        raise ValueError(f"{what} hold the class index {wrong}; {outputs} classes go from 0 to {outputs - 1}{also}")


def check_shape(outputs: Tensor, targets: Tensor, expected: tuple[int, ...], kind: str, what: str) -> None:
    """Refuse outputs of another shape.

    Raises:
        ValueError: names what came and what was expected.

    Examples:
        >>> check_shape(torch.zeros(5, 2), torch.zeros(5), (5, 3), "logits", "the network")
        Traceback (most recent call last):
            ...
        ValueError: the network returns (5, 2) for 5 examples, expected logits of shape (5, 3)
    """
    found = tuple(check_tensor(outputs, what).shape)
    if found != expected:
        raise ValueError(f"{what} returns {found} for {len(targets)} examples, expected {kind} of shape {expected}")
