"""Scale: the extent of one number over kept weights."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from scratchcard.scorers.shelf import parts


@dataclass(frozen=True)
class Scale:
    """Extent of one number over kept weights; all 0 where there is none.

    Attributes:
        low, high: smallest and largest.
        mean: `E |s|`.
        rms: `sqrt(E s^2)`.

    Examples:
        >>> scale = Scale.of(np.array([-3.0, 4.0]))
        >>> scale.low, scale.high, scale.mean, round(scale.rms, 3)
        (-3.0, 4.0, 3.5, 3.536)
        >>> Scale.joined([Scale.of(np.array([1.0])), Scale.of(np.array([3.0]))]).mean
        2.0
    """

    count: int
    low: float
    high: float
    mean: float
    rms: float

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """Of `(n,)` numbers, summed in float64 a chunk at a time."""
        if not values.size:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        total, squares = 0.0, 0.0
        largest = max(abs(float(values.min())), abs(float(values.max()))) or 1.0
        for chosen in parts(values.size):
            part = np.abs(values[chosen].astype(np.float64)) / largest
            total += float(part.sum())
            squares += float(part @ part)
        n = values.size
        return cls(n, float(values.min()), float(values.max()), largest * total / n, largest * math.sqrt(squares / n))

    @classmethod
    def joined(cls, scales: Collection[Scale]) -> Scale:
        """Of several layers together."""
        scales = [scale for scale in scales if scale.count]
        if not scales:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        count = sum(scale.count for scale in scales)
        largest = max(scale.rms for scale in scales) or 1.0
        return cls(
            count,
            min(scale.low for scale in scales),
            max(scale.high for scale in scales),
            sum(scale.mean * (scale.count / count) for scale in scales),
            largest * math.sqrt(sum((scale.rms / largest) ** 2 * (scale.count / count) for scale in scales)),
        )

    def times(self, factor: float) -> Scale:
        """Of the numbers times a factor >= 0."""
        return Scale(self.count, *(factor * x for x in (self.low, self.high, self.mean, self.rms)))
