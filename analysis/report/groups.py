"""Runs grouped into what one mark or one cell shows: a mean, its interval, its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.report.page import Cell, Entry, Style
from scratchcard.analysis.statistics import Interval, interval
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

MOST = 8
"""Methods that one panel shows in colour."""
PER_CENT = 100.0


def workloads(runs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The runs of each (network, task)."""
    for (network, task), group in runs.groupby(["network", "task"], sort=False):
        yield str(network), str(task), group


def pruned(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the dense networks."""
    return runs[runs["density"] < 1]


WORKLOAD = ("network", "task", "data_digest", "max_steps")
"""What a dense network must share with a sparse one to be its reference."""


def dense_accuracy(everything: pd.DataFrame, sparse: pd.DataFrame) -> Interval | None:
    """Test accuracy, in per cent, of the dense networks of a sparse network's workload over seeds; None without them.

    Those that were trained from their own initial weights count; runs of one seed (on two devices, say) are one value.
    None also where the sparse ones are of several workloads, so that no one line is the reference of all.
    """
    workload = sparse[list(WORKLOAD)].drop_duplicates()
    if len(workload) > 1:
        return None
    dense = everything[(everything["density"] == 1) & (everything["initial"] == "given")]
    for name in WORKLOAD:
        value = workload[name].iloc[0]
        dense = dense[dense[name].isna() if value != value or value is None else dense[name] == value]
    if dense.empty:
        return None
    return interval([PER_CENT * float(value) for value in dense.groupby("seed")["test_accuracy"].mean()])


def starts(runs: pd.DataFrame) -> list[str]:
    """Each run's initial weights in words: `given`, `bimodal`, `saw snip`."""
    return [
        f"{kind} {scorer}" if isinstance(scorer, str) else str(kind)
        for kind, scorer in zip(runs["initial"], runs["initial_scorer"], strict=True)
    ]


def means(
    runs: pd.DataFrame, measure: str, keys: Sequence[str] = ("method", "density"), scale: float = 1.0
) -> list[dict[str, Any]]:
    """One row a group: its keys, mean, low, high (95 % interval by Student's t), n, the values of the seeds.

    Runs whose measure is missing are left out. A share's interval ends at 0 and 1.
    """
    rows = []
    for key, group in runs.dropna(subset=[measure]).groupby(list(keys), sort=False, dropna=False):
        ordered = group.sort_values("seed")
        values = [scale * float(v) for v in ordered[measure]]
        found = interval(values)
        half = 0.0 if found.count == 1 else found.half_width
        low, high = found.mean - half, found.mean + half
        if measure.endswith("accuracy"):
            low, high = max(0.0, low), min(scale, high)
        rows.append(
            dict(zip(keys, key, strict=True))
            | {
                "mean": found.mean,
                "low": low,
                "high": high,
                "n": found.count,
                "values": ", ".join(f"{v:.4g}" for v in values),
                "text": found.text(2 if measure.endswith("accuracy") else 0 if measure.endswith("step") else 2),
            }
        )
    return rows


def limits(
    rows: Sequence[Mapping[str, Any]], more: Sequence[float] = ()
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """The range of y of all panels, and, when a few values lie far below the rest, a floor and the lowest value.

    The floor lies two interquartile ranges below the lower quartile of the means and of `more`.
    """
    import numpy as np

    values = [float(row["mean"]) for row in rows] + list(more)
    lowest = min([float(row["low"]) for row in rows] + list(more))
    highest = max([float(row["high"]) for row in rows] + list(more))
    first, third = np.quantile(values, [0.25, 0.75])
    start = float(np.floor(first - 2 * max(third - first, 0.5)))
    cut = start > lowest and len(values) > 3
    room = 0.04 * ((highest - (start if cut else lowest)) or 1.0)
    bottom = start if cut else lowest - room
    return (bottom, highest + room), ((start, lowest - room) if cut else None)


def span(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The range of y that holds every interval, with a little room."""
    low, high = min(float(row["low"]) for row in rows), max(float(row["high"]) for row in rows)
    room = 0.04 * ((high - low) or 1.0)
    return [low - room, high + room]


def split(runs: pd.DataFrame) -> list[tuple[str, list[Entry]]]:
    """Methods shared out to panels of at most eight: by scorer, then by what else tells them apart.

    A variant (the method without its scorer) keeps its colour and shape across panels where all variants together
    are few enough.
    """
    methods = runs.drop_duplicates("method")
    if len(methods) <= MOST:
        return [("", [Entry(m, Style(k)) for k, m in enumerate(methods["method"])])]
    variants = {m: _variant(m, s) for m, s in zip(methods["method"], methods["scorer"], strict=True)}
    order = {variant: k for k, variant in enumerate(dict.fromkeys(variants.values()))}
    panels = []
    for title, names in _shares(methods, ("scorer", "regime", "on", "initial", "initial_scorer", "predictor")):
        common = len(order) <= MOST and len({variants[m] for m in names}) == len(names)
        styles = [Style(order[variants[m]] if common else k) for k, m in enumerate(names)]
        panels.append((title, [Entry(m, s) for m, s in zip(names, styles, strict=True)]))
    return panels


def _shares(methods: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    if len(methods) <= MOST or not keys:
        names = list(methods["method"])
        count = -(-len(names) // MOST)
        for k in range(count):
            part = names[k * MOST : (k + 1) * MOST]
            yield ("" if count == 1 else f"part {k + 1}"), part
        return
    key, rest = keys[0], keys[1:]
    if methods[key].nunique(dropna=False) < 2:
        yield from _shares(methods, rest)
        return
    for value, group in methods.groupby(key, sort=False, dropna=False):
        name = str(value) if value == value and value is not None else _none(key)
        for title, names in _shares(group, rest):
            yield (f"{name}, {title}" if title else name), names


def _none(key: str) -> str:
    return {"on": "not stacked", "initial_scorer": "no initial scorer", "predictor": "no predictor"}.get(key, key)


def _variant(method: str, scorer: str) -> str:
    return method.removeprefix(scorer).lstrip(", ")


def density_table(
    rows: Sequence[Mapping[str, Any]],
    notes: Mapping[tuple[str, float], str] | None = None,
    *,
    best: str = "high",
    names: Mapping[str, str] | None = None,
) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """Columns and rows of a table methods × densities from `means`; the best of a column is strong.

    Args:
        rows: of `means`.
        notes: (method, density) to what stands under the figure.
        best: `high`, `low` or `none`.
        names: method to what stands under its name.

    A cell of another number of seeds than is usual at its density says so.
    """
    densities = sorted({float(row["density"]) for row in rows})
    table: dict[str, dict[float, Mapping[str, Any]]] = {}
    for row in rows:
        table.setdefault(str(row["method"]), {})[float(row["density"])] = row
    usual, tops = usual_seeds(rows), {}
    for density in densities if best != "none" else ():
        column = [row[density]["mean"] for row in table.values() if density in row]
        tops[density] = (max if best == "high" else min)(column)
    cells = []
    for method, found in table.items():
        line = [Cell(method, note=(names or {}).get(method, ""))]
        for density in densities:
            note = (notes or {}).get((method, density), "")
            if density not in found:
                line.append(Cell("–", float("nan"), note=note))
                continue
            mean, _, spread = str(found[density]["text"]).partition(" ± ")
            if (n := int(found[density]["n"])) != usual[density]:
                note = "; ".join(filter(None, (note, counted(n, "seed"))))
            strong = len(table) > 1 and found[density]["mean"] == tops.get(density)
            line.append(Cell(mean, float(found[density]["mean"]), f"± {spread}" if spread else "", note, strong))
        counts = sorted({int(entry["n"]) for entry in found.values()})
        line.append(Cell(str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}", float(counts[0])))
        cells.append(line)
    return ("method", *(f"{d:g}" for d in densities), "seeds"), cells


def usual_seeds(rows: Sequence[Mapping[str, Any]]) -> dict[float, int]:
    """The number of seeds that most methods have at each density; of two, the larger."""
    counts: dict[float, list[int]] = {}
    for row in rows:
        counts.setdefault(float(row["density"]), []).append(int(row["n"]))
    return {density: max(found, key=lambda n: (found.count(n), n)) for density, found in sorted(counts.items())}


def seeds_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """` Seeds: 10 at 0.005, 0.01; 5 at 0.1.`, empty where all densities have the same number."""
    usual = usual_seeds(rows)
    if len(set(usual.values())) < 2:
        return ""
    shares = [
        f"{n} at {', '.join(f'{density:g}' for density, count in usual.items() if count == n)}"
        for n in dict.fromkeys(usual.values())
    ]
    return f" Seeds: {'; '.join(shares)}, unless the cell says otherwise."
