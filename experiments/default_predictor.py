"""Refit the predictor that is shipped, from nothing.

    python -m experiments.default_predictor --jobs 2

1. Tickets: iterative magnitude pruning of LeNet-300-100 on MNIST from some seeds, in twelve rounds down to density
   0.0025. The one is stored that has the highest validation accuracy when laid into other initialisations at 0.005.
2. Coefficients: `apply.policy_search` on MNIST and its variations, at density 0.005.
3. The ranges of features that the predictor saw, by which it knows networks unlike them.

An interrupted call goes on where it stopped (`RUNS/default`). Nothing reads a test split, and no seed is one of an
experiment's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import joblib
import torch

from apply.policy_search import PolicySearch
from apply.predicted import Seen
from apply.shipped import TICKETS, shipped
from apply.tickets import TicketLibrary, class_means
from dataset_builder.features import compute_features
from meta.bundle import save_bundle
from meta.predictor import Predictor
from pruning.mask import keep_top
from pruning.store import Store
from pruning.ticket_path import TicketPath
from regimes.iterative import Iterative
from scorers import make_scorer
from workloads.tasks import load_task
from workloads.training import train
from workloads.workload import Workload

TASK, NETWORK = "mnist", "lenet_300_100"
TICKET_SEEDS = range(5)
ROUNDS, LAST, JUDGED = 12, 0.0025, 0.005
DENSITIES = (
    *(0.05, 0.04, 0.03, 0.025, 0.02, 0.016, 0.0125, 0.01),
    *(0.0085, 0.007, 0.006, JUDGED, 0.0042, 0.0035, 0.003, LAST),
)
JUDGES = range(20_000, 20_005)
SEEN_SEEDS = range(3)


def find_path(runs: Path, data_dir: str | None, seed: int) -> tuple[float, TicketPath]:
    """IMP's nested tickets of one seed, and the mean validation accuracy where they are laid at density 0.005."""
    torch.set_num_threads(1)
    workload = Workload(NETWORK, load_task(TASK, data_dir))
    regime, scorer, store = Iterative(rounds=ROUNDS, towards=LAST), make_scorer("magnitude"), Store(runs / "rounds")
    found = {density: regime.find(workload, scorer, density, seed, store=store) for density in DENSITIES}
    last = found[LAST]
    split = workload.task.train
    about = workload.describe() | {"regime": repr(regime), "rounds": ROUNDS, "towards": LAST, "seed": seed}
    means = class_means((split.inputs, split.targets), workload.task.classes)
    path = TicketPath.of({density: f.mask for density, f in found.items()}, last.start, means, about)
    accuracies = [_laid(path, workload, judge) for judge in JUDGES]
    return sum(accuracies) / len(accuracies), path


def _laid(path: TicketPath, workload: Workload, seed: int) -> float:
    network, batch = workload.build(seed), workload.scoring_batch(seed)
    laid = TicketLibrary({"": path}).lay(network, batch, JUDGED)
    if laid is None:
        raise ValueError(f"the ticket of seed {path.about['seed']} does not fit the initialisation {seed}")
    mask = keep_top(laid(network, batch, workload.task.loss), JUDGED)
    return train(network, workload.task, workload.recipe, mask=mask, seed=seed).best_validation_accuracy


def seen(predictor: Predictor, data_dir: str | None, search: PolicySearch) -> Predictor:
    """The predictor with the ranges of its features over whole networks."""
    blocks = [
        block
        for workload in (Workload(NETWORK, load_task(task, data_dir)) for task in search.tasks)
        for seed in SEEN_SEEDS
        for block in compute_features(
            workload.build(seed),
            workload.scoring_batch(seed),
            workload.task.loss,
            density=search.density,
            names=predictor.features,
        )
    ]
    return replace(predictor, training=dict(predictor.training) | {"seen": Seen.ranges(blocks)})


def main() -> None:
    """Fit and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each")
    parser.add_argument("--generations", type=int, default=PolicySearch().generations, help="of the search")
    parser.add_argument("--data-dir", help="folder with the data files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="records and finished rounds")
    parser.add_argument("--out", type=Path, default=shipped("default")[0], help="the bundle's folder")
    options = parser.parse_args()
    folder = options.runs / "default"
    pool = joblib.Parallel(n_jobs=options.jobs, return_as="generator")
    paths = []
    for accuracy, path in pool(joblib.delayed(find_path)(folder, options.data_dir, seed) for seed in TICKET_SEEDS):
        print(f"ticket of seed {path.about['seed']}: validation accuracy elsewhere {100 * accuracy:.2f} %", flush=True)
        paths.append((accuracy, path))
    best = max(paths, key=lambda entry: entry[0])[1]
    search = PolicySearch(network=NETWORK, generations=options.generations)
    predictor = search.run(
        folder / "search.json",
        data_dir=options.data_dir,
        jobs=options.jobs,
        progress=lambda done, total: print(f"\rsearch: {done}/{total}", end="", file=sys.stderr, flush=True),
        log=lambda text: print(f"\r{text}", flush=True),
    )
    save_bundle(seen(predictor, options.data_dir, search), options.out)
    best.save(options.out / TICKETS / f"{TASK}-{NETWORK}.safetensors")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
