"""The features: their order, names, transforms and formulas, each beside the code that computes it.

`FEATURES` is the list, `scratchcard list features` prints it. The order is part of a score table's schema: new features
go to the end. Conventions: `w` is a weight, `g = dL/dw` of the batch's mean loss; *network* and *layer* mean
the kept weights of the network or layer; a *row* holds the weights of one output unit, a *column* those of
one input unit (see `dataset_builder.units`).

Transforms:
    raw: as it is.
    minmax_network: `(s - min) / (max - min)` over the network; 0 if all are equal.
    log_network: `log10(1e-6 + s / mean)` over the network; -6 for zeros.
    asinh_network: `asinh(s / mean |s|)` over the network; 0 if all are 0.
    rms_network, rms_layer: `s / sqrt(mean s^2)`; 0 if all are 0.
    rank: rank / number of compared weights in (0, 1], near 1 for the largest; ties share their average rank.
    relative: divided by the mean over the layer's units that have a kept weight; 0 if that is 0.
    per_example: of one example's loss, whatever the batch's size.
    log10: decimal logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scratchcard.dataset_builder.feature_layer import LayerPicture
from scratchcard.score_tables.schema import Column

Formula = Callable[[LayerPicture, slice], "np.ndarray | float"]


@dataclass(frozen=True)
class Feature:
    """A column and how it is computed.

    Attributes:
        needs: what `NetworkPicture.take` must score or observe.
        ranks: the `(number, scope)` to rank, if it is made of ranks.

    Examples:
        >>> feature = BY_NAME["snip"]
        >>> feature.column.description, sorted(feature.needs)
        ('SNIP score |w g|', ['gradients'])
    """

    column: Column
    formula: Formula
    needs: frozenset[str] = frozenset()
    ranks: tuple[tuple[str, str], ...] = ()


_SOURCES = {
    "weight": (),
    "magnitude": (),
    "count": (),
    "gradient": ("gradients",),
    "saliency": ("gradients",),
    "snip": ("gradients",),
}


def _needs(what: str) -> frozenset[str]:
    return frozenset(_SOURCES.get(what, (what,)))


def _column(name: str, transform: str, description: str) -> Column:
    return Column(name, "feature", transform, description)


def _scored(name: str, what: str, transform: str, description: str) -> Feature:
    """A number of each weight, scaled over the network or layer."""

    def formula(layer: LayerPicture, part: slice) -> np.ndarray | float:
        values = layer.values(what, part)
        scale = layer.scale(what) if transform == "rms_layer" else layer.network.scale(what)
        if transform == "minmax_network":
            width = scale.high - scale.low
            return np.clip((values - scale.low) / width, 0.0, 1.0) if width > 0 else 0.0
        if transform == "log_network":
            return np.log10(1e-6 + values / scale.mean) if scale.mean > 0 else -6.0
        if transform == "asinh_network":
            return np.arcsinh(values / scale.mean) if scale.mean > 0 else 0.0
        return values / scale.rms if scale.rms > 0 else 0.0

    return Feature(_column(name, transform, description), formula, _needs(what))


def _ranked(what: str, scope: str, description: str) -> Feature:
    def formula(layer: LayerPicture, part: slice) -> np.ndarray:
        return layer.rank(what, scope, part)

    label = "saliency" if what == "snip" else what
    return Feature(_column(f"{label}_rank_{scope}", "rank", description), formula, _needs(what), ((what, scope),))


def _unit(name: str, side: str, transform: str, description: str, what: str, number: str = "") -> Feature:
    """A number of each weight's `input` or `output` unit; `number` where it is not called as the feature."""
    key = number or name

    def formula(layer: LayerPicture, part: slice) -> np.ndarray:
        return layer.of_input(key, part) if side == "input" else layer.of_output(key, part)

    return Feature(_column(name, transform, description), formula, _needs(what))


def _layer(name: str, transform: str, description: str, formula: Callable[[LayerPicture], float]) -> Feature:
    return Feature(_column(name, transform, description), lambda layer, part: formula(layer))


def _place(layer: LayerPicture) -> int:
    return layer.network.names.index(layer.name)


def _last(layer: LayerPicture) -> int:
    return len(layer.network.names) - 1


_ALL: tuple[Feature, ...] = (
    # The four criteria.
    _scored("snip", "snip", "minmax_network", "SNIP score |w g|"),
    _scored("grasp", "grasp", "minmax_network", "GraSP score w (H g), logits divided by 200; higher = keep"),
    _scored("synflow", "synflow", "minmax_network", "SynFlow score |w| dR/d|w|"),
    _scored("magnitude", "magnitude", "minmax_network", "|w|"),
    # The six of the thesis' appendix.
    Feature(_column("weight", "raw", "w"), lambda layer, part: layer.values("weight", part)),
    _layer(
        "layer_norm",
        "raw",
        "Frobenius norm of the layer's weights",
        lambda layer: layer.scale("weight").rms * layer.kept**0.5,
    ),
    _unit("input_max", "input", "raw", "maximum activation of the input unit", "activity"),
    _unit("input_mean", "input", "raw", "mean activation of the input unit", "activity"),
    _unit(
        "output_max",
        "output",
        "raw",
        "maximum activation of the output unit, as the next layer receives it; of the last layer, its output",
        "activity",
    ),
    _unit("output_mean", "output", "raw", "mean activation of the output unit, likewise", "activity"),
    # The criteria where minmax puts nearly all at 0.
    _scored("snip_log", "snip", "log_network", "SNIP score |w g|"),
    _scored("grasp_asinh", "grasp", "asinh_network", "GraSP score w (H g)"),
    _scored("synflow_log", "synflow", "log_network", "SynFlow score"),
    _scored(
        "synflow_l2_data_log",
        "synflow_l2_data",
        "log_network",
        "SynFlow's L2 form w^2 dR/dw^2 with the inputs' variances as input",
    ),
    _scored("weight_layer", "weight", "rms_layer", "signed weight w in units of its layer"),
    # Ranks.
    _ranked("magnitude", "layer", "rank of |w| in its layer"),
    _ranked("magnitude", "row", "rank of |w| among the weights of its output unit"),
    _ranked("magnitude", "column", "rank of |w| among the weights of its input unit"),
    _ranked("snip", "layer", "rank of |w g| in its layer"),
    _ranked("snip", "row", "rank of |w g| among the weights of its output unit"),
    _ranked("snip", "column", "rank of |w g| among the weights of its input unit"),
    _ranked("grasp", "layer", "rank of the GraSP score in its layer"),
    _ranked("synflow", "layer", "rank of the SynFlow score in its layer"),
    _ranked("synflow_l2_data", "layer", "rank of the score by SynFlow's L2 form in its layer"),
    # Signed saliency and gradient.
    _scored("saliency", "saliency", "rms_network", "w g with its sign"),
    _scored("gradient", "gradient", "rms_layer", "g"),
    # Activations and gradients of the units.
    _unit("input_std", "input", "raw", "standard deviation of the input unit's activation", "activity"),
    _unit("input_zero_rate", "input", "raw", "share of zeros in the input unit's activation", "activity"),
    _unit("output_std", "output", "raw", "standard deviation of the output unit's activation", "activity"),
    _unit("output_zero_rate", "output", "raw", "share of zeros in the output unit's activation", "activity"),
    _unit(
        "output_gradient_mean",
        "output",
        "per_example",
        "mean of the loss' gradient at the output unit, before its activation function",
        "activity",
        "delta_mean",
    ),
    _unit(
        "output_gradient_std",
        "output",
        "per_example",
        "standard deviation of the loss' gradient at the output unit, likewise",
        "activity",
        "delta_std",
    ),
    # Sums over the units' weights.
    _unit("row_magnitude", "output", "relative", "sum of |w| over the output unit's weights", "magnitude"),
    _unit("column_magnitude", "input", "relative", "sum of |w| over the input unit's weights", "magnitude"),
    _unit("row_saliency", "output", "relative", "sum of |w g| over the output unit's weights", "snip", "row_snip"),
    _unit("column_saliency", "input", "relative", "sum of |w g| over the input unit's weights", "snip", "column_snip"),
    _unit(
        "row_synflow_l2_data",
        "output",
        "relative",
        "sum of the scores by SynFlow's L2 form over the output unit's weights",
        "synflow_l2_data",
    ),
    _unit(
        "column_synflow_l2_data",
        "input",
        "relative",
        "sum of the scores by SynFlow's L2 form over the input unit's weights",
        "synflow_l2_data",
    ),
    _unit(
        "input_incoming",
        "input",
        "relative",
        "sum of |w| over the weights into the input unit, averaged over the layers that feed this one with "
        "the same units; 0 if there is none, as for the first layer",
        "activity",
    ),
    _unit(
        "output_outgoing",
        "output",
        "relative",
        "sum of |w| over the weights out of the output unit, averaged over the layers that this one feeds "
        "with the same units; 0 if there is none, as for the last layer",
        "activity",
    ),
    # Place and size.
    _layer(
        "depth",
        "raw",
        "place of the layer among the prunable ones, from 0 (first) to 1 (last); 0 if it is the only one",
        lambda layer: _place(layer) / max(_last(layer), 1),
    ),
    _layer("layers_after", "raw", "number of prunable layers behind it", lambda layer: _last(layer) - _place(layer)),
    _unit("fan_in", "output", "log10", "number of kept weights of the output unit", "count", "row_count"),
    _unit("fan_out", "input", "log10", "number of kept weights of the input unit", "count", "column_count"),
    _layer(
        "layer_share",
        "log10",
        "share of the layer in the network's kept weights",
        lambda layer: float(np.log10(layer.kept / sum(layer.network.kept.values()))),
    ),
    _layer("density", "log10", "the density asked for", lambda layer: float(np.log10(layer.network.density))),
)

BY_NAME: dict[str, Feature] = {feature.column.name: feature for feature in _ALL}
FEATURES: tuple[Column, ...] = tuple(feature.column for feature in _ALL)
