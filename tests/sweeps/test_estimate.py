"""How long the rest takes: closed forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.sweeps.estimate import Estimate
from tests.sweeps.sweeping import workload

SNIP, RANDOM, IMP = Method("snip"), Method("random"), Method.of("magnitude", regime="ISS", rounds=2)
UMS = Method.of("snip", regime="UMS", rounds=5)


def run(method: Method, density: float, seed: int = 1) -> Experiment:
    return Experiment(workload(), method, density, seed)


def took(seconds: float) -> dict[str, Any]:
    return {"wall_seconds": seconds}


def test_nothing_is_known_before_a_run_is_done() -> None:
    estimate = Estimate()
    assert estimate.seconds([run(SNIP, 0.1)], 2) is None
    assert estimate.seconds([], 2) == 0
    estimate.add(run(SNIP, 0.1), took(3))
    assert estimate.seconds([run(SNIP, 0.1)], None) is None


def test_runs_of_the_same_method_and_density_take_their_median_shared_by_the_jobs() -> None:
    estimate = Estimate()
    for seconds in (2.0, 100.0, 4.0):
        estimate.add(run(SNIP, 0.1), took(seconds))
    left = [run(SNIP, 0.1, seed) for seed in range(6)]
    assert estimate.seconds(left, 1) == 24
    assert estimate.seconds(left, 2) == 12
    assert estimate.seconds(left, 6) == 4
    assert estimate.seconds(left, 100) == 4  # one run is not done by several jobs


def test_the_nearest_likeness_that_has_runs_counts() -> None:
    estimate = Estimate()
    estimate.add(run(SNIP, 0.1), took(1))
    estimate.add(run(RANDOM, 0.1), took(3))
    estimate.add(run(IMP, 0.1), took(50))
    estimate.add(run(SNIP, 0.5), took(7))
    for experiment, seconds in [
        (run(SNIP, 0.1), 1),  # itself
        (run(Method("synflow"), 0.1), 2),  # the regime's at this density: 1 and 3
        (run(UMS, 0.1), 2),  # those that don't train at this density
        (run(Method.of("random", regime="IMS", rounds=2), 0.1), 50),  # those that train
        (run(IMP, 0.5), 7),  # of its density
        (run(SNIP, 0.45), 7),  # of the nearest density
        (run(SNIP, 0.01), 3),  # of the nearest density: 1, 3 and 50
    ]:
        assert estimate.seconds([experiment], 1) == seconds, experiment.label
    assert estimate.seconds([run(SNIP, 0.1), run(IMP, 0.1), run(IMP, 0.5)], 1) == 1 + 50 + 7


def test_it_learns_from_the_records_that_are_there(tmp_path: Path) -> None:
    done, early, damaged, missing = (run(SNIP, density) for density in (0.1, 0.2, 0.3, 0.4))
    times = {"pruning_seconds": 1.5, "training": {"seconds": 2.0}}
    for experiment, more in ((done, took(5)), (early, {}), (damaged, took(7))):
        text = json.dumps({"digest": experiment.digest} | times | more)
        (tmp_path / f"{experiment.digest}.json").write_text(text[: 50 if experiment is damaged else None])
    estimate = Estimate.of(tmp_path, [done, early, damaged, missing])
    assert estimate.seconds([done], 1) == 5
    assert estimate.seconds([early], 1) == 3.5  # earlier releases kept no wall-clock time
    assert estimate.seconds([missing], 1) == pytest.approx(3.5)
    assert estimate.seconds([damaged, missing], 1) == pytest.approx(7)
