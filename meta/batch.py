"""Batch: some rows of a score table, with the target and what each row stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from scratchcard.score_tables.schema import TableBlock


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


def side_by_side(block: TableBlock, features: Sequence[str], chosen: np.ndarray | None = None) -> np.ndarray:
    """Columns of a block as `(n, F)` float32, of all its rows or of the chosen ones.

    Raises:
        ValueError: a feature is not finite.

    Examples:
        >>> from scratchcard.score_tables.schema import TableBlock
        >>> columns = {"magnitude": np.array([0.5, 0.1], np.float32), "kept": np.array([1, 0], np.float32)}
        >>> side_by_side(TableBlock("toy", 0, 0, "weight", np.arange(2), columns), ["magnitude"], np.array([1]))
        array([[0.1]], dtype=float32)
    """
    x = np.empty((block.rows if chosen is None else len(chosen), len(features)), dtype=np.float32)
    for place, name in enumerate(features):
        column = block.columns[name]
        x[:, place] = column if chosen is None else column[chosen]
        if not np.isfinite(x[:, place]).all():
            raise ValueError(
                f"feature {name!r} of {block.workload!r} seed {block.seed}, {block.parameter!r}, "
                "holds NaN or infinity; build the table again"
            )
    return x
