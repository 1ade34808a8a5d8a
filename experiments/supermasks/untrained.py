"""Predicted supermasks: how good the untrained network is under each method's mask, signs and constants included."""

from __future__ import annotations

import argparse
from typing import Any

from experiments.markdown import markdown_table
from experiments.supermasks.workload import session, told, workload
from scratchcard.analysis.statistics import interval
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket
from scratchcard.artefacts.files import written_beside

DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
SIGNED: dict[str, Any] = {"kept_weights": "constant", "kept_signs": True}
"""Kept weights of one size, their signs as they are."""
SEED_SECONDS = 35.0
"""Of the table before training, a seed, one core."""
LEARNED_SECONDS = 0.006
"""Of a step of a learned mask, one core."""


def before_training() -> list[Method]:
    """Criteria before training, and predicted: plain, with the stored ticket's signs, with its weights."""
    upfront = [Method(name) for name in ("random", "magnitude", "snip", "synflow_l2_data")]
    predicted = [
        Method.of("predicted", predictor="default", initial=initial, **action)
        for initial in ("given", "signed")
        for action in ({}, SIGNED)
    ]
    return [*upfront, *predicted, Method.of("transplanted", predictor="default", initial="transplanted")]


def after_training(search_steps: int) -> list[Method]:
    """Supermasks by the threshold, and learned masks."""
    words: dict[str, Any] = {"search_steps": search_steps}
    learned = [
        Method.of("random", regime=regime, initial=initial, **words)
        for regime in ("EdgePopup", "BernoulliMask")
        for initial in ("given", "constant", "scaled_kaiming")
    ]
    return [*(Method.of("magnitude", regime="Supermask", **words, **action) for action in ({}, SIGNED)), *learned]


def predicted(options: argparse.Namespace) -> None:
    """Print and write the table of what prunes before training; the shipped tickets are of seeds 0 to 4."""
    tried = before_training()
    if options.dry_run:
        told(len(options.seeds) * SEED_SECONDS, f"predicted, {len(options.seeds)} seeds")
        return
    _table("predicted", tried, options)


def learned(options: argparse.Namespace) -> None:
    """Print and write the table of what trains a network, or a mask."""
    tried = after_training(options.search_steps)
    if options.dry_run:
        searches = 6 * len(DENSITIES) + 1  # learned masks of every density; one dense training
        seconds = len(options.seeds) * (searches * LEARNED_SECONDS * options.search_steps + 60)
        told(seconds, f"learned, {len(options.seeds)} seeds")
        return
    _table("learned", tried, options)


def _table(name: str, tried: list[Method], options: argparse.Namespace) -> None:
    where, done = workload(options, "lenet_300_100"), session(options)
    rows: list[list[object]] = []
    for method in tried:
        row: list[object] = [method.label]
        for density in DENSITIES:
            accuracies = []
            for seed in options.seeds:
                try:
                    ticket = find_ticket(where, method, density, seed, done, check=False)
                except ValueError as error:  # stored tickets are of low densities alone
                    print(f"{method.label} at {density:g}: {error}")
                    break
                accuracies.append(evaluate_ticket(ticket, where, trained=False).accuracy)
            row.append(interval(accuracies).text(2, 100) if len(accuracies) == len(options.seeds) else "")
        rows.append(row)
        print(" | ".join(map(str, row)), flush=True)
    head = ["method", *(f"{density:g}" for density in DENSITIES)]
    text = f"Test accuracy of the untrained network under a mask, %, {where.name}, {len(options.seeds)} seeds\n\n"
    text += markdown_table(head, rows)
    print(f"\n{text}")
    with written_beside(options.results / f"{name}.md") as beside:
        beside.write_text(f"{text}\n")
