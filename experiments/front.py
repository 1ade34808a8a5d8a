"""README's table and picture: accuracy of tickets against the passes over the data that finding them takes.

    python -m experiments.front

Reads the runs of `make early` and `make ours` where they lie, and runs nothing but one pruning by each method whose
records are older than the bill. LeNet-300-100, density 0.005, test split, ten initialisations.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.bill import passes
from experiments.cost_front import cost_front
from experiments.markdown import few_digits, markdown_table
from experiments.options import run_command
from scratchcard.analysis.statistics import Summary, summarise
from scratchcard.artefacts.files import written_beside
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_records import read_result

DENSITY, SEEDS = 0.005, range(300, 310)
TASKS = {"mnist": "MNIST", "fashion": "Fashion-MNIST"}
DECAYED = "rising 4, stride 1, batches of 32, decay 0.003"
TABLE = {
    f"synflow_l2_data, EMS 30, 9000 steps, {DECAYED}": "early search, a budget of 16 passes",
    f"synflow_l2_data, EMS 15, 2200 steps, {DECAYED}": "early search, a budget of 4 passes (default)",
    "magnitude, ISS 10": "iterative magnitude pruning (IMP), ten trainings",
    "default, UMS 16": "stored ticket of MNIST, matched to the network",
    "policy, UMS 16": "before training: learned criterion",
    "synflow_l2_data, UMS 100": "before training: SynFlow-L2 with data",
    "synflow, UMS 100": "before training: SynFlow",
    "snip": "before training: SNIP",
}
"""What README shows, and in which words."""


def main() -> None:
    """Print the table; write it and a picture a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder above `early` and `ours`")
    parser.add_argument("--data-dir", type=Path, help="folder with the data files")
    parser.add_argument("--results", type=Path, default=Path("results/front"), help="the table and the pictures")
    options = parser.parse_args()
    summaries: dict[str, dict[str, Summary]] = {}
    costs: dict[str, float] = {}
    for task, title in TASKS.items():
        found: dict[str, list[dict[str, Any]]] = {}
        for kind in ("early", "ours"):
            grid = read_grid(
                Path("experiments") / f"{kind}_{task}.toml",
                options.runs / kind,
                data_dir=options.data_dir,
                densities=[DENSITY],
            )
            for experiment in grid.experiments:
                record = read_result(options.runs / kind, experiment.digest)
                if experiment.seed not in SEEDS or record is None or (kind == "ours" and experiment.label in found):
                    continue
                found.setdefault(experiment.label, []).append(record)
                if experiment.label not in costs:
                    costs[experiment.label] = passes(experiment, record)
        summaries[task] = {label: summarise(records)[0] for label, records in found.items()}
        shown = [each for label, each in summaries[task].items() if label in TABLE or "EMS" in label]
        subtitle = f"LeNet-300-100 on {title}, density {DENSITY:g}; bars: 95 % interval of the mean"
        named = [replace(each, label=TABLE.get(each.label, each.label)) for each in shown]
        cost = {TABLE.get(label, label): value for label, value in costs.items()}
        picture = options.results / f"front_{task}.png"
        cost_front(named, picture, "Test accuracy against cost", subtitle, floor=75, passes=cost)
    text = _table(summaries, costs)
    print(text)
    with written_beside(options.results / "front.md") as beside:
        beside.write_text(f"LeNet-300-100, density {DENSITY:g}, test split, ten initialisations\n\n{text}\n")


def _table(summaries: Mapping[str, Mapping[str, Summary]], costs: Mapping[str, float]) -> str:
    rows = []
    for label, words in TABLE.items():
        cells = [each[label].test_accuracy.text(2, 100) if label in each else "" for each in summaries.values()]
        rows.append([words, label, *cells, few_digits(costs[label])])
    return markdown_table(["method", "in tables", *(f"{title}, %" for title in TASKS.values()), "passes"], rows)


if __name__ == "__main__":
    run_command(main)
