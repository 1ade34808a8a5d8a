"""Estimate: how long the runs that are left will take, from those that are done."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scratchcard.apply.experiment import Experiment
from scratchcard.sweeps.run_records import read_result


@dataclass
class Estimate:
    """Seconds by likeness: runs of the same method and density, of the same density and kind of regime, of the density.

    What a run takes is the median of the nearest group that has runs; a density without any takes that of the nearest
    density. Records of earlier releases, without `wall_seconds`, count with the seconds of pruning and training.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> runs = [Experiment(workload, sc.Method("snip"), 0.25, seed) for seed in range(5)]
        >>> estimate = Estimate()
        >>> estimate.add(runs[0], {"wall_seconds": 3.0})
        >>> estimate.seconds(runs[1:], jobs=2)
        6.0
    """

    groups: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, experiments: Iterable[Experiment]) -> Estimate:
        """From the records that are there."""
        estimate = cls()
        for experiment in experiments:
            record = read_result(folder, experiment.digest)
            if record is not None:
                estimate.add(experiment, record)
        return estimate

    def add(self, experiment: Experiment, record: dict[str, Any]) -> None:
        """Learn from a finished run."""
        seconds = record.get("wall_seconds")
        if seconds is None:
            seconds = record["pruning_seconds"] + record["training"]["seconds"]
        for key in _keys(experiment):
            self.groups.setdefault(key, []).append(float(seconds))

    def seconds(self, experiments: Iterable[Experiment], jobs: int | None) -> float | None:
        """Wall-clock seconds for all, `jobs` at once; None if unknown (no run is done, or the number of jobs)."""
        groups = Counter(self._group(experiment) for experiment in experiments)
        if jobs is None or None in groups:
            return None
        medians = {key: statistics.median(self.groups[key]) for key in groups if key is not None}
        total = sum(medians[key] * count for key, count in groups.items() if key is not None)
        most = max(medians.values(), default=0.0)
        return max(total / jobs, most)  # the longest run is not done by several

    def _group(self, experiment: Experiment) -> tuple[Any, ...] | None:
        """The nearest group that has runs."""
        for key in _keys(experiment):
            if key in self.groups:
                return key
        near = [key for key in self.groups if len(key) == 1]
        return min(near, key=lambda key: abs(key[0] - experiment.density), default=None)


def _keys(experiment: Experiment) -> Iterator[tuple[Any, ...]]:
    """From the nearest likeness to the farthest."""
    task, density = experiment.workload.task.name, experiment.density
    yield task, experiment.workload.network, density, experiment.label
    yield task, density, experiment.method.make_regime().name
    yield density, experiment.method.make_regime().trains
    yield (density,)
