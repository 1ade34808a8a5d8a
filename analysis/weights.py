"""The weights that a ticket keeps: their distribution before and after training, and whether it is bi-modal.

All values are in units of the standard deviation of their layer's initial weights, so that layers and tickets can be
laid over each other.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from scratchcard.artefacts.digest import sha256, tensor_bytes
from scratchcard.pruning.ticket import Ticket

PARTS = ("initial", "initial_kept", "final_kept")
"""All initial weights; the initial weights of those kept; the trained weights of those kept."""
ALL_LAYERS = ""
BIN = 0.25
REACH = 20.0
EDGES: NDArray[np.float64] = np.linspace(-REACH, REACH, 161)
"""Bins of `BIN` standard deviations, the same for every ticket; what lies beyond is counted in the first or last."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """Some weights of a ticket, in units of their layer's initial standard deviation.

    Attributes:
        layer: a weight's name; `""` for all layers together.
        part: one of `PARTS`.
        count: number of weights; those that are not finite (a training that diverged) are left out.
        bimodality: Sarle's coefficient, see `bimodality_coefficient`.
        central_share: share of them within a quarter of their median magnitude of zero, see `central_share`.
        near_zero: share of them within ± 0.25 standard deviations of zero; NaN of none.
        root_mean_square: NaN of none.
        histogram: counts `(160,)` in the bins of `EDGES`.

    Examples:
        >>> found = Distribution.of("weight", "final_kept", np.array([-1.1, -1.0, -0.9, 0.9, 1.0, 1.1]))
        >>> found.count, found.near_zero, found.central_share
        (6, 0.0, 0.0)
    """

    layer: str
    part: str
    count: int
    bimodality: float
    central_share: float
    near_zero: float
    root_mean_square: float
    histogram: NDArray[np.int64]

    @classmethod
    def of(cls, layer: str, part: str, values: NDArray[np.float64]) -> Distribution:
        """Summarise values that are scaled already."""
        values = values[np.isfinite(values)]
        near, root = np.nan, np.nan
        if values.size:
            near, root = float((np.abs(values) <= BIN).mean()), float(np.sqrt((values**2).mean()))
        counts = np.histogram(np.clip(values, -REACH, REACH), EDGES)[0].astype(np.int64)
        shape = bimodality_coefficient(values), central_share(values)
        return cls(layer, part, values.size, *shape, near, root, counts)


def bimodality_coefficient(values: ArrayLike) -> float:
    """Sarle's bimodality coefficient `(g² + 1) / (k + 3 (n - 1)² / ((n - 2)(n - 3)))`, in (0, 1] for large n.

    g and k are the sample skewness and excess kurtosis, corrected for their bias (Pfister et al. 2013, Good things peak
    in pairs: a note on the bimodality coefficient). In the limit 1/3 for a normal, 5/9 for a uniform, 1 for two points.
    Above 5/9 hints at two modes, with two limits: strong skew raises it without a second mode (5/9 for an exponential
    too), a few far outliers lower it in spite of one.

    Returns:
        The coefficient; NaN of fewer than four values, or if all are the same.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> normal, two = rng.normal(size=10_000), rng.normal(3 * rng.choice([-1, 1], 10_000))
        >>> round(bimodality_coefficient(normal), 2), round(bimodality_coefficient(two), 2)
        (0.34, 0.73)
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64).ravel()
    n = x.size
    if n < 4 or x.min() == x.max():
        return float("nan")
    # Scaled first: powers of tiny weights would vanish.
    centred = x - x.mean()
    centred /= np.abs(centred).max()
    skewness, excess = stats.skew(centred, bias=False), stats.kurtosis(centred, bias=False)
    return float((skewness**2 + 1.0) / (excess + 3.0 * (n - 1) ** 2 / ((n - 2) * (n - 3))))


def central_share(values: ArrayLike) -> float:
    """Share of the values with `|x| <= m / 4`, m the median of |x|: is there a gap or a peak at zero?

    No matter the scale, and hardly touched by far outliers, which blind the bimodality coefficient. In the limit 0.125
    for a uniform around zero, 0.134 for a normal, 0.159 for a Laplace distribution; less hints at a gap at zero, and so
    at two modes on its sides. NaN of no values, or if half of them are zero.

    >>> central_share(np.linspace(-1, 1, 1000)), central_share([-1.0, -0.9, 0.9, 1.0])
    (0.126, 0.0)
    """
    magnitudes = np.abs(np.asarray(values, dtype=np.float64).ravel())
    middle = np.median(magnitudes) if magnitudes.size else 0.0
    return float((magnitudes <= middle / 4).mean()) if middle > 0 else float("nan")


def weight_distributions(ticket: Ticket, known: MutableMapping[str, list[Distribution]]) -> list[Distribution]:
    """One for each layer and part, then for all layers together; `final_kept` only of a trained ticket.

    A layer whose initial weights are all the same has no scale and is left out.

    Args:
        ticket: the ticket.
        known: where the distributions of whole initialisations are kept, which many tickets share.

    Examples:
        >>> network = nn.Linear(4, 2, bias=False)
        >>> mask = sc.keep_top(sc.Scores({"weight": network.weight.detach().abs()}, "magnitude"), 0.5)
        >>> found = weight_distributions(sc.Ticket.of(network, mask), known={})
        >>> [(d.layer, d.part, d.count) for d in found]
        [('weight', 'initial', 8), ('', 'initial', 8), ('weight', 'initial_kept', 4), ('', 'initial_kept', 4)]
    """
    layers = ticket.mask.tensors
    key = sha256(part for layer in layers for part in (layer, ";", tensor_bytes(ticket.initial[layer])))
    initial = {layer: _numpy(ticket.initial[layer]) for layer in layers}
    scales = {layer: scale for layer, values in initial.items() if (scale := float(values.std())) > 0}
    kept = {layer: layers[layer].detach().cpu().numpy() for layer in scales}
    if key not in known:
        known[key] = _distributions("initial", {layer: initial[layer] / scale for layer, scale in scales.items()})
    found = list(known[key])
    for part, weights in zip(PARTS[1:], (ticket.initial, ticket.trained), strict=True):
        if weights is not None:
            values = {layer: _numpy(weights[layer])[kept[layer]] / scale for layer, scale in scales.items()}
            found += _distributions(part, values)
    return found


def same_sign(ticket: Ticket) -> dict[str, float]:
    """For each layer, and `""` for all: the share of kept weights whose sign training did not change.

    Weights that are zero before or after have no sign and do not count; NaN where none is left; {} for a ticket that
    was not trained.

    >>> mask = sc.Mask({"weight": torch.tensor([[True, True, True, False]])})
    >>> before, after = torch.tensor([[1.0, -2.0, 3.0, 4.0]]), torch.tensor([[2.0, -1.0, -3.0, 0.0]])
    >>> found = same_sign(sc.Ticket({"weight": before}, mask, {}, {"weight": after}))
    >>> {layer: round(share, 2) for layer, share in found.items()}
    {'weight': 0.67, '': 0.67}
    """
    if ticket.trained is None:
        return {}
    signs = {
        layer: np.sign(_numpy(ticket.initial[layer][kept])) * np.sign(_numpy(ticket.trained[layer][kept]))
        for layer, kept in ticket.mask.tensors.items()
    }
    signs[ALL_LAYERS] = np.concatenate(list(signs.values()))
    known = {layer: some[np.abs(some) == 1] for layer, some in signs.items()}
    return {layer: float((some > 0).mean()) if some.size else float("nan") for layer, some in known.items()}


def _distributions(part: str, values: Mapping[str, NDArray[np.float64]]) -> list[Distribution]:
    """Of each layer, then of all together."""
    flat = {layer: entries.ravel() for layer, entries in values.items()}
    if flat:
        flat[ALL_LAYERS] = np.concatenate(list(flat.values()))
    return [Distribution.of(layer, part, entries) for layer, entries in flat.items()]


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return values
