"""Overlap of tickets: the Jaccard index, its chance level, and the core that all of them keep.

Masks are compared position by position, which means something only where a position is the same weight: tickets of
one network that start from one initialisation. Two seeds' networks share no position (their hidden units are in no
common order), so that their overlap is chance, whatever the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """A mask at one bit a weight, for comparing many.

    Attributes:
        layout: name and shape of each weight.
        kept: number of kept weights of each.
        bits: `(ceil(n / 64),)` uint64, the flat mask; what is left of the last word is 0.
    """

    layout: tuple[tuple[str, tuple[int, ...]], ...]
    kept: NDArray[np.int64]
    bits: NDArray[np.uint64]

    @classmethod
    def of(cls, mask: Mask | PackedMask) -> PackedMask:
        """Pack a mask; one that is packed already is returned as it is."""
        if isinstance(mask, PackedMask):
            return mask
        octets = np.packbits(mask.flat().cpu().numpy())
        bits = np.zeros(-(-len(octets) // 8) * 8, dtype=np.uint8)
        bits[: len(octets)] = octets
        layout = tuple((name, tuple(tensor.shape)) for name, tensor in mask.tensors.items())
        kept = np.array([int(tensor.sum()) for tensor in mask.tensors.values()], dtype=np.int64)
        return cls(layout, kept, bits.view(np.uint64))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of weights of each tensor."""
        return np.array([np.prod(shape, dtype=np.int64) for _, shape in self.layout], dtype=np.int64)


def jaccard(a: Mask | PackedMask, b: Mask | PackedMask) -> float:
    """`|A ∩ B| / |A ∪ B|` of the kept weights (Jaccard 1912); 1 for two masks that keep nothing, which are equal.

    Raises:
        ValueError: the masks are of different networks.
    """
    packed = _packed({"a": a, "b": b})
    return float(_jaccards(packed)[0, 1])


def jaccard_matrix(masks: Mapping[str, Mask | PackedMask]) -> pd.DataFrame:
    """The Jaccard index of every pair, labels along both sides; one AND and one bit count a row of the matrix.

    Raises:
        ValueError: no mask, or masks of different networks.
    """
    return _labelled(_jaccards(_packed(masks)), masks)


def chance_matrix(masks: Mapping[str, Mask | PackedMask], *, by_layer: bool = False) -> pd.DataFrame:
    """Jaccard index to expect of every two masks if they were random; the diagonal too is that of two such masks.

    Of two independent masks of densities p and q it is `pq / (p + q - pq)`, the ratio of the expected intersection to
    the expected union, exact as the network grows; 1 for p = q = 0. By layer, of masks that keep as much of each layer
    at random places, `Σ n_l p_l q_l / Σ n_l (p_l + q_l - p_l q_l)` over layers l of n_l weights: criteria that agree
    only on how many weights each layer needs reach this; agreement on *which* weights shows above it.

    Raises:
        ValueError: no mask, or masks of different networks.
    """
    return _labelled(_chances(_packed(masks), by_layer=by_layer), masks)


def core_curve(masks: Iterable[Mask | PackedMask]) -> pd.DataFrame:
    """How many weights at least k of the n masks keep, for k from 1 to n; at k = n this is the size of the core.

    Columns: `at_least` (k), `weights`, and what independent masks would give: `expected` with the weights of each mask
    anywhere, `expected_by_layer` with as many in each layer as it has. The number of masks that keep a weight is then
    Poisson-binomial with the masks' (layer) densities.

    Raises:
        ValueError: no mask, or masks of different networks.
    """
    import pandas as pd

    packed = _packed({str(place): mask for place, mask in enumerate(masks)})
    n, sizes = len(packed), packed[0].sizes
    times = np.zeros(n + 1, dtype=np.int64)
    for start in range(0, len(packed[0].bits), _WORDS):
        words = np.stack([mask.bits[start : start + _WORDS] for mask in packed])
        keeping = np.unpackbits(words.view(np.uint8), axis=1).sum(axis=0, dtype=np.int64)
        times += np.bincount(keeping, minlength=n + 1)
    kept = np.stack([mask.kept for mask in packed])  # (masks, layers)
    return pd.DataFrame(
        {
            "at_least": np.arange(1, n + 1),
            "weights": _tail(times),
            "expected": sizes.sum() * _tail(_poisson_binomial(kept.sum(axis=1) / sizes.sum())),
            "expected_by_layer": sum(
                size * _tail(_poisson_binomial(kept[:, layer] / size)) for layer, size in enumerate(sizes) if size
            ),
        }
    )


def _packed(masks: Mapping[str, Mask | PackedMask]) -> list[PackedMask]:
    if not masks:
        raise ValueError("no mask to compare: expected at least one ticket")
    packed = {label: PackedMask.of(mask) for label, mask in masks.items()}
    first, one = next(iter(packed.items()))
    for label, mask in packed.items():
        if mask.layout != one.layout:
            raise ValueError(
                f"the masks {first!r} and {label!r} are of different networks ({_shapes(one)}; {_shapes(mask)}); only "
                "tickets of one network can be compared"
            )
    return list(packed.values())


def _shapes(mask: PackedMask) -> str:
    return ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in mask.layout) or "no weights"


def _jaccards(masks: Sequence[PackedMask]) -> NDArray[np.float64]:
    bits = np.stack([mask.bits for mask in masks])
    sizes = np.array([mask.kept.sum() for mask in masks])
    both = np.empty((len(masks), len(masks)))
    for row in range(len(masks)):
        shared = np.bitwise_count(bits[row:] & bits[row]).sum(axis=1, dtype=np.int64)
        both[row, row:] = both[row:, row] = shared
    return _ratio(both, sizes[:, None] + sizes[None, :] - both)


def _chances(masks: Sequence[PackedMask], *, by_layer: bool) -> NDArray[np.float64]:
    sizes = masks[0].sizes.astype(np.float64)
    kept = np.stack([mask.kept for mask in masks]).astype(np.float64)
    if not by_layer:
        sizes, kept = sizes.sum(keepdims=True), kept.sum(axis=1, keepdims=True)
    both = (kept / np.maximum(sizes, 1.0)) @ kept.T  # Σ n_l p_l q_l
    total = kept.sum(axis=1)
    return _ratio(both, total[:, None] + total[None, :] - both)


def _ratio(both: NDArray[np.float64], union: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(both, union, out=np.ones_like(both), where=union > 0)


def _labelled(values: NDArray[np.float64], masks: Mapping[str, Mask | PackedMask]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(values, index=list(masks), columns=list(masks))


def _poisson_binomial(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distribution `(n + 1,)` of how many of n independent events happen; their generating polynomials' product."""
    distribution = np.ones(1)
    for p in probabilities:
        distribution = np.convolve(distribution, [1.0 - p, p])
    return distribution


def _tail(distribution: NDArray[np.generic]) -> NDArray[np.generic]:
    """`(n,)`: sums from k to n, for k = 1 to n."""
    return np.cumsum(distribution[::-1])[::-1][1:]
