"""What batch normalisation should normalise by in scoring: tickets of both choices, and how alike their scores are.

    python -m experiments.norm_statistics --jobs 2

ResNet-20 on digits, five seeds. The statistics of the scoring batch, against the running ones, which are 0 and 1
before any training: a network without normalisation. Overlap is the share of the highest 1 % of scores that both
choices have in common, at initialisation. The table is also written to results/norm_statistics.md. About four minutes
of processor.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path

import numpy as np

from experiments.markdown import markdown_table
from experiments.options import run_command
from scratchcard.analysis.statistics import interval
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.pruning.modes import scored_by
from scratchcard.scorers import make_scorer
from scratchcard.workers.pool import open_pool, ordered
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

SCORERS, STATISTICS, SEEDS = ("snip", "grasp", "gauss_newton"), ("batch", "running"), range(5)
RECIPE = Recipe(learning_rate=0.05, momentum=0.9, max_steps=200, evaluation_interval=40, scoring_examples=640)
TOP = 0.01


def accuracy(scorer: str, statistics: str, density: float, seed: int) -> float:
    """Of one ticket on the test split, in percent."""
    workload = Workload("resnet_20", load_task("digits"), RECIPE)
    found = find_ticket(workload, Method.of(scorer, regime="USS", statistics=statistics), density, seed, check=False)
    return 100 * evaluate_ticket(train_ticket(found, workload, seed)[0], workload).metric


def overlap(scorer: str, seed: int) -> float:
    """Of the highest scores by both statistics."""
    workload = Workload("resnet_20", load_task("digits"), RECIPE)
    network, batch = workload.build(seed), workload.scoring_batch(seed)
    best = []
    for statistics in STATISTICS:
        with scored_by(network, statistics):
            scores = make_scorer(scorer)(network, batch, workload.task.loss).flat()
        best.append(set(scores.argsort(descending=True)[: round(TOP * len(scores))].tolist()))
    return len(best[0] & best[1]) / len(best[0])


def main() -> None:
    """Print and write mean ± 95 % interval by scorer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="tickets at once, one thread each")
    parser.add_argument("--density", type=float, default=0.02, help="of the tickets [default: 0.02]")
    parser.add_argument("--out", type=Path, default=Path("results/norm_statistics.md"), help="the table's file")
    options = parser.parse_args()
    cases = list(itertools.product(SCORERS, STATISTICS, [options.density], SEEDS))
    with open_pool(options.jobs) as pool:
        tickets = list(ordered([partial(accuracy, *case) for case in cases], pool))
    found = np.reshape(tickets, (len(SCORERS), len(STATISTICS), len(SEEDS)))
    rows = [
        [
            scorer,
            *(interval(row).text() for row in values.tolist()),
            interval((values[0] - values[1]).tolist()).text(),
            interval([overlap(scorer, seed) for seed in SEEDS]).text(),
        ]
        for scorer, values in zip(SCORERS, found, strict=True)
    ]
    choices = [f"{name} statistics, %" for name in STATISTICS]
    columns = ["scorer", *choices, "difference", f"overlap of the top {TOP:.0%}"]
    table = markdown_table(columns, rows)
    options.out.write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    run_command(main)
