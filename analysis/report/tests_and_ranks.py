"""A grid's declared comparisons, tested, and the ranks of its methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.equal_tickets import identical, others, repeated
from scratchcard.analysis.friedman import ALPHA, friedman
from scratchcard.analysis.headline import Headline
from scratchcard.analysis.report.charts import dots
from scratchcard.analysis.report.density_rows import pruned, workloads
from scratchcard.analysis.report.page import Block, Cell, Chart, Data, Panels, Section, Table, Text
from scratchcard.analysis.report.verdict import outcome
from scratchcard.analysis.significance import p_text
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

MANY = 60
"""Methods that a picture of ranks can still name."""


def tests(grid: Mapping[str, Any], runs: pd.DataFrame, tested: pd.DataFrame | str | None) -> list[Section]:
    """The comparisons that the grid file declares.

    Args:
        grid: its manifest.
        runs: of the grid.
        tested: rows of `compare`; why there are none; or None where nothing was declared.
    """
    if tested is None:
        return []
    text = (
        "The comparisons that the grid file declares, all of them. Welch's t test on the headline metric (or a paired "
        "one where the file says so); p is corrected by Holm over each family; g is Hedges' effect size; the "
        "difference has its 95 % interval, which is not corrected."
    )
    if len(runs) < len(set(grid.get("digests") or ())):
        text += " The grid is not finished: every p here will change with the runs that are missing."
    if isinstance(tested, str):
        return [Section("Declared comparisons", text, (Text(f"They could not be tested yet: {tested}"),))]
    blocks: list[Block] = []
    groups = identical(runs, "label")
    for family, rows in tested.groupby("family", sort=False):
        caption = f"{family}: {outcome(rows)}"
        if missing := int((~rows["counted"]).sum()):
            caption += f" {missing} more were declared but have too few runs; they do not count."
        blocks.append(_family(caption, rows))
        again = repeated(rows, groups)
        blocks += [Text(again)] if again else []
        notes = list(dict.fromkeys(str(note) for note in rows["note"] if note))
        blocks += [Text(f"({number}) {note}.") for number, note in enumerate(notes, 1)]
    return [Section("Declared comparisons", text, tuple(blocks))]


def _family(caption: str, rows: pd.DataFrame) -> Table:
    places = [name for name in ("network", "task") if rows[name].nunique(dropna=False) > 1]
    notes = list(dict.fromkeys(str(note) for note in rows["note"] if note))
    headline = Headline(rows["metric"].iloc[0])
    unit = ", points" if headline.share else ""
    columns = [
        "method",
        "against",
        *places,
        "density",
        headline.title.removeprefix("test "),
        f"against{', %' if headline.share else ''}",
    ]
    columns += [f"difference{unit}", "g", "p", "p after Holm", "significant", "seeds"]
    cells = []
    for row in rows.to_dict("records"):
        significant = bool(row["significant"])
        low, high = (headline.text(row[end], "+") for end in ("low", "high"))
        interval = "" if math.isnan(row["low"]) else f"[{low}, {high}]"
        line = [Cell(str(row["of"])), Cell(str(row["against"]))]
        line += [Cell(str(row[name])) for name in places]
        line += [
            Cell("–" if math.isnan(row["density"]) else f"{row['density']:g}", row["density"]),
            _number(headline.scale * row["mean_of"], headline.text(row["mean_of"])),
            _number(headline.scale * row["mean_against"], headline.text(row["mean_against"])),
            _number(headline.scale * row["difference"], headline.text(row["difference"], "+"), interval, significant),
            _number(row["hedges_g"], f"{row['hedges_g']:+.2f}"),
            Cell(p_text(row["p"]), float(row["p"])),
            Cell(p_text(row["p_adjusted"]), float(row["p_adjusted"]), strong=significant),
            Cell(
                "yes" if significant else "no" if row["p"] == row["p"] else "not tested",
                note=f"({notes.index(str(row['note'])) + 1})" if row["note"] else "",
                strong=significant,
            ),
            Cell(f"{int(row['n_of'])}, {int(row['n_against'])}", float(min(row["n_of"], row["n_against"]))),
        ]
        cells.append(line)
    return Table.of(caption, columns, cells)


def _number(value: float, text: str, small: str = "", strong: bool = False) -> Cell:
    if math.isnan(value):
        return Cell("–", math.nan)
    return Cell(text.replace("-", "−"), float(value), small.replace("-", "−"), strong=strong)


def ranks(runs: pd.DataFrame, data: Data) -> list[Section]:
    """Mean ranks with Nemenyi's critical difference as bars."""
    blocks: list[Block] = []
    for network, task, headline, group in workloads(pruned(runs)):
        again = others(identical(group))
        group = group[~group["method"].isin(set(again))]
        methods = group["method"].nunique()
        if methods > MANY:
            blocks.append(Text(f"{network} on {task}: {methods} methods are too many for a picture of ranks."))
        if not 3 <= methods <= MANY:
            continue
        try:
            found = friedman(group, "method")
        except ValueError as error:
            blocks.append(Text(f"{network} on {task}: the methods could not be ranked. {error}"))
            continue
        half = found.critical_difference / 2
        rows = [
            {"entry": label, "mean": rank, "low": rank - half, "high": rank + half, "text": f"{rank:.2f}"}
            for label, rank in found.mean_ranks.items()
        ]
        key = data.add(f"ranks {network} {task} {headline.name}", rows)
        x = {"title": "mean rank (1 is best)", "scale": {"zero": False}}
        spec = dots(key, list(found.mean_ranks), x, {"entry": "method", "text": "mean rank"})
        first, rank = next(iter(found.mean_ranks.items()))
        about = f"Mean ranks of {methods} methods; {first} has the best, {rank:.2f}."
        caption = (
            f"{network} on {task}, {found.blocks} blocks, Friedman p {p_text(found.p)}, critical difference "
            f"{found.critical_difference:.2f} (Nemenyi, 5 %): methods differ where their bars do not overlap."
        )
        if found.p > ALPHA:
            caption += " Friedman's test rejects nothing, so that no pair counts as different."
        if found.dropped:
            caption += f" {counted(found.dropped, 'incomplete block')} left out."
        if again:
            caption += f" {counted(len(again), 'method')} left out that another stands for, identical in every run."
        blocks.append(Panels((Chart(spec, "", about, width=480),), caption))
    if not blocks:
        return []
    text = (
        "Mean ranks of the methods over blocks of density and seed (rank 1: the highest value). That Nemenyi's test "
        "after Friedman's shows no difference does not make two methods equal. The blocks of one seed share initial "
        "weights, so that p is rather too small, and it speaks of these densities and this task alone."
    )
    return [Section("Ranks of the methods", text, tuple(blocks))]
