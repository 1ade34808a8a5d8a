"""Runs grouped into what one mark, one cell or one panel shows: a mean, its interval, its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratchcard.analysis.groups import MEASURE, groups
from scratchcard.analysis.report.cells import Cell, number
from scratchcard.analysis.report.legend import Entry, entries_of, entry
from scratchcard.analysis.report.page import plain
from scratchcard.analysis.statistics import Headline, Interval, interval, metric_of
from scratchcard.words import counted

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
WORKLOAD = ("network", "task", "metric", "data_digest", "max_steps")
"""What a dense network must share with a sparse one to be its reference."""
MOST = 8
"""Methods that one panel shows in colour."""


def workloads(runs: pd.DataFrame) -> Iterator[tuple[str, str, Headline, pd.DataFrame]]:
    """The runs of each (network, task), and the metric that they are measured by; another metric is another group.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"network": "nets:small", "task": ["digits", "mnist"], "metric": ["accuracy", "r2"]})
    >>> [(network, task, headline.title) for network, task, headline, group in workloads(runs)]
    [('small', 'digits', 'test accuracy, %'), ('small', 'mnist', 'test r2')]
    """
    metrics = [metric_of(value) for value in runs["metric"]]
    for (network, task, metric), group in runs.groupby(["network", "task", metrics], sort=False):
        yield short(str(network)), str(task), Headline(str(metric)), group


def short(network: str) -> str:
    """`small_conv` of `experiments.networks:small_conv`.

    >>> short("experiments.networks:small_conv"), short("lenet_300_100")
    ('small_conv', 'lenet_300_100')
    """
    return network.rpartition(":")[2]


def pruned(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the dense networks.

    >>> import pandas as pd
    >>> pruned(pd.DataFrame({"label": ["dense", "snip"], "density": [1.0, 0.1]}))["label"].tolist()
    ['snip']
    """
    return runs[runs["density"] < 1]


def dense_reference(everything: pd.DataFrame, sparse: pd.DataFrame) -> Interval | None:
    """The headline metric, as it is shown, of a sparse network's dense workload over seeds; None without such runs.

    Those that were trained from their own initial weights count; runs of one seed (on two devices, say) are one value.
    None also where the sparse ones are of several workloads, so that no one line is the reference of all.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"density": [1.0, 1.0, 0.1], "seed": [0, 1, 0], "test_accuracy": [0.97, 0.98, 0.9]})
    >>> runs = runs.assign(network="lenet", task="digits", metric=None, data_digest="ab12", max_steps=100)
    >>> runs = runs.assign(initial="given")
    >>> dense_reference(runs, pruned(runs)).text()
    '97.50 ± 6.35'
    """
    workload = sparse[list(WORKLOAD)].drop_duplicates()
    dense = everything[(everything["density"] == 1) & (everything["initial"] == "given")]
    for name in WORKLOAD:
        value = workload[name].iloc[0]
        dense = dense[dense[name].isna() if value != value or value is None else dense[name] == value]
    if len(workload) > 1 or dense.empty:
        return None
    scale = Headline(metric_of(dense["metric"].iloc[0])).scale
    return interval([scale * float(value) for value in dense.groupby("seed")[MEASURE].mean()])


def starts(runs: pd.DataFrame) -> list[str]:
    """Each run's initial weights in words: `given`, `bimodal`, `saw snip`.

    >>> import pandas as pd
    >>> starts(pd.DataFrame({"initial": ["given", "saw"], "initial_scorer": [None, "snip"]}))
    ['given', 'saw snip']
    """
    named = zip(runs["initial"], runs["initial_scorer"], strict=True)
    return [f"{kind} {scorer}" if isinstance(scorer, str) else str(kind) for kind, scorer in named]


def means(runs: pd.DataFrame, measure: str = MEASURE, by: Sequence[str] = ("method", "density")) -> list[Row]:
    """One row a group: its keys, mean, low, high (95 % interval by Student's t), n, the values of the seeds.

    The headline metric comes in the units in which it is shown; a share's interval ends at its limits. Runs whose
    value is missing are left out.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": "snip", "density": 0.1, "seed": [0, 1, 2], "test_accuracy": [0.90, 0.92, 0.94]})
    >>> row = means(runs)[0]
    >>> row["method"], row["text"], row["n"], row["values"]
    ('snip', '92.00 ± 4.97', 3, '90, 92, 94')
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


def mean_cell(row: Mapping[str, Any] | None, note: str = "", strong: bool = False) -> Cell:
    """The cell of a row of `means`; a dash without one.

    >>> cell = mean_cell({"text": "92.00 ± 4.97", "mean": 92.0}, note="pub. 91.86")
    >>> cell.text, cell.small, cell.note, mean_cell(None).text
    ('92.00', '± 4.97', 'pub. 91.86', '–')
    """
    if row is None:
        return number(None, note=note)
    mean, _, spread = str(row["text"]).partition(" ± ")
    return Cell(mean, float(row["mean"]), f"± {spread}" if spread else "", note, strong)


def density_table(
    rows: Rows, notes: Mapping[tuple[str, float], str] = {}, names: Mapping[str, str] = {}, *, best: bool = True
) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """Columns and rows of a table methods × densities from `means`; the highest of a column is strong.

    A cell of another number of seeds than is usual at its density says so.

    Args:
        rows: of `means`.
        notes: (method, density) to what stands under the figure.
        best: whether the highest is strong.
        names: method to what stands under its name.

    Examples:
        >>> means_of = {"snip": 92.0, "random": 30.0}
        >>> rows = [{"method": name, "density": 0.1, "mean": mean, "n": 5} for name, mean in means_of.items()]
        >>> columns, cells = density_table([row | {"text": f"{row['mean']:.2f} ± 1.00"} for row in rows])
        >>> columns, [[(cell.text, cell.strong) for cell in line[:2]] for line in cells]
        (('method', '0.1', 'seeds'), [[('snip', False), ('92.00', True)], [('random', False), ('30.00', False)]])
    """
    usual = usual_seeds(rows)
    table: dict[str, dict[float, Mapping[str, Any]]] = {}
    tops: dict[float, float] = {}
    for row in rows:
        density = float(row["density"])
        table.setdefault(str(row["method"]), {})[density] = row
        tops[density] = max(row["mean"], tops.get(density, row["mean"]))
    cells = []
    for method, found in table.items():
        line = [Cell(method, note=names.get(method, ""))]
        for density, seeds in usual.items():
            cell, note = found.get(density), notes.get((method, density), "")
            if cell and cell["n"] != seeds:
                note = "; ".join(filter(None, (note, counted(cell["n"], "seed"))))
            strong = best and len(table) > 1 and cell is not None and cell["mean"] == tops[density]
            line.append(mean_cell(cell, note, strong))
        counts = sorted({int(entry["n"]) for entry in found.values()})
        line.append(Cell("–".join(map(str, dict.fromkeys((counts[0], counts[-1])))), float(counts[0])))
        cells.append(line)
    return ("method", *(f"{d:g}" for d in usual), "seeds"), cells


def usual_seeds(rows: Rows) -> dict[float, int]:
    """The number of seeds that most methods have at each density; of two, the larger.

    >>> usual_seeds([{"density": 0.1, "n": n} for n in (5, 5, 3)] + [{"density": 0.01, "n": 10}])
    {0.01: 10, 0.1: 5}
    """
    counts: dict[float, Counter[int]] = {}
    for row in rows:
        counts.setdefault(float(row["density"]), Counter())[int(row["n"])] += 1
    return {density: max(found, key=lambda n: (found[n], n)) for density, found in sorted(counts.items())}


def seeds_text(rows: Rows) -> str:
    """` Seeds: 10 at 0.005, 0.01; 5 at 0.1.`, empty where all densities have the same number.

    >>> seeds_text([{"density": 0.01, "n": 10}, {"density": 0.02, "n": 10}, {"density": 0.1, "n": 5}])
    ' Seeds: 10 at 0.01, 0.02; 5 at 0.1, unless the cell says otherwise.'
    """
    usual = usual_seeds(rows)
    at: dict[int, list[str]] = {}
    for density, n in usual.items():
        at.setdefault(n, []).append(f"{density:g}")
    told = "; ".join(f"{n} at {', '.join(densities)}" for n, densities in at.items())
    return f" Seeds: {told}, unless the cell says otherwise." if len(at) > 1 else ""


def limits(rows: Rows, more: Sequence[float] = ()) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """The range of y of all panels, and, when a few values lie far below the rest, a floor and the lowest value.

    The floor lies two interquartile ranges below the lower quartile of the means and of `more`.

    >>> rows = [{"mean": mean, "low": mean - 1, "high": mean + 1} for mean in (95.0, 96.0, 96.0, 97.0, 11.0)]
    >>> (bottom, top), cut = limits(rows)
    >>> bottom, round(top, 2), round(cut[1], 2)
    (93.0, 98.2, 9.8)
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


def axis(headline: Headline, rows: Rows, more: Sequence[float] = ()) -> tuple[Row, tuple[float, float] | None]:
    """The vertical axis of a metric within its `limits`, and the floor and lowest value where there is a floor.

    >>> rows = [{"mean": mean, "low": mean - 1, "high": mean + 1} for mean in (95.0, 96.0)]
    >>> axis(Headline("accuracy"), rows)
    ({'title': 'test accuracy, %', 'scale': {'domain': (93.88, 97.12), 'nice': False}}, None)
    """
    domain, cut = limits(rows, more)
    scale = {"domainMax": plain(domain[1])} if cut else {"domain": plain(domain), "nice": False}
    return {"title": headline.title, "scale": scale}, cut


def split(runs: pd.DataFrame) -> list[tuple[str, tuple[Entry, ...]]]:
    """Methods shared out to panels of at most eight: by scorer, then by what else tells them apart.

    A variant (the method without its scorer) keeps its colour and shape across panels where all variants together
    are few enough.

    >>> import pandas as pd
    >>> methods = [(scorer, f"{scorer}, {k} rounds") for scorer in ("snip", "grasp") for k in range(1, 7)]
    >>> runs = pd.DataFrame(methods, columns=["scorer", "method"])
    >>> [(title, len(entries)) for title, entries in split(runs)]
    [('snip', 6), ('grasp', 6)]
    """
    methods = runs.drop_duplicates("method")
    if len(methods) <= MOST:
        return [("", entries_of(methods["method"]))]
    named = zip(methods["method"], methods["scorer"], strict=True)
    variants = {m: m.removeprefix(s).lstrip(", ") for m, s in named}
    order = {variant: k for k, variant in enumerate(dict.fromkeys(variants.values()))}
    panels: list[tuple[list[str], list[str]]] = []
    for title, names in _shares(methods, ("scorer", "regime", "on", "initial", "initial_scorer", "predictor")):
        if panels and len(panels[-1][1]) + len(names) <= MOST:  # small shares that follow each other, together
            panels[-1] = [*panels[-1][0], title], panels[-1][1] + names
        else:
            panels.append(([title], names))
    found = []
    for titles, names in panels:
        common = len(order) <= MOST and len({variants[m] for m in names}) == len(names)
        entries = tuple(entry(m, order[variants[m]] if common else k) for k, m in enumerate(names))
        found.append((", ".join(titles), entries))
    return found


def _shares(methods: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    if len(methods) <= MOST or not keys:
        names = list(methods["method"])
        for k in range(0, len(names), MOST):
            yield ("" if len(names) <= MOST else f"part {k // MOST + 1}"), names[k : k + MOST]
        return
    without = {"on": "not stacked", "initial_scorer": "no initial scorer", "predictor": "no predictor"}
    several = methods[keys[0]].nunique(dropna=False) > 1
    for value, group in methods.groupby(keys[0], sort=False, dropna=False):
        name = str(value) if value == value and value is not None else without.get(keys[0], keys[0])
        for title, names in _shares(group, keys[1:]):
            yield ", ".join(filter(None, (name * several, title))), names
