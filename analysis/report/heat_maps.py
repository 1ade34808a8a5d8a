"""Heat maps of accuracy: stacks, and scores as weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scratchcard.analysis.report.charts import heat_map
from scratchcard.analysis.report.density_rows import means, pruned, starts, workloads
from scratchcard.analysis.report.page import Block, Chart, Data, Panels, Section
from scratchcard.analysis.statistics import Headline

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = (
    *("rounds", "shots", "schedule", "scope", "rewind_step", "round_steps", "towards", "search_steps"),
    *("search_learning_rate", "search_rise", "search_stride", "search_batch_size", "search_weight_decay", "settle"),
    *("look_every", "pace", "update_steps", "drop_fraction", "update_share", "same_sign", "masks", "thresholds"),
    *("mask_rate", "mask_decay", "kept_weights", "kept_signs", "scoring_examples", "max_steps", "device"),
)
"""What a map does not show of a method."""
_SCALE = "Each panel has its own colour scale."


def heat_maps(runs: pd.DataFrame, data: Data) -> list[Section]:
    """Heat maps: stacks (first scorer × second scorer) and scores as weights (scorer × initial weights).

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"scorer": "snip", "on": [None, "grasp"], "test_accuracy": [0.92, 0.94], "restack": False})
    >>> runs = runs.assign(network="lenet", task="digits", density=0.1, seed=0, metric=None, regime="USS")
    >>> runs = runs.assign(method=["snip", "snip on grasp"], initial="given", initial_scorer=None, predictor=None)
    >>> data = Data()
    >>> heat_maps(runs.assign(**dict.fromkeys(SETTINGS)), data)[0].title
    'Stacked scoring, once: lenet on digits'
    >>> [(cell["row"], cell["column"], cell["value"]) for cell in data.sets["stacks once lenet digits"]]
    [('none', 'snip', 92), ('grasp', 'snip', 94)]
    """
    sections = []
    for network, task, headline, group in workloads(pruned(runs)):
        where = f"{network} on {task}"
        given = group[group["initial"] == "given"]
        shown = _usual(given, given["on"].notna())
        again = shown["restack"].fillna(value=False).astype(bool)
        for when, kind in (("once", ~again), ("every round", again)):
            some = shown[kind | shown["on"].isna()]
            if some["on"].isna().all():
                continue
            some = some.assign(column=_names(some, "scorer"), row=_names(some, "on"))
            text = (
                f"Mean {headline.title}, of every first scorer (rows, whose scores stand in for the weights) with "
                "every second scorer (columns); 'none' is the second scorer by itself. The first scorer scores "
                f"{'once, at the start' if when == 'once' else 'anew in every round'}. {_SCALE}"
            )
            found = _maps(f"stacks {when} {network} {task}", headline, some, ("second scorer", "first scorer"), data)
            sections.append(Section(f"Stacked scoring, {when}: {where}", text, [found]))
        single = group[group["on"].isna()]
        shown = _usual(single, single["initial"] != "given")
        if not shown.empty:
            shown = shown.assign(column=_names(shown, "scorer"), row=starts(shown))
            text = (
                f"Mean {headline.title}, of every scorer (columns) from every kind of initial weights (rows); 'given' "
                f"are the network's own, 'saw' the scores of the named scorer. {_SCALE}"
            )
            found = _maps(f"saw {network} {task}", headline, shown, ("scorer", "initial weights"), data)
            sections.append(Section(f"Scores as weights: {where}", text, [found]))
    return sections


def _usual(runs: pd.DataFrame, kind: pd.Series) -> pd.DataFrame:
    """The runs in the regime that most of a kind are in; none where there is none of the kind."""
    return runs[runs["regime"] == next(iter(runs.loc[kind, "regime"].mode()), "")]


def _maps(name: str, headline: Headline, shown: pd.DataFrame, titles: tuple[str, str], data: Data) -> Block:
    rows = means(_one_method_a_cell(shown), by=("density", "row", "column"))
    cells = [
        {"panel": f"density {row['density']:g}", "value": row["mean"], "full": row["text"]}
        | {"text": f"{row['mean']:.{headline.digits - 1}f}", **{key: row[key] for key in ("row", "column", "n")}}
        for row in rows
    ]
    data.add(name, cells)
    down, across = _order(shown["row"]), _order(shown["column"])
    tip = {"row": titles[1], "column": titles[0], "full": headline.title, "n": "seeds"}
    charts = []
    for panel in dict.fromkeys(c["panel"] for c in sorted(cells, key=lambda c: float(c["panel"].split()[1]))):
        values = [c["value"] for c in cells if c["panel"] == panel]
        spec = heat_map(name, panel, across, down, values, tip, titles=titles)
        text = f"Heat map of test {headline.words}, {titles[1]} by {titles[0]}, at {panel}."
        charts.append(Chart(spec, panel, text, width=130 + 36 * len(across)))
    return Panels(charts, "Darker is lower; point at a cell for its interval.")


def _names(runs: pd.DataFrame, column: str) -> list[str]:
    """The scorers' names; predicted scores by their predictor's, since one grid may have several."""
    return [
        "none" if not isinstance(name, str) else str(predictor) if name == "predicted" and predictor else name
        for name, predictor in zip(runs[column], runs["predictor"].where(runs["predictor"].notna(), None), strict=True)
    ]


def _one_method_a_cell(shown: pd.DataFrame) -> pd.DataFrame:
    """Without the methods that would share a cell with one whose further settings more of the map's methods have.

    Runs of two methods in one cell would have their seeds twice and pass for more than they are.
    """
    place = ["density", "row", "column"]
    methods = shown.drop_duplicates([*place, "method"])[[*place, "method", *SETTINGS]]
    common = methods.groupby(list(SETTINGS), dropna=False)["method"].transform("size")
    ordered = methods.assign(common=common).sort_values(["common", "method"], ascending=[False, True])
    plainest = ordered.drop_duplicates(place)[[*place, "method"]]
    return shown.merge(plainest, on=[*place, "method"], how="inner")


def _order(names: pd.Series) -> list[str]:
    first = [name for name in ("given", "none") if name in set(names)]
    return first + sorted(set(names) - set(first))
