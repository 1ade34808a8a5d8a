"""Each grid of a results folder as a page of Markdown: methods × densities, published figures, declared tests, ranks.

python -m experiments.tables runs/results --out results/thesis [--grid NAME ...]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.power import power_table
from analysis.published import beside
from analysis.ranks import friedman
from analysis.results import frame, grids, predictors
from analysis.significance import compare, comparison_table
from analysis.statistics import interval
from pruning.files import written_beside

if TYPE_CHECKING:
    import pandas as pd


def page(runs: pd.DataFrame, manifest: dict[str, Any]) -> str:
    """The page of one grid."""
    parts = [f"# {manifest['title']}", f"Grid `{manifest['file']}`. {manifest['source']}".strip()]
    done = f"{len(runs):,} of {len(manifest['digests']):,} runs; mean test accuracy ± 95 % interval (Student's t), %, "
    parts.append(f"{done}number of seeds where it is not {_usual(runs)}; *published* in italics.")
    for task, some in runs.groupby("task"):
        parts.append(f"## {task}\n\n{_accuracies(some)}")
        parts.append(_ranks(some))
    for task, some in runs.groupby("task"):
        declared = [c for c in manifest["comparisons"] if c["task"] in (None, task)]
        if declared:
            tests = comparison_table(compare(some, declared, resamples=0))
            parts.append(f"## Declared comparisons on {task}: Welch's test, Holm's correction\n\n{tests}")
    parts.append("## Seeds that a difference needs (power 0.8, two-sided 5 %)\n\n" + _power(runs))
    return "\n\n".join(filter(None, parts)) + "\n"


def _usual(runs: pd.DataFrame) -> int:
    return int(runs.groupby(["task", "label", "density"]).size().mode().iloc[0])


def _accuracies(runs: pd.DataFrame) -> str:
    usual, densities = _usual(runs), sorted(runs["density"].unique())
    known = beside(runs)
    lines = ["| method | " + " | ".join(f"{d:g}" for d in densities) + " |", "|---" * (len(densities) + 1) + "|"]
    for label, some in runs.groupby("label"):
        cells = []
        for density in densities:
            values = some.loc[some["density"] == density, "test_accuracy"].tolist()
            cell = "" if not values else interval(values).text(2, 100)
            if values and len(values) != usual:
                cell += f" ({len(values)})"
            there = known[(known["label"] == label) & (known["density"] == density)]["test_accuracy"].unique()
            cell += "".join(f"<br>*{100 * value:.2f}*" for value in there)
            cells.append(cell)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ranks(runs: pd.DataFrame) -> str:
    pruned = runs[runs["density"] < 1]
    if pruned["label"].nunique() < 3:
        return ""
    try:
        found = friedman(pruned)
    except ValueError as error:
        return f"No ranks: {error}"
    in_order = sorted(found.mean_ranks.items(), key=lambda item: item[1])
    ranks = "; ".join(f"{label} {rank:.1f}" for label, rank in in_order)
    return (
        f"Mean ranks over {found.blocks} blocks of density and seed (Friedman p = {found.p:.2g}, critical difference "
        f"{found.critical_difference:.2f}): {ranks}."
    )


def _power(runs: pd.DataFrame) -> str:
    table = power_table(runs[runs["density"] < 1], (0.002, 0.005, 0.01, 0.02))
    rows = table.to_dict("records")
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(_number(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _predictors(source: Path) -> str:
    lines = ["# Predictors of the grids", ""]
    names = ("r2", "mse", "average_precision", "roc_auc", "overlap", "noise_ceiling")
    lines += ["| predictor | networks | part | " + " | ".join(names) + " |", "|---" * (len(names) + 3) + "|"]
    for found in sorted(predictors(source), key=lambda entry: str(entry["name"])):
        whole = len(found["recipe"]["train_seeds"])
        for count, metrics in [*sorted(found.get("learning_curve", {}).items()), (whole, found["metrics"])]:
            for part, numbers in metrics.items():
                cells = " | ".join("" if numbers.get(n) is None else f"{numbers[n]:.4g}" for n in names)
                lines.append(f"| {found['name']} | {count} | {part} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="results folder, or a Parquet file exported from one")
    parser.add_argument("--out", type=Path, default=Path("results/thesis"), help="folder of the pages")
    parser.add_argument("--grid", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    for manifest in grids(options.source):
        name = manifest["name"]
        if options.grid and name not in options.grid:
            continue
        runs = frame(options.source, grid=name)
        if runs.empty:
            continue
        with written_beside(options.out / f"{name}.md") as beside_it:
            beside_it.write_text(page(runs, manifest))
        print(options.out / f"{name}.md")
    if predictors(options.source) and not options.grid:
        with written_beside(options.out / "predictors.md") as beside_it:
            beside_it.write_text(_predictors(options.source))


if __name__ == "__main__":
    main()
