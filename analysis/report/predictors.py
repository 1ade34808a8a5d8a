"""Predictors: how well they find the slow ticket, beside published figures, and over the number of networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scratchcard.analysis.report.cells import Table, number
from scratchcard.analysis.report.charts import curves, log_axis
from scratchcard.analysis.report.legend import entries_of
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section
from scratchcard.analysis.statistics import interval

MEASURES = {
    "r2": "R²",
    "mse": "MSE",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "overlap": "overlap",
    "noise_ceiling": "noise ceiling",
}
PARTS = {"held_out": "held out", "train": "train"}
CURVES = ("overlap", "average_precision", "roc_auc", "r2")
PUBLISHED = {"r2_train": "R² train", "r2_test": "R² held out", "mse_train": "MSE train", "mse_test": "MSE held out"}
Records = Sequence[Mapping[str, Any]]


def predictors(records: Records, published: Records, data: Data) -> list[Section]:
    """One section: the table of metrics, published metrics, learning curves.

    >>> record = {"name": "trees", "recipe": {"family": "gbm", "target": "kept"}, "seconds": 3.2}
    >>> record |= {"metrics": {"held_out": {"overlap": 0.31, "roc_auc": 0.9}}}
    >>> table = predictors([record], [], Data())[0].blocks[0]
    >>> [cell.text for cell in table.rows[0]]
    ['trees', '–', 'held out', 'gbm', 'kept', '0.9', '0.31', '–']
    """
    if not records:
        return []
    blocks: list[Block] = [_metrics(records)]
    if published:
        rows = [[str(row["family"]), *(number(row.get(name)) for name in PUBLISHED)] for row in published]
        sources = "; ".join(dict.fromkeys(str(row["citation"]) for row in published))
        caption = f"Published metrics of regression on a slow ticket's scores, to stand beside ours ({sources})."
        blocks.append(Table(caption, ("family", *PUBLISHED.values()), rows))
    charts = [chart for measure in CURVES for chart in _curve(measure, records, data)]
    if charts:
        caption = "Learning curves: held-out metrics against the number of networks that a predictor was fitted on."
        blocks.append(Panels(charts, caption))
    text = (
        "How well each predictor finds the slow ticket from the scores of the untrained network. R² and MSE are of "
        "the predictor's own target over all weights; average precision, ROC AUC and overlap (the share of the slow "
        "ticket's weights among as many of the highest predictions) are means over networks. The noise ceiling is "
        "the overlap of two slow tickets that differ in the data order alone."
    )
    return [Section("Predictors", text, blocks)]


def _metrics(records: Records) -> Table:
    parts = [(r, p, numbers) for r in records for p in PARTS if (numbers := r["metrics"].get(p))]
    found = [name for name in MEASURES if any(_value(numbers, name) is not None for _, _, numbers in parts)]
    rows = []
    for record, part, numbers in parts:
        recipe = record.get("recipe") or {}
        seconds = record.get("seconds") if part == "train" else None
        texts = [record["name"], _task(record) or "–", PARTS[part], *(recipe.get(k, "–") for k in ("family", "target"))]
        rows.append([*map(str, texts), *(number(_value(numbers, name)) for name in found), number(seconds)])
    columns = ["predictor", "task", "networks", "family", "target", *(MEASURES[name] for name in found), "fitted in, s"]
    return Table("Metrics of the fitted predictors, on the networks fitted on and on those held out.", columns, rows)


def _curve(measure: str, records: Records, data: Data) -> list[Chart]:
    """Means over held-out networks with their intervals, where each network's figure is there."""
    names = [record["name"] for record in records]
    rows: list[dict[str, Any]] = []
    for record in records:
        name = str(record["name"])
        if names.count(name) > 1:
            name += f" ({_task(record) or str(record.get('identity', ''))[:8]})"
        for count, metrics in (record.get("learning_curve") or {}).items():
            numbers = (metrics or {}).get("held_out") or {}
            value = _value(numbers, measure)
            if value is None:
                continue
            each = [v for entry in numbers.get("networks") or () if (v := _value(entry, measure)) is not None]
            half = interval(each).half_width if len(each) > 1 else 0.0
            told = {"text": f"{value:.4g}" + (f" ± {half:.2g}" if half else "")}
            told["values"] = ", ".join(f"{v:.4g}" for v in each)
            place = {"entry": name, "x": float(count), "mean": value, "low": value - half, "high": value + half}
            rows.append(place | told)
    counts = sorted({row["x"] for row in rows})
    if len(counts) < 2:
        return []
    key = data.add(f"predictor curve {measure}", rows)
    entries = entries_of(row["entry"] for row in rows)
    title = MEASURES[measure]
    tip = {"entry": "predictor", "x": "networks", "text": title, "values": "each network"}
    x = log_axis("networks fitted on", counts, 1.1, values=counts)
    text = f"Line plot of held-out {title} against the number of networks fitted on."
    return [Chart(curves(key, entries, x, {"title": f"{title}, held out"}, tip), title, text, entries)]


def _task(record: Mapping[str, Any]) -> str | None:
    return ((record.get("recipe") or {}).get("workload") or {}).get("task")


def _value(numbers: Mapping[str, Any], name: str) -> float | None:
    value = numbers.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
