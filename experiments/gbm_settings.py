"""How LightGBM's settings were chosen: fitted on MNIST's seeds 0-4, judged on seed 5, which no ticket is compared on.

    python -m experiments.gbm_settings --jobs 2

Reads the table `runs/mnist_predictors/table-imp` that `experiments.mnist_predictors` builds.
"""

from __future__ import annotations

from typing import Any

from experiments.options import arguments, run_command
from scratchcard.meta.fit import fit
from scratchcard.score_tables.table import ScoreTable

SLOW: dict[str, Any] = {"trees": 300, "learning_rate": 0.05, "feature_share": 0.5}
LIBRARY: dict[str, Any] = {"trees": 200, "learning_rate": 0.1, "feature_share": 1.0, "leaf_weight": 1e-3}
SETTINGS: list[dict[str, Any]] = [
    LIBRARY,
    LIBRARY | {"leaf_weight": 1.0},
    SLOW | {"leaf_weight": 1.0},
    SLOW | {"leaf_weight": 5.0},
    SLOW | {"leaf_weight": 1e-3, "leaf_rows": 1000, "l2": 10.0},
    SLOW | {"leaf_weight": 5.0, "leaf_rows": 1000, "l2": 10.0},
]


def main() -> None:
    """Print a table."""
    options = arguments(__doc__, task="mnist", seeds="0-5")
    table = ScoreTable.open(options.runs / f"{options.task}_predictors" / "table-imp")
    print("| settings | average precision, seeds 0-4 | seed 5 | overlap, seed 5 | noise ceiling, seed 5 |")
    print("|---|---|---|---|---|")
    for settings in SETTINGS:
        metrics = fit(
            table,
            "gbm",
            objective="classification",
            train_seeds=options.seeds[:-1],
            held_out_seeds=options.seeds[-1:],
            threads=options.jobs,
            **settings,
        ).metrics
        held = metrics["held_out"]
        named = ", ".join(f"{name}={value:g}" for name, value in settings.items())
        print(
            f"| {named} | {metrics['train']['average_precision']:.3f} | {held['average_precision']:.3f} | "
            f"{held['overlap']:.3f} | {held['noise_ceiling']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main)
