"""Accuracy against threshold: every seed's untrained network under the masks of many thresholds, and their tickets."""

from __future__ import annotations

import argparse
from typing import Any

from experiments.markdown import markdown_table
from experiments.supermasks.workload import SEARCH_STEPS, STEP_SECONDS, session, told, workload
from scratchcard.analysis.figures import save
from scratchcard.analysis.report.charts import Spec, layer
from scratchcard.analysis.statistics import interval
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import evaluate_ticket, find_ticket, train_ticket
from scratchcard.artefacts.files import written_beside

THRESHOLDS = tuple(round(-0.05 + 0.005 * place, 3) for place in range(51))
"""From -0.05 to 0.2."""


def thresholds(options: argparse.Namespace) -> None:
    """Print and write the tables and the picture."""
    seconds = len(options.seeds) * (STEP_SECONDS * (options.search_steps + options.steps) + 5)
    if options.dry_run:
        told(seconds, f"thresholds, {len(options.seeds)} seeds")
        return
    where, done = workload(options), session(options)
    words: dict[str, Any] = {"regime": "Supermask", "search_steps": options.search_steps}
    curves: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    numbers: list[tuple[float, ...]] = []
    for seed in options.seeds:
        grid = find_ticket(where, Method.of("magnitude", thresholds=THRESHOLDS, **words), 1.0, seed, done, check=False)
        curves += _curve(grid.provenance["rounds"], seed)
        ticket = find_ticket(where, Method.of("magnitude", **words), 0.99, seed, done, check=False)
        dense = evaluate_ticket(
            find_ticket(where, Method("magnitude"), 1.0, seed, done, check=False), where, trained=False
        )
        untrained = evaluate_ticket(ticket, where, trained=False)
        trained, record = train_ticket(ticket, where, seed, done)
        tested = evaluate_ticket(trained, where)
        numbers.append((dense.accuracy, untrained.accuracy, ticket.mask.density, tested.accuracy, record.best_step))
        rows.append([seed, *(f"{value:.4f}" for value in numbers[-1][:4]), record.best_step, ticket.mask.kept])
    means = [interval([line[place] for line in numbers]) for place in range(5)]
    rows.append(["mean", *(mean.text(3) for mean in means[:4]), means[4].text(0), ""])
    head = [
        "seed",
        "dense, untrained",
        "supermask, untrained",
        "chosen density",
        "ticket, trained",
        "best step",
        "kept",
    ]
    text = f"Supermasks, {where.name}, {options.search_steps} steps of search, {options.steps} of the ticket\n\n"
    text += (
        markdown_table(head, rows)
        + "\n\n"
        + markdown_table(["threshold", "validation accuracy", "kept"], _means(curves))
    )
    print(text)
    with written_beside(options.results / "thresholds.md") as beside:
        beside.write_text(f"{text}\n")
    _picture(curves, options)


def _curve(rounds: Any, seed: int) -> list[dict[str, Any]]:
    """Accuracy and kept weights by threshold; thresholds between which no score lies share a mask."""
    told_, found = rounds[0]["masks"], []
    for threshold in THRESHOLDS:
        reached = [place for place, lowest in enumerate(told_["threshold"]) if lowest >= threshold]
        if reached:
            place = max(reached, key=lambda each: told_["kept"][each])
            found.append({"threshold": threshold, "accuracy": told_["metric"][place], "kept": told_["kept"][place]})
    return [each | {"seed": seed} for each in found]


def _means(curves: list[dict[str, Any]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for threshold in THRESHOLDS:
        here = [each for each in curves if each["threshold"] == threshold]
        if here:
            accuracy = interval([each["accuracy"] for each in here]).text(3)
            rows.append([f"{threshold:g}", accuracy, interval([each["kept"] for each in here]).text(0)])
    return rows


def _picture(curves: list[dict[str, Any]], options: argparse.Namespace) -> None:
    title = {"title": "threshold on sign(w0) w"}
    place: Spec = {
        "x": {"field": "threshold", "type": "quantitative"} | title,
        "y": {"field": "accuracy", "type": "quantitative", "title": "validation accuracy, untrained"},
    }
    each = place | {"detail": {"field": "seed", "type": "nominal"}}
    mean = place | {"y": place["y"] | {"aggregate": "mean"}}
    layers = [
        layer("line", each, {"color": "#f58518", "opacity": 0.45, "strokeWidth": 1}),
        layer("line", mean, {"color": "#1f3f66", "strokeWidth": 2.5}),
    ]
    heading = (
        "Untrained networks under the mask of a threshold",
        f"thin: {len(options.seeds)} seeds, thick: their mean",
    )
    save(curves, layers, (520, 300), heading, options.results / "thresholds.png")


__all__ = ["SEARCH_STEPS", "THRESHOLDS", "thresholds"]
