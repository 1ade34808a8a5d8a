"""What early searches take beside training: `python -m benchmarks.searching [--steps 2200 9000]`.

A search of so many steps, scoring and cutting at its looks included, against the same network's training for as many
steps, dense and in one stretch, with the recipe and by the engine that the search has: seconds of the wall clock, and
of the processor, as ratios. One thread; training and searches take turns, each ratio is of one turn, medians over the
turns. Rate, batches and decay are those of the shipped predictor `early`; its searches of 2,200 and 9,000 steps are 4
and 16 passes over MNIST. `policy`, with a Gauss-Newton step at each look, is measured where `--criteria policy` asks.

| network | task |
|---|---|
| LeNet-300-100, LeNet-5 | MNIST |
| two convolutions and two linear layers, `experiments.networks.conv:small_conv` | digits |
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks.data import mnist_or_noise
from experiments.early_policy import BUDGETS, RECIPE
from scratchcard.apply.predicted import PredictedScorer
from scratchcard.apply.shipped import SHIPPED, own_regime
from scratchcard.regimes import EMS
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Scorer
from scratchcard.workloads.engines.trajectory import Trajectory
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

GOAL = 1.5
STEPS = tuple(budget["search_steps"] for budget in BUDGETS.values())
DENSITY = 0.005
NETWORKS = ("lenet_300_100", "lenet_5", "experiments.networks.conv:small_conv")
CRITERIA = ("magnitude", "magnitude_increase", "synflow_l2_data", "early")


def scorer_of(criterion: str) -> Scorer:
    """A criterion, or a shipped predictor."""
    return PredictedScorer.from_bundle(criterion, DENSITY) if criterion in SHIPPED else make_scorer(criterion)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall clock and of the processor."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


def measured(workload: Workload, regime: EMS, criteria: Sequence[str], repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of training, and of each criterion's search their ratios to it, on both clocks."""

    def training() -> None:
        recipe = regime.recipe(workload.recipe, workload.recipe.learning_rate)
        Trajectory(workload.build(0), workload.task, recipe, seed=0).advance(regime.search_steps)

    def searching(criterion: str) -> Callable[[], object]:
        return lambda: regime.find(workload, scorer_of(criterion), DENSITY, seed=0)

    cases: dict[str, Callable[[], object]] = {"training": training}
    cases |= {criterion: searching(criterion) for criterion in criteria}
    turns = [{name: timed(work) for name, work in cases.items()} for _ in range(repeats)]
    found = {}
    for place, clock in enumerate(("wall", "processor")):
        found[clock] = {"training": statistics.median(turn["training"][place] for turn in turns)} | {
            name: statistics.median(turn[name][place] / turn["training"][place] for turn in turns) for name in criteria
        }
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="names, or MODULE:FUNCTION for 8 x 8 digits")
    parser.add_argument("--criteria", nargs="+", default=CRITERIA, help="scorers, shipped predictors")
    parser.add_argument("--steps", nargs="+", type=int, default=[2200], choices=STEPS, help="of the searches")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default 3)")
    parser.add_argument("--data-dir", help="folder with the data files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if not options.json:
        print(f"| network | steps | looks | training, s | {' | '.join(options.criteria)} | goal |")
        print("|---" * (len(options.criteria) + 5) + "|", flush=True)
    for network in options.networks:
        task = load_task("digits") if ":" in network else mnist_or_noise(options.data_dir)
        workload = Workload(network, task, Recipe(**RECIPE))
        shipped = own_regime("early")
        assert isinstance(shipped, EMS)
        replace(shipped, rounds=2, search_steps=4).find(workload, make_scorer("magnitude"), DENSITY, 0)
        for budget in BUDGETS.values():
            if budget["search_steps"] not in options.steps:
                continue
            found = measured(workload, replace(shipped, **budget), options.criteria, options.repeats)
            rows.append({"network": network, **budget, **found})
            if options.json:
                continue
            wall, own = found["wall"], found["processor"]
            cells = [f"{wall[name]:.2f} ({own[name]:.2f})" for name in options.criteria]
            seconds = f"{wall['training']:.1f} ({own['training']:.1f})"
            steps = f"{budget['search_steps']:,} | {budget['rounds']} | {seconds}"
            print(f"| {network} | {steps} | {' | '.join(cells)} | at most {GOAL:g} |", flush=True)
    if options.json:
        print(json.dumps(rows))
    else:
        print("\nof the wall clock (of the processor); searches in multiples of training")


if __name__ == "__main__":
    main()
