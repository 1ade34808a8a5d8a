"""Runs grouped into what one mark or one cell shows: a mean, its interval, its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import MEASURE, groups
from scratchcard.analysis.headline import Headline, metric_of
from scratchcard.analysis.report.page import Cell
from scratchcard.analysis.statistics import Interval, interval
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd


def workloads(runs: pd.DataFrame) -> Iterator[tuple[str, str, Headline, pd.DataFrame]]:
    """The runs of each (network, task), and the metric that they are measured by; another metric is another group."""
    metrics = [metric_of(value) for value in runs["metric"]]
    for (network, task, metric), group in runs.groupby(["network", "task", metrics], sort=False):
        yield short(str(network)), str(task), Headline(str(metric)), group


def short(network: str) -> str:
    """`small_conv` of `experiments.networks:small_conv`."""
    return network.rpartition(":")[2]


def pruned(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the dense networks."""
    return runs[runs["density"] < 1]


WORKLOAD = ("network", "task", "metric", "data_digest", "max_steps")
"""What a dense network must share with a sparse one to be its reference."""


def dense_reference(everything: pd.DataFrame, sparse: pd.DataFrame) -> Interval | None:
    """The headline metric, as it is shown, of a sparse network's dense workload over seeds; None without such runs.

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
    scale = Headline(metric_of(dense["metric"].iloc[0])).scale
    return interval([scale * float(value) for value in dense.groupby("seed")[MEASURE].mean()])


def starts(runs: pd.DataFrame) -> list[str]:
    """Each run's initial weights in words: `given`, `bimodal`, `saw snip`."""
    return [
        f"{kind} {scorer}" if isinstance(scorer, str) else str(kind)
        for kind, scorer in zip(runs["initial"], runs["initial_scorer"], strict=True)
    ]


def means(
    runs: pd.DataFrame, measure: str = MEASURE, by: Sequence[str] = ("method", "density")
) -> list[dict[str, Any]]:
    """One row a group: its keys, mean, low, high (95 % interval by Student's t), n, the values of the seeds.

    The headline metric comes in the units in which it is shown; a share's interval ends at its limits. Runs whose
    value is missing are left out.
    """
    rows = []
    for group in groups(runs, by, measure):
        if not group.values:
            continue
        headline = group.headline if measure == MEASURE else None
        scale, digits = (headline.scale, headline.digits) if headline else (1.0, 0 if measure.endswith("step") else 2)
        half = 0.0 if len(group.values) == 1 else scale * group.interval.half_width
        mean = scale * group.interval.mean
        low, high = mean - half, mean + half
        if headline and headline.share:
            low, high = max(0.0, low), min(scale, high)
        values = ", ".join(f"{scale * value:.4g}" for value in group.values)
        told = {"n": len(group.values), "values": values, "text": group.interval.text(digits, scale)}
        rows.append(dict(zip(by, group.key, strict=True)) | {"mean": mean, "low": low, "high": high} | told)
    return rows


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
