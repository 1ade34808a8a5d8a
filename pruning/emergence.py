"""Emergence: how far two masks of one network are apart, and from which step of a training on a mask holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout

MASKS_BEFORE = 5
"""With how many earlier masks the newest is compared: the length of Early-Bird's queue."""


def mask_distance(one: Mask, other: Mask) -> float:
    r"""Weights on which two masks disagree, over those on which independent masks of their densities would.

    Of n weights and the densities p and q it is `(|A \ B| + |B \ A|) / (n (p (1 - q) + q (1 - p)))`: 0 where they are
    equal, 1 where they agree by chance alone. That is `1 - kappa` (Cohen, "A coefficient of agreement for nominal
    scales", 1960). Where p = q it is `(1 - |A & B| / |A|) / (1 - p)`, the share of the kept weights that changed, over
    what chance would change.

    Early-Bird (You et al. 2020, arXiv 1909.11957) divides by all n, as it keeps about half of the channels. Of weights
    that says nothing: any two masks of 1 % agree on 98 % of all. The share of kept weights alone says nothing at the
    other end: any two masks of 80 % share 80 %. This number means the same at every density.

    Raises:
        ValueError: masks of different layouts.

    Examples:
        >>> one, other = (Mask({"weight": torch.tensor(kept) == 1}) for kept in ([1, 1, 0, 0], [1, 0, 1, 0]))
        >>> mask_distance(one, one), mask_distance(one, other)  # they share one of two weights, as chance would have it
        (0.0, 1.0)
    """
    check_same_layout(one.tensors, other.tensors, "the other mask")
    theirs = other.counted
    differ = sum(int((kept ^ theirs[name]).sum()) for name, kept in one.counted.items())
    p, q = one.density, other.density
    by_chance = one.total * (p * (1 - q) + q * (1 - p))
    return differ / by_chance if differ else 0.0


class Settling:
    """Whether the masks of a training have settled, mask by mask: Early-Bird's stopping rule, for single weights.

    They have when the distances between the newest mask and each of the five before it are all below a threshold.

    Args:
        threshold: of `mask_distance`.

    Attributes:
        distance: the largest of the newest mask's distances; None before there are two masks.

    Examples:
        >>> masks = [Mask({"weight": torch.arange(8) < kept}) for kept in (2, 4, 4, 4, 4, 4, 4)]
        >>> settling = Settling(0.1)
        >>> [settling.see(mask) for mask in masks], settling.distance
        ([False, False, False, False, False, False, True], 0.0)
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._before: deque[Mask] = deque(maxlen=MASKS_BEFORE)
        self.distance: float | None = None

    def see(self, mask: Mask) -> bool:
        """Compare a mask with those before it, and remember it; whether they have settled."""
        self.distance = max((mask_distance(mask, earlier) for earlier in self._before), default=None)
        enough = len(self._before) == MASKS_BEFORE
        self._before.append(mask)
        return enough and self.distance is not None and self.distance < self._threshold


def emergence_step(distances: Mapping[int, float], threshold: float) -> int:
    """The earliest step from which on the mask stays nearer than a threshold to the last one; known only afterwards.

    Args:
        distances: by step, of the mask taken there to the mask of the last step.
        threshold: of `mask_distance`.

    Raises:
        ValueError: no distance, or the last one is not below the threshold.

    Examples:
        >>> emergence_step({0: 0.9, 100: 0.05, 200: 0.2, 300: 0.04, 400: 0.0}, threshold=0.1)
        300
    """
    steps = sorted(distances)
    if not steps or distances[steps[-1]] >= threshold:
        raise ValueError(f"the last mask is not within {threshold:g} of the last mask; give its distance, 0, too")
    far = [place for place, step in enumerate(steps) if distances[step] >= threshold]
    return steps[far[-1] + 1 if far else 0]
