"""A score table as LightGBM reads it: one Sequence a network, one row group in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np

from scratchcard.meta.batch import Batch
from scratchcard.meta.parts import Key
from scratchcard.meta.rows import Rows


class Window:
    """The rows of one network that are in memory: a row group, or all of them in a given order.

    LightGBM asks for rising places, first some (to choose its bins), then all; going back starts again.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "window", recording)
        >>> rows = Rows(table, ("magnitude", "depth"), "kept", (("Linear-own", 0),))
        >>> Window(rows, None).read(("Linear-own", 0), 0, 3).shape
        (3, 2)
    """

    def __init__(self, rows: Rows, orders: list[np.ndarray] | None) -> None:
        self.rows, self.orders = rows, orders
        self._network: Key | None = None
        self._batches: Iterator[Batch] = iter(())
        self._first = 0
        self._x = np.empty((0, len(rows.features)), dtype=np.float32)

    def read(self, network: Key, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of a network, `(stop - start, F)` float32."""
        if network != self._network or start < self._first:
            self._open(network)
        parts = list[np.ndarray]()
        while start < stop:
            if start >= self._first + len(self._x):
                self._first += len(self._x)
                self._x = next(self._batches).x
                continue
            part = self._x[start - self._first : stop - self._first]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _open(self, network: Key) -> None:
        self._network, self._first = network, 0
        self._x = self._x[:0]
        self._batches = self.rows.batches([network])
        if self.orders is not None:
            order = self.orders[self.rows.networks.index(network)]
            self._x = np.concatenate([batch.x for batch in self._batches])[order]


class NetworkRows(lightgbm.Sequence):  # type: ignore[misc,unused-ignore]
    """The rows of one network.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "network_rows", recording)
        >>> rows = Rows(table, ("magnitude", "depth"), "kept", (("Linear-own", 0),))
        >>> (network,) = sequences(rows, None)
        >>> len(network), network[2:5].shape
        (8, (3, 2))
    """

    batch_size = 65_536

    def __init__(self, window: Window, network: Key, count: int) -> None:
        self.window, self.network, self.count = window, network, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int | slice | list[int]) -> Any:
        """One row (float64, as LightGBM's bins are), a slice (float32), or a list of places."""
        if isinstance(place, slice):
            start, stop, step = place.indices(self.count)
            return self.window.read(self.network, start, stop)[::step]
        if isinstance(place, int | np.integer):
            return self.window.read(self.network, int(place), int(place) + 1)[0].astype(np.float64)
        return np.stack([self[item] for item in place])


def sequences(rows: Rows, orders: list[np.ndarray] | None) -> list[NetworkRows]:
    """One Sequence for each network that has rows; they share one window.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "sequences", recording)
        >>> rows = Rows(table, ("magnitude",), "kept", (("Linear-own", 0),))
        >>> [len(network) for network in sequences(rows, None)]
        [8]
    """
    window = Window(rows, orders)
    return [
        NetworkRows(window, network, count) for network, count in zip(rows.networks, rows.counts, strict=True) if count
    ]
