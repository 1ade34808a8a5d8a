"""`scratchcard fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from frontends.cli.options import SEEDS, emit, json_option, progress_bar


@click.command()
@click.argument("table", type=click.Path(path_type=Path), default="table")
@click.option("--family", default="gbm", show_default=True, help="linear, sgd, tree, forest, gbm or mlp.")
@click.option(
    "--objective",
    type=click.Choice(["regression", "classification", "ranking"]),
    default="classification",
    show_default=True,
    help="Regression of the score, classification of kept, or ranking.",
)
@click.option("--features", help="'thesis' for its four, or names separated by commas; all if not given.")
@click.option("--train-seeds", type=SEEDS, help="E.g. 0-4; all that are not held out if not given.")
@click.option("--held-out-seeds", type=SEEDS, help="E.g. 5; the last seed of the table if not given.")
@click.option("--max-rows", type=int, help="At most so many training rows, e.g. 2000000.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the fit's own randomness.")
@click.option("--threads", type=int, default=1, show_default=True, help="For forest and gbm, e.g. 2.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="predictor", show_default=True, help="The bundle's folder."
)
@json_option
def fit(table: Path, **options: Any) -> None:
    """Fit a predictor on a score table and save it as a bundle; splits by seed, never by row.

    \b
    scratchcard fit table --family gbm --objective classification --held-out-seeds 3
    scratchcard fit table --family linear --objective regression --features thesis --out thesis-linear
    """
    from meta.bundle import save_bundle
    from meta.fit import fit as fit_predictor
    from pruning.table import ScoreTable

    opened = ScoreTable.open(table)
    known = sorted({seed for seeds in opened.seeds.values() for seed in seeds})
    if len(known) < 2 and not (options["train_seeds"] and options["held_out_seeds"]):
        raise ValueError(f"{table} has one seed only; a fit needs one to train on and another to hold out")
    held_out = options["held_out_seeds"] or tuple(s for s in known if s not in (options["train_seeds"] or known[:-1]))
    train = options["train_seeds"] or tuple(s for s in known if s not in held_out)
    names = options["features"]
    features = names if names in (None, "thesis") else tuple(part.strip() for part in names.split(","))
    with progress_bar(f"fitting {options['family']}") as progress:
        predictor = fit_predictor(
            opened,
            options["family"],
            objective=options["objective"],
            features=features,
            train_seeds=train,
            held_out_seeds=held_out,
            seed=options["seed"],
            max_rows=options["max_rows"],
            threads=options["threads"],
            progress=progress,
        )
    save_bundle(predictor, options["out"])
    metrics = predictor.metrics
    lines = [f"{options['out']}: {options['family']} ({options['objective']}), {len(predictor.features)} features"]
    for part in ("train", "held_out"):
        numbers = metrics.get(part, {})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if isinstance(value, int | float))
        lines.append(f"  {part.replace('_', ' ')}: {shown}")
    emit({"bundle": str(options["out"]), "metrics": metrics}, options["as_json"], "\n".join(lines))
