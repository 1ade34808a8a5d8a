"""Parts of a table's rows, and sums over them: made here over all rows at once, or where a cluster's workers read them.

A sum over parts is merged from the sums of its parts. One over all rows in one part has the same bits as it had before
there were parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scratchcard.meta.rows import Rows

Key = tuple[str, int]
"""Workload and seed: one initialisation of one network."""
PART_ROWS = 2**22
"""Rows of a part for a cluster's worker, about."""
_CHUNK = 65_536


@dataclass(frozen=True)
class Part:
    """Some rows: of these networks, all row groups; or of one network those from `first` to `last`.

    Examples:
        >>> Part((("toy", 0),), first=4, last=8).groups
        slice(4, 8, None)
    """

    networks: tuple[Key, ...]
    first: int = 0
    last: int | None = None

    @property
    def groups(self) -> slice | None:
        """Which of the row groups; None for all."""
        return None if self.last is None else slice(self.first, self.last)


def parts_of(groups: dict[Key, list[int]], rows: int | None = None) -> list[Part]:
    """Parts of about so many rows, none across two networks.

    Args:
        groups: of each network the rows of its row groups.
        rows: of a part; `PART_ROWS` where nothing is said.

    Examples:
        >>> parts_of({("toy", 0): [3, 3, 3], ("toy", 1): [3]}, rows=5)
        [Part(networks=(('toy', 0),), first=0, last=2), Part(networks=(('toy', 0),), first=2, last=3), ...]
    """
    found, rows = [], rows or PART_ROWS
    for network, sizes in groups.items():
        first = held = 0
        for place, size in enumerate(sizes, start=1):
            held += size
            if held >= rows or place == len(sizes):
                found.append(Part((network,), first, place))
                first, held = place, 0
    return found


@dataclass(frozen=True)
class Summary:
    """The target over all rows: for each network the rows and the positive ones (target > 0); moments.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "summary", recording)
        >>> from scratchcard.meta.rows import Rows
        >>> Rows(table, ("magnitude",), "kept", (("Linear-own", 0),)).summary
        Summary(rows=(8,), positives=(4,), mean=0.5, minimum=0.0, maximum=1.0, binary=True)
    """

    rows: tuple[int, ...]
    positives: tuple[int, ...]
    mean: float
    minimum: float
    maximum: float
    binary: bool


@dataclass
class TargetSums:
    """Of a target: for each network the rows and the positive ones; sum and bounds.

    Examples:
        >>> one, other = TargetSums(), TargetSums()
        >>> one.add(("toy", 0), np.array([1.0, 0.0]))
        >>> other.add(("toy", 0), np.array([0.5]))
        >>> one.merge(other)
        >>> one.rows, one.positives, one.total, one.binary
        ({('toy', 0): 3}, {('toy', 0): 2}, 1.5, False)
    """

    rows: dict[Key, int] = field(default_factory=dict)
    positives: dict[Key, int] = field(default_factory=dict)
    total: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf
    binary: bool = True

    def add(self, network: Key, y: np.ndarray) -> None:
        """Some rows of a network."""
        self.rows[network] = self.rows.get(network, 0) + len(y)
        self.positives[network] = self.positives.get(network, 0) + int((y > 0).sum())
        self.total += float(y.sum(dtype=np.float64))
        self.binary = self.binary and bool(((y == 0) | (y == 1)).all())
        if len(y):
            self.minimum, self.maximum = min(self.minimum, float(y.min())), max(self.maximum, float(y.max()))

    def merge(self, other: TargetSums) -> None:
        """Those of other rows."""
        for network in other.rows:
            self.rows[network] = self.rows.get(network, 0) + other.rows[network]
            self.positives[network] = self.positives.get(network, 0) + other.positives[network]
        self.total += other.total
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.binary = self.binary and other.binary

    def summary(self, networks: Sequence[Key]) -> Summary:
        """What they say of these networks.

        Raises:
            ValueError: there are no rows.
        """
        rows = tuple(self.rows.get(network, 0) for network in networks)
        if not sum(rows):
            raise ValueError("no rows to fit on: the chosen workloads, seeds and rounds are empty")
        positives = tuple(self.positives.get(network, 0) for network in networks)
        return Summary(rows, positives, self.total / sum(rows), self.minimum, self.maximum, self.binary)


def target_sums(rows: Rows, part: Part) -> TargetSums:
    """One pass over the target alone.

    Raises:
        ValueError: it holds NaN or infinity.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "target_sums", recording)
        >>> from scratchcard.meta.rows import Rows
        >>> network = ("Linear-own", 0)
        >>> target_sums(Rows(table, ("magnitude",), "kept", (network,)), Part((network,))).total
        4.0
    """
    found = TargetSums()
    for network in part.networks:
        found.add(network, np.empty(0))
        for block in rows.blocks([rows.target], network, part.groups):
            y = block.columns[rows.target]
            if not np.isfinite(y).all():
                raise ValueError(
                    f"target {rows.target!r} of {network[0]!r} seed {network[1]} holds NaN or infinity; "
                    "fit on seeds where it was run, or on another target"
                )
            found.add(network, y)
    return found


@dataclass
class Moments:
    """Count, mean and sum of squares about it, of columns; merged by the update of Chan, Golub and LeVeque (1979).

    Examples:
        >>> one, other = Moments.of(np.array([[1.0], [3.0]])), Moments.of(np.array([[8.0]]))
        >>> one.merge(other)
        >>> one.count, one.mean, one.squares
        (3, array([4.]), array([26.]))
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Moments:
        """Those of some rows `(n, F)`."""
        mean = x.mean(axis=0)
        return cls(len(x), mean, ((x - mean) ** 2).sum(axis=0))

    def merge(self, other: Moments) -> None:
        """Those of other rows."""
        total = self.count + other.count
        if not total:
            return
        self.squares = self.squares + (
            other.squares + (other.mean - self.mean) ** 2 * (self.count * other.count / total)
        )
        self.mean = self.mean + (other.mean - self.mean) * (other.count / total)
        self.count = total


def moments_of(rows: Rows, part: Part) -> Moments:
    """Of the features of a part, stable for large means.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "moments_of", recording)
        >>> from scratchcard.meta.rows import Rows
        >>> network = ("Linear-own", 0)
        >>> moments_of(Rows(table, ("magnitude",), "kept", (network,)), Part((network,))).count
        8
    """
    found = Moments(0, np.zeros(len(rows.features)), np.zeros(len(rows.features)))
    for batch in rows.batches(part.networks, part.groups):
        for start in range(0, len(batch.y), _CHUNK):
            found.merge(Moments.of(batch.x[start : start + _CHUNK].astype(np.float64)))
    return found
