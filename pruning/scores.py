"""Scores: one number for each prunable weight; higher = keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from scratchcard.pruning.parameters import all_finite, count, flatten
from scratchcard.words import counted


@dataclass(frozen=True, eq=False)
class Scores:
    """One floating, finite number for each prunable weight; higher = keep, always.

    Attributes:
        tensors: scores by weight name, each in its weight's shape, in the order of `prunable()`.
        criterion: the `repr` of the scorer that made them.

    Raises:
        ValueError: a tensor is not floating, or holds NaN or infinity.

    Examples:
        >>> scores = Scores({"weight": torch.tensor([[0.1, 0.7, 0.4]])}, "by hand")
        >>> scores.total
        3
        >>> scores.flat()
        tensor([0.1000, 0.7000, 0.4000])
    """

    tensors: Mapping[str, Tensor]
    criterion: str

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if not tensor.dtype.is_floating_point:
                raise ValueError(f"scores of {name!r} by {self.criterion} are {tensor.dtype}, expected floating")
            if not all_finite(tensor):
                raise ValueError(
                    f"scores of {name!r} by {self.criterion} hold NaN or infinity; "
                    "check the network's weights and the scoring batch, or score in float64"
                )

    def __repr__(self) -> str:
        return f"Scores({counted(self.total, 'weight')} in {counted(len(self.tensors), 'layer')}, by {self.criterion})"

    @property
    def total(self) -> int:
        """Number of scored weights."""
        return count(self.tensors)

    def flat(self) -> Tensor:
        """All scores as one vector `(n,)`."""
        return flatten(self.tensors)
