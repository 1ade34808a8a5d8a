"""Sanity checks of pruning at initialisation (Frankle et al. 2021, arXiv 2009.08576) on the tickets of early searches.

    python -m experiments.early_sanity --jobs 2

LeNet-300-100 at density 0.005, ten initialisations, the budget of 4 passes. Each ticket is trained as found; with
the mask's places shuffled in each layer, so that only the number of kept weights in a layer is left of it; with the
weights drawn anew under the same mask; and as a search finds it that keeps what the criterion would prune (inverted
scores). Frankle et al. found that shuffling and drawing anew harm the tickets of SNIP, GraSP and SynFlow little: those
choose a number of weights for each layer, and not weights. The table is also written to results/early/sanity.md. An
interrupted call goes on where it stopped (`RUNS/early_sanity`).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.markdown import markdown_table
from experiments.options import run_command
from scratchcard.analysis.statistics import interval
from scratchcard.analysis.two_samples import holm, welch
from scratchcard.apply.budget import within
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.artefacts.store import Store
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket import Ticket
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.workers.pool import open_pool, ordered
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

TASKS, SEEDS, DENSITY, PASSES = ("mnist", "fashion_mnist"), range(300, 310), 0.005, 4
VARIANTS = ("as found", "shuffled in each layer", "weights drawn anew", "inverted scores")


@dataclasses.dataclass(frozen=True)
class Inverted(Scorer):
    """Minus the scores of another scorer."""

    scorer: Scorer

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        scores = self.scorer(network, batch, loss, mask=mask)
        return Scores({name: -tensor for name, tensor in scores.tensors.items()}, f"minus {scores.criterion}")

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """Likewise."""
        return Inverted(self.scorer.from_start(network, done))


def shuffled(mask: Mask, seed: int) -> Mask:
    """As many kept weights in each layer, at places drawn by lot.

    >>> mask = Mask({"weight": torch.tensor([[True, False, False], [True, False, False]])})
    >>> shuffled(mask, seed=0).kept
    2
    """
    generator = torch.Generator().manual_seed(seed)
    return Mask(
        {
            name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)
            for name, tensor in mask.tensors.items()
        }
    )


def variant(name: str, ticket: Ticket, workload: Workload, seed: int, session: Session) -> Ticket:
    """A ticket as one of `VARIANTS`."""
    if name == "shuffled in each layer":
        return dataclasses.replace(ticket, mask=shuffled(ticket.mask, seed))
    if name == "weights drawn anew":
        method = dataclasses.replace(within(PASSES, workload), kept_weights="reinitialised")
        return find_ticket(workload, method, DENSITY, seed, session, check=False)
    if name == "inverted scores":
        method = within(PASSES, workload)
        regime, scorer = method.make_regime(), Inverted(method.make_scorer(DENSITY, seed))
        return dataclasses.replace(ticket, mask=regime.find(workload, scorer, DENSITY, seed, session).mask)
    return ticket


def accuracy(runs: Path, data_dir: str | None, task: str, seed: int, name: str) -> float:
    """Of one ticket on the test split, in percent."""
    workload = Workload("lenet_300_100", load_task(task, data_dir), Recipe(scoring_examples=256))
    session = Session(store=Store(runs / "early_sanity"))
    ticket = find_ticket(workload, within(PASSES, workload), DENSITY, seed, session, check=False)
    chosen = variant(name, ticket, workload, seed, session)
    return 100 * evaluate_ticket(train_ticket(chosen, workload, seed, session)[0], workload).metric


def main() -> None:
    """Print and write mean ± 95 % interval by task and variant, and what tells it from the ticket as found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="tickets at once, one thread each")
    parser.add_argument("--data-dir", help="folder with the data files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="finished trainings")
    parser.add_argument("--out", type=Path, default=Path("results/early/sanity.md"), help="the table's file")
    options = parser.parse_args()
    cases = list(itertools.product(TASKS, SEEDS, VARIANTS))
    with open_pool(options.jobs) as pool:
        work = [partial(accuracy, options.runs, options.data_dir, *case) for case in cases]
        found = np.reshape(list(ordered(work, pool)), (len(TASKS), len(SEEDS), len(VARIANTS)))
    rows: list[list[str]] = []
    for task, values in zip(TASKS, found, strict=True):
        columns = [column.tolist() for column in values.T]
        compared = holm([welch(columns[0], other).p for other in columns[1:]])
        for name, column, p in zip(VARIANTS, columns, [None, *compared], strict=True):
            rows.append([task, name, interval(column).text(), "" if p is None else f"{p:.2g}"])
    table = markdown_table(["task", "ticket", "accuracy, %", "p, as found against it (Welch, Holm)"], rows)
    options.out.write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    run_command(main)
