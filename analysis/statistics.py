"""Metrics as they are shown, and means with their intervals, over the seeds of a method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratchcard.sweeps.record import SHARES

ACCURACY = "accuracy"
"""What records without a metric's name were measured by."""


@dataclass(frozen=True)
class Headline:
    """A metric by which tickets are compared; larger is better.

    >>> Headline("accuracy").title, Headline("accuracy").text(0.9612)
    ('test accuracy, %', '96.12')
    >>> Headline("r2").title, Headline("r2").text(0.9612)
    ('test r2', '0.9612')

    Attributes:
        name: as the task's objective calls it.
    """

    name: str = ACCURACY

    @property
    def share(self) -> bool:
        """Whether it lies in [0, 1] and is read in per cent."""
        return self.name.endswith(SHARES)

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.share else 1.0

    @property
    def digits(self) -> int:
        """After the point."""
        return 2 if self.share else 4

    @property
    def points(self) -> str:
        """Unit of a difference, with a space before it; empty where there is none."""
        return " points" if self.share else ""

    @property
    def words(self) -> str:
        """`micro f1` of `micro_f1`."""
        return self.name.replace("_", " ")

    @property
    def title(self) -> str:
        """For an axis or a table's head."""
        return f"test {self.words}{', %' if self.share else ''}"

    def text(self, value: float, sign: str = "") -> str:
        """A value as it is shown, without its unit."""
        return f"{self.scale * value:{sign}.{self.digits}f}"


def metric_of(value: Any) -> str:
    """The name in a run's row, where it may be missing.

    >>> metric_of("micro_f1"), metric_of(None)
    ('micro_f1', 'accuracy')
    """
    return value if isinstance(value, str) and value else ACCURACY


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval.

    Attributes:
        mean: of the values.
        half_width: `t(0.975, n - 1) s / sqrt(n)` with the sample standard deviation s; NaN for a single value.
        count: number of values.

    Examples:
        >>> Interval(0.9612, 0.0015, 5).text(digits=2, scale=100)
        '96.12 ± 0.15'
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

    Examples:
        >>> interval([0.90, 0.92, 0.94]).text(3)
        '0.920 ± 0.050'
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

    Examples:
        >>> steps, seconds, density = interval([430.0]), interval([1.5]), interval([0.09])
        >>> found = Summary("snip", 0.1, interval([0.90, 0.94]), steps, seconds, density, (0.90, 0.94))
        >>> found.headline.title, round(found.test_accuracy.mean, 2)
        ('test accuracy, %', 0.92)
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
    """Places of the points (cost, value) than which none is both cheaper and better; of equal points the first.

    >>> sorted(pareto([(1.0, 0.90), (2.0, 0.85), (3.0, 0.95)]))
    [0, 2]
    """
    found, best = set[int](), -math.inf
    for k in sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1])):
        if points[k][1] > best:
            found.add(k)
            best = points[k][1]
    return found


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Summary]:
    """Results grouped by label, density and task, in order of appearance; labels name what differs of the last two.

    Raises:
        ValueError: two results of a group have one seed, so that they are no independent values of one method.

    Examples:
        >>> result = {"label": "snip", "pruning_seconds": 1.5, "effective_density": 0.1, "training": {"best_step": 430}}
        >>> first = result | {"configuration": {"density": 0.1, "seed": 0}, "test_accuracy": 0.90}
        >>> second = result | {"configuration": {"density": 0.1, "seed": 1}, "test_accuracy": 0.94}
        >>> [(one.label, round(one.test_accuracy.mean, 2), one.accuracies) for one in summarise([first, second])]
        [('snip', 0.92, (0.9, 0.94))]
    """
    import pandas as pd

    from scratchcard.analysis.groups import groups

    measures = ("test_accuracy", "best_step", "pruning_seconds", "effective_density")
    rows = pd.DataFrame(
        [
            {name: float({**result, **result["training"]}[name]) for name in measures}
            | {name: result["configuration"][name] for name in ("density", "seed")}
            | {"task": str(result["configuration"].get("workload", {}).get("task", ""))}
            | {"label": str(result["label"]), "metric": result.get("metric")}
            for result in results
        ]
    )
    if rows.empty:
        return []
    summaries = []
    found = [groups(rows, ("label", "density", "task"), measure) for measure in measures]
    for accuracy, *others in zip(*found, strict=True):
        label, density, task = accuracy.key
        if accuracy.repeated:
            raise ValueError(
                f"{len(accuracy.rows)} results of {label!r} at density {density:g} {task} share "
                f"{len(accuracy.every_seed)} seeds: they differ in something that the label does not say; summarise "
                "those of one grid and setting"
            )
        label += f", density {density:g}" if rows["density"].nunique() > 1 else ""
        label += f", {task}" if rows["task"].nunique() > 1 and task else ""
        steps, seconds, effective = (group.interval for group in others)
        reached = accuracy.interval, steps, seconds, effective
        summaries.append(Summary(label, density, *reached, accuracy.values, accuracy.metric))
    return summaries
