"""Thresholds: which of a ranking's masks does best, coarse to fine over all values, or of some that are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scratchcard.pruning.scores import Scores
    from scratchcard.workloads.engines.evaluator import Evaluated

Try = Callable[[Sequence[int]], Sequence["Evaluated"]]
"""Evaluates the masks that keep so many weights, counts ascending."""


def coarse_to_fine(evaluate: Try, most: int, at_once: int, least: int = 1) -> dict[int, Evaluated]:
    """Counts of kept weights, from `least` to `most`, that were tried, and what came of each.

    First `at_once` counts at even distances; then as many between the neighbours of the best, until none is in between.

    Examples:
        >>> from scratchcard.workloads.engines.evaluator import Evaluated
        >>> def peak(counts):
        ...     return [Evaluated(0.0, {"accuracy": 1 - abs(count - 37) / 100}, 1) for count in counts]
        >>> found = coarse_to_fine(peak, 100, at_once=4)
        >>> list(found)[:4], best_of(found), len(found)
        ([25, 50, 75, 100], 37, 12)
    """
    found: dict[int, Evaluated] = {}
    low, high = least - 1, most
    while True:
        counts = {low + round((high - low) * part / at_once) for part in range(1, at_once + 1)}
        new = sorted(counts - found.keys() - {least - 1})
        if not new:
            return found
        found |= dict(zip(new, evaluate(new), strict=True))
        best = best_of(found)
        low = max((count for count in found if count < best), default=least - 1)
        high = min((count for count in found if count > best), default=best)


def most_tried(most: int, at_once: int) -> tuple[int, int]:
    """How many times `coarse_to_fine` tries counts at once, and how many counts in all, at most.

    >>> most_tried(266_200, at_once=32)
    (5, 160)
    """
    times, width = 1, float(most)
    while width > at_once:  # each time leaves two of its gaps
        width, times = 2 * math.ceil(width / at_once), times + 1
    return times, min(most, times * at_once)


def best_of(found: Mapping[int, Evaluated]) -> int:
    """The count with the highest metric; of equals the lowest loss, then the fewest weights.

    Examples:
        >>> from scratchcard.workloads.engines.evaluator import Evaluated
        >>> tried = [Evaluated(2.1, {"accuracy": 0.5}, 10), Evaluated(2.0, {"accuracy": 0.5}, 10)]
        >>> best_of({3: tried[0], 5: tried[1], 7: tried[1]})
        5
    """

    def rank(count: int) -> tuple[float, float, int]:
        metric, loss = found[count].metric, found[count].loss
        return (metric if math.isfinite(metric) else -math.inf, -loss if math.isfinite(loss) else -math.inf, -count)

    return max(found, key=rank)


def nothing(found: Evaluated) -> Evaluated:
    """What takes the place of the evaluation of a mask that keeps nothing: it never wins.

    >>> from scratchcard.workloads.engines.evaluator import Evaluated
    >>> nothing(Evaluated(2.3, {"accuracy": 0.1}, 10))
    Evaluated(loss=nan, metrics={'accuracy': nan}, examples=10)
    """
    return replace(found, loss=math.nan, metrics=dict.fromkeys(found.metrics, math.nan))


def counts_above(scores: Scores, thresholds: Sequence[float], excluded: frozenset[str], most: int) -> list[int]:
    """How many weights have a score of at least each threshold, each count once, ascending.

    Left out are thresholds that no score reaches, and those that more than `most` reach.

    Raises:
        ValueError: none is left.

    Examples:
        >>> scores = sc.Scores({"weight": torch.tensor([-0.2, 0.05, 0.3])}, "by hand")
        >>> counts_above(scores, [0.0, 0.1, 0.5], frozenset(), most=3)
        [1, 2]
    """
    live = [tensor for name, tensor in scores.tensors.items() if name not in excluded]
    counts = {sum(int((tensor >= threshold).sum()) for tensor in live) for threshold in thresholds}
    found = sorted(count for count in counts if 0 < count <= most)
    if not found:
        low, high = min(float(tensor.min()) for tensor in live), max(float(tensor.max()) for tensor in live)
        raise ValueError(
            f"no threshold leaves between 1 and {most} weights: scores lie in [{low:.4g}, {high:.4g}], and the "
            f"thresholds are {', '.join(f'{value:g}' for value in thresholds)}; take others, or a higher density"
        )
    return found
