"""Features of movement: what only a search knows that trains, of how its weights got where they are.

They belong to a look of a search, so that only tables of trajectories have them, and only regimes that train in between
can apply a predictor that reads them. Conventions as in `dataset_builder.feature_columns`; in addition `w0` is the
weight before any training and `w'` the weight at the look before this one (at the first look `w0`). All means and ranks
are over the weights that are kept at this look, also those of `w0` and `w'`: what was pruned in between changes
nothing. `docs/tables.md` has their table.

Transforms:
    start_layer: `s / sqrt(mean w0^2)` over the layer; 0 if all are 0.
    looks_layer: in the unit `u = sqrt(mean over the layer of the mean over the looks of g^2)`, a variance in `u^2`; 0
        if that is 0.
    rank_change: difference of two ranks, in (-1, 1).
"""

from __future__ import annotations

import numpy as np

from scratchcard.dataset_builder.feature_columns import Feature, Formula
from scratchcard.dataset_builder.feature_layer import LayerPicture
from scratchcard.score_tables.schema import Column

LOOKS, LOOK_GRADIENTS = "looks", "look_gradients"
"""What these features need: the looks of a search, and gradients taken at each of them."""


def _feature(name: str, transform: str, description: str, formula: Formula, *needs: str, ranks: str = "") -> Feature:
    ranked = tuple((what, "layer") for what in ranks.split())
    return Feature(Column(name, "feature", transform, description), formula, frozenset((LOOKS, *needs)), ranked)


def _by_start(what: str) -> Formula:
    def formula(layer: LayerPicture, part: slice) -> np.ndarray | float:
        scale = layer.scale("start").rms
        return layer.values(what, part) / scale if scale > 0 else 0.0

    return formula


def _by_gradients(what: str, power: int) -> Formula:
    def formula(layer: LayerPicture, part: slice) -> np.ndarray | float:
        square = layer.scale("gradient_mean").rms ** 2 + layer.scale("gradient_variance").mean
        return layer.values(what, part) / square ** (power / 2) if square > 0 else 0.0

    return formula


def _change_since(before: str) -> Formula:
    def formula(layer: LayerPicture, part: slice) -> np.ndarray:
        now, then = (layer.rank(what, "layer", part) for what in ("magnitude", before))
        return np.asarray(now - then)

    return formula


def _share(layer: LayerPicture, part: slice) -> float:
    looks = layer.network.looks
    return 0.0 if looks is None or looks.share is None else looks.share


def _density(layer: LayerPicture, part: slice) -> float:
    network = layer.network
    kept = sum(network.kept.values()) / sum(weight.numel() for weight in network.weights.values())
    return float(np.log10(kept))


_ALL: tuple[Feature, ...] = (
    _feature("moved", "start_layer", "w - w0", _by_start("moved")),
    _feature(
        "movement_rank_layer",
        "rank",
        "rank of |w - w0| in its layer",
        lambda layer, part: layer.rank("movement", "layer", part),
        ranks="movement",
    ),
    _feature("magnitude_increase", "start_layer", "|w| - |w0|", _by_start("increase")),
    _feature(
        "sign_kept",
        "raw",
        "0 where w and w0 have opposite signs, else 1",
        lambda layer, part: layer.values("sign_kept", part),
    ),
    _feature(
        "gradient_mean",
        "looks_layer",
        "mean of g over the looks so far, this one included",
        _by_gradients("gradient_mean", 1),
        LOOK_GRADIENTS,
    ),
    _feature(
        "gradient_variance",
        "looks_layer",
        "variance of g over the looks so far, likewise",
        _by_gradients("gradient_variance", 2),
        LOOK_GRADIENTS,
    ),
    _feature(
        "rank_change_look",
        "rank_change",
        "rank of |w| in its layer less that of |w'|",
        _change_since("last_magnitude"),
        ranks="magnitude last_magnitude",
    ),
    _feature(
        "rank_change_start",
        "rank_change",
        "rank of |w| in its layer less that of |w0|",
        _change_since("start_magnitude"),
        ranks="magnitude start_magnitude",
    ),
    _feature("search_share", "raw", "share of the search's training that is done, in (0, 1]", _share),
    _feature("density_now", "log10", "kept weights / prunable weights before this look's cut", _density),
)

MOVEMENT_FEATURES: tuple[Column, ...] = tuple(feature.column for feature in _ALL)
BY_NAME: dict[str, Feature] = {feature.column.name: feature for feature in _ALL}
