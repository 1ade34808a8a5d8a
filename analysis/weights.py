"""The weights that a ticket keeps: their distribution before and after training, and whether it is bi-modal.

All values are in units of the standard deviation of their layer's initial weights, so that layers and tickets can be
laid over each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

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
        inside = np.clip(values, -REACH, REACH)
        return cls(
            layer,
            part,
            values.size,
            bimodality_coefficient(values),
            central_share(values),
            float((np.abs(values) <= BIN).mean()) if values.size else np.nan,
            float(np.sqrt((values**2).mean())) if values.size else np.nan,
            np.histogram(inside, len(EDGES) - 1, (-REACH, REACH))[0].astype(np.int64),
        )


def bimodality_coefficient(values: ArrayLike) -> float:
    """Sarle's bimodality coefficient `(g² + 1) / (k + 3 (n - 1)² / ((n - 2)(n - 3)))`, in (0, 1] for large n.

    g and k are the sample skewness and excess kurtosis, corrected for their bias (Pfister et al. 2013, Good things peak
    in pairs: a note on the bimodality coefficient). In the limit 1/3 for a normal, 5/9 for a uniform, 1 for two points.
    Above 5/9 hints at two modes, with two limits: strong skew raises it without a second mode (5/9 for an exponential
    too), a few far outliers lower it in spite of one.

    Returns:
        The coefficient; NaN of fewer than four values, or if all are the same.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    n = x.size
    if n < 4 or x.min() == x.max():
        return float("nan")
    # Scaled first: powers of tiny weights would vanish.
    centred = x - x.mean()
    centred /= np.abs(centred).max()
    squares = centred * centred  # NumPy's ** is ten times slower
    second = squares.mean()
    skewness = (squares @ centred) / n / second**1.5 * np.sqrt(n * (n - 1)) / (n - 2)
    excess = (squares @ squares) / n / second**2 - 3.0
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6.0)
    return float((skewness**2 + 1.0) / (excess + 3.0 * (n - 1) ** 2 / ((n - 2) * (n - 3))))


def central_share(values: ArrayLike) -> float:
    """Share of the values with `|x| <= m / 4`, m the median of |x|: is there a gap or a peak at zero?

    No matter the scale, and hardly touched by far outliers, which blind the bimodality coefficient. In the limit 0.125
    for a uniform around zero, 0.134 for a normal, 0.159 for a Laplace distribution; less hints at a gap at zero, and so
    at two modes on its sides. NaN of no values, or if half of them are zero.
    """
    magnitudes = np.abs(np.asarray(values, dtype=np.float64).ravel())
    middle = np.median(magnitudes) if magnitudes.size else 0.0
    return float((magnitudes <= middle / 4).mean()) if middle > 0 else float("nan")


def weight_distributions(
    ticket: Ticket, known: MutableMapping[bytes, list[Distribution]] | None = None
) -> list[Distribution]:
    """One for each layer and part, then for all layers together; `final_kept` only of a trained ticket.

    A layer whose initial weights are all the same has no scale and is left out.

    Args:
        ticket: the ticket.
        known: where the distributions of whole initialisations are kept, which many tickets share.
    """
    known = {} if known is None else known
    key = _digest(ticket)
    initial = {layer: _numpy(ticket.initial[layer]) for layer in ticket.mask.tensors}
    scales = {layer: scale for layer, values in initial.items() if (scale := float(values.std())) > 0}
    if key not in known:
        known[key] = _distributions("initial", {layer: initial[layer] / scale for layer, scale in scales.items()})
    kept = {layer: ticket.mask.tensors[layer].detach().cpu().numpy() for layer in scales}
    found = known[key] + _distributions(
        "initial_kept", {layer: initial[layer][kept[layer]] / scale for layer, scale in scales.items()}
    )
    if ticket.trained is not None:
        final = {layer: _numpy(ticket.trained[layer]) for layer in scales}
        found += _distributions("final_kept", {layer: final[layer][kept[layer]] / scales[layer] for layer in scales})
    return found


def same_sign(ticket: Ticket) -> dict[str, float]:
    """For each layer, and `""` for all: the share of kept weights whose sign training did not change.

    Weights that are zero before or after have no sign and do not count; NaN where none is left; {} for a ticket that
    was not trained.
    """
    if ticket.trained is None:
        return {}
    same = dict.fromkeys([*ticket.mask.tensors, ALL_LAYERS], 0)
    of = dict(same)
    for layer, kept in ticket.mask.tensors.items():
        before, after = _numpy(ticket.initial[layer][kept]), _numpy(ticket.trained[layer][kept])
        signs = np.sign(before) * np.sign(after)
        for name in (layer, ALL_LAYERS):
            same[name] += int((signs > 0).sum())
            of[name] += int((signs > 0).sum() + (signs < 0).sum())
    return {name: same[name] / of[name] if of[name] else float("nan") for name in same}


def _distributions(part: str, values: Mapping[str, NDArray[np.float64]]) -> list[Distribution]:
    """Of each layer, then of all together."""
    flat = {layer: entries.ravel() for layer, entries in values.items()}
    if flat:
        flat[ALL_LAYERS] = np.concatenate(list(flat.values()))
    return [Distribution.of(layer, part, entries) for layer, entries in flat.items()]


def _digest(ticket: Ticket) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for layer in ticket.mask.tensors:
        weights = ticket.initial[layer].detach().cpu().contiguous()
        digest.update(f"{layer} {weights.dtype} {tuple(weights.shape)};".encode())
        digest.update(weights.flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return values
