"""The one grouping of runs: those that differ in their seed alone, their mean and its interval.

Runs that are measured by different metrics are never in one group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchcard.analysis.statistics import ACCURACY, Headline, Interval, interval, metric_of

if TYPE_CHECKING:
    import pandas as pd

DENSE = 1.0
MEASURE = "test_accuracy"
"""The column that holds the headline metric, whatever its name."""
METHOD = ("label", "network", "task", "density")
"""Two runs of one method differ in one of these, or in the seed."""
SETTINGS = (
    *("data_digest", "predictor", "rounds", "towards", "optimizer", "learning_rate"),
    *("scoring_examples", "max_steps"),
    *("engine", "device", "results_version"),
)
"""What runs of one label and seed may differ in."""


class Place(NamedTuple):
    """Where runs are compared: a network on a task.

    >>> Place("lenet_300_100", "digits")
    Place(network='lenet_300_100', task='digits')
    """

    network: str
    task: str


def density_key(density: float) -> float:
    """A density as it is compared: without the last digits, where rounding differs.

    >>> 0.1 + 0.2, density_key(0.1 + 0.2)
    (0.30000000000000004, 0.3)
    """
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

    Examples:
        >>> group = Group(("snip",), seeds=(0, 1), values=(0.9, 0.8), missing=frozenset({2}), rows=(0, 1, 2))
        >>> group.interval.text(3), sorted(group.every_seed), group.repeated
        ('0.850 ± 0.635', [0, 1, 2], False)
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
    table = runs[list(by)].astype(object).where(runs[list(by)].notna(), None)
    if "density" in by:
        table["density"] = table["density"].map(density_key)
    metrics = [metric_of(value) for value in runs["metric"]] if "metric" in runs else [ACCURACY] * len(runs)
    values = pd.to_numeric(runs[measure]).to_numpy(dtype=float, na_value=math.nan)
    diverged = runs["diverged"].isin([True]) if "diverged" in runs else [False] * len(runs)
    members = zip(runs["seed"].astype(int), values.tolist(), diverged, range(len(runs)), strict=True)
    found: dict[tuple[Any, ...], list[tuple[int, float, bool, int]]] = {}
    for key, metric, member in zip(table.itertuples(index=False, name=None), metrics, members, strict=True):
        found.setdefault((key, metric), []).append(member)
    grouped = []
    for (key, metric), some in found.items():
        finite = sorted(run for run in some if math.isfinite(run[1]))
        seeds, kept = tuple(seed for seed, *_ in finite), tuple(value for _, value, *_ in finite)
        missing = frozenset(seed for seed, value, *_ in some if not math.isfinite(value))
        lost = frozenset(seed for seed, _, flag, _ in finite if flag)
        grouped.append(Group(key, metric, seeds, kept, missing, lost, tuple(place for *_, place in some)))
    return grouped


@dataclass(frozen=True)
class Methods:
    """The groups of a frame by (label, place, density), each with every seed once: what tests compare.

    Attributes:
        groups: in order of appearance.
        at: the densities at which a label has runs, by (label, place).

    Examples:
        >>> place, run = Place("lenet_300_100", "digits"), Group(("dense",), seeds=(0,), values=(0.97,))
        >>> found = Methods({("dense", place, 1.0): run}, {("dense", place): {1.0}})
        >>> found.get("dense", place, density=0.1).values
        (0.97,)
    """

    groups: Mapping[tuple[str, Place, float], Group]
    at: Mapping[tuple[str, Place], set[float]]

    @property
    def labels(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(label for label, _ in self.at))

    @property
    def places(self) -> list[Place]:
        """In order of appearance."""
        return list(dict.fromkeys(place for _, place in self.at))

    def densities(self, label: str, place: Place) -> set[float]:
        """At which a label has runs."""
        return self.at.get((label, place), set())

    def is_dense(self, label: str, place: Place) -> bool:
        """Whether all of a label's runs are dense networks, which stand beside tickets of any density."""
        return self.densities(label, place) == {DENSE}

    def get(self, label: str, place: Place, density: float) -> Group:
        """A label's runs at a density, or its dense runs if it has no others; an empty group where there is none."""
        at = DENSE if self.is_dense(label, place) else density_key(density)
        return self.groups.get((label, place, at), Group())


def methods(runs: pd.DataFrame, label: str = "label") -> Methods:
    """The groups that tests compare; `label` is the column that names the methods.

    Raises:
        ValueError: columns are missing; two runs of a method have the same seed, since they differ in something that
            the label does not say, or are one run twice; or a network and task has runs of several metrics.

    Examples:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"label": ["snip", "snip", "random"], "seed": [0, 1, 0]})
        >>> runs = runs.assign(network="lenet_300_100", task="digits", density=0.1, test_accuracy=[0.9, 0.8, 0.5])
        >>> found = methods(runs)
        >>> found.labels, found.get("snip", found.places[0], 0.1).values
        (['snip', 'random'], (0.9, 0.8))
    """
    found: dict[tuple[str, Place, float], Group] = {}
    at: dict[tuple[str, Place], set[float]] = {}
    metrics: dict[Place, set[str]] = {}
    for group in groups(runs, (label, *METHOD[1:])):
        name, place, density = str(group.key[0]), Place(*map(str, group.key[1:3])), group.key[3]
        metrics.setdefault(place, set()).add(group.metric)
        at.setdefault((name, place), set()).add(density)
        found[name, place, density] = group
        if not group.repeated:
            continue
        mine = runs.iloc[list(group.rows)]
        seed = mine["seed"][mine["seed"].duplicated()].iloc[0]
        same = mine[mine["seed"] == seed]
        differ = differing(same, SETTINGS)
        why = f"they differ in {', '.join(differ)}" if differ else "they differ in no setting"
        raise ValueError(
            f"{len(same)} runs of {name!r} with {place.network} on {place.task} at density {density:g} have the seed "
            f"{seed} ({why}), so that they are no independent values of one method: keep one of each seed, such as the "
            "runs of one grid"
        )
    for place, names in metrics.items():
        if len(names) > 1:
            raise ValueError(
                f"the runs with {place.network} on {place.task} are measured by {' and '.join(sorted(names))}, which "
                "cannot be compared: choose the runs of one metric, such as those of one grid"
            )
    return Methods(found, at)


def differing(runs: pd.DataFrame, settings: Sequence[str]) -> list[str]:
    """The settings in which runs differ.

    >>> import pandas as pd
    >>> differing(pd.DataFrame({"device": ["cpu", "cuda"], "rounds": [10, 10]}), ["device", "rounds"])
    ['device']
    """
    return [name for name in settings if name in runs and runs[name].nunique(dropna=False) > 1]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows by the names of its columns.

    >>> import pandas as pd
    >>> rows_of(pd.DataFrame({"label": ["snip", "random"], "kept": [10, 10]}))
    [{'label': 'snip', 'kept': 10}, {'label': 'random', 'kept': 10}]
    """
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
