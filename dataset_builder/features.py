"""Features of every prunable weight: the same code when a predictor is fitted and when it is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch import nn

from scratchcard.dataset_builder import feature_columns, movement_columns, pair_columns
from scratchcard.dataset_builder.feature_columns import FEATURES, Feature
from scratchcard.dataset_builder.feature_layer import LayerPicture
from scratchcard.dataset_builder.feature_network import SCORED, NetworkPicture
from scratchcard.dataset_builder.layer_inputs import LayerInputs
from scratchcard.dataset_builder.looks import Looks
from scratchcard.dataset_builder.movement_columns import LOOK_GRADIENTS, LOOKS, MOVEMENT_FEATURES
from scratchcard.dataset_builder.pair_columns import PAIR_FEATURES
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.schedules import check_density
from scratchcard.registry import lookup
from scratchcard.score_tables.schema import Column, FeatureBlock
from scratchcard.scorers.scorer import Batch, Loss, Scorer

__all__ = [
    "FEATURES",
    "MOVEMENT_FEATURES",
    "PAIR_FEATURES",
    "column",
    "compute_features",
    "looks_for",
    "prepared_scorers",
]

_KNOWN = feature_columns.BY_NAME | pair_columns.BY_NAME | movement_columns.BY_NAME

_LARGEST = float(np.finfo(np.float32).max)


def column(name: str) -> Column:
    """The column of a feature, of `FEATURES`, `PAIR_FEATURES` or `MOVEMENT_FEATURES`.

    Raises:
        ValueError: no such feature; says which is nearest.

    Examples:
        >>> column("snip").transform
        'minmax_network'
    """
    return lookup(_KNOWN, "features", name).column


def compute_features(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    mask: Mask | None = None,
    density: float,
    names: Sequence[str] | None = None,
    rows: int = 2**18,
    scorers: Mapping[str, Scorer] = SCORED,
    looks: Looks | None = None,
    known: dict[str, LayerInputs] | None = None,
) -> Iterator[FeatureBlock]:
    """Features of the kept weights, in blocks of at most `rows` weights, layer by layer in prunable order.

    Scores and gradients are taken at once, layers are worked on one at a time while the result is iterated,
    so the network must not change before its end. The network itself is left as it was (parameters, buffers,
    `.grad`, mode, hooks, generators).

    With a mask all features are those of the network at `w * mask`: sums, scales and ranks are over kept
    weights and units that have one, and only kept weights have rows, as if the pruned ones were not there.
    They do not depend on `rows`, nor on which `names` are asked for.

    Args:
        network: any module with prunable weights.
        batch: inputs and targets of the task, at least 2 examples (a variance is taken).
        loss: mean over the examples.
        mask: the kept weights; None keeps all.
        density: that the coming mask shall have; the feature `density`.
        names: the features, in the order of the blocks' columns; all of `FEATURES` by default, those of
            `PAIR_FEATURES` and `MOVEMENT_FEATURES` too if named. Only what they need is computed: the four of the
            thesis need no activations.
        rows: bound on a block's weights, and so on memory.
        scorers: of the features that are scores; `prepared_scorers` spare work over several rounds.
        looks: of the search that trains the network, see `looks_for`; they take this look too, before all else.
        known: empty before the first of several rounds on one batch, whose work it spares the later ones.

    Raises:
        ValueError: unknown or doubled names, a density outside (0, 1], nothing to prune, a mask of another
            layout or without kept weights, features that are not finite, or features of movement without looks.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> batch = torch.rand(8, 4), torch.arange(8) % 2
        >>> loss, names = nn.functional.cross_entropy, ["magnitude", "snip"]
        >>> blocks = compute_features(network, batch, loss, density=0.1, names=names)
        >>> [(block.parameter, block.values.shape) for block in blocks]
        [('0.weight', (12, 2)), ('2.weight', (6, 2))]
    """
    chosen = [column.name for column in FEATURES] if names is None else list(names)
    features = [lookup(_KNOWN, "features", name) for name in chosen]
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"expected feature names, each once, got {chosen}")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    check_density(density)
    if mask is not None and not mask.kept:
        raise ValueError("the mask keeps no weight, so there is nothing to compute features of")
    needs = _needs(features)
    if looks is not None:
        looks.see(network, batch, loss, mask)
    elif LOOKS in needs:
        moving = ", ".join(feature.column.name for feature in features if LOOKS in feature.needs)
        raise ValueError(
            "features of movement are known at the looks of a search that trains, and here is none: take a regime that "
            f"trains in between (EMS, ESS, ISS or IMS), or features without {moving}"
        )
    picture = NetworkPicture.take(network, batch, loss, mask, density, needs, scorers, looks, known)
    return _blocks(picture, features, rows)


def prepared_scorers(names: Sequence[str], network: nn.Module, batch: Batch, loss: Loss) -> dict[str, Scorer]:
    """The scorers that features ask for, prepared for several rounds on one network and batch: the same scores.

    Args:
        names: features, as for `compute_features`.
        network, batch, loss: those that features will be computed of.

    Raises:
        ValueError: an unknown name.

    Examples:
        >>> network, batch = nn.Linear(4, 2), (torch.rand(8, 4), torch.arange(8) % 2)
        >>> prepared_scorers(["synflow"], network, batch, nn.functional.cross_entropy)
        {'synflow': SynFlow()}
    """
    needs = _needs([lookup(_KNOWN, "features", name) for name in names])
    return {name: scorer.prepare(network, batch, loss) for name, scorer in SCORED.items() if name in needs}


def looks_for(names: Sequence[str], network: nn.Module, done: Callable[[], float]) -> Looks | None:
    """What the looks of a search see of a network that is about to be trained; None if no feature needs it.

    Args:
        names: features, as for `compute_features`.
        network: with its initial weights.
        done: see `Scorer.from_start`.

    Raises:
        ValueError: an unknown name.

    Examples:
        >>> looks_for(["snip"], nn.Linear(4, 2), lambda: 1.0) is None
        True
    """
    needs = _needs([lookup(_KNOWN, "features", name) for name in names])
    return Looks(network, done, gradients=LOOK_GRADIENTS in needs) if LOOKS in needs else None


def _needs(features: Sequence[Feature]) -> frozenset[str]:
    return frozenset[str]().union(*(feature.needs for feature in features))


def _blocks(picture: NetworkPicture, features: list[Feature], rows: int) -> Iterator[FeatureBlock]:
    names = tuple(feature.column.name for feature in features)
    ranks = [rank for feature in features for rank in feature.ranks]
    for parameter in picture.names:
        layer = LayerPicture(picture, parameter, ranks)
        picture.shelf.tidy()
        for start in range(0, layer.kept, rows):
            part = slice(start, min(start + rows, layer.kept))
            # One column after the other in memory, as tables store them; predictors take either order.
            values = np.empty((len(features), part.stop - start), dtype=np.float32)
            for place, feature in enumerate(features):
                found = feature.formula(layer, part)
                values[place] = np.clip(found, -_LARGEST, _LARGEST)
                if not np.isfinite(values[place]).all():
                    raise ValueError(
                        f"feature {names[place]!r} of {parameter!r} holds NaN; check the network's "
                        "activations on this batch"
                    )
            picture.shelf.tidy(heap=False)
            yield FeatureBlock(parameter, layer.indices(part), names, values.T)
