"""What each budget in passes reaches: the table that `scratchcard prune` prints beside what it found.

    python -m experiments.budgets --write

Read from the committed runs (`make early`, `make ours`), test split, ten initialisations. `--write` puts the means into
`apply/default/budgets.json`; without it the command says whether they are those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import duckdb

from experiments.markdown import markdown_table
from experiments.options import run_command
from scratchcard.analysis.statistics import interval
from scratchcard.apply.budget import budgets
from scratchcard.apply.method import Method

ROOT = Path(__file__).parents[1]
FILE = ROOT / "apply" / "default" / "budgets.json"
RUNS = [str(ROOT / "results" / name / "runs.parquet") for name in ("early", "ours")]
NETWORK, DENSITY, TASKS, SEEDS = "lenet_300_100", 0.005, ("mnist", "fashion_mnist"), (300, 309)
AT = (0, 1, 4, 16)
"""The budgets that are shown."""


def measure() -> list[dict[str, Any]]:
    """The method of each task and budget, its accuracies and its passes.

    Raises:
        ValueError: a budget's method was not run.
    """
    found = []
    for task in TASKS:
        for passes in AT:
            words = next(dict(known.words) for known in reversed(budgets()) if known.passes <= passes)
            rows = duckdb.execute(
                "SELECT label, search_steps, list(test_accuracy), avg(passes) FROM "
                "(SELECT DISTINCT ON (label, seed) * FROM "
                "read_parquet(?, union_by_name = true, filename = true) WHERE network = ? AND task = ? AND "
                "density = ? AND seed BETWEEN ? AND ? ORDER BY filename DESC) GROUP BY ALL",  # README's, of `make ours`
                [RUNS, NETWORK, task, DENSITY, *SEEDS],
            ).fetchall()
            names = ("method", "steps", "accuracies", "passes")
            known = [dict(zip(names, row, strict=True)) for row in rows]
            ours = [row for row in known if row["method"] == _label(words, row["steps"]) and _within(row, passes)]
            if not ours:
                raise ValueError(f"the method of {passes} passes was not run on {task}; run make early and make ours")
            found.append({"task": task, "budget": passes} | max(ours, key=lambda row: row["passes"] or 0.0))
    return found


def _label(words: Mapping[str, Any], steps: int | None) -> str:
    """A method's label, of an early search with so many steps; the recipe trains by plain SGD as it is."""
    words = {name: value for name, value in words.items() if name != "search_optimizer"}
    own: dict[str, Any] = {} if words.get("regime") == "UMS" or steps is None else {"search_steps": steps}
    return Method.of(**words, **own).label


def _within(row: Mapping[str, Any], passes: float) -> bool:
    """Whether a search kept to the budget; what prunes before training has no passes in older records."""
    return row["steps"] is None or row["passes"] <= passes


def main() -> None:
    """Print; write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the means into apply/default/budgets.json")
    options = parser.parse_args()
    rows = measure()
    heads = ("task", "budget", "method", "accuracy, %", "passes", "runs")
    print(
        markdown_table(
            heads,
            [
                (
                    row["task"],
                    str(row["budget"]),
                    row["method"],
                    interval(row["accuracies"]).text(2, 100),
                    "" if row["passes"] is None else f"{row['passes']:.3g}",
                    str(len(row["accuracies"])),
                )
                for row in rows
            ],
        )
    )
    measured = [
        {
            "network": NETWORK,
            "task": task,
            "density": DENSITY,
            "accuracy": {str(row["budget"]): round(mean(row["accuracies"]), 4) for row in rows if row["task"] == task},
        }
        for task in TASKS
    ]
    known = json.loads(FILE.read_text())
    if options.write:
        FILE.write_text(json.dumps(known | {"measured": measured}, indent=1) + "\n")
    elif known.get("measured") != measured:
        print(f"{FILE.name} holds other figures; --write puts these there", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
