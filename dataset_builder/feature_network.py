"""What the features need of the whole network: weights, gradients, criteria, activity; and its scales."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.dataset_builder.activations import Activity, observe
from scratchcard.dataset_builder.layer_inputs import LayerInputs
from scratchcard.dataset_builder.looks import LOOKED, Looks
from scratchcard.dataset_builder.pairs import SAMPLES, STEPS, Pairs
from scratchcard.dataset_builder.scales import Scale
from scratchcard.dataset_builder.units import Units
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable, prunable_layers
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.grasp import GraSP
from scratchcard.scorers.scorer import Batch, Loss, NoEffectWarning, Scorer
from scratchcard.scorers.shelf import Shelf, array, parts
from scratchcard.scorers.synflow import SynFlow
from scratchcard.scorers.synflow_l2_data import SynFlowL2Data

SCORED: dict[str, Scorer] = {"synflow": SynFlow(), "synflow_l2_data": SynFlowL2Data(), "grasp": GraSP()}
"""Criteria that come from a scorer; magnitude and SNIP are made from weight and gradient on the fly."""


@dataclass(frozen=True, eq=False)
class NetworkPicture:
    """A network at `w * mask`, as far as the features asked for need it.

    Attributes:
        weights: detached, not copied: the network must stay as it is while features are computed.
        gradients: of the batch's mean loss, or None if no feature needs them.
        criteria: scores of `SCORED`, flat, in the weights' precision and relative to the largest absolute
            score of their layer, so that float64 scores of any size fit into float32.
        units: input and output units of each layer.
        density: asked for.
        pairs: samples and Gauss-Newton step, or None if no feature needs them.
        looks: of the search that trains the network, or None if no feature needs them.
        shelf: where the numbers lie.

    Examples:
        >>> network, batch = nn.Linear(2, 2), (torch.ones(2, 2), torch.tensor([0, 1]))
        >>> network.weight.data = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
        >>> picture = NetworkPicture.take(network, batch, nn.functional.cross_entropy, None, 0.5, {"gradients"})
        >>> picture.values("magnitude", "weight"), picture.scale("magnitude").high
        (array([0.5, 1. , 2. , 0. ], dtype=float32), 2.0)
        >>> rows, columns = picture.unit_sums("magnitude", "weight")
        >>> rows, columns
        (array([1.5, 2. ]), array([2.5, 1. ]))
    """

    weights: Mapping[str, Tensor]
    mask: Mask | None
    units: Mapping[str, Units]
    gradients: Mapping[str, Tensor] | None
    criteria: Mapping[str, Mapping[str, tuple[np.ndarray, float]]]
    activity: Activity | None
    density: float
    pairs: Pairs | None = None
    looks: Looks | None = None
    shelf: Shelf = field(default_factory=lambda: Shelf(0))

    @classmethod
    def take(
        cls,
        network: nn.Module,
        batch: Batch,
        loss: Loss,
        mask: Mask | None,
        density: float,
        needs: Collection[str],
        scorers: Mapping[str, Scorer] = SCORED,
        looks: Looks | None = None,
        known: dict[str, LayerInputs] | None = None,
    ) -> NetworkPicture:
        """Score and observe what is in `needs`: names in `scorers`, `"gradients"`, `"activity"`, `SAMPLES`, `STEPS`."""
        weights = prunable(network)
        if mask is not None:
            check_same_layout(weights, mask.tensors, "the mask")
        units = {name: Units.of(layer, name) for name, layer in prunable_layers(network).items()}
        shelf = Shelf.of(weights)
        shelf.tidy()
        criteria = {}
        for name, scorer in scorers.items():
            if name in needs:
                with warnings.catch_warnings():
                    # Scores that are all alike make no mask, but they are features like any others.
                    warnings.simplefilter("ignore", NoEffectWarning)
                    scores = dict(scorer(network, batch, loss, mask=mask).tensors)
                criteria[name] = _relative(scores, weights, shelf)
                shelf.tidy()
        gradients: dict[str, Tensor] | None = None
        activity = None
        if "activity" in needs:
            activity = observe(network, batch, loss, mask, units)
            gradients = activity.gradients
        elif "gradients" in needs:
            gradients = loss_gradients(network, batch, loss, mask).gradients
        found = None if gradients is None else _shelved(gradients, shelf)
        shelf.tidy()
        detached = {name: weight.detach() for name, weight in weights.items()}
        paired = {SAMPLES, STEPS}.intersection(needs)
        pairs = Pairs.take(network, batch, loss, mask, paired, known) if paired else None
        return cls(detached, mask, units, found, criteria, activity, density, pairs, looks, shelf)

    @property
    def names(self) -> tuple[str, ...]:
        """The weights' names in order."""
        return tuple(self.weights)

    def indices(self, name: str) -> np.ndarray | None:
        """Flat indices of the kept weights of a layer, ascending; None if all are kept."""
        if self.mask is None:
            return None
        kept = self.mask.tensors[name].reshape(-1).cpu().numpy()
        return None if kept.all() else np.flatnonzero(kept)

    @cached_property
    def kept(self) -> dict[str, int]:
        """Number of kept weights by layer."""
        if self.mask is None:
            return {name: weight.numel() for name, weight in self.weights.items()}
        return {name: int(tensor.count_nonzero()) for name, tensor in self.mask.tensors.items()}

    def values(self, what: str, name: str, indices: np.ndarray | None = None, part: slice = slice(None)) -> np.ndarray:
        """Numbers of kept weights in the weights' precision; criteria of `SCORED` relative (see `factor`)."""
        choice = part if indices is None else indices[part]
        if what in self.criteria:
            return np.asarray(self.criteria[what][name][0][choice])
        if what in LOOKED:
            if self.looks is None:
                raise ValueError(f"{what} needs the looks of a search, which were not given")
            return self.looks.values(what, name, choice)
        if what in ("weight", "magnitude"):
            weight: np.ndarray = array(self.weights[name])[choice]
            return np.abs(weight) if what == "magnitude" else weight
        if self.gradients is None:
            raise ValueError(f"{what} needs gradients, which were not asked for")
        gradient: np.ndarray = array(self.gradients[name])[choice]
        if what == "gradient":
            return gradient
        product: np.ndarray = array(self.weights[name])[choice] * gradient
        return np.absolute(product, out=product) if what == "snip" else product

    def factor(self, what: str, name: str) -> float:
        """What `values` must be multiplied by to be comparable between layers."""
        if what not in self.criteria:
            return 1.0
        largest = max(scale for _, scale in self.criteria[what].values())
        return self.criteria[what][name][1] / largest if largest > 0 else 0.0

    @cached_property
    def _scales(self) -> dict[str, Scale]:
        return {}

    def scale(self, what: str) -> Scale:
        """Extent of a number over all kept weights of the network, in the unit of `values` times `factor`."""
        if what not in self._scales:
            found = []
            for name in self.names:
                values = self.values(what, name, self.indices(name))
                found.append(Scale.of(values).times(self.factor(what, name)))
                self.shelf.tidy()
            self._scales[what] = Scale.joined(found)
        return self._scales[what]

    def unit_sums(self, what: str, name: str, indices: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Sums over the kept weights of each output unit `(outputs,)` and each input unit `(inputs,)`."""
        if what == "count":
            if indices is None:
                sides, total = (self.units[name].outputs, self.units[name].inputs), self.weights[name].numel()
                rows, columns = (np.full(side, total / side) for side in sides)
                return rows, columns
            values = np.ones(indices.size, dtype=np.float32)
        else:
            values = self.values(what, name, indices)
        if indices is not None:
            full = np.zeros(self.weights[name].numel(), dtype=values.dtype)
            full[indices] = values
            values = full
        return self.units[name].sums(values)

    @cached_property
    def magnitudes(self) -> dict[str, UnitMagnitudes]:
        """Row and column sums of |w| of every layer, and of kept weights."""
        found = {}
        for name in self.names:
            indices = self.indices(name)
            found[name] = UnitMagnitudes(
                *self.unit_sums("magnitude", name, indices), *self.unit_sums("count", name, indices)
            )
        return found


@dataclass(frozen=True, eq=False)
class UnitMagnitudes:
    """Sums of |w| and numbers of kept weights by output unit (`rows`) and by input unit (`columns`).

    Examples:
        >>> network, batch = nn.Linear(2, 2), (torch.ones(2, 2), torch.tensor([0, 1]))
        >>> network.weight.data = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
        >>> mask = Mask({"weight": torch.tensor([[True, True], [True, False]])})
        >>> picture = NetworkPicture.take(network, batch, nn.functional.cross_entropy, mask, 0.5, ())
        >>> picture.magnitudes["weight"].rows, picture.magnitudes["weight"].row_counts
        (array([1.5, 2. ]), array([2., 1.]))
    """

    rows: np.ndarray
    columns: np.ndarray
    row_counts: np.ndarray
    column_counts: np.ndarray


def _relative(
    scores: dict[str, Tensor], weights: Mapping[str, Tensor], shelf: Shelf
) -> dict[str, tuple[np.ndarray, float]]:
    """Scores by weight name as `(scores / largest, largest)`; each is let go as it is put away."""
    found = {}
    for name in list(scores):
        flat = scores.pop(name).reshape(-1)
        precision = torch.float64 if weights[name].dtype is torch.float64 else torch.float32
        largest = max((float(flat[chosen].abs().max()) for chosen in parts(flat.numel())), default=0.0)

        def part(
            chosen: slice, flat: Tensor = flat, largest: float = largest, precision: torch.dtype = precision
        ) -> np.ndarray:
            values = flat[chosen]
            return array((values / largest if largest > 0 else torch.zeros_like(values)).to(precision))

        kind = np.dtype(np.float64 if precision is torch.float64 else np.float32)
        found[name] = (shelf.filled(flat.numel(), kind, part), largest)
    return found


def _shelved(gradients: dict[str, Tensor], shelf: Shelf) -> dict[str, Tensor]:
    """The gradients, of a large network in a file; each is let go as it is put away."""
    if not shelf.large:
        return gradients
    found = {}
    for name in list(gradients):
        found[name] = shelf.kept(gradients.pop(name))
    return found
