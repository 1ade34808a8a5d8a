"""Each grid of a results folder as a page of Markdown: methods × densities, published figures, declared tests, ranks.

python -m experiments.tables runs/results --out results/thesis [--grid NAME ...]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.markdown import markdown_table
from experiments.options import run_command
from experiments.power import power_table
from scratchcard.analysis.equal_tickets import Identical, identical, note, others, repeated
from scratchcard.analysis.friedman import friedman
from scratchcard.analysis.groups import groups as grouped
from scratchcard.analysis.published import beside
from scratchcard.analysis.report.density_rows import usual_seeds, workloads
from scratchcard.analysis.report.sources import named
from scratchcard.analysis.results import frame, grids, predictors, unfinished
from scratchcard.analysis.significance import compare, notes_of, p_text, shown, verdict_of
from scratchcard.analysis.statistics import Headline, metric_of
from scratchcard.artefacts.files import written_beside
from scratchcard.registry import lookup

if TYPE_CHECKING:
    import pandas as pd


def page(runs: pd.DataFrame, manifest: dict[str, Any]) -> str:
    """The page of one grid."""
    runs = named(runs)
    parts = [f"# {manifest['title']}", f"Grid `{manifest['file']}`. {manifest['source']}".strip()]
    headlines = [Headline(name) for name in dict.fromkeys(map(metric_of, runs["metric"]))]
    titles = " or ".join(headline.title for headline in headlines).replace(", %", "")
    unit = ", %" if any(headline.share for headline in headlines) else ""
    done, planned = len(runs), len(set(manifest["digests"]))
    parts.append(
        f"{done:,} of {planned:,} runs; mean {titles} ± 95 % interval (Student's t){unit}; *published* in italics."
        + ("" if done == planned else " **Not finished**: every number will change with the runs that are missing.")
    )
    for _, task, _, some in workloads(runs.sort_values(["network", "task"], kind="stable")):
        groups = identical(some)
        parts.append(f"## {some['network'].iloc[0]} on {task}\n\n{_accuracies(some, groups)}")
        parts.append(note(groups))
        parts.append(_ranks(some, groups))
    if manifest["comparisons"]:
        parts.append("## Declared comparisons: Welch's test, Holm's correction\n\n" + _tests(runs, manifest))
    parts.append("## Seeds that a difference needs (power 0.8, two-sided 5 %)\n\n" + _power(runs))
    return "\n\n".join(filter(None, parts)) + "\n"


def _accuracies(runs: pd.DataFrame, groups: Sequence[Identical]) -> str:
    """Seeds stand in the table's head; in a cell where it has another number."""
    cells = {(group.key[0], group.key[2]): group for group in grouped(runs, ("method", "label", "density"))}
    usual = usual_seeds([{"density": density, "n": len(g.every_seed)} for (_, density), g in cells.items()])
    known, stands = beside(runs), others(groups)
    heads = [f"{density:g} ({n} {'seed' if n == 1 else 'seeds'})" for density, n in usual.items()]
    lines = []
    for method, label in sorted({group.key[:2] for group in cells.values()}):
        line = [str(method) + (f"<br>identical to {stands[str(method)]}" if method in stands else "")]
        for density, seeds in usual.items():
            group = cells.get((method, density))
            cell = ""
            if group is not None and group.values:
                cell = group.interval.text(group.headline.digits, group.headline.scale)
                cell += f" ({len(group.values)})" if len(group.values) != seeds else ""
            there = known[(known["label"] == label) & (known["density"] == density)]["test_accuracy"].unique()
            line.append(cell + "".join(f"<br>*{100 * value:.2f}*" for value in there))
        lines.append(line)
    return markdown_table(["method", *heads], lines)


def _ranks(runs: pd.DataFrame, groups: Sequence[Identical]) -> str:
    stands = others(groups)
    pruned = runs[(runs["density"] < 1) & ~runs["method"].isin(set(stands))]
    if pruned["method"].nunique() < 3:
        return ""
    try:
        found = friedman(pruned, "method")
    except ValueError as error:
        return f"No ranks: {error}"
    in_order = sorted(found.mean_ranks.items(), key=lambda item: item[1])
    ranks = "; ".join(f"{label} {rank:.1f}" for label, rank in in_order)
    left_out = f" {found.dropped} incomplete blocks are left out." if found.dropped else ""
    left_out += " Of identical methods one is ranked." if stands else ""
    return (
        f"Mean ranks over {found.blocks} blocks of density and seed (Friedman p = {found.p:.2g}, critical difference "
        f"{found.critical_difference:.2f}): {ranks}.{left_out} The blocks of one seed share initial weights, so that p "
        "is rather too small."
    )


def _tests(runs: pd.DataFrame, manifest: dict[str, Any]) -> str:
    """All tasks at once, since a family may hold several: the correction is over all of it."""
    try:
        tested = compare(runs, manifest["comparisons"])
    except ValueError as error:
        return f"They could not be tested: {error}"
    groups = identical(runs, "label")
    parts = []
    for _, family in tested.groupby("family", sort=False):
        parts += [comparison_table(family), repeated(family, groups)]
    return "\n\n".join(filter(None, parts))


def comparison_table(table: pd.DataFrame) -> str:
    """Markdown of what `compare` returns: one table a family, its size, and the notes below; accuracies in per cent."""
    return "\n\n".join(_family_table(str(name), part) for name, part in table.groupby("family", sort=False))


def _family_table(name: str, table: pd.DataFrame) -> str:
    places = ["network"] * (table["network"].nunique(dropna=False) > 1) + ["task"]
    notes = notes_of(table)
    rows = []
    for row in table.to_dict("records"):
        digits, scale = Headline(row["metric"]).digits, Headline(row["metric"]).scale
        of, against, difference, low, high = (
            shown(scale * row[key], f"{sign}.{digits}f")
            for key, sign in zip(
                ("mean_of", "mean_against", "difference", "low", "high"), ("", "", "+", "+", "+"), strict=True
            )
        )
        mark = f" ({notes.index(row['note']) + 1})" if row["note"] else ""
        rows.append(
            [
                row["of"] + (" (paired)" if row["paired"] else ""),
                row["against"],
                *(row[place] if isinstance(row[place], str) else "–" for place in places),
                shown(row["density"], "g"),
                f"{row['n_of']}, {row['n_against']}",
                f"{of}, {against}",
                difference + ("" if math.isnan(row["low"]) else f" [{low}, {high}]"),
                shown(row["hedges_g"], "+.2f"),
                p_text(row["p"]),
                p_text(row["p_adjusted"]),
                verdict_of(row) + mark,
            ]
        )
    size, left_out = int(table["family_size"].iloc[0]), int((~table["counted"]).sum())
    heading = f"**{name}**: {size} tests, p corrected by Holm over all of them"
    heading += f"; {left_out} declared without enough runs, not counted." if left_out else "."
    columns = ["of", "against", *places, "density", "runs", "means", "difference [95 %]", "g", "p", "p, Holm"]
    told = [f"({k}) {note}" for k, note in enumerate(notes, 1)]
    return "\n\n".join([heading, markdown_table([*columns, "significant"], rows), *told])


def _power(runs: pd.DataFrame) -> str:
    pruned = runs[runs["density"] < 1]
    try:
        table = power_table(pruned, label="method")
    except ValueError as error:
        return f"No numbers: {error}"
    rows = [[_number(value) for value in row.values()] for row in table.to_dict("records")]
    return (
        f"{markdown_table(table.columns, rows)}\n\n"
        "Spreads (standard deviations over seeds) and differences are shares: 0.01 is one point of accuracy. `spread`"
        " pools all methods, so that the one that scatters most rules it."
    )


def _number(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _predictors(source: Path) -> str:
    names = ("r2", "mse", "average_precision", "roc_auc", "overlap", "noise_ceiling")
    rows = []
    for found in sorted(predictors(source), key=lambda entry: str(entry["name"])):
        whole = len(found["recipe"]["train_seeds"])
        for count, metrics in [*sorted(found.get("learning_curve", {}).items()), (whole, found["metrics"])]:
            for part, numbers in metrics.items():
                cells = ("" if numbers.get(n) is None else f"{numbers[n]:.4g}" for n in names)
                rows.append([found["name"], count, part, *cells])
    return f"# Predictors of the grids\n\n{markdown_table(['predictor', 'networks', 'part', *names], rows)}\n"


def write_pages(source: Path, out: Path, only: Sequence[str] | None = None) -> list[Path]:
    """A page for each grid with a finished run (of those named), and one of the predictors; returns their paths.

    Raises:
        FileNotFoundError: no results there.
        ValueError: an unknown grid, or no finished run at all.
    """
    manifests = {manifest["name"]: manifest for manifest in grids(source)}
    chosen = {name: lookup(manifests, "grids", name) for name in only or manifests}
    left = unfinished(frame(source), list(chosen.values()))
    pages = {
        f"{name}.md": page(frame(source, grid=name), manifest)
        for name, manifest in chosen.items()
        if left[name][0] < left[name][1]
    }
    if predictors(source) and not only:
        pages["predictors.md"] = _predictors(source)
    for name, text in pages.items():
        with written_beside(out / name) as beside_it:
            beside_it.write_text(text)
    return [out / name for name in pages]


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="results folder, or a Parquet file exported from one")
    parser.add_argument("--out", type=Path, default=Path("results/thesis"), help="folder of the pages")
    parser.add_argument("--grid", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    for path in write_pages(options.source, options.out, options.grid):
        print(path)


if __name__ == "__main__":
    run_command(main)
