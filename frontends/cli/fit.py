"""`scratchcard fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scratchcard.frontends.cli import options as opt

NOTHING = "nothing, so that nothing tells how good the predictor is on networks that it did not see"


_PASSED = ("objective", "target", "train_seeds", "held_out_seeds", "rounds", "seed", "max_rows", "threads", "dask")


@click.command()
@click.argument("table", type=opt.TABLE, default="table")
@click.option(
    "--family",
    default="gbm",
    show_default=True,
    shell_complete=opt.completed(opt.names_of("predictors")),
    help="What is fitted, as `scratchcard list predictors` names it, e.g. tree.",
)
@click.option(
    "--objective",
    type=click.Choice(["regression", "classification", "ranking"]),
    help="Regression of the score, classification of kept, or ranking, e.g. ranking. [default: classification where "
    "the family has it]",
)
@click.option("--target", help="Column to learn, e.g. rounds_survived. [default: score (regression) or kept]")
@click.option("--features", help="'thesis' for its four, or names, e.g. snip,synflow. [default: all of the table]")
@click.option(
    "--train-seeds", type=opt.SEEDS, help="Initialisations to fit on, e.g. 0-4. [default: all that are not held out]"
)
@click.option(
    "--held-out-seeds",
    type=opt.Numbers(none=True),
    help="Initialisations to measure on, e.g. 5, or none. [default: those not trained on, or the table's last]",
)
@click.option(
    "--held-out-workloads",
    help="Whole workloads to measure on, e.g. lenet_300_100-mnist; names separated by commas. [default: none]",
)
@click.option("--rounds", type=opt.Numbers("round"), help="Rows of these rounds only, e.g. 0. [default: all]")
@click.option(
    "--max-rows", type=opt.COUNT, help="At most so many training rows, e.g. 2000000. [default: what suits the family]"
)
@click.option(
    "--option",
    "family_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the family, e.g. trees=500 or hidden=[32,16]; can be repeated. [default: the family's own]",
)
@click.option("--seed", type=opt.SEED, default=0, show_default=True, help="Of the fit's own randomness, e.g. 7.")
@click.option("--threads", type=opt.COUNT, default=1, show_default=True, help="For forest and gbm, e.g. 2.")
@click.option(
    "--dask",
    help="Fit on the workers of this Dask scheduler, which read the table, e.g. tcp://10.0.0.5:8786. [default: none]",
)
@click.option("--device", help="Where mlp is trained, e.g. auto or cuda. [default: cpu]")
@click.option("--out", type=opt.PATH, default="predictor", show_default=True, help="The bundle's folder, e.g. imp-gbm.")
@opt.overwrite_option
@opt.json_option
def fit(table: Any, out: Path, overwrite: bool, **options: Any) -> None:
    """Fit a predictor on a score table and save it as a bundle; splits by seed, never by row.

    \b
    scratchcard fit table --family gbm --objective classification --held-out-seeds 3
    scratchcard fit table --family linear --features thesis --out thesis-linear
    scratchcard fit s3://bucket/large-table --family linear --dask tcp://10.0.0.5:8786
    scratchcard fit table --family mlp --option epochs=10 --option hidden=[64,32] --device auto
    """
    from scratchcard.artefacts.destination import check_destination
    from scratchcard.meta.bundle import check_replaceable, is_bundle, save_bundle
    from scratchcard.meta.fit import fit as fit_predictor
    from scratchcard.score_tables.table import ScoreTable

    check_destination(out, "folder")
    check_replaceable(out)
    if not overwrite and is_bundle(out):
        raise FileExistsError(
            f"{out} holds a predictor already; choose another --out, or add --overwrite to replace it"
        )
    family = options["family"]
    chosen = _family_options(family, options["family_options"], options["device"])
    names = options["features"]
    features = names if names in (None, "thesis") else _listed(names)
    workloads = None if options["held_out_workloads"] is None else _listed(options["held_out_workloads"])
    with opt.progress_bar(f"fitting {family}") as progress:
        predictor = fit_predictor(
            ScoreTable.open(table),
            family,
            features=features,
            held_out_workloads=workloads,
            progress=progress,
            **{name: options[name] for name in _PASSED},
            **chosen,
        )
    save_bundle(predictor, out)
    metrics = predictor.metrics
    lines = [f"{out}: {family} ({predictor.objective} of {predictor.target}), {len(predictor.features)} features"]
    for part in ("train", "held_out"):
        numbers = metrics.get(part, {})
        shown = ", ".join(_number(name, value) for name, value in numbers.items() if isinstance(value, int | float))
        lines.append(f"  {part.replace('_', ' ')}: {shown or NOTHING}")
    opt.emit({"bundle": str(out), "metrics": metrics}, options["as_json"], "\n".join(lines) + opt.took())


def _number(name: str, value: float) -> str:
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}"


def _listed(names: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in names.split(",") if part.strip())


def _family_options(family: str, pairs: tuple[str, ...], device: str | None) -> dict[str, Any]:
    """`NAME=VALUE` as the family's settings."""
    from scratchcard.meta.predictors import PREDICTORS
    from scratchcard.registry import lookup
    from scratchcard.settings import make, parsed
    from scratchcard.workloads.device import choose_device

    kind = lookup(PREDICTORS, "predictors", family)
    found = parsed(kind, family, pairs)
    if device is not None:
        found["device"] = str(choose_device(device))
    make(kind, family, found)  # refuses what the family does not have
    return found
