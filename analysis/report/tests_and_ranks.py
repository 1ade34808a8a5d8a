"""A grid's declared comparisons, tested, and the ranks of its methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.equal_tickets import identical, others, repeated
from scratchcard.analysis.friedman import ALPHA, friedman
from scratchcard.analysis.groups import rows_of
from scratchcard.analysis.report.cells import Cell, Table, number
from scratchcard.analysis.report.charts import dots
from scratchcard.analysis.report.density_rows import pruned, workloads
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section, Text
from scratchcard.analysis.report.verdict import outcome
from scratchcard.analysis.significance import notes_of, p_text, verdict_of
from scratchcard.analysis.statistics import Headline
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

    Examples:
        >>> import pandas as pd
        >>> from scratchcard.analysis.significance import compare
        >>> runs = pd.DataFrame({"label": ["snip"] * 3 + ["random"] * 3, "seed": [0, 1, 2] * 2})
        >>> runs = runs.assign(test_accuracy=[0.90, 0.92, 0.94, 0.30, 0.35, 0.40], validation_loss=range(6), kept=100)
        >>> runs = runs.assign(network="lenet", task="digits", density=0.1, effective_density=0.1)
        >>> grid = {"comparisons": [{"name": "against chance", "of": ["snip"], "against": ["random"]}]}
        >>> tests(grid, runs, compare(runs, grid["comparisons"]))[0].blocks[0].caption
        "against chance: 'snip' is better than 'random' by 57.00 points (p = 0.0008 after Holm), at 0.1."
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
        return [Section("Declared comparisons", text, [Text(f"They could not be tested yet: {tested}")])]
    blocks: list[Block] = []
    same = identical(runs, "label")
    for family, rows in tested.groupby("family", sort=False):
        caption = f"{family}: {outcome(rows)}"
        if missing := int((~rows["counted"]).sum()):
            caption += f" {missing} more were declared but have too few runs; they do not count."
        notes = notes_of(rows)
        blocks.append(_family(caption, rows, notes))
        told = [repeated(rows, same), *(f"({k}) {note}." for k, note in enumerate(notes, 1))]
        blocks += [Text(words) for words in told if words]
    return [Section("Declared comparisons", text, blocks)]


def _family(caption: str, rows: pd.DataFrame, notes: list[str]) -> Table:
    places = [name for name in ("network", "task") if rows[name].nunique(dropna=False) > 1]
    headline = Headline(rows["metric"].iloc[0])
    percent, unit = (", %", ", points") if headline.share else ("", "")
    columns = ["method", "against", *places, "density", headline.title.removeprefix("test "), f"against{percent}"]
    columns += [f"difference{unit}", "g", "p", "p after Holm", "significant", "seeds"]

    cells: list[list[Cell | str]] = []
    for row in rows_of(rows):
        sure = bool(row["significant"])
        low, high = (headline.text(row[end], "+").replace("-", "−") for end in ("low", "high"))
        of, against, apart = (headline.scale * row[key] for key in ("mean_of", "mean_against", "difference"))
        form, interval = f".{headline.digits}f", "" if math.isnan(row["low"]) else f"[{low}, {high}]"
        note = f"({notes.index(row['note']) + 1})" if row["note"] else ""
        cells.append(
            [
                *(str(row[name]) for name in ("of", "against", *places)),
                *(number(row["density"], "g"), number(of, form), number(against, form)),
                number(apart, f"+{form}", interval, strong=sure),
                number(row["hedges_g"], "+.2f"),
                *(Cell(p_text(row[p]), row[p], strong=sure and p != "p") for p in ("p", "p_adjusted")),
                Cell(verdict_of(row), note=note, strong=sure),
                Cell(f"{row['n_of']}, {row['n_against']}", float(min(row["n_of"], row["n_against"]))),
            ]
        )
    return Table(caption, columns, cells)


def ranks(runs: pd.DataFrame, data: Data) -> list[Section]:
    """Mean ranks with Nemenyi's critical difference as bars.

    >>> import pandas as pd
    >>> accuracies = {"snip": [0.9, 0.8, 0.9], "grasp": [0.8, 0.7, 0.8], "random": [0.3, 0.2, 0.3]}
    >>> runs = pd.DataFrame([(m, s, a) for m, values in accuracies.items() for s, a in enumerate(values)])
    >>> runs = runs.set_axis(["method", "seed", "test_accuracy"], axis=1).assign(validation_loss=range(9), metric=None)
    >>> runs = runs.assign(network="lenet", task="digits", density=0.1, kept=100, effective_density=0.1)
    >>> data = Data()
    >>> _ = ranks(runs, data)
    >>> [(row["entry"], row["mean"]) for row in data.sets["ranks lenet digits accuracy"]]
    [('snip', 1), ('grasp', 2), ('random', 3)]
    """
    blocks: list[Block] = []
    for network, task, headline, group in workloads(pruned(runs)):
        where = f"{network} on {task}"
        again = others(identical(group))
        group = group[~group["method"].isin(set(again))]
        methods = group["method"].nunique()
        if methods > MANY:
            blocks.append(Text(f"{where}: {methods} methods are too many for a picture of ranks."))
        if not 3 <= methods <= MANY:
            continue
        try:
            found = friedman(group, "method")
        except ValueError as error:
            blocks.append(Text(f"{where}: the methods could not be ranked. {error}"))
            continue
        half = found.critical_difference / 2
        rows = [
            {"entry": label, "mean": rank, "low": rank - half, "high": rank + half, "text": f"{rank:.2f}"}
            for label, rank in found.mean_ranks.items()
        ]
        key = data.add(f"ranks {network} {task} {headline.name}", rows)
        x = {"title": "mean rank (1 is best)", "scale": {"zero": False}}
        spec = dots(key, list(found.mean_ranks), x, {"entry": "method", "text": "mean rank"})
        about = f"Mean ranks of {methods} methods; {rows[0]['entry']} has the best, {rows[0]['text']}."
        caption = (
            f"{where}, {found.blocks} blocks, Friedman p {p_text(found.p)}, critical difference "
            f"{found.critical_difference:.2f} (Nemenyi, 5 %): methods differ where their bars do not overlap."
        )
        more = {
            "Friedman's test rejects nothing, so that no pair counts as different": found.p > ALPHA,
            f"{counted(found.dropped, 'incomplete block')} left out": found.dropped,
            f"{counted(len(again), 'method')} left out that another stands for, identical in every run": again,
        }
        caption += "".join(f" {told}." for told, there in more.items() if there)
        blocks.append(Panels([Chart(spec, "", about, width=480)], caption))
    text = (
        "Mean ranks of the methods over blocks of density and seed (rank 1: the highest value). That Nemenyi's test "
        "after Friedman's shows no difference does not make two methods equal. The blocks of one seed share initial "
        "weights, so that p is rather too small, and it speaks of these densities and this task alone."
    )
    return [Section("Ranks of the methods", text, blocks)] if blocks else []
