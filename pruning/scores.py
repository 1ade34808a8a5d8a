"""Scores: one number for each prunable weight; higher = keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from scratchcard.pruning.parameters import all_finite, count, flatten


@dataclass(frozen=True, eq=False)
class Scores:
    """One floating, finite number for each prunable weight; higher = keep, always.

    Attributes:
        tensors: scores by weight name, each in its weight's shape, in the order of `prunable()`.
        criterion: the `repr` of the scorer that made them.

    Raises:
        ValueError: a tensor is not floating, or holds NaN or infinity.
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

    @property
    def total(self) -> int:
        """Number of scored weights."""
        return count(self.tensors)

    def flat(self) -> Tensor:
        """All scores as one vector `(n,)`."""
        return flatten(self.tensors)
