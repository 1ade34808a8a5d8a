"""Fit early searches to a budget: criterion, rate and pace together, by the accuracy of the tickets that they find.

    python -m experiments.early_policy --budget 4 --jobs 2

A criterion is a product of powers of magnitude and of the paths through a weight, and of exponentials of how it has
moved; all exponents may change along the search. With them the beginning of the rate, its rise, the weight decay, and
the pace of the looks are searched (`apply.policy_search`), on several tasks and networks at once. The search begins at
SynFlow-L2 with data and the settings that were chosen by hand, so that no generations give those.

Fashion-MNIST, CIFAR and the networks `mlp_500_150` and `mlp_300_100_50` are held out: nothing here reads them. Nothing
reads a test split, and no seed is one of an experiment's. An interrupted call goes on where it stopped
(`RUNS/early_policy`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.options import run_command
from scratchcard.apply.policy_search import PolicySearch
from scratchcard.meta.bundle import save_bundle

BUDGETS = {4: {"rounds": 15, "search_steps": 2200}, 16: {"rounds": 30, "search_steps": 9000}}
"""Looks and steps, by passes over MNIST: a step is three passes over its batch of 32."""
MEETS = (
    ("mnist", "lenet_300_100"),
    ("mnist_background", "experiments.perceptrons:narrow"),
    ("mnist_thick", "experiments.perceptrons:deep"),
)
"""Convolutions take ten times as long."""
FEATURES = {
    "magnitude_ln": 1.0,
    "path_ln": 1.0,
    "row_share_ln": 1.0,
    "column_share_ln": 1.0,
    "magnitude_increase": 1.0,
    "movement_rank_layer": 1.0,
    "sign_kept": 1.0,
}
START = {"magnitude_ln": 1.0, "path_ln": 1.0}
TUNED = {
    "search_stride": (1.0, 0.3),
    "search_rise": (4.0, 0.5),
    "pace": (1.0, 0.3),
    "search_weight_decay": (0.003, 0.5),
}
RECIPE = {"scoring_examples": 256, "max_steps": 2500}
"""Tickets are trained for 2,500 steps: so far their order is settled."""


def search(budget: int, generations: int) -> PolicySearch:
    """The search for a budget.

    Examples:
        >>> search(4, 10).regime["search_steps"]
        2200
    """
    tasks, networks = zip(*MEETS, strict=True)
    return PolicySearch(
        tasks=tasks,
        networks=networks,
        density=0.005,
        generations=generations,
        population=12,
        first_seed=30_000,
        features=FEATURES,
        start=START,
        regime={"regime": "EMS", "search_batch_size": 32} | BUDGETS[budget],
        tuned=TUNED,
        recipe=RECIPE,
    )


def main() -> None:
    """Fit and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, choices=BUDGETS, default=4, help="passes over the data")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each")
    parser.add_argument("--generations", type=int, default=8, help="of the search")
    parser.add_argument("--data-dir", help="folder with the data files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="what is kept of the search")
    parser.add_argument("--out", type=Path, help="the bundle's folder [default: RUNS/early_policy/BUDGET]")
    options = parser.parse_args()
    folder = options.runs / "early_policy"
    predictor = search(options.budget, options.generations).run(
        folder / f"search_{options.budget}.json",
        data_dir=options.data_dir,
        jobs=options.jobs,
        progress=lambda done, total: print(f"\rsearch: {done}/{total}", end="", file=sys.stderr, flush=True),
        log=lambda text: print(f"\r{text}", flush=True),
    )
    out = options.out or folder / str(options.budget)
    save_bundle(predictor, out)
    print(f"{out}: {predictor.options}")
    for name, first, drift in zip(
        predictor.features, *(predictor.arrays[a] for a in ("coefficients", "drift")), strict=True
    ):
        print(f"{name}: {first:.3f} at first, {first + drift:.3f} at the end")


if __name__ == "__main__":
    run_command(main)
