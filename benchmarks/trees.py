"""Rows per second of our tree kernel against LightGBM's own predict, one thread, in one run.

    python -m benchmarks.trees [--trees 200] [--leaves 31] [--features 12] [--json]

Both predict the same float32 rows from the same trees; their repeats alternate, so that a busy moment hits
both, and the medians are compared. The results must be equal to the bit.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import lightgbm
import numpy as np

from scratchcard.meta.predictors.gbm import boosted_trees

GOAL = 10.0


def seconds(function: Callable[[], np.ndarray]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(trees: int, leaves: int, features: int, rows: int, repeats: int) -> dict[str, object]:
    """Fit on noise with a signal, then time both ways of predicting."""
    generator = np.random.default_rng(0)
    x = generator.random((50_000, features), dtype=np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(6 * x[:, 2]) + 0.1 * generator.standard_normal(len(x))
    parameters = {"num_leaves": leaves, "num_threads": 1, "verbosity": -1, "use_missing": False}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), trees)
    ours = boosted_trees(booster, features)
    new = generator.random((rows, features), dtype=np.float32)

    def theirs_predict() -> np.ndarray:
        return np.asarray(booster.predict(new, num_threads=1))

    def ours_predict() -> np.ndarray:
        return ours.sum(new)

    equal = bool(np.array_equal(theirs_predict(), ours_predict()))  # compiles, too
    times = [(seconds(theirs_predict), seconds(ours_predict)) for _ in range(repeats)]
    theirs_time, ours_time = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "trees": trees,
        "leaves": leaves,
        "features": features,
        "rows": rows,
        "lightgbm_rows_per_second": round(rows / theirs_time),
        "rows_per_second": round(rows / ours_time),
        "ratio": round(theirs_time / ours_time, 2),
        "goal": GOAL,
        "bit_equal": equal,
        "machine": platform.processor() or platform.machine(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="our tree kernel against LightGBM's predict, one thread")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--features", type=int, default=12)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    arguments = parser.parse_args()
    found = measure(arguments.trees, arguments.leaves, arguments.features, arguments.rows, arguments.repeats)
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"{found['trees']} trees x {found['leaves']} leaves, {found['features']} features, one thread: "
        f"LightGBM {found['lightgbm_rows_per_second']:,} rows/s, ours {found['rows_per_second']:,} rows/s, "
        f"{found['ratio']}x (goal {GOAL:g}x), bit-equal: {'yes' if found['bit_equal'] else 'NO'}"
    )


if __name__ == "__main__":
    main()
