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
from functools import partial
from pathlib import Path

from experiments.options import run_command
from scratchcard.apply.policy_search import PolicySearch
from scratchcard.apply.predicted import Seen
from scratchcard.apply.shipped import TICKETS, shipped
from scratchcard.apply.ticket_search import accuracy_elsewhere, find_path
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.features import compute_features
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.workers.pool import open_pool, ordered
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

TASK, NETWORK = "mnist", "lenet_300_100"
TICKET_SEEDS = range(5)
ROUNDS, LAST, JUDGED = 12, 0.0025, 0.005
DENSITIES = (
    *(0.05, 0.04, 0.03, 0.025, 0.02, 0.016, 0.0125, 0.01),
    *(0.0085, 0.007, 0.006, JUDGED, 0.0042, 0.0035, 0.003, LAST),
)
JUDGES = range(20_000, 20_005)
SEEN_SEEDS = range(3)


def judged(runs: Path, workload: Workload, seed: int) -> tuple[float, TicketPath]:
    """A path, and its mean validation accuracy in other initialisations."""
    path = find_path(workload, seed, DENSITIES, rounds=ROUNDS, store=Store(runs / "rounds"))
    return accuracy_elsewhere(path, workload, JUDGES, JUDGED), path


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
    workload = Workload(NETWORK, load_task(TASK, options.data_dir))
    paths = []
    with open_pool(options.jobs) as pool:
        for accuracy, path in ordered([partial(judged, folder, workload, seed) for seed in TICKET_SEEDS], pool):
            print(
                f"ticket of seed {path.about['seed']}: validation accuracy elsewhere {100 * accuracy:.2f} %", flush=True
            )
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
    run_command(main)
