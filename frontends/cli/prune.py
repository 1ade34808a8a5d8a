"""`scratchcard prune`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from scratchcard.frontends.cli.options import (
    PATH,
    SEED,
    device_option,
    emit,
    json_option,
    make_workload,
    progress_bar,
    recipe_options,
    warn,
    when_interrupted,
    workload_options,
)


@click.command()
@workload_options
@click.option(
    "--density", type=float, default=0.02, show_default=True, help="Share of weights to keep, in (0, 1], e.g. 0.005."
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of initial weights, scoring batch and ties, e.g. 7."
)
@click.option("--scorer", help="Registered name, e.g. snip. [default: synflow; predicted where a predictor is given]")
@click.option(
    "--on", help="Stacked scoring: this scorer's scores stand in for the weights, e.g. predicted. [default: none]"
)
@click.option(
    "--predictor",
    type=PATH,
    help="`default`, which is shipped, `policy` (the same without stored tickets) or a bundle's folder, e.g. default. "
    "[default: none]",
)
@click.option(
    "--regime",
    help="USS, UMS, ISS or IMS, e.g. UMS. [default: UMS for synflow, a predictor's own, else USS]",
)
@click.option("--rounds", type=int, help="Pruning rounds, e.g. 5. [default: 1, 100, 10, 10 for USS, UMS, ISS, IMS]")
@click.option(
    "--round-steps", type=int, help="ISS, IMS: training steps of each round, e.g. 859. [default: as many as at the end]"
)
@click.option("--shots", type=int, default=10, show_default=True, help="IMS: scorings after each training, e.g. 5.")
@click.option(
    "--schedule",
    default="exponential",
    show_default=True,
    help="Density after each round: exponential, linear or cubic, e.g. cubic.",
)
@click.option(
    "--scope",
    type=click.Choice(["global", "layer", "expected", "erk"]),
    default="global",
    show_default=True,
    help="Compare all weights, or each layer's among themselves, e.g. layer.",
)
@click.option(
    "--rewind-step",
    type=int,
    default=0,
    show_default=True,
    help="ISS, IMS: rewind to the weights after this many steps of the first training, e.g. 100.",
)
@click.option(
    "--initial",
    type=click.Choice(["given", "signed", "saw", "saw_variance", "bimodal"]),
    default="given",
    show_default=True,
    help="Initial weights: as built, with the signs of the predictor's stored ticket, a scorer's scores (scaled to "
    "[-1, 1], or keeping variance), bi-modal, e.g. signed.",
)
@click.option("--initial-scorer", help="For saw and saw_variance, e.g. snip. [default: none]")
@click.option(
    "--rounds-dir",
    type=PATH,
    help="ISS, IMS: keep finished trainings here, e.g. rounds; an interrupted search goes on, and other searches "
    "share them. [default: a hidden folder beside --out, removed at the end]",
)
@click.option(
    "--out", type=PATH, default="ticket.safetensors", show_default=True, help="The ticket's file, e.g. imp.safetensors."
)
@device_option
@recipe_options
@json_option
def prune(out: Path, seed: int, rounds_dir: Path | None, **options: Any) -> None:
    """Find a ticket: the initial weights of a network and a mask of those to keep.

    \b
    scratchcard prune --task mnist --scorer snip --density 0.01
    scratchcard prune --predictor default --task mnist --density 0.005
    scratchcard prune --predictor predictor --scorer synflow --on predicted --regime UMS --density 0.02
    scratchcard prune --network my_package.nets:small_cnn --weights init.safetensors --task mnist --scorer grasp
    """
    from scratchcard.apply.method import PREDICTED, Method
    from scratchcard.apply.pipeline import find_ticket
    from scratchcard.apply.shipped import own_regime
    from scratchcard.artefacts.destination import check_destination
    from scratchcard.artefacts.store import Store
    from scratchcard.pruning.connectivity import Connectivity
    from scratchcard.workloads.device import choose_device

    check_destination(out)
    if rounds_dir is not None:
        check_destination(rounds_dir, "folder")
    device = choose_device(options["device"])
    predictor = options["predictor"]
    scorer = options["scorer"] or (PREDICTED if predictor is not None and options["on"] is None else "synflow")
    fitting = predictor is not None and scorer == PREDICTED and options["regime"] is None
    own = own_regime(str(predictor)) if fitting else {}
    method = Method(
        scorer=scorer,
        on=options["on"],
        predictor=None if predictor is None else str(predictor),
        regime=options["regime"] or own.get("regime") or ("UMS" if scorer.startswith("synflow") else "USS"),
        rounds=own.get("rounds") if options["rounds"] is None else options["rounds"],
        round_steps=options["round_steps"],
        shots=options["shots"],
        schedule=options["schedule"],
        scope=options["scope"],
        rewind_step=options["rewind_step"],
        initial=options["initial"],
        initial_scorer=options["initial_scorer"],
    )
    workload = make_workload(options)
    hidden = out.with_name(f".{out.name}.rounds")
    kept_in = (rounds_dir or hidden) if method.make_regime().trains else None
    if kept_in is not None:
        when_interrupted(f"finished rounds are kept in {kept_in}, the same command goes on")
    with progress_bar(f"pruning with {method.label}") as progress:
        ticket = find_ticket(
            workload,
            method,
            options["density"],
            seed,
            device=device,
            store=None if kept_in is None else Store(kept_in),
            progress=progress,
        )
    ticket.save(out)
    if kept_in == hidden:
        shutil.rmtree(hidden, ignore_errors=True)
    effective = None
    try:
        effective = Connectivity.of(workload.build(seed), ticket.mask, workload.task.example).effective_density
    except Exception as error:  # a foreign network can raise anything; the ticket is found and saved
        warn(f"the effective density of {workload.network_name} could not be found: {type(error).__name__}: {error}")
    result = {
        "ticket": str(out),
        "method": method.label,
        "kept": ticket.mask.kept,
        "prunable": ticket.mask.total,
        "density": ticket.mask.density,
        "effective_density": effective,
        "seconds": ticket.provenance["pruning_seconds"],
    }
    also = "" if effective is None else f", effective {effective:.4g}"
    text = (
        f"{out}: {method.label} keeps {ticket.mask.kept:,} of {ticket.mask.total:,} weights (density "
        f"{ticket.mask.density:.4g}{also}) after {result['seconds']:.2f} s"
    )
    emit(result, options["as_json"], text)
