"""Overlap of tickets: the Jaccard index, its chance level, and the core that all of them keep.

Masks are compared position by position, which means something only where a position is the same weight: tickets of
one network that start from one initialisation. Two seeds' networks share no position (their hidden units are in no
common order), so that their overlap is chance, whatever the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scratchcard.pruning.mask import Mask

if TYPE_CHECKING:
    import pandas as pd

_WORDS = 1024  # of 64 weights each that are unpacked at a time


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask at one bit a weight, for comparing many of one network.

    Attributes:
        sizes: number of weights of each tensor.
        kept: number of kept weights of each.
        bits: `(ceil(n / 64),)` uint64, the flat mask; what is left of the last word is 0.

    Examples:
        >>> packed = PackedMask.of(sc.Mask({"weight": torch.tensor([[True, False, True], [False, False, True]])}))
        >>> packed.sizes, packed.kept, packed.bits.nbytes
        (array([6]), array([3]), 8)
    """

    sizes: NDArray[np.int64]
    kept: NDArray[np.int64]
    bits: NDArray[np.uint64]

    @classmethod
    def of(cls, mask: Mask) -> PackedMask:
        """Pack a mask."""
        octets = np.packbits(mask.flat().cpu().numpy())
        bits = np.pad(octets, (0, -len(octets) % 8)).view(np.uint64)
        counts = [(tensor.numel(), int(tensor.sum())) for tensor in mask.tensors.values()]
        sizes, kept = np.array(counts, dtype=np.int64).T
        return cls(sizes, kept, bits)


def jaccards(masks: Sequence[PackedMask]) -> NDArray[np.float64]:
    """`|A ∩ B| / |A ∪ B|` of the kept weights (Jaccard 1912) of every two; 1 for two masks that keep nothing.

    One AND and one bit count a row of the matrix.

    >>> masks = [sc.Mask({"weight": torch.tensor([kept]) == 1}) for kept in ([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1])]
    >>> jaccards([PackedMask.of(mask) for mask in masks]).round(3)
    array([[1.   , 0.333, 0.   ],
           [0.333, 1.   , 0.333],
           [0.   , 0.333, 1.   ]])
    """
    bits = np.stack([mask.bits for mask in masks])
    sizes = np.array([mask.kept.sum() for mask in masks])
    both = np.stack([np.bitwise_count(bits & row).sum(axis=1, dtype=np.int64) for row in bits]).astype(np.float64)
    return _ratio(both, sizes[:, None] + sizes[None, :] - both)


def chances(masks: Sequence[PackedMask], *, by_layer: bool = False) -> NDArray[np.float64]:
    """Jaccard index to expect of every two masks if they were random; the diagonal too is that of two such masks.

    Of two independent masks of densities p and q it is `pq / (p + q - pq)`, the ratio of the expected intersection to
    the expected union, exact as the network grows; 1 for p = q = 0. By layer, of masks that keep as much of each layer
    at random places, `Σ n_l p_l q_l / Σ n_l (p_l + q_l - p_l q_l)` over layers l of n_l weights: criteria that agree
    only on how many weights each layer needs reach this; agreement on *which* weights shows above it.

    >>> thin, wide = [True, False, False, False], [True, True, True, False]
    >>> pairs = (thin, wide), (wide, thin)
    >>> masks = [sc.Mask({"0": torch.tensor([one]), "1": torch.tensor([other])}) for one, other in pairs]
    >>> masks = [PackedMask.of(mask) for mask in masks]
    >>> chances(masks)[0].round(3).tolist(), chances(masks, by_layer=True)[0].round(3).tolist()
    ([0.333, 0.333], [0.455, 0.231])
    """
    sizes = masks[0].sizes.astype(np.float64)
    kept = np.stack([mask.kept for mask in masks]).astype(np.float64)
    if not by_layer:
        sizes, kept = sizes.sum(keepdims=True), kept.sum(axis=1, keepdims=True)
    both = (kept / np.maximum(sizes, 1.0)) @ kept.T  # Σ n_l p_l q_l
    total = kept.sum(axis=1)
    return _ratio(both, total[:, None] + total[None, :] - both)


def core_curve(masks: Sequence[PackedMask]) -> pd.DataFrame:
    """How many weights at least k of the n masks keep, for k from 1 to n; at k = n this is the size of the core.

    Columns: `at_least` (k), `weights`, and what independent masks would give: `expected` with the weights of each mask
    anywhere, `expected_by_layer` with as many in each layer as it has. The number of masks that keep a weight is then
    Poisson-binomial with the masks' (layer) densities.

    >>> masks = [sc.Mask({"weight": torch.tensor([kept]) == 1}) for kept in ([1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1])]
    >>> core_curve([PackedMask.of(mask) for mask in masks])[["at_least", "weights", "expected"]]
       at_least  weights  expected
    0         1        4       3.5
    1         2        1       2.0
    2         3        1       0.5
    """
    import pandas as pd

    n, sizes = len(masks), masks[0].sizes
    times = np.zeros(n + 1, dtype=np.int64)
    for start in range(0, len(masks[0].bits), _WORDS):
        words = np.stack([mask.bits[start : start + _WORDS] for mask in masks])
        times += np.bincount(np.unpackbits(words.view(np.uint8), axis=1).sum(axis=0, dtype=np.int64), minlength=n + 1)
    kept = np.stack([mask.kept for mask in masks])  # (masks, layers)
    by_layer = [size * _at_least(kept[:, layer] / size) for layer, size in enumerate(sizes) if size]
    return pd.DataFrame(
        {
            "at_least": np.arange(1, n + 1),
            "weights": _tail(times),
            "expected": sizes.sum() * _at_least(kept.sum(axis=1) / sizes.sum()),
            "expected_by_layer": np.sum(by_layer, axis=0),
        }
    )


def _ratio(both: NDArray[np.float64], union: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(both, union, out=np.ones_like(both), where=union > 0)


def _at_least(probabilities: NDArray[np.float64]) -> NDArray[np.generic]:
    """`(n,)`: that k or more of n independent events happen; from the product of their generating polynomials."""
    distribution = np.ones(1)
    for p in probabilities:
        distribution = np.convolve(distribution, [1.0 - p, p])
    return _tail(distribution)


def _tail(distribution: NDArray[np.generic]) -> NDArray[np.generic]:
    """`(n,)`: sums from k to n, for k = 1 to n."""
    return np.cumsum(distribution[::-1])[::-1][1:]
