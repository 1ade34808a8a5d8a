"""Cells of a grid: the runs of one label on one network, task and density, by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

DENSE = 1.0
IDENTITY = ["label", "network", "task", "density", "seed"]
"""Two runs of one frame differ in one of these."""


class Place(NamedTuple):
    """Where runs are compared: a network on a task."""

    network: str
    task: str


def density_key(density: float) -> float:
    """A density as it is compared: without the last digits, where rounding differs."""
    return float(f"{density:.10g}")


@dataclass(frozen=True)
class Cell:
    """Runs that differ by their seed only.

    Attributes:
        values: the finite values by seed, ascending.
        missing: seeds whose value is NaN or infinite.
        diverged: seeds with a finite value whose training diverged (they got the best state before).
    """

    values: Mapping[int, float] = field(default_factory=dict)
    missing: frozenset[int] = frozenset()
    diverged: frozenset[int] = frozenset()

    @property
    def seeds(self) -> frozenset[int]:
        """Of all runs, with and without a finite value."""
        return frozenset(self.values) | self.missing

    def only(self, seeds: frozenset[int]) -> Cell:
        """The part of the cell with these seeds."""
        values = {seed: value for seed, value in self.values.items() if seed in seeds}
        return Cell(values, self.missing & seeds, self.diverged & seeds)


@dataclass(frozen=True)
class Cells:
    """All cells of a frame, by (label, place, density)."""

    cells: Mapping[tuple[str, Place, float], Cell]

    @property
    def labels(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(label for label, _, _ in self.cells))

    @property
    def places(self) -> list[Place]:
        """In order of appearance."""
        return list(dict.fromkeys(place for _, place, _ in self.cells))

    def densities(self, label: str, place: Place) -> set[float]:
        """At which a label has runs."""
        return self._densities.get((label, place), set())

    @cached_property
    def _densities(self) -> dict[tuple[str, Place], set[float]]:
        found: dict[tuple[str, Place], set[float]] = {}
        for label, place, density in self.cells:
            found.setdefault((label, place), set()).add(density)
        return found

    def is_dense(self, label: str, place: Place) -> bool:
        """Whether all of a label's runs are dense networks, which stand beside tickets of any density."""
        return self.densities(label, place) == {DENSE}

    def get(self, label: str, place: Place, density: float) -> Cell:
        """A label's runs at a density, or its dense runs if it has no others; an empty cell where there is none."""
        at = DENSE if self.is_dense(label, place) else density_key(density)
        return self.cells.get((label, place, at), Cell())


def cells(frame: pd.DataFrame, metric: str = "test_accuracy") -> Cells:
    """The cells of a frame of runs (scratchcard.analysis.results.frame).

    Raises:
        ValueError: columns are missing, or two runs of a cell have the same seed: they differ in something that the
            label does not say, or are one run twice, and would count as independent.
    """
    import pandas as pd

    wanted = [*IDENTITY, metric]
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        raise ValueError(f"the frame of runs has no column {', '.join(absent)}; expected {', '.join(wanted)}")
    at = [density_key(float(density)) for density in frame["density"]]
    flags = frame["diverged"].isin([True]) if "diverged" in frame else [False] * len(frame)
    runs = pd.DataFrame(
        {
            "label": frame["label"].astype(str).to_numpy(),
            "network": frame["network"].astype(str).to_numpy(),
            "task": frame["task"].astype(str).to_numpy(),
            "density": at,
            "seed": frame["seed"].astype(int).to_numpy(),
            "value": pd.to_numeric(frame[metric]).to_numpy(dtype=float, na_value=math.nan),
            "diverged": np.asarray(flags, dtype=bool),
        }
    )
    repeated = runs[runs.duplicated(IDENTITY, keep=False)]
    if len(repeated):
        first = runs.loc[repeated.index[0], IDENTITY]
        same = (runs[first.index] == first).all(axis=1).to_numpy()
        raise ValueError(_repeated(frame[same]))
    groups: dict[tuple[str, Place, float], list[tuple[int, float, bool]]] = {}
    for label, network, task, density, seed, value, flag in runs.itertuples(index=False, name=None):
        groups.setdefault((label, Place(network, task), density), []).append((seed, value, flag))
    return Cells({key: _cell(group) for key, group in groups.items()})


def _cell(runs: list[tuple[int, float, bool]]) -> Cell:
    finite = [(seed, value, flag) for seed, value, flag in sorted(runs) if math.isfinite(value)]
    values = {seed: value for seed, value, _ in finite}
    missing = frozenset(seed for seed, value, _ in runs if not math.isfinite(value))
    return Cell(values, missing, frozenset(seed for seed, _, flag in finite if flag))


def _repeated(same: pd.DataFrame) -> str:
    settings = ["data_digest", "predictor", "rounds", "towards", "scoring_examples", "max_steps"]
    settings += ["engine", "device", "results_version"]
    differ = [name for name in settings if name in same and same[name].nunique(dropna=False) > 1]
    why = f"they differ in {', '.join(differ)}" if differ else "they differ in no setting"
    label, network, task, density, seed = same.iloc[0][IDENTITY]
    return (
        f"{len(same)} runs of {label!r} with {network} on {task} at density {density:g} have the seed {seed} ({why}), "
        "so that they are no independent values of one method: keep one of each seed, such as the runs of one grid"
    )
