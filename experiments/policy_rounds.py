"""How many rounds the shipped predictor's criterion needs: validation accuracy of its tickets, no test split.

    python -m experiments.policy_rounds --jobs 2

LeNet-300-100 at the density of the search, on the search's tasks, from initialisations that no search and no experiment
uses.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from functools import partial

import numpy as np

from experiments.options import run_command
from scratchcard.analysis.statistics import interval
from scratchcard.apply.policy_search import PolicySearch
from scratchcard.apply.shipped import shipped
from scratchcard.meta.bundle import load_bundle
from scratchcard.workers.pool import open_pool, ordered
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

ROUNDS = (4, 8, 16, 32)
SEEDS = range(20_000, 20_008)


def accuracy(data_dir: str | None, task: str, rounds: int, seed: int) -> float:
    """Of one ticket, in percent."""
    search = replace(PolicySearch(), rounds=rounds)
    predictor = load_bundle(shipped("policy")[0])
    return 100 * search.accuracy(predictor, Workload(search.network, load_task(task, data_dir)), seed)


def main() -> None:
    """Print mean ± 95 % interval by task and rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="tickets at once, one thread each")
    parser.add_argument("--data-dir", help="folder with the data files")
    options = parser.parse_args()
    tasks = PolicySearch().tasks
    cases = list(itertools.product(tasks, ROUNDS, SEEDS))
    with open_pool(options.jobs) as pool:
        found = list(ordered([partial(accuracy, options.data_dir, *case) for case in cases], pool))
    table = np.reshape(found, (len(tasks), len(ROUNDS), len(SEEDS)))
    print("| task | " + " | ".join(f"{rounds} rounds" for rounds in ROUNDS) + " |")
    print("|---" * (len(ROUNDS) + 1) + "|")
    for task, values in [*zip(tasks, table, strict=True), ("mean of the tasks", table.mean(axis=0))]:
        print(f"| {task} | " + " | ".join(interval(row).text() for row in values.tolist()) + " |")


if __name__ == "__main__":
    run_command(main)
