"""Predicted supermasks: how good the untrained network is under each method's mask, signs and constants included."""

from __future__ import annotations

import argparse
from typing import Any

from experiments.markdown import markdown_table
from experiments.supermasks.workload import STEP_SECONDS, session, told, workload
from scratchcard.analysis.statistics import interval
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket
from scratchcard.artefacts.files import written_beside

DENSITIES = (0.99, 0.5, 0.2, 0.1, 0.05, 0.02)
SIGNED: dict[str, Any] = {"kept_weights": "constant", "kept_signs": True}
"""Kept weights of one size, their signs as they are."""


def methods(search_steps: int) -> list[Method]:
    """Before training, predicted (plain, with the stored ticket's signs, with its weights), learned, and supermasks."""
    upfront = [Method(name) for name in ("random", "magnitude", "snip")] + [Method("synflow_l2_data")]
    predicted = [
        Method.of("predicted", predictor="default", initial=initial, **action)
        for initial in ("given", "signed")
        for action in ({}, SIGNED)
    ]
    predicted.append(Method.of("transplanted", predictor="default", initial="transplanted"))
    words: dict[str, Any] = {"search_steps": search_steps}
    learned = [
        Method.of("random", regime=regime, initial=initial, **words)
        for regime in ("EdgePopup", "BernoulliMask")
        for initial in ("given", "constant", "scaled_kaiming")
    ]
    supermasks = [Method.of("magnitude", regime="Supermask", **words, **action) for action in ({}, SIGNED)]
    return [*upfront, *predicted, *supermasks, *learned]


def untrained(options: argparse.Namespace) -> None:
    """Print and write the table."""
    tried = methods(options.search_steps)
    if options.dry_run:
        long = STEP_SECONDS * 1.6 * options.search_steps
        searches = 6 * len(DENSITIES) + 1  # learned masks of every density; one dense training
        told(
            len(options.seeds) * (searches * long + len(tried) * len(DENSITIES) * 3),
            f"untrained, {len(options.seeds)} seeds",
        )
        return
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
    with written_beside(options.results / "untrained.md") as beside:
        beside.write_text(f"{text}\n")
