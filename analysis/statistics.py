"""Means with their intervals, over the seeds of a method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratchcard.analysis.headline import ACCURACY, Headline


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval.

    Attributes:
        mean: of the values.
        half_width: `t(0.975, n - 1) s / sqrt(n)` with the sample standard deviation s; NaN for a single value.
        count: number of values.
    """

    mean: float
    half_width: float
    count: int

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """`96.12 ± 0.15`."""
        mean = f"{scale * self.mean:.{digits}f}"
        return mean if math.isnan(self.half_width) else f"{mean} ± {scale * self.half_width:.{digits}f}"


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval by Student's t, which takes the values as independent and about normal.

    Raises:
        ValueError: no values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("an interval needs at least one value")
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, math.nan, 1)
    from scipy.special import stdtrit  # scipy.stats would take over a second to import

    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Interval(mean, float(stdtrit(count - 1, 0.975)) * spread / math.sqrt(count), count)


@dataclass(frozen=True)
class Summary:
    """One method's results over seeds.

    Attributes:
        label: of the method, with density and task where they differ.
        density: of its tickets.
        test_accuracy: the headline metric.
        best_step: training steps to the lowest validation loss.
        pruning_seconds: spent on the ticket.
        effective_density: of the tickets.
        accuracies: of each seed, ascending.
        metric: name of the headline metric.
    """

    label: str
    density: float
    test_accuracy: Interval
    best_step: Interval
    pruning_seconds: Interval
    effective_density: Interval
    accuracies: tuple[float, ...]
    metric: str = ACCURACY

    @property
    def headline(self) -> Headline:
        """The metric."""
        return Headline(self.metric)


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Places of the points (cost, value) than which none is both cheaper and better; of equal points the first."""
    order = sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1]))
    found, best = set[int](), -math.inf
    for k in order:
        if points[k][1] > best:
            found.add(k)
            best = points[k][1]
    return found


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Summary]:
    """Results grouped by label, density and task, in order of appearance; labels name what differs of the last two.

    Raises:
        ValueError: two results of a group have one seed, so that they are no independent values of one method.
    """
    import pandas as pd

    from scratchcard.analysis.groups import groups

    rows = pd.DataFrame([_row(result) for result in results])
    measures = ("test_accuracy", "best_step", "pruning_seconds", "effective_density")
    found = [groups(rows, ("label", "density", "task"), measure) for measure in measures] if len(rows) else []
    several = [len({group.key[k] for group in found[0]}) > 1 for k in range(3)] if found else []
    summaries = []
    for accuracy, *others in zip(*found, strict=True):
        label, density, task = accuracy.key
        if accuracy.repeated:
            raise ValueError(
                f"{len(accuracy.rows)} results of {label!r} at density {density:g} {task} share "
                f"{len(accuracy.every_seed)} seeds: they differ in something that the label does not say; summarise "
                "those of one grid and setting"
            )
        name = label + (f", density {density:g}" if several[1] else "") + (f", {task}" if several[2] and task else "")
        steps, seconds, effective = (group.interval for group in others)
        reached = accuracy.interval, steps, seconds, effective
        summaries.append(Summary(name, density, *reached, accuracy.values, accuracy.metric))
    return summaries


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    configuration = result["configuration"]
    return {
        "label": str(result["label"]),
        "density": float(configuration["density"]),
        "task": str(configuration.get("workload", {}).get("task", "")),
        "seed": int(configuration["seed"]),
        "metric": result.get("metric"),
        "test_accuracy": float(result["test_accuracy"]),
        "best_step": float(result["training"]["best_step"]),
        "pruning_seconds": float(result["pruning_seconds"]),
        "effective_density": float(result["effective_density"]),
    }


def markdown(summaries: Sequence[Summary], passes: Mapping[str, float] | None = None) -> str:
    """A Markdown table: accuracy, steps to the best validation loss, pruning time, effective density.

    With `passes` (by label) one of the cost: passes over the data in place of the steps, the best first.
    """
    cost = "steps to best validation loss" if passes is None else "passes over the data"
    titles = " or ".join(dict.fromkeys(s.headline.title for s in summaries))
    lines = [
        f"| method | {titles} | {cost} | pruning time, s | effective density | seeds |",
        "|---|---|---|---|---|---|",
    ]
    shown = summaries if passes is None else sorted(summaries, key=lambda s: -s.test_accuracy.mean)
    lines += [
        f"| {s.label} | {s.test_accuracy.text(s.headline.digits, s.headline.scale)} | "
        f"{s.best_step.text(0) if passes is None else _three(passes[s.label])} | {_seconds(s.pruning_seconds)} | "
        f"{s.effective_density.mean:.4f} | {s.test_accuracy.count} |"
        for s in shown
    ]
    return "\n".join(lines)


def _three(value: float) -> str:
    """Three digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "0" if value == 0 else "< 0.001"


def _seconds(seconds: Interval) -> str:
    return seconds.text(1 if seconds.mean >= 10 else 2)
