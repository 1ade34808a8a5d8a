"""What the experiments' commands share: their arguments, and how results are published."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cost_front import cost_front
from experiments.markdown import markdown
from scratchcard.analysis.figures import comparison
from scratchcard.analysis.statistics import summarise
from scratchcard.artefacts.files import written_beside
from scratchcard.number_list import whole_numbers
from scratchcard.workloads.device import choose_device


@dataclass(frozen=True)
class Options:
    """A command's arguments."""

    task: str
    seeds: tuple[int, ...]
    jobs: int
    device: str
    data_dir: Path | None
    runs: Path
    results: Path

    @staticmethod
    def progress(name: str) -> Callable[[int, int], None]:
        """A line on stderr for each finished run."""
        begin = time.perf_counter()

        def report(done: int, total: int) -> None:
            print(f"{name}: {done}/{total} after {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)

        return report


def arguments(description: str | None, *, task: str, seeds: str) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=task, help="mnist or fashion_mnist")
    parser.add_argument("--seeds", default=seeds, help="of the initialisations that are compared, e.g. 100-104")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--data-dir", type=Path, help="folder with the data files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="records, tables, predictors")
    parser.add_argument("--results", type=Path, default=Path("results"), help="tables and pictures")
    found = parser.parse_args()
    return Options(
        found.task,
        whole_numbers(found.seeds),
        found.jobs,
        str(choose_device(found.device)),
        found.data_dir,
        found.runs,
        found.results,
    )


def run_command(main: Callable[[], None]) -> None:
    """Run a command; bad input ends it with one sentence on stderr, and status 2."""
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(2)


def publish(
    results: Sequence[dict[str, Any]],
    folder: Path,
    name: str,
    subtitle: str,
    *,
    floor: float | None = None,
    passes: Mapping[str, float] | None = None,
) -> None:
    """Print the table; write it as Markdown, each run as a line of CSV, and a picture.

    With `floor` a picture of the cost too; with `passes` (by label) a table of it.
    """
    summaries = summarise(results)
    text = markdown(summaries, passes)
    print(text)
    with written_beside(folder / f"{name}.md") as beside:
        beside.write_text(f"{subtitle}\n\n{text}\n")
    with written_beside(folder / f"{name}.csv") as beside, beside.open("w", newline="") as file:
        rows = [_row(result) for result in results]
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    legend = f"{subtitle}; dots: seeds, bars: 95 % interval of the mean"
    comparison(summaries, folder / f"{name}.png", "Test accuracy of tickets", legend)
    if floor is not None:
        bars = f"{subtitle}; bars: 95 % interval of the mean"
        cost_front(summaries, folder / f"{name}_cost.png", "Test accuracy against cost", bars, floor=floor)


def _row(result: dict[str, Any]) -> dict[str, Any]:
    configuration = result["configuration"]
    return {
        "label": result["label"],
        "task": configuration["workload"]["task"],
        "network": configuration["workload"]["network"],
        "density": configuration["density"],
        "seed": configuration["seed"],
        "test_accuracy": result["test_accuracy"],
        "validation_accuracy": result["training"]["validation_accuracy"],
        "best_step": result["training"]["best_step"],
        "steps": result["training"]["steps"],
        "pruning_seconds": round(result["pruning_seconds"], 3),
        "effective_density": result["effective_density"],
        "live_units": " ".join(str(count) for count in result["live_units"].values()),
        "device": result["device"],
        "torch": result["versions"]["torch"],
        "digest": result["digest"],
    }
