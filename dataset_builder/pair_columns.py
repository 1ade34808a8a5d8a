"""Features for pruning in rounds: what a weight would grow to, which paths it lies on, what it goes together with.

They belong to the network as the last round left it, and most cost a forward and a few backward passes: no table has
them unless they are named. Conventions as in `dataset_builder.feature_columns`; in addition `d` is one Gauss-Newton
step (`scorers.gauss_newton`), and *flow* the score `w^2 dR/dw^2` of SynFlow's L2 form with the inputs' variances as
input. Transform `ln`: natural logarithm, of at least 1e-9 (of a flow: 1e-30).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from scratchcard.dataset_builder.feature_columns import Feature
from scratchcard.dataset_builder.feature_layer import LayerPicture
from scratchcard.dataset_builder.pairs import SAMPLES, STEPS
from scratchcard.score_tables.schema import Column

Numbers = Callable[[LayerPicture, slice], "np.ndarray | float"]

_TINY = 1e-9
_FLOW = "synflow_l2_data"


def _feature(name: str, transform: str, description: str, formula: Numbers, *needs: str) -> Feature:
    return Feature(Column(name, "feature", transform, description), formula, frozenset(needs))


def _sampled(name: str, what: str, transform: str, description: str, shape: Callable[..., np.ndarray]) -> Feature:
    """A number of `LayerPairs` that is made of samples."""
    return _feature(name, transform, description, lambda layer, part: shape(layer.pairs.number(what)[part]), SAMPLES)


def _ln(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(np.abs(values), _TINY)))


def _weight(layer: LayerPicture, part: slice) -> np.ndarray:
    return layer.values("weight", part).astype(np.float32)


def _step(layer: LayerPicture, part: slice) -> np.ndarray:
    return layer.pairs.number("step")[part]


def _path(layer: LayerPicture, part: slice) -> np.ndarray:
    weight = _weight(layer, part).astype(np.float64)
    return np.asarray(0.5 * np.log(np.maximum(layer.values(_FLOW, part), 1e-30)) - _ln(weight))


def _growth(layer: LayerPicture, part: slice) -> np.ndarray:
    weight, step = _weight(layer, part), _step(layer, part)
    return np.asarray(np.tanh(step * np.sign(weight) / np.maximum(np.abs(weight), _TINY)))


def _share(side: str) -> Numbers:
    def formula(layer: LayerPicture, part: slice) -> np.ndarray:
        return np.asarray(0.5 * np.log(np.maximum(layer.share(_FLOW, side, part), 1e-30)))

    return formula


def _progress(layer: LayerPicture, part: slice) -> float:
    """0 before the first round, near 1 before the last; 0 where all weights stay."""
    network = layer.network
    kept = sum(network.kept.values()) / sum(weight.numel() for weight in network.weights.values())
    return 0.0 if network.density == 1.0 else min(1.0, max(0.0, math.log(kept) / math.log(network.density)))


def _place(last: bool) -> Numbers:
    return lambda layer, part: float(layer.name == layer.network.names[-1 if last else 0])


_ALL: tuple[Feature, ...] = (
    _feature("magnitude_ln", "ln", "|w|", lambda layer, part: _ln(_weight(layer, part))),
    _feature("step_ln", "ln", "|d|", lambda layer, part: _ln(_step(layer, part)), STEPS),
    _feature("stepped_ln", "ln", "|w + d|", lambda layer, part: _ln(_weight(layer, part) + _step(layer, part)), STEPS),
    _feature("growth", "tanh", "tanh of d / w", _growth, STEPS),
    _feature(
        "path_ln",
        "ln",
        "square root of flow / w^2: of the paths through the weight without itself",
        _path,
        _FLOW,
    ),
    _feature("row_share_ln", "ln", "square root of the weight's share in its output unit's flow", _share("row"), _FLOW),
    _feature("column_share_ln", "ln", "square root of its share in its input unit's flow", _share("column"), _FLOW),
    _sampled(
        "slope_correlation",
        "slope_correlation",
        "raw",
        "correlation of the input with minus the loss' slope at the output, times the sign of w",
        lambda x: x,
    ),
    _sampled(
        "slope_correlation_ln",
        "slope_correlation",
        "ln",
        "its absolute value plus 0.01",
        lambda x: np.log(np.abs(x) + 0.01),
    ),
    _sampled(
        "output_correlation",
        "output_correlation",
        "raw",
        "correlation of input and output, times the sign of w",
        lambda x: x,
    ),
    _sampled("output_correlation_size", "output_correlation", "absolute", "its absolute value", np.abs),
    _sampled(
        "company",
        "kept_correlation",
        "asinh",
        "sum over the output unit's other kept weights of the inputs' correlation, cubed, times both signs",
        np.arcsinh,
    ),
    _sampled("input_spread_ln", "input_spread", "ln", "standard deviation of the input", _ln),
    _sampled("slope_size_ln", "slope_size", "ln", "root mean square of the slope at the output, per example", _ln),
    _feature("first_layer", "raw", "1 in the first prunable layer, else 0", _place(last=False)),
    _feature("last_layer", "raw", "1 in the last prunable layer, else 0", _place(last=True)),
    _feature(
        "progress",
        "raw",
        "ln(density now) / ln(density asked for): 0 before the first round, near 1 before the last",
        _progress,
    ),
)

PAIR_FEATURES: tuple[Column, ...] = tuple(feature.column for feature in _ALL)
BY_NAME: dict[str, Feature] = {feature.column.name: feature for feature in _ALL}
