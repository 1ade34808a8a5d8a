"""A grid's table, its runs as CSV and its picture, under results/; runs what is missing.

python -m experiments.publish experiments/mnist_baselines.toml --jobs 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.bill import passes
from experiments.options import Options, publish, run_command
from scratchcard.sweeps.grid import read_grid
from scratchcard.sweeps.run_grid import run_grid
from scratchcard.sweeps.run_records import read_result
from scratchcard.workloads.device import choose_device


def main() -> None:
    """Run what is missing, print and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the grid's TOML file")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--data-dir", type=Path, help="folder with the data files")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/results"), help="results folder, as of scratchcard sweep"
    )
    parser.add_argument("--density", type=float, help="only this density; a grid of several needs one")
    parser.add_argument("--floor", type=float, help="draw accuracy against cost too, from this accuracy (per cent) on")
    parser.add_argument("--passes", action="store_true", help="with passes over the data: prunes once by each method")
    parser.add_argument("--results", type=Path, default=Path("results"), help="tables and pictures")
    options = parser.parse_args()
    densities = None if options.density is None else [options.density]
    grid = read_grid(options.file, options.runs, data_dir=options.data_dir, densities=densities)
    report = Options.progress(grid.name)
    device = choose_device(options.device)
    swept = run_grid(
        grid, options.runs, jobs=options.jobs, device=device, progress=lambda now: report(now.done, now.total)
    )
    for digest, error in swept.failed.items():
        print(f"failed: {digest}: {error}")
    found = [read_result(options.runs, experiment.digest) for experiment in grid.experiments]
    records = [record for record in found if record is not None]
    bill = {e.label: (e, r) for e, r in zip(grid.experiments, found, strict=True) if r is not None}
    read = {label: passes(*run) for label, run in bill.items()} if options.passes else None
    publish(records, options.results, grid.name, grid.file.title, floor=options.floor, passes=read)


if __name__ == "__main__":
    run_command(main)
