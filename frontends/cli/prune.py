"""`scratchcard prune`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from scratchcard.apply.method import Method
from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.cli.recipe_options import recipe_options
from scratchcard.frontends.cli.size import Size


@click.command()
@opt.workload_options
@click.option(
    "--density", type=float, default=0.02, show_default=True, help="Share of weights to keep, in (0, 1], e.g. 0.005."
)
@click.option(
    "--seed", type=opt.SEED, default=0, show_default=True, help="Of initial weights, scoring batch and ties, e.g. 7."
)
@opt.settings_options(Method, "scorer", default="synflow_l2_data; predicted where a predictor is given")
@opt.scorer_settings_option
@opt.settings_options(Method, "on", "predictor", "regime")
@opt.regime_options
@opt.settings_options(Method, "initial", "initial_scorer", "restack")
@click.option(
    "--rounds-dir",
    type=opt.PATH,
    help="ISS, IMS, ESS, EMS: keep finished trainings here, e.g. rounds; an interrupted search goes on, and others "
    "share them. [default: a hidden folder beside --out, removed at the end]",
)
@click.option(
    "--out",
    type=opt.PATH,
    default="ticket.safetensors",
    show_default=True,
    help="The ticket's file, e.g. imp.safetensors.",
)
@opt.overwrite_option
@opt.device_option
@click.option(
    "--memory",
    type=Size(),
    help="What scoring may take for its batch, e.g. 2GiB; a batch that needs more goes through the network in pieces. "
    "[default: 512MiB on a CPU, or half of what is free]",
)
@recipe_options
@opt.json_option
def prune(out: Path, seed: int, rounds_dir: Path | None, overwrite: bool, **options: Any) -> None:
    """Find a ticket: the initial weights of a network and a mask of those to keep.

    \b
    scratchcard prune --task mnist --scorer snip --density 0.01
    scratchcard prune --predictor default --task mnist --density 0.005
    scratchcard prune --scorer grasp --set temperature=1
    scratchcard prune --predictor predictor --scorer synflow --on predicted --regime UMS --density 0.02
    scratchcard prune --network my_package.nets:small_cnn --weights init.safetensors --task mnist --scorer grasp
    """
    from scratchcard.apply.pipeline import find_ticket
    from scratchcard.artefacts.destination import check_destination
    from scratchcard.artefacts.store import Store
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.recipe import check_batch_size
    from scratchcard.workloads.session import Session

    opt.check_new(out, overwrite)
    if rounds_dir is not None:
        check_destination(rounds_dir, "folder")
    device = choose_device(options["device"])
    method = Method.of(**opt.given_settings(Method, options))
    workload = opt.make_workload(options)
    if options["recipe"] or options["batch_size"]:  # whoever asks for no recipe may train elsewhere
        check_batch_size(workload.task, workload.recipe)
    hidden = out.with_name(f".{out.name}.rounds")
    regime = method.make_regime()
    kept_in = (rounds_dir or hidden) if regime.trains else None
    if kept_in is not None:
        opt.when_interrupted(f"{regime.keeps} are kept in {kept_in}, the same command goes on")
    with contextlib.ExitStack() as stack:
        store = None
        if kept_in is not None:
            store = stack.enter_context(Store(hidden).until_done()) if kept_in == hidden else Store.of_user(kept_in)
        with opt.progress_bar(f"pruning with {method.label}") as progress:
            session = Session(device, store=store, progress=progress, memory=options["memory"])
            ticket = find_ticket(workload, method, options["density"], seed, session)
        opt.check_new(out, overwrite)  # it may have come there meanwhile; finished rounds are kept
        ticket.save(out)
    odd = ticket.check()
    told = [finding.text for finding in odd if finding.kind != "not_prunable"]  # of these a warning has told
    if told:
        opt.warn(f"{out}: {'; '.join(told)}")
    effective = ticket.provenance["checks"]["effective_density"]
    result = {
        "ticket": str(out),
        "method": method.label,
        "kept": ticket.mask.kept,
        "prunable": ticket.mask.total,
        "density": ticket.mask.density,
        "effective_density": effective,
        "checks": {finding.kind: finding.text for finding in odd},
        "seconds": ticket.provenance["pruning_seconds"],
    }
    also = "" if effective is None else f", effective {effective:.4g}"
    text = (
        f"{out}: {method.label} keeps {ticket.mask.kept:,} of {ticket.mask.total:,} weights (density "
        f"{ticket.mask.density:.4g}{also}) after {result['seconds']:.2f} s{opt.took()}"
    )
    opt.emit(result, options["as_json"], text)
