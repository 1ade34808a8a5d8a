"""`scratchcard build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scratchcard.dataset_builder.recording import Recording
from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.cli.recipe_options import recipe_options


@click.command()
@opt.workload_options
@click.option("--seeds", type=opt.SEEDS, default="0-3", show_default=True, help="Initialisations, e.g. 0-4 or 0,2,7.")
@opt.settings_options(Recording)
@opt.scorer_settings_option
@opt.regime_options
@click.option("--jobs", type=opt.COUNT, default=1, show_default=True, help="Seeds at once, one thread each, e.g. 2.")
@click.option(
    "--dask", help="Send the seeds to the workers of this Dask scheduler, e.g. tcp://10.0.0.5:8786. [default: none]"
)
@click.option(
    "--out",
    type=opt.TABLE,
    default="table",
    show_default=True,
    help="The table's folder, or its address in an object store, e.g. mnist-table or s3://bucket/mnist-table.",
)
@opt.device_option
@recipe_options
@opt.json_option
def build(**options: Any) -> None:
    """Build a score table: one row for each weight of each initialisation.

    Features come from the untrained network, targets from a slow regime that trains. With an early regime (ESS, EMS)
    each look of its search has rows, with features of movement too. Finished seeds are kept: the same command again
    goes on, or does nothing.

    \b
    scratchcard build --task digits --seeds 0-3 --regime ISS --scorer magnitude --density 0.02 --out table
    scratchcard build --task mnist --data-dir ~/data --seeds 0-5 --repeat --jobs 2 --out mnist-table
    scratchcard build --task mnist --data-dir ~/data --regime EMS --rounds 8 --tickets 2 --jobs 2 --out looks
    scratchcard build --task mnist --data-dir ~/data --seeds 0-99 --dask tcp://10.0.0.5:8786 --out s3://bucket/large-table
    """
    from scratchcard.artefacts.destination import check_destination
    from scratchcard.dataset_builder.build import build as build_table
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.session import Session

    if isinstance(options["out"], Path):
        check_destination(options["out"], "folder")
    device = choose_device(options["device"])
    workload = opt.make_workload(options)
    recording = Recording.of(**opt.given_settings(Recording, options))
    with opt.progress_bar(f"building {workload.name}") as progress:
        session = Session(device, progress=progress, jobs=options["jobs"], dask=options["dask"])
        table = build_table(workload, options["seeds"], options["out"], recording, session)
    result = {
        "table": str(options["out"]),
        "rows": table.rows,
        "features": len(table.schema.features),
        "seeds": {name: list(seeds) for name, seeds in table.seeds.items()},
        "digest": table.digest,
    }
    listed = "; ".join(f"{name}: seeds {', '.join(map(str, s))}" for name, s in table.seeds.items())
    opt.emit(
        result,
        options["as_json"],
        f"{options['out']}: {table.rows:,} rows, {result['features']} features ({listed}){opt.took()}",
    )
