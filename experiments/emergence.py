"""When is the mask there? Tickets whose mask was taken along one dense training, and what masks do along it.

    scratchcard sweep experiments/emergence_mnist.toml --out runs/emergence
    python -m experiments.emergence --runs runs/emergence experiments/emergence_*.toml

The grids train the tickets. This command follows the dense trainings of their networks, seeds and densities (kept in
the folder of runs, so that it goes on where it stopped), and writes a page.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.forecast import forecast
from experiments.markdown import markdown_table
from experiments.options import run_command
from experiments.trajectories import CRITERIA, THRESHOLD, trajectory
from scratchcard.analysis.results import frame
from scratchcard.artefacts.digest import json_digest
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.json_file import find_json, write_json
from scratchcard.pruning.emergence import emergence_step
from scratchcard.regimes import ESS
from scratchcard.sweeps.grid import Grid, read_grid

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the steps to the lowest validation loss, for the table of distances."""
NEAR = (THRESHOLD, 0.3)
"""Distances to the last mask from which it counts as there: the stopping rule's, and a lenient one."""

LEGEND = f"""
Test accuracies, %, are means over seeds, by the step at which the mask was taken; the ticket starts from the initial
weights. One in brackets does not hold: it is below the last column by more than `can see`, which is Student's two-sided
5 % point times the spread over seeds, pooled over the row, of a difference of two means. `holds from` is the share of
the steps from which on all hold. Nothing is corrected for the number of columns; the grids' own pages have Welch's
tests with Holm's correction.

Distances are of masks, over what chance would give: 0 equal, 1 by chance. `last step` is that of the dense network's
lowest validation loss, for each seed; `rule stops` where the search ends once a mask is nearer than {THRESHOLD:g} to
each of the five looks before; `within` the earliest step from which on the mask stays that near to the last one; `at`
the mean distance to the last mask after a share of the steps.

Errors of the forecast are root mean squares in powers of ten: 0.3 is a factor of two.
""".strip()


def trajectories(grid: Grid, folder: Path) -> list[dict[str, Any]]:
    """The rows of all seeds of a grid, read or measured; the files' names hold a digest of what decides them."""
    rows: list[dict[str, Any]] = []
    runs = {run.seed: run for run in grid.experiments}
    densities = sorted({run.density for run in grid.experiments if run.density < 1}, reverse=True)
    every = look_every(grid)
    for workload in {repr(run.workload): run.workload for run in grid.experiments}.values():
        for seed in sorted(runs):
            decided = json_digest({"workload": workload.describe(), "seed": seed, "at": densities, "every": every})
            path = folder / f"{grid.name}-{decided[:16]}.json"
            found = find_json(path)
            if found is None:
                found = {"rows": trajectory(workload, seed, densities, every)}
                write_json(path, found)
            about = {"grid": grid.name, "network": workload.network_name, "task": workload.task.name}
            rows += [{**about, "rate": workload.recipe.learning_rate, **row, **emerged(row)} for row in found["rows"]]
    return rows


def emerged(row: Mapping[str, Any]) -> dict[str, int]:
    """The earliest steps from which on the mask stays nearer to the last one than each of `NEAR`.

    >>> emerged({"distances": {"0": 0.6, "8": 0.25, "16": 0.05, "32": 0.0}})
    {'emergence_0.1': 16, 'emergence_0.3': 8}
    """
    distances = {int(step): distance for step, distance in row["distances"].items()}
    return {f"emergence_{near:g}": emergence_step(distances, near) for near in NEAR}


def look_every(grid: Grid) -> int:
    """Steps from look to look of the grid's searches that stop by themselves.

    Raises:
        ValueError: it has none, or of several kinds.
    """
    regimes = [run.method.make_regime() for run in grid.experiments]
    every = {regime.look_every for regime in regimes if isinstance(regime, ESS) and regime.settle is not None}
    if len(every) != 1:
        raise ValueError(f"{grid.path} has ESS with settle looking every {sorted(every)} steps, expected one number")
    return every.pop()


def holds(accuracies: Mapping[int, Sequence[float]]) -> tuple[dict[int, bool], float]:
    """For each step at which a mask was taken: does its ticket hold, beside that of the last step?

    It does where its mean is not below the last one's by more than `t * s * sqrt(1/n + 1/m)`: s is the spread over
    seeds, pooled over all steps, and t the two-sided 5 % point of Student's t. Also returns that difference of the
    last step's own number of seeds, which is what the experiment can see.

    >>> found, seen = holds({0: [0.90, 0.91], 10: [0.95, 0.96], 100: [0.955, 0.965]})
    >>> found, round(seen, 3)
    ({0: False, 10: True, 100: True}, 0.023)
    """
    import numpy as np
    from scipy.stats import t

    last, free = max(accuracies), sum(len(values) - 1 for values in accuracies.values())
    spread = math.sqrt(sum(float(np.var(values)) * len(values) for values in accuracies.values()) / free)
    least = float(t.ppf(0.975, free)) * spread

    def seen(values: Sequence[float]) -> float:
        return least * math.sqrt(1 / len(values) + 1 / len(accuracies[last]))

    against = float(np.mean(accuracies[last]))
    return {s: float(np.mean(a)) >= against - seen(a) for s, a in accuracies.items()}, seen(accuracies[last])


def accuracies(runs: pd.DataFrame, scorer: str, density: float) -> dict[int, list[float]]:
    """Test accuracies by the step at which the mask was taken, 0 at initialisation."""
    some = runs[(runs["scorer"] == scorer) & (runs["density"] == density) & runs["settle"].isna()]
    found: dict[int, list[float]] = {}
    for _, run in some.sort_values("seed").iterrows():
        found.setdefault(0 if run["regime"] == "USS" else int(run["search_steps"]), []).append(run["test_accuracy"])
    return dict(sorted(found.items()))


def tickets_table(runs: pd.DataFrame) -> str:
    """Accuracies by step; those that do not hold in brackets; and the earliest step from which on all hold."""
    rows, steps = [], []
    for scorer in CRITERIA:
        for density in sorted(runs["density"].unique(), reverse=True):
            found = accuracies(runs, scorer, density)
            if len(found) < 2:
                continue
            steps = sorted({*steps, *found})
            hold, seen = holds(found)
            fallen = [step for step in found if not hold[step]]
            first = min(step for step in found if step > max(fallen, default=-1))
            rows.append((scorer, density, found, hold, seen, first))
    last = max(steps)
    heads = [f"{step} ({100 * step / last:.3g} %)" for step in steps]
    lines = []
    for scorer, density, found, hold, seen, first in rows:
        cells = []
        for step in steps:
            text = "" if step not in found else f"{100 * sum(found[step]) / len(found[step]):.2f}"
            cells.append(f"[{text}]" if text and not hold[step] else text)
        lines.append([scorer, f"{density:g}", *cells, f"{100 * seen:.2f}", f"{100 * first / last:.3g} %"])
    return markdown_table(["criterion", "density", *heads, "can see", "holds from"], lines)


def stops_table(rows: Sequence[dict[str, Any]], runs: pd.DataFrame | None) -> str:
    """The stopping rule's step, the accuracy of its tickets, and the steps found afterwards, as means over seeds."""
    lines = []
    for criterion in CRITERIA:
        for density in sorted({row["density"] for row in rows}, reverse=True):
            some = [row for row in rows if (row["criterion"], row["density"]) == (criterion, density)]
            ended = [row["stopped"] for row in some]
            shares = [_at(row, share) for share in (0, *SHARES) for row in some]
            means = [sum(shares[k : k + len(some)]) / len(some) for k in range(0, len(shares), len(some))]
            lines.append(
                [
                    criterion,
                    f"{density:g}",
                    _several(row["last_step"] for row in some),
                    "never" if None in ended else _several(ended),
                    _settled(runs, criterion, density),
                    *(_several(row[f"emergence_{near:g}"] for row in some) for near in NEAR),
                    *(f"{mean:.2f}" for mean in means),
                ]
            )
    heads = [f"at {100 * share:g} %" for share in (0, *SHARES)]
    named = [
        "criterion",
        "density",
        "last step",
        "rule stops",
        "its tickets, %",
        *(f"within {near:g}" for near in NEAR),
    ]
    return markdown_table([*named, *heads], lines)


def _at(row: Mapping[str, Any], share: float) -> float:
    """The distance to the last mask at the step nearest to a share."""
    step = min(row["distances"], key=lambda known: abs(int(known) - share * row["last_step"]))
    return float(row["distances"][step])


def _several(values: Any) -> str:
    return ", ".join(map(str, values))


def _settled(runs: pd.DataFrame | None, criterion: str, density: float) -> str:
    if runs is None:
        return ""
    some = runs[(runs["scorer"] == criterion) & (runs["density"] == density) & runs["settle"].notna()]
    return "" if some.empty else f"{100 * some['test_accuracy'].mean():.2f}"


def page(rows: Sequence[dict[str, Any]], runs: Mapping[str, pd.DataFrame], titles: Mapping[str, str]) -> str:
    """The whole page."""
    parts = ["# When is the mask there?", LEGEND]
    for name, title in titles.items():
        some = [row for row in rows if row["grid"] == name]
        parts.append(f"## {title}")
        if name in runs and (runs[name]["settle"].isna() & (runs[name]["regime"] == "ESS")).any():
            parts.append(tickets_table(runs[name]))
        for network in dict.fromkeys(row["network"] for row in some):
            tickets = runs[name][runs[name]["network"] == network] if name in runs else None
            own = stops_table([row for row in some if row["network"] == network], tickets)
            parts.append(f"Distance to the last mask, of `{network}`:\n\n{own}")
    parts.append("## The forecast\n\n" + forecast_table(rows))
    return "\n\n".join(parts) + "\n"


def forecast_table(rows: Sequence[dict[str, Any]]) -> str:
    """Errors of the forecast and of what it has to beat, in powers of ten."""
    lines = []
    marked = [row | {"place": f"{row['grid']} {row['network']}"} for row in rows]
    for target in (*(f"emergence_{near:g}" for near in NEAR), "last_step"):
        for what, name in (("place", "network, task and rate"), ("seed", "seed")):
            if len({row[what] for row in marked}) < 3:
                continue  # there are too few others to learn from
            errors = forecast(marked, target, what)
            means = [f"{errors[each]:.2f}" for each in ("ridge", "mean", "alike")]
            lines.append([target, name, *means, int(errors["rows"])])
    heads = ["step", "left out", "ridge", "mean of the others", "mean of those most alike", "rows"]
    return markdown_table(heads, lines)


def write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The rows as CSV: what was known before training as `known_...`, distances at `SHARES` of the last step."""
    with written_beside(path) as beside, beside.open("w", newline="") as file:
        flat = [
            {name: value for name, value in row.items() if name not in ("known", "distances")}
            | {f"known_{name}": value for name, value in row["known"].items()}
            | {f"distance_{share:g}": _at(row, share) for share in (0, *SHARES)}
            for row in rows
        ]
        writer = csv.DictWriter(file, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in flat)


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="the grids' TOML files")
    parser.add_argument("--runs", type=Path, default=Path("runs/emergence"), help="results folder, as of the sweeps")
    parser.add_argument("--results", type=Path, default=Path("results/emergence"), help="where the page is written")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    runs: dict[str, pd.DataFrame] = {}
    titles: dict[str, str] = {}
    for file in options.files:
        grid = read_grid(file, options.runs)
        titles[grid.name] = grid.file.title
        rows += trajectories(grid, options.runs / "trajectories")
        try:
            runs[grid.name] = frame(options.runs, grid=grid.name)
        except (FileNotFoundError, ValueError):
            continue  # no ticket of it was trained
    write_rows(rows, options.results / "trajectories.csv")
    with written_beside(options.results / "emergence.md") as beside:
        beside.write_text(text := page(rows, runs, titles))
    print(text)


if __name__ == "__main__":
    run_command(main)
