"""What the parts of the shipped predictor's criterion are worth: each left out, and the coefficients searched anew.

    python -m experiments.ablation --jobs 2
    scratchcard sweep experiments/ours_ablation.toml --out runs/ours --jobs 2

The first command writes a bundle for each variant below into `results/ablation`; all are searched alike, with fewer
generations than the shipped predictor (`all` is the shipped one's search, stopped early). The second compares their
tickets on the test split. An interrupted call goes on where it stopped (`RUNS/ablation`).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from experiments.options import run_command
from scratchcard.apply.policy_search import SCALES, START, PolicySearch
from scratchcard.meta.bundle import save_bundle

GENERATIONS = 6

GROUPS = {
    "step": ("step_ln", "stepped_ln", "growth"),
    "paths": ("path_ln", "row_share_ln", "column_share_ln"),
    "slopes": ("slope_correlation", "slope_correlation_ln", "output_correlation", "output_correlation_size"),
    "company": ("company",),
    "units": ("input_spread_ln", "slope_size_ln", "fan_in", "fan_out"),
    "layers": ("first_layer", "last_layer"),
}
"""The features but magnitude, in groups: Gauss-Newton step, paths, correlations with the loss' slope and with the
output, correlation with the inputs that the unit keeps, the weight's two units, its layer."""

TOGETHER = {
    "gradients": ("step", "slopes", "units"),
    "context": ("slopes", "company", "units", "layers"),
}
"""Groups that are left out at once: those that read the loss' gradient; all but the Gauss-Newton step and the paths."""


def without(*groups: str) -> PolicySearch:
    """The search without the groups' features; it begins with what is left of its beginning."""
    gone = {name for group in groups for name in GROUPS[group]}
    features = {name: scale for name, scale in SCALES.items() if name not in gone}
    start = {name: value for name, value in START.items() if name in features}
    if "step" in groups:
        start["magnitude_ln"] = 1.0
    return PolicySearch(features=features, start=start, generations=GENERATIONS)


def variants() -> dict[str, PolicySearch]:
    """By name: all, each group left out, several groups left out at once, one round, no drift, no search."""
    base = PolicySearch(generations=GENERATIONS)
    return {
        "all": base,
        **{f"without-{group}": without(group) for group in GROUPS},
        **{f"without-{name}": without(*groups) for name, groups in TOGETHER.items()},
        "without-drift": replace(base, drift=False),
        "without-rounds": replace(base, rounds=1, drift=False),
        "without-search": replace(base, generations=0),
    }


def main() -> None:
    """Search all variants and write their bundles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each")
    parser.add_argument("--data-dir", help="folder with the data files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="records of the searches")
    parser.add_argument("--out", type=Path, default=Path("results/ablation"), help="folder of the bundles")
    options = parser.parse_args()
    for name, search in variants().items():
        print(f"{name}:", flush=True)
        predictor = search.run(
            options.runs / "ablation" / name / "search.json",
            data_dir=options.data_dir,
            jobs=options.jobs,
            progress=lambda done, total: print(f"\r{done}/{total}", end="", file=sys.stderr, flush=True),
            log=lambda text: print(f"\r{text}", flush=True),
        )
        save_bundle(predictor, options.out / name)


if __name__ == "__main__":
    run_command(main)
