"""Batch: some rows of a score table, with the target and what each row stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of one network.

    Attributes:
        x: `(n, F)` float32, C-ordered.
        y: `(n,)` float64, the target.
        weight: `(n,)` float64, 1 / the share of such rows that the sample holds; None without a sample.

    Examples:
        >>> batch = Batch(np.zeros((3, 2), np.float32), np.array([1.0, 0.0, 0.0]), np.array([1.0, 20.0, 20.0]))
        >>> float(batch.weight.sum())  # three rows stand for 41
        41.0
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None

    @classmethod
    def mixed(cls, batches: Sequence[Batch], generator: np.random.Generator) -> Self:
        """All rows of several batches in random order."""
        order = generator.permutation(sum(len(batch.y) for batch in batches))
        x = np.concatenate([batch.x for batch in batches])[order]
        y = np.concatenate([batch.y for batch in batches])[order]
        weights = [batch.weight for batch in batches if batch.weight is not None]
        return cls(x, y, np.concatenate(weights)[order] if weights else None)

    def part(self, start: int, stop: int) -> Batch:
        """The rows from `start` to `stop`."""
        weight = None if self.weight is None else self.weight[start:stop]
        return Batch(self.x[start:stop], self.y[start:stop], weight)

    def cut(self, start: int, stop: int, size: int) -> Iterator[Batch]:
        """The rows from `start` to `stop`, `size` at a time."""
        for place in range(start, stop, size):
            yield self.part(place, min(place + size, stop))
