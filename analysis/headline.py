"""How the headline metric of runs is called and shown: accuracy in per cent, an R² as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ACCURACY = "accuracy"
"""What records without a metric's name were measured by."""
SHARES = ("accuracy", "f1", "precision", "recall")
"""Ends of the names of metrics that are shares, shown in per cent."""


@dataclass(frozen=True)
class Headline:
    """A metric by which tickets are compared; larger is better.

    >>> Headline("accuracy").title, Headline("accuracy").text(0.9612)
    ('test accuracy, %', '96.12')
    >>> Headline("r2").title, Headline("r2").text(0.9612)
    ('test r2', '0.9612')

    Attributes:
        name: as the task's objective calls it.
    """

    name: str = ACCURACY

    @property
    def share(self) -> bool:
        """Whether it lies in [0, 1] and is read in per cent."""
        return self.name.endswith(SHARES)

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.share else 1.0

    @property
    def digits(self) -> int:
        """After the point."""
        return 2 if self.share else 4

    @property
    def points(self) -> str:
        """Unit of a difference, with a space before it; empty where there is none."""
        return " points" if self.share else ""

    @property
    def words(self) -> str:
        """`micro f1` of `micro_f1`."""
        return self.name.replace("_", " ")

    @property
    def title(self) -> str:
        """For an axis or a table's head."""
        return f"test {self.words}{', %' if self.share else ''}"

    def text(self, value: float, sign: str = "") -> str:
        """A value as it is shown, without its unit."""
        return f"{self.scale * value:{sign}.{self.digits}f}"


def metric_of(value: Any) -> str:
    """The name in a run's row, where it may be missing."""
    return value if isinstance(value, str) and value else ACCURACY
