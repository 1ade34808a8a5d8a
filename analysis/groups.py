"""The one grouping of runs: those that differ in their seed alone, their mean and its interval.

Runs that are measured by different metrics are never in one group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scratchcard.analysis.headline import ACCURACY, Headline, metric_of
from scratchcard.analysis.statistics import Interval, interval

if TYPE_CHECKING:
    import pandas as pd

DENSE = 1.0
MEASURE = "test_accuracy"
"""The column that holds the headline metric, whatever its name."""
METHOD = ("label", "network", "task", "density")
"""Two runs of one method differ in one of these, or in the seed."""
SETTINGS = (
    *("data_digest", "predictor", "rounds", "towards", "scoring_examples", "max_steps"),
    *("engine", "device", "results_version"),
)
"""What runs of one label and seed may differ in."""


class Place(NamedTuple):
    """Where runs are compared: a network on a task."""

    network: str
    task: str


def density_key(density: float) -> float:
    """A density as it is compared: without the last digits, where rounding differs."""
    return float(f"{density:.10g}")


@dataclass(frozen=True)
class Group:
    """Runs of one method.

    Attributes:
        key: what they have in common, in the order of the grouping's columns; None where it is missing.
        metric: name of the metric that they are measured by.
        seeds: of the runs with a finite value, ascending.
        values: theirs, in the column's own units.
        missing: seeds of the runs whose value is NaN or infinite.
        diverged: seeds of finite values whose training diverged (they were measured at their best before).
        rows: places of all runs in the frame.
    """

    key: tuple[Any, ...] = ()
    metric: str = ACCURACY
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    missing: frozenset[int] = frozenset()
    diverged: frozenset[int] = frozenset()
    rows: tuple[int, ...] = ()

    @property
    def headline(self) -> Headline:
        """The metric."""
        return Headline(self.metric)

    @property
    def every_seed(self) -> frozenset[int]:
        """Of all runs, with and without a finite value."""
        return frozenset(self.seeds) | self.missing

    @property
    def repeated(self) -> bool:
        """Whether a seed is there more than once, so that its runs are no independent values of one method."""
        return len(self.every_seed) < len(self.rows)

    @cached_property
    def interval(self) -> Interval:
        """Mean and 95 % interval over the seeds.

        Raises:
            ValueError: no finite value.
        """
        return interval(self.values)

    def only(self, seeds: frozenset[int]) -> Group:
        """The part with these seeds."""
        kept = [(seed, value) for seed, value in zip(self.seeds, self.values, strict=True) if seed in seeds]
        left = tuple(seed for seed, _ in kept), tuple(value for _, value in kept)
        return Group(self.key, self.metric, *left, self.missing & seeds, self.diverged & seeds, self.rows)


def groups(runs: pd.DataFrame, by: Sequence[str] = METHOD, measure: str = MEASURE) -> list[Group]:
    """The runs that agree in `by` and in their metric, in order of appearance.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"label": ["snip", "snip", "random"], "seed": [0, 1, 0], "test_accuracy": [0.9, 0.8, 0.5]})
    >>> [(group.key, round(group.interval.mean, 3), group.seeds) for group in groups(runs, ["label"])]
    [(('snip',), 0.85, (0, 1)), (('random',), 0.5, (0,))]

    Args:
        runs: from `analysis.results.frame`.
        by: columns; `density` is compared without its last digits.
        measure: the column of the values.

    Raises:
        ValueError: columns are missing.
    """
    import pandas as pd

    wanted = [*by, "seed", measure]
    absent = [name for name in wanted if name not in runs.columns]
    if absent:
        raise ValueError(f"the frame of runs has no column {', '.join(absent)}; expected {', '.join(wanted)}")
    keys = zip(*([_plain(name, value) for value in runs[name].tolist()] for name in by), strict=True)
    metrics = [metric_of(value) for value in runs["metric"]] if "metric" in runs else [ACCURACY] * len(runs)
    values = pd.to_numeric(runs[measure]).to_numpy(dtype=float, na_value=math.nan)
    diverged = runs["diverged"].isin([True]).to_numpy() if "diverged" in runs else np.zeros(len(runs), dtype=bool)
    found: dict[tuple[Any, ...], list[tuple[int, float, bool, int]]] = {}
    for place, (key, metric, seed, value, flag) in enumerate(
        zip(keys, metrics, runs["seed"].astype(int).tolist(), values.tolist(), diverged.tolist(), strict=True)
    ):
        found.setdefault((key, metric), []).append((seed, value, flag, place))
    return [_group(key, metric, members) for (key, metric), members in found.items()]


def _plain(name: str, value: Any) -> Any:
    if name == "density":
        return density_key(value)
    return None if value is None or value != value or str(value) == "<NA>" else value


def _group(key: tuple[Any, ...], metric: str, runs: list[tuple[int, float, bool, int]]) -> Group:
    finite = sorted(run for run in runs if math.isfinite(run[1]))
    return Group(
        key,
        metric,
        tuple(seed for seed, *_ in finite),
        tuple(value for _, value, *_ in finite),
        frozenset(seed for seed, value, *_ in runs if not math.isfinite(value)),
        frozenset(seed for seed, _, flag, _ in finite if flag),
        tuple(place for *_, place in runs),
    )


@dataclass(frozen=True)
class Methods:
    """The groups of a frame by (label, place, density), each with every seed once: what tests compare."""

    groups: Mapping[tuple[str, Place, float], Group]

    @cached_property
    def labels(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(label for label, _, _ in self.groups))

    @cached_property
    def places(self) -> list[Place]:
        """In order of appearance."""
        return list(dict.fromkeys(place for _, place, _ in self.groups))

    def densities(self, label: str, place: Place) -> set[float]:
        """At which a label has runs."""
        return self._densities.get((label, place), set())

    @cached_property
    def _densities(self) -> dict[tuple[str, Place], set[float]]:
        found: dict[tuple[str, Place], set[float]] = {}
        for label, place, density in self.groups:
            found.setdefault((label, place), set()).add(density)
        return found

    def is_dense(self, label: str, place: Place) -> bool:
        """Whether all of a label's runs are dense networks, which stand beside tickets of any density."""
        return self.densities(label, place) == {DENSE}

    def get(self, label: str, place: Place, density: float) -> Group:
        """A label's runs at a density, or its dense runs if it has no others; an empty group where there is none."""
        at = DENSE if self.is_dense(label, place) else density_key(density)
        return self.groups.get((label, place, at), Group())


def methods(runs: pd.DataFrame, measure: str = MEASURE, label: str = "label") -> Methods:
    """The groups that tests compare; `label` is the column that names the methods.

    Raises:
        ValueError: columns are missing; two runs of a method have the same seed, since they differ in something that
            the label does not say, or are one run twice; or a network and task has runs of several metrics.
    """
    found = groups(runs, (label, *METHOD[1:]), measure)
    metrics: dict[Place, set[str]] = {}
    for group in found:
        if group.repeated:
            raise ValueError(_repeated(runs.iloc[list(group.rows)], group))
        metrics.setdefault(Place(*map(str, group.key[1:3])), set()).add(group.metric)
    for place, names in metrics.items():
        if len(names) > 1:
            raise ValueError(
                f"the runs with {place.network} on {place.task} are measured by {' and '.join(sorted(names))}, which "
                "cannot be compared: choose the runs of one metric, such as those of one grid"
            )
    return Methods({(str(g.key[0]), Place(str(g.key[1]), str(g.key[2])), g.key[3]): g for g in found})


def _repeated(runs: pd.DataFrame, group: Group) -> str:
    seeds = runs["seed"].astype(int)
    seed = seeds[seeds.duplicated()].iloc[0]
    same = runs[seeds == seed]
    differ = differing(same, SETTINGS)
    why = f"they differ in {', '.join(differ)}" if differ else "they differ in no setting"
    label, network, task, density = group.key
    return (
        f"{len(same)} runs of {label!r} with {network} on {task} at density {density:g} have the seed {seed} ({why}), "
        "so that they are no independent values of one method: keep one of each seed, such as the runs of one grid"
    )


def differing(runs: pd.DataFrame, settings: Sequence[str]) -> list[str]:
    """The settings in which runs differ."""
    return [name for name in settings if name in runs and runs[name].nunique(dropna=False) > 1]
