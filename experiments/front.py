"""README's table and picture: accuracy of tickets against the passes over the data that finding them takes.

    python -m experiments.front

Reads the committed records of `make early` and `make ours`, and runs nothing but one pruning by each method whose
records are older than the bill. LeNet-300-100, density 0.005, test split, ten initialisations.
"""

from __future__ import annotations

import argparse
import contextlib
import tarfile
import tempfile
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
GRIDS = {"ours": "ours", "early": "early_learned"}
TASKS = {"mnist": "MNIST", "fashion": "Fashion-MNIST"}
LEARNED = "pace 1.12504, rising 4.532, stride 0.964264, batches of 32, decay 0.00300677"
TABLE = {
    f"early, EMS 30, 9000 steps, {LEARNED}": "early search, a budget of 16 passes",
    f"early, EMS 15, 2200 steps, {LEARNED}": "early search, a budget of 4 passes (default)",
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
    for kind in ("early", "ours"):
        records = Path("results") / kind / "records.tar.xz"
        text = f"results folder of `make {kind}`, or its records packed [default: {records}]"
        parser.add_argument(f"--{kind}", type=Path, default=records, help=text)
    parser.add_argument("--data-dir", type=Path, help="folder with the data files")
    parser.add_argument("--results", type=Path, default=Path("results/front"), help="the table and the pictures")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folders = {kind: _unpacked(getattr(options, kind), stack) for kind in GRIDS}
        summaries, costs = _read(folders, options.data_dir)
    for task, title in TASKS.items():
        subtitle = f"LeNet-300-100 on {title}, density {DENSITY:g}; bars: 95 % interval of the mean"
        named = [replace(each, label=TABLE[each.label]) for each in summaries[task].values()]
        cost = {TABLE[label]: value for label, value in costs[task].items()}
        picture = options.results / f"front_{task}.png"
        cost_front(named, picture, "Test accuracy against cost", subtitle, floor=75, passes=cost)
    text = _table(summaries, costs)
    print(text)
    with written_beside(options.results / "front.md") as beside:
        beside.write_text(f"LeNet-300-100, density {DENSITY:g}, test split, ten initialisations\n\n{text}\n")


def _unpacked(place: Path, stack: contextlib.ExitStack) -> Path:
    """The folder itself, or one that lasts as long as the stack, with what the archive holds."""
    if place.is_dir():
        return place
    if not place.exists():
        raise ValueError(f"{place} is not there: give the results folder of a sweep, or its records packed")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with tarfile.open(place) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _read(
    folders: Mapping[str, Path], data_dir: Path | None
) -> tuple[dict[str, dict[str, Summary]], dict[str, dict[str, float]]]:
    """Summaries and passes by task and label; of methods that several folders have, the last folder's."""
    summaries: dict[str, dict[str, Summary]] = {}
    costs: dict[str, dict[str, float]] = {}
    for task in TASKS:
        found: dict[str, list[dict[str, Any]]] = {}
        costs[task] = {}
        for kind, runs in folders.items():
            mine: dict[str, list[dict[str, Any]]] = {}
            grid = read_grid(
                Path("experiments") / f"{GRIDS[kind]}_{task}.toml", runs, data_dir=data_dir, densities=[DENSITY]
            )
            for experiment in grid.experiments:
                label = experiment.label
                if experiment.seed not in SEEDS or label not in TABLE:
                    continue
                record = read_result(runs, experiment.digest)
                if record is not None:
                    mine.setdefault(label, []).append(record)
                    if label not in costs[task]:
                        costs[task][label] = passes(experiment, record)
            found |= mine
        missing = [label for label in TABLE if label not in found]
        if missing:
            raise ValueError(f"no runs on {task} of {', '.join(missing)}; run make early and make ours")
        summaries[task] = {label: summarise(records)[0] for label, records in found.items()}
    return summaries, costs


def _table(summaries: Mapping[str, Mapping[str, Summary]], costs: Mapping[str, Mapping[str, float]]) -> str:
    rows = []
    for label, words in TABLE.items():
        cells = [each[label].test_accuracy.text(2, 100) if label in each else "" for each in summaries.values()]
        paid = dict.fromkeys(few_digits(each[label]) for each in costs.values() if label in each)
        rows.append([words, label, *cells, " / ".join(paid)])
    return markdown_table(["method", "in tables", *(f"{title}, %" for title in TASKS.values()), "passes"], rows)


if __name__ == "__main__":
    run_command(main)
