"""Shrunk: how many parameters compaction left."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Shrunk(NamedTuple):
    """The size of a network after compaction and before it; as a text, the line that commands print.

    Attributes:
        parameters: of the small network.
        before: of the whole network.

    Examples:
        >>> str(Shrunk(5_000, 266_610)), str(Shrunk(10, 10))
        ('compacted to 5,000 of 266,610 parameters', 'not compacted: it keeps its 10 parameters')
    """

    parameters: int
    before: int

    @classmethod
    def of(cls, small: nn.Module, network: nn.Module) -> Shrunk:
        """The sizes of two networks.

        >>> Shrunk.of(nn.Linear(2, 1), nn.Linear(3, 1))
        Shrunk(parameters=3, before=4)
        """
        return cls(*(sum(weight.numel() for weight in each.parameters()) for each in (small, network)))

    def __str__(self) -> str:
        if self.parameters < self.before:
            return f"compacted to {self.parameters:,} of {self.before:,} parameters"
        return f"not compacted: it keeps its {self.before:,} parameters"
