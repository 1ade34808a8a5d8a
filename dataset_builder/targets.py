"""Targets: what a slow, training-based regime made of every weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scratchcard.regimes import Found
from scratchcard.score_tables.schema import Column

REPEAT_OFFSET = 1_000_003
"""Added to the seed for the data order of the second slow ticket, and so on."""

TARGETS: tuple[Column, ...] = (
    Column(
        "score",
        "target",
        "divided by the network's largest",
        "the slow regime's last score, 0 where pruned, divided by the largest absolute score of a kept weight",
    ),
    Column("kept", "target", "0 or 1", "whether the slow regime's final ticket keeps the weight"),
    Column("rounds_survived", "target", "share", "rounds of the slow regime that kept the weight / rounds, in [0, 1]"),
    Column("kept_next", "target", "0 or 1", "whether the slow regime's next round keeps the weight"),
    Column(
        "kept_repeat",
        "target",
        "0 or 1, NaN where not run",
        "whether a second slow ticket keeps the weight: same initialisation, another data order",
    ),
)

LOOK_TARGETS: tuple[Column, ...] = (
    Column(
        "score",
        "target",
        "divided by the network's largest",
        "mean over the slow tickets of the last score, 0 where pruned, divided by the largest absolute one of a kept "
        "weight",
    ),
    Column("kept", "target", "share", "slow tickets that keep the weight / slow tickets, in [0, 1]; of one, 0 or 1"),
    Column("rounds_survived", "target", "share", "mean over the slow tickets of rounds that kept the weight / rounds"),
    Column(
        "kept_repeat",
        "target",
        "0 or 1, NaN where not run",
        "whether one more slow ticket keeps the weight: same initialisation, another data order",
    ),
)
"""Of tables of trajectories."""


class Targets:
    """The targets of one network's weights, read from a slow search and perhaps its repetition.

    Args:
        found: the slow regime's search.
        repeat: a second search of the same initialisation with another data order.

    Examples:
        >>> mask = sc.Mask({"weight": torch.tensor([True, False])})
        >>> scores = sc.Scores({"weight": torch.tensor([4.0, 1.0])}, "by hand")
        >>> survived = {"weight": torch.tensor([2, 1])}
        >>> found = Found(mask, scores, survived, densities=(1.0, 0.5), start={}, seconds=0.0)
        >>> columns = Targets(found).columns("weight", np.array([0, 1]), round_=0)
        >>> columns["kept"], columns["rounds_survived"], columns["score"]
        (array([1., 0.], dtype=float32), array([1. , 0.5], dtype=float32), array([1., 0.], dtype=float32))
    """

    def __init__(self, found: Found, repeat: Found | None = None) -> None:
        self.found = found
        self._kept = _vectors(found.mask.tensors)
        self._survived = _vectors(found.survived)
        self._repeat = None if repeat is None else _vectors(repeat.mask.tensors)
        self._scores = _vectors(found.scores.tensors)
        largest = max(float(np.abs(self._scores[name] * kept).max()) for name, kept in self._kept.items())
        self._scale = 1.0 / largest if largest > 0 else 0.0

    def columns(self, parameter: str, indices: NDArray[np.int64], round_: int) -> dict[str, NDArray[np.float32]]:
        """One float32 vector `(n,)` for each of `TARGETS`.

        Args:
            parameter: name of the weight.
            indices: flat indices `(n,)` into it.
            round_: the rows describe the network after this round of the slow regime; 0 is the dense network.
        """
        kept, survived = self._kept[parameter][indices], self._survived[parameter][indices]
        again = None if self._repeat is None else self._repeat[parameter][indices]
        columns = {
            "score": np.where(kept, self._scores[parameter][indices].astype(np.float64) * self._scale, 0.0),
            "kept": kept,
            "rounds_survived": survived / self.found.rounds,
            "kept_next": survived >= round_ + 1,
            "kept_repeat": np.full(len(indices), np.nan) if again is None else again,
        }
        return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in columns.items()}


class LookTargets:
    """The targets of one network's weights at the looks of an early search, averaged over slow tickets.

    Args:
        tickets: slow searches of the same initialisation, each with another data order.
        repeat: one more.

    Examples:
        >>> scores = sc.Scores({"weight": torch.tensor([4.0, 1.0])}, "by hand")
        >>> both = torch.tensor([2, 1]), torch.tensor([1, 2])  # rounds that kept each weight
        >>> found = [
        ...     Found(sc.Mask({"weight": kept > 1}), scores, {"weight": kept}, (1.0, 0.5), start={}, seconds=0.0)
        ...     for kept in both
        ... ]
        >>> columns = LookTargets(found).columns("weight", np.array([0, 1]))
        >>> columns["kept"], columns["rounds_survived"]
        (array([0.5, 0.5], dtype=float32), array([0.75, 0.75], dtype=float32))
    """

    def __init__(self, tickets: Sequence[Found], repeat: Found | None = None) -> None:
        self._tickets = [Targets(found, repeat) for found in tickets]

    def columns(self, parameter: str, indices: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """One float32 vector `(n,)` for each of `LOOK_TARGETS`; see `Targets.columns`."""
        found = [targets.columns(parameter, indices, 0) for targets in self._tickets]
        means = {
            column.name: np.mean([each[column.name] for each in found], axis=0, dtype=np.float64)
            for column in LOOK_TARGETS
        }
        return {name: np.asarray(mean, np.float32) for name, mean in means.items()}


def _vectors(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().cpu().numpy().reshape(-1) for name, tensor in tensors.items()}
