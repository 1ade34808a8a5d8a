"""Several labels an example, each there or not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.workloads.objective import Function, Objective


@dataclass(frozen=True)
class MultiLabel(Objective):
    """Any number of labels an example: binary cross-entropy of logits `(n, labels)` and zeros and ones `(n, labels)`.

    A label is taken to be there where its logit is positive. With `TP`, `FP` and `FN` over all examples,
    `F1 = 2 TP / (2 TP + FP + FN)`: `micro_f1` of the labels' summed counts, `macro_f1` the mean of the labels' own.
    The F1 of a label that is neither there nor predicted is 0, as in scikit-learn.

    >>> MultiLabel().metrics(torch.tensor([3.0, 1.0, 1.0, 0.0, 0.0, 2.0]).double())
    {'micro_f1': 0.727..., 'macro_f1': 0.678...}
    """

    name: str = "multi_label"
    metric_names: tuple[str, ...] = ("micro_f1", "macro_f1")

    @property
    def loss(self) -> Function:
        """Mean binary cross-entropy over examples and labels."""
        return binary_cross_entropy

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """True positives, false positives and false negatives of each label, `(3 * labels,)`."""
        predicted, there = outputs > 0, targets > 0.5
        counts = (predicted & there, predicted & ~there, ~predicted & there)
        return torch.cat([count.sum(0, dtype=torch.float64) for count in counts])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """`micro_f1` and `macro_f1`."""
        true, false, missed = statistics.reshape(3, -1)
        micro, macro = _f1(true.sum(), false.sum(), missed.sum()), _f1(true, false, missed).mean()
        return {"micro_f1": float(micro), "macro_f1": float(macro)}

    def check_targets(self, targets: Tensor, *, outputs: int, what: str) -> None:
        """See `Objective`: floats of shape `(n, labels)`, each 0 or 1."""
        if not targets.is_floating_point() or targets.ndim != 2:
            raise ValueError(
                f"{what} are {targets.dtype} of shape {tuple(targets.shape)}; multi_label takes zeros and ones as "
                "floats of shape (examples, labels)"
            )
        if targets.shape[1] != outputs:
            raise ValueError(f"{what} have {targets.shape[1]} labels, expected {outputs}")
        if not bool(((targets == 0) | (targets == 1)).all()):
            raise ValueError(f"{what} hold other numbers than 0 and 1, which multi_label takes")


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits and zeros and ones, in the logits' precision.

    Examples:
        >>> round(float(binary_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))), 4)  # log 2
        0.6931
    """
    return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))


def _f1(true: Tensor, false: Tensor, missed: Tensor) -> Tensor:
    return 2 * true / (2 * true + false + missed).clamp(min=1)
