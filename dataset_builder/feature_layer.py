"""What the features need of one layer, computed once for all its blocks and then let go."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np

from scratchcard.dataset_builder.activations import Activity, LayerActivity, UnitStatistics
from scratchcard.dataset_builder.feature_network import NetworkPicture
from scratchcard.dataset_builder.pairs import LayerPairs
from scratchcard.dataset_builder.scales import Scale
from scratchcard.dataset_builder.share_ranks import MANY, ascending, share_ranks, unit_ranks
from scratchcard.scorers.shelf import parts


class LayerPicture:
    """The kept weights of one layer, in the order of their flat indices.

    Args:
        network: the picture of the whole network.
        name: the weight's name.
        ranks: the `(number, scope)` that will be asked of `rank`.

    Examples:
        >>> network, batch = nn.Linear(2, 2), (torch.ones(2, 2), torch.tensor([0, 1]))
        >>> network.weight.data = torch.tensor([[0.1, -0.4], [0.3, 0.2]])
        >>> whole = NetworkPicture.take(network, batch, nn.functional.cross_entropy, None, 0.5, ())
        >>> layer = LayerPicture(whole, "weight", ranks=[("magnitude", "layer"), ("magnitude", "row")])
        >>> layer.rank("magnitude", "layer", slice(None))
        array([0.25, 1.  , 0.75, 0.5 ], dtype=float32)
        >>> layer.rank("magnitude", "row", slice(None))
        array([0.5, 1. , 1. , 0.5], dtype=float32)
    """

    def __init__(self, network: NetworkPicture, name: str, ranks: Collection[tuple[str, str]] = ()) -> None:
        self.network = network
        self.name = name
        self.units = network.units[name]
        self.kept = network.kept[name]
        self._indices = network.indices(name)
        self._known: tuple[slice, tuple[np.ndarray, np.ndarray]] | None = None
        self._unit_numbers: dict[str, np.ndarray] = {}
        self._sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._scales: dict[str, Scale] = {}
        self._ranks: dict[tuple[str, str], np.ndarray] = {}
        for what in dict.fromkeys(what for what, _ in ranks):
            values = network.values(what, name, self._indices)
            network.shelf.tidy()  # of a product, its factors
            order = ascending(values)  # of a large layer None: it is ranked in portions
            for scope in dict.fromkeys(scope for other, scope in ranks if other == what):
                self._ranks[what, scope] = network.shelf.put(self._share_ranks(values, order, scope))
                network.shelf.tidy()
            del values, order

    def _share_ranks(self, values: np.ndarray, order: np.ndarray | None, scope: str) -> np.ndarray:
        if scope == "layer":
            return share_ranks(values, order)
        place = ("row", "column").index(scope)
        axis = 1 - place if self.units.input_first else place
        block = None if order is not None or self._indices is not None else self.units.block(values)
        if block is None or block.size // block.shape[axis] > MANY:
            return share_ranks(values, order, self._units_of_all(place))
        return unit_ranks(block, axis)

    def indices(self, part: slice) -> np.ndarray:
        """Flat indices into the weight tensor, int64."""
        if self._indices is None:
            return np.arange(*part.indices(self.kept), dtype=np.int64)
        return self._indices[part]

    def values(self, what: str, part: slice) -> np.ndarray:
        """Numbers of some weights, float64, comparable within the network."""
        values = self.network.values(what, self.name, self._indices, part).astype(np.float64)
        factor = self.network.factor(what, self.name)
        return values if factor == 1.0 else values * factor

    def scale(self, what: str) -> Scale:
        """Extent of a number over this layer's kept weights."""
        if what not in self._scales:
            self._scales[what] = Scale.of(self.network.values(what, self.name, self._indices))
        return self._scales[what]

    def rank(self, what: str, scope: str, part: slice) -> np.ndarray:
        """Rank in (0, 1] in the scope `layer`, `row` or `column`, float32."""
        return self._ranks[what, scope][part]

    def of_output(self, number: str, part: slice) -> np.ndarray:
        """A number of each weight's output unit."""
        return np.asarray(self.unit_number(number)[self._units_of(part)[0]])

    def of_input(self, number: str, part: slice) -> np.ndarray:
        """A number of each weight's input unit."""
        return np.asarray(self.unit_number(number)[self._units_of(part)[1]])

    def share(self, what: str, side: str, part: slice) -> np.ndarray:
        """Shares of weights in the sum over their `row` or `column`; 0 where that sum is 0."""
        place = 0 if side == "row" else 1
        sums = self._sum(what)[place][self._units_of(part)[place]]
        values = self.network.values(what, self.name, self._indices, part)
        return np.asarray(np.divide(values, sums, out=np.zeros_like(sums), where=sums > 0))

    @cached_property
    def pairs(self) -> LayerPairs:
        """What needs samples of the layer's inputs and outputs."""
        if self.network.pairs is None:
            raise ValueError("pairs were not asked for")
        return self.network.pairs.layer(self.name, self._indices)

    def _units_of(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Output and input unit of some weights; of the last ones asked for, they are known."""
        if self._known is None or self._known[0] != part:
            self._known = part, self.units.of_weights(self.indices(part))
        return self._known[1]

    def _units_of_all(self, place: int) -> np.ndarray:
        """Output (0) or input unit (1) of each kept weight, in the smallest type that holds them."""
        units = (self.units.outputs, self.units.inputs)[place]
        found = np.empty(self.kept, dtype=np.uint16 if units <= 2**16 else np.int32)
        for part in parts(self.kept):
            found[part] = self.units.of_weights(self.indices(part))[place]
        return found

    # Numbers of units.

    def unit_number(self, number: str) -> np.ndarray:
        """A number of each output or input unit by its feature name, `(units,)` float64."""
        if number not in self._unit_numbers:
            self._unit_numbers[number] = self._unit_number(number)
        return self._unit_numbers[number]

    def _unit_number(self, number: str) -> np.ndarray:
        if number == "input_incoming":
            return self._incoming()
        if number == "output_outgoing":
            return self._outgoing()
        side, what = number.split("_", 1)
        if side in ("row", "column"):
            place = 0 if side == "row" else 1
            counts = self._sum("count")[place]
            return np.log10(np.maximum(counts, 1)) if what == "count" else relative(self._sum(what)[place], counts)
        statistics = {"input": self._seen.inputs, "output": self._outputs, "delta": self._seen.gradients}[side]
        if what == "max":
            return statistics.maximum
        return {"mean": statistics.mean, "std": statistics.spread, "zero_rate": statistics.zero_rate}[what]

    def _sum(self, what: str) -> tuple[np.ndarray, np.ndarray]:
        if what not in self._sums:
            self._sums[what] = self.network.unit_sums(what, self.name, self._indices)
        return self._sums[what]

    @property
    def _activity(self) -> Activity:
        if self.network.activity is None:
            raise ValueError("activations were not asked for")
        return self.network.activity

    @property
    def _seen(self) -> LayerActivity:
        return self._activity.layers[self.name]

    @cached_property
    def _outputs(self) -> UnitStatistics:
        return self._activity.outputs(self.name, self.network.units)

    def _incoming(self) -> np.ndarray:
        """Strength of each input unit's incoming weights, averaged over the layers that feed it."""
        found = []
        for source in self._seen.sources:
            units, sums = self.network.units[source], self.network.magnitudes[source]
            block = units.block_to(self.units)
            if block is not None:
                found.append(units.spread(relative(sums.rows, sums.row_counts), block))
        return np.mean(found, axis=0) if found else np.zeros(self.units.inputs)

    def _outgoing(self) -> np.ndarray:
        """Strength of each output unit's outgoing weights, averaged over the layers that it feeds."""
        found = []
        for follower in self._seen.followers:
            block = self.units.block_to(self.network.units[follower])
            if block is not None:
                sums = self.network.magnitudes[follower]
                total = self.units.gather(sums.columns, block).sum(axis=0)
                found.append(relative(total, self.units.gather(sums.column_counts, block).sum(axis=0)))
        return np.mean(found, axis=0) if found else np.zeros(self.units.outputs)


def relative(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums of units divided by their mean over the units that have a kept weight; 0 if that mean is 0.

    Examples:
        >>> relative(np.array([1.0, 3.0, 0.0]), counts=np.array([2, 2, 0]))
        array([0.5, 1.5, 0. ])
    """
    live = counts > 0
    mean = float(sums[live].mean()) if live.any() else 0.0
    return sums / mean if mean > 0 else np.zeros_like(sums)
