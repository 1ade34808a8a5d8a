"""Predictors: how well they find the slow ticket, beside published figures, and over the number of networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scratchcard.analysis.report.charts import curves
from scratchcard.analysis.report.page import Block, Cell, Chart, Data, Panels, Section, Table
from scratchcard.analysis.report.panels import entries_of

MEASURES = {
    "r2": "R²",
    "mse": "MSE",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "overlap": "overlap",
    "noise_ceiling": "noise ceiling",
}
PARTS = {"held_out": "held out", "train": "train"}


def predictors(
    records: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]], data: Data
) -> list[Section]:
    """One section: the table of metrics, published metrics, learning curves."""
    if not records:
        return []
    blocks: list[Block] = [_metrics(records)]
    if published:
        blocks.append(_published(published))
    curve = _curves(records, data)
    blocks += [curve] if curve else []
    text = (
        "How well each predictor finds the slow ticket from the scores of the untrained network. R² and MSE are of "
        "the predictor's own target over all weights; average precision, ROC AUC and overlap (the share of the slow "
        "ticket's weights among as many of the highest predictions) are means over networks. The noise ceiling is "
        "the overlap of two slow tickets that differ in the data order alone."
    )
    return [Section("Predictors", text, tuple(blocks))]


def _metrics(records: Sequence[Mapping[str, Any]]) -> Table:
    found = [
        name for name in MEASURES if any(_value(r["metrics"].get(p), name) is not None for r in records for p in PARTS)
    ]
    rows = []
    for record in records:
        recipe = record.get("recipe") or {}
        workload = recipe.get("workload") or {}
        for part, title in PARTS.items():
            numbers = record["metrics"].get(part)
            if not numbers:
                continue
            row = [Cell(str(record["name"])), Cell(str(workload.get("task", "–"))), Cell(title)]
            row += [Cell(str(recipe.get("family", "–"))), Cell(str(recipe.get("target", "–")))]
            row += [_cell(_value(numbers, name)) for name in found]
            row.append(_cell(record.get("seconds") if part == "train" else None))
            rows.append(row)
    columns = ["predictor", "task", "networks", "family", "target", *(MEASURES[name] for name in found), "fitted in, s"]
    return Table.of("Metrics of the fitted predictors, on the networks fitted on and on those held out.", columns, rows)


def _published(published: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("family", "R² train", "R² held out", "MSE train", "MSE held out")
    names = ("r2_train", "r2_test", "mse_train", "mse_test")
    rows = [[Cell(str(row["family"])), *(_cell(row.get(name)) for name in names)] for row in published]
    sources = "; ".join(dict.fromkeys(str(row["citation"]) for row in published if row.get("citation")))
    caption = "Published metrics of regression on a slow ticket's scores, to stand beside ours"
    return Table.of(f"{caption} ({sources})." if sources else f"{caption}.", columns, rows)


def _curves(records: Sequence[Mapping[str, Any]], data: Data) -> Panels | None:
    charts = []
    for measure in ("overlap", "average_precision", "roc_auc", "r2"):
        rows = []
        for record in records:
            name = _unique(record, records)
            for count, metrics in (record.get("learning_curve") or {}).items():
                rows += _point(name, count, (metrics or {}).get("held_out"), measure)
        if len({row["x"] for row in rows}) < 2:
            continue
        key = data.add(f"predictor curve {measure}", rows)
        entries = entries_of(list(dict.fromkeys(row["entry"] for row in rows)))
        counts = sorted({row["x"] for row in rows})
        x = {
            "title": "networks fitted on",
            "scale": {"type": "log", "domain": [counts[0] / 1.1, counts[-1] * 1.1], "nice": False},
            "axis": {"values": counts, "format": "~g"},
        }
        tip = {"entry": "predictor", "x": "networks", "text": MEASURES[measure], "values": "each network"}
        y = {"title": f"{MEASURES[measure]}, held out"}
        text = f"Line plot of held-out {MEASURES[measure]} against the number of networks fitted on."
        charts.append(Chart(curves(key, entries, x, y, tip), MEASURES[measure], text, entries))
    if not charts:
        return None
    caption = "Learning curves: held-out metrics against the number of networks that a predictor was fitted on."
    return Panels(tuple(charts), caption)


def _point(name: str, count: str, numbers: Mapping[str, Any] | None, measure: str) -> list[dict[str, Any]]:
    """The mean over held-out networks with its interval, where each network's figure is there."""
    from scratchcard.analysis.statistics import interval

    value = _value(numbers, measure)
    if value is None or numbers is None:
        return []
    each = [v for entry in numbers.get("networks") or () if (v := _value(entry, measure)) is not None]
    found = interval(each) if len(each) > 1 else interval([value])
    half = 0.0 if math.isnan(found.half_width) else found.half_width
    return [
        {
            "entry": name,
            "x": float(count),
            "mean": value,
            "low": value - half,
            "high": value + half,
            "text": f"{value:.4g}" + (f" ± {half:.2g}" if half else ""),
            "values": ", ".join(f"{v:.4g}" for v in each),
        }
    ]


def _unique(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The predictor's name, with its task where the name is there for several."""
    if sum(other["name"] == record["name"] for other in records) < 2:
        return str(record["name"])
    task = ((record.get("recipe") or {}).get("workload") or {}).get("task")
    return f"{record['name']} ({task or str(record.get('identity', ''))[:8]})"


def _value(numbers: Mapping[str, Any] | None, name: str) -> float | None:
    value = (numbers or {}).get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _cell(value: float | None) -> Cell:
    return Cell("–", math.nan) if value is None or math.isnan(value) else Cell(f"{value:.4g}", float(value))
