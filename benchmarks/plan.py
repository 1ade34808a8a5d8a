"""What a large predictor costs on a cluster, from rates that are measured here: `python -m benchmarks.plan [--json]`.

A small table is made as `build` makes it, with all features of a perceptron's weights, then fitted and evaluated, on
one thread, in processor time. From its rates follow rows, bytes, seconds and memory of the table and the predictors
that are asked about, for several numbers of workers: seeds are built one by a worker, rows of a finished table are read
a part by a worker. The slow regime's trainings are not in the plan: they are the workload's own, and mostly cost more
than all else.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.features import make_batch, make_network
from scratchcard.artefacts.version import machine
from scratchcard.clock import spent
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.dataset_builder.targets import TARGETS
from scratchcard.meta.evaluation import evaluate_predictor
from scratchcard.meta.fit import fit
from scratchcard.meta.parts import PART_ROWS
from scratchcard.score_tables.schema import TABLE_VERSION, TableBlock, TableSchema
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.writer import TableWriter, file_name

KEPT = 0.02
TREES = 20
"""Of the measured LightGBM; its seconds a row and tree are those of any number."""
SEEDS = (0, 1)


@dataclass(frozen=True)
class Rates:
    """Seconds and bytes a row, each on one thread.

    `read` is one pass over all features, as the moments take it; `boost` is for a tree.
    """

    features: float
    write: float
    disk_bytes: float
    linear: float
    bin: float
    boost: float
    evaluate: float
    columns: int
    targets: int


def measure(sizes: tuple[int, ...], examples: int) -> Rates:
    """Make, fit and evaluate a small table; two networks of these sizes."""
    schema = TableSchema(TABLE_VERSION, (*FEATURES, *TARGETS))
    computing = writing = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            torch.manual_seed(seed)
            network, batch = make_network(*sizes), make_batch(examples, sizes[0])
            rng = np.random.default_rng(seed)
            with TableWriter(schema, Path(folder) / file_name("plan", seed), "plan", seed) as writer:
                begin = spent("cpu")
                for block in compute_features(network, batch, F.cross_entropy, density=KEPT):
                    computing += spent("cpu") - begin
                    columns = {name: block.values[:, place] for place, name in enumerate(block.names)}
                    kept = (rng.random(block.rows) < KEPT).astype(np.float32)
                    columns |= {column.name: kept for column in TARGETS}
                    begin = spent("cpu")
                    writer.write(TableBlock("plan", seed, 0, block.parameter, block.indices, columns))
                    writing += spent("cpu") - begin
                    begin = spent("cpu")
        table = ScoreTable.open(folder)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.parquet"))
        how: dict[str, Any] = {"held_out_seeds": [], "evaluate": False, "objective": "regression", "target": "kept"}
        linear, predictor = _timed(lambda: fit(table, "linear", **how))
        few, _ = _timed(lambda: fit(table, "gbm", trees=1, **how))
        many, _ = _timed(lambda: fit(table, "gbm", trees=1 + TREES, **how))
        evaluated, _ = _timed(lambda: evaluate_predictor(predictor, table))
    rows = table.rows
    boost = max(0.0, many - few) / TREES
    per_row = [value / rows for value in (computing, writing, size, linear, few - boost, boost, evaluated)]
    return Rates(*per_row, len(FEATURES), len(TARGETS))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begin = spent("cpu")
    found = call()
    return spent("cpu") - begin, found


def plan(rates: Rates, networks: int, weights: int, trees: int, workers: int) -> dict[str, float]:
    """Seconds of each step with so many workers of one thread, and the memory of each while LightGBM grows trees."""
    rows = networks * weights
    built = math.ceil(networks / workers) * weights  # by the worker that has most
    parts = networks * math.ceil(weights / PART_ROWS)
    read = math.ceil(parts / min(workers, parts)) * min(weights, PART_ROWS)
    evaluated = math.ceil(networks / workers) * weights
    return {
        "workers": workers,
        "features": built * rates.features,
        "write": built * rates.write,
        "linear": read * rates.linear,
        "gbm": read * (rates.bin + trees * rates.boost),
        "evaluate": evaluated * rates.evaluate,
        "gbm_bytes": rows / min(workers, parts) * (5 * rates.columns + 4 * 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", type=int, default=10, help="initialisations in the table [default: 10]")
    parser.add_argument("--weights", type=int, default=138_344_128, help="of each [default: VGG-16's]")
    parser.add_argument("--trees", type=int, default=300, help="of LightGBM [default: 300]")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 40], help="[default: 1 10 40]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1500, 800, 10], help="of the perceptron measured on")
    parser.add_argument("--examples", type=int, default=256, help="in its scoring batch [default: 256]")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rates = measure(tuple(given.sizes), given.examples)
    plans = [plan(rates, given.networks, given.weights, given.trees, number) for number in given.workers]
    rows = given.networks * given.weights
    if given.json:
        print(json.dumps({"machine": machine(), "rates": asdict(rates), "rows": rows, "plans": plans}, indent=1))
        return 0
    print(f"Measured on one thread of {machine()}:\n\n| step | million rows a second |\n|---|---|")
    steps = {
        "features": rates.features,
        "write the table": rates.write,
        "fit linear": rates.linear,
        "LightGBM: bin": rates.bin,
        "LightGBM: one tree": rates.boost,
        "evaluate": rates.evaluate,
    }
    for name, seconds in steps.items():
        print(f"| {name} | {1e-6 / seconds if seconds else math.inf:.2f} |")
    print(
        f"\n{given.networks} networks of {given.weights:,} weights, {rates.columns} features and "
        f"{rates.targets} targets: {rows:,} rows, {rows * rates.disk_bytes / 1e9:,.0f} GB on disk "
        f"({rates.disk_bytes:.0f} bytes a row)\n"
    )
    print("| workers | features | write | fit linear | fit LightGBM | evaluate | GB a worker for LightGBM |")
    print("|---|---|---|---|---|---|---|")
    for found in plans:
        times = " | ".join(_said(found[name]) for name in ("features", "write", "linear", "gbm", "evaluate"))
        print(f"| {found['workers']:.0f} | {times} | {found['gbm_bytes'] / 1e9:.1f} |")
    return 0


def _said(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    sys.exit(main())
