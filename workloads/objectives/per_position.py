"""One class at each position: pixels of a segmentation, tokens of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.workloads.objective import Function, Objective, check_indices, check_shape


@dataclass(frozen=True)
class PerPosition(Objective):
    """A class at each position: cross-entropy and accuracy over all positions of all examples.

    Outputs are `(n, classes, *positions)`, such as `(n, classes, h, w)` or `(n, classes, length)`; targets are class
    indices `(n, *positions)`, int64.

    Attributes:
        ignore: positions with this target count neither in the loss nor in the accuracy (padding, unlabelled pixels);
            None counts all.

    >>> objective = PerPosition(ignore=-1)
    >>> objective.metrics(objective.statistics(torch.eye(2)[None], torch.tensor([[0, -1]])))
    {'accuracy': 1.0}
    """

    ignore: int | None = None
    name: str = "per_position"
    metric_names: tuple[str, ...] = ("accuracy",)

    @property
    def loss(self) -> Function:
        """Mean cross-entropy over the positions that count; 0 where none does."""
        return position_cross_entropy if self.ignore is None else _CrossEntropy(self.ignore)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Correct positions, and all that count."""
        counts = torch.ones_like(targets, dtype=torch.bool) if self.ignore is None else targets != self.ignore
        correct = (outputs.argmax(1) == targets) & counts
        return torch.stack([correct.sum(dtype=torch.float64), counts.sum(dtype=torch.float64)])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """`accuracy` = correct / all; 0 where no position counts."""
        correct, positions = statistics.tolist()
        return {"accuracy": correct / max(positions, 1.0)}

    def check_targets(self, targets: Tensor, *, outputs: int, what: str) -> None:
        """See `Objective`: class indices of shape `(n, *positions)`, of which some may be `ignore`."""
        if targets.dtype != torch.int64 or targets.ndim < 2:
            raise ValueError(
                f"{what} are {targets.dtype} of shape {tuple(targets.shape)}; per_position takes class indices, int64 "
                "of shape (examples, *positions)"
            )
        if not targets.numel():
            raise ValueError(f"{what} have the shape {tuple(targets.shape)}, and no position; expected class indices")
        counted = targets if self.ignore is None else targets[targets != self.ignore]
        if not counted.numel():
            raise ValueError(f"{what} hold nothing but the ignored index {self.ignore}")
        lowest = int(counted.min())
        hint = f"; ignored positions are named: sc.PerPosition(ignore={lowest})" if lowest < 0 else ""
        check_indices(counted, outputs, what, hint if self.ignore is None else f" and {self.ignore} is ignored")

    def check_outputs(self, outputs: Tensor, targets: Tensor, *, outputs_expected: int, what: str) -> None:
        """See `Objective`: logits of shape `(n, classes, *positions)`."""
        check_shape(outputs, targets, (len(targets), outputs_expected, *targets.shape[1:]), "logits", what)

    def outputs_of(self, targets: Tensor) -> int:
        """The number of classes: the largest index that counts and one."""
        counted = targets if self.ignore is None else targets[targets != self.ignore]
        return int(counted.max()) + 1 if counted.numel() else 1

    def describe(self) -> dict[str, Any]:
        """See `Objective`."""
        return super().describe() | ({} if self.ignore is None else {"ignore": self.ignore})


def position_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over all positions.

    Examples:
        >>> round(float(position_cross_entropy(torch.zeros(1, 4, 3), torch.tensor([[0, 1, 3]]))), 4)  # log 4
        1.3863
    """
    return F.cross_entropy(outputs, targets)


@dataclass(frozen=True)
class _CrossEntropy:
    """Mean cross-entropy over the positions that count; a batch without any has the loss 0, not 0 / 0."""

    ignore: int

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        total = F.cross_entropy(outputs, targets, ignore_index=self.ignore, reduction="sum")
        return total / (targets != self.ignore).sum().clamp(min=1)
