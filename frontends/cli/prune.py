"""`scratchcard prune`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.apply.method import Method
from scratchcard.frontends.cli import options as opt
from scratchcard.frontends.cli.recipe_options import recipe_options
from scratchcard.frontends.cli.size import Densities, Size
from scratchcard.settings import settings_of
from scratchcard.workloads.recipe import Recipe

if TYPE_CHECKING:
    from scratchcard.apply.pruning_request import PruningRequest
    from scratchcard.pruning.ticket import Ticket

Save = Callable[[Mapping[float, "Ticket"]], None]


@click.command()
@opt.workload_options
@click.option(
    "--density",
    type=Densities(),
    default="0.02",
    show_default=True,
    help="Share of weights to keep, in (0, 1], e.g. 0.005; several (0.05,0.02,0.005) come from one search, which the "
    "higher ones leave earlier.",
)
@click.option(
    "--seed", type=opt.SEED, default=0, show_default=True, help="Of initial weights, scoring batch and ties, e.g. 7."
)
@click.option(
    "--passes",
    type=float,
    help="In place of a method a budget, in forward passes over the training data, e.g. 4: the best that is known for "
    "it. An epoch of training is three; 1 is before training, 0 reads no data. [default: 4, where no method is named]",
)
@opt.settings_options(
    Method,
    "scorer",
    default="see --passes; beside other settings synflow_l2_data, or predicted",
)
@opt.scorer_settings_option
@opt.settings_options(Method, "on", "predictor", "regime")
@opt.regime_options
@opt.settings_options(Method, "initial", "initial_scorer", "restack", "kept_weights", "kept_signs")
@click.option(
    "--rounds-dir",
    type=opt.PATH,
    help="ISS, IMS, ESS, EMS, RigL: keep finished trainings here, e.g. rounds; an interrupted search goes on, and "
    "others share them. [default: a hidden folder beside --out, removed at the end]",
)
@click.option(
    "--out",
    type=opt.PATH,
    default="ticket.safetensors",
    show_default=True,
    help="The ticket's file, e.g. imp.safetensors; of several densities imp-0.05.safetensors and so on.",
)
@opt.overwrite_option
@opt.device_option
@click.option(
    "--memory",
    type=Size(),
    help="What scoring may take for its batch, e.g. 2GiB; a batch that needs more goes through the network in pieces. "
    "[default: 512MiB on a CPU, or half of what is free]",
)
@click.option(
    "--server",
    help="Find it on a service, e.g. http://127.0.0.1:8000; SCRATCHCARD_TOKEN holds the token. Files of weights and "
    "data are uploaded, and --predictor names one there. [default: here]",
)
@recipe_options
@opt.json_option
def prune(out: Path, seed: int, rounds_dir: Path | None, overwrite: bool, **options: Any) -> None:
    """Find a ticket: the initial weights of a network and a mask of those to keep.

    \b
    scratchcard prune --task mnist --scorer snip --density 0.01
    scratchcard prune --predictor default --task mnist --density 0.005
    scratchcard prune --scorer grasp --set temperature=1
    scratchcard prune --task mnist --density 0.005 --passes 4
    scratchcard prune --task mnist --regime EMS --density 0.05,0.02,0.01,0.005
    scratchcard prune --predictor predictor --scorer synflow --on predicted --regime UMS --density 0.02
    scratchcard prune --task mnist --density 0.02 --server http://127.0.0.1:8000
    scratchcard prune --network my_package.nets:small_cnn --weights init.safetensors --task mnist --scorer grasp
    """
    from scratchcard.apply.budget import USUAL, measured, remark
    from scratchcard.apply.pruning_request import PruningRequest
    from scratchcard.artefacts.destination import check_destination

    densities = options["density"]
    several = len(densities) > 1
    files = {density: out.with_stem(f"{out.stem}-{density}") if several else out for density in densities}
    for file in files.values():
        opt.check_new(file, overwrite)
    if rounds_dir is not None:
        check_destination(rounds_dir, "folder")
    words = opt.given_settings(Method, options)
    if options["passes"] is not None and words:
        given = ["--set"] if options["scorer_settings"] else [f"--{word.replace('_', '-')}" for word in words]
        raise ValueError(f"--passes chooses the method, and so does {', '.join(given)}; give one of both")
    request = PruningRequest(
        options["network"],
        options["task"],
        densities,
        seed,
        options["passes"],
        words,
        options["recipe"],
        opt.given_of(options, settings_of(Recipe)),
        options["weights"],
        options["data_dir"],
    )
    tickets: dict[float, Ticket] = {}

    def save(found: Mapping[float, Ticket]) -> None:
        for density, file in files.items():
            opt.check_new(file, overwrite)  # it may have come there meanwhile; finished rounds are kept
            found[density].save(file)
        tickets.update(found)

    if options["server"] is None:
        _find_here(request, out, rounds_dir, options, save)
    else:
        _find_there(request, rounds_dir, options, save)
    results = [_told(tickets[density], file) for density, file in files.items()]
    text = "\n".join(
        f"{told['ticket']}: {told['method']} keeps {told['kept']:,} of {told['prunable']:,} weights (density "
        f"{told['density']:.4g}{_effective(told['effective_density'])}) after {told['seconds']:.2f} s and "
        f"{_passes(told['passes'])} passes over the data"
        for told in results
    )
    if not words:
        results = [told | {"elsewhere": [found._asdict() for found in measured()]} for told in results]
        odd = remark(USUAL if options["passes"] is None else options["passes"], tickets[min(tickets)])
        text = "\n".join(filter(None, (text, odd, _elsewhere())))
    opt.emit(results if several else results[0], options["as_json"], f"{text}{opt.took()}")


def _find_here(
    request: PruningRequest, out: Path, rounds_dir: Path | None, options: dict[str, Any], save: Save
) -> None:
    from scratchcard.apply.density_path import find_tickets
    from scratchcard.artefacts.store import Store
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.recipe import check_batch_size
    from scratchcard.workloads.session import Session

    device = choose_device(options["device"])
    workload = request.make_workload()
    method = request.make_method(workload)
    if options["recipe"] or options["batch_size"]:  # whoever asks for no recipe may train elsewhere
        check_batch_size(workload.task, workload.recipe)
    hidden = out.with_name(f".{out.name}.rounds")
    regime = method.make_regime()
    kept_in = (rounds_dir or hidden) if regime.trains else None
    if kept_in is not None:
        opt.when_interrupted(f"{regime.keeps} are kept in {kept_in}, the same command goes on")
    densities = request.densities
    with contextlib.ExitStack() as stack:
        store = None
        if kept_in is not None:
            own = Store(hidden, brief=len(densities) > 1)
            store = stack.enter_context(own.until_done()) if kept_in == hidden else Store.of_user(kept_in)
        with opt.progress_bar(f"pruning with {method.label}") as progress:
            session = Session(device, store=store, progress=progress, memory=options["memory"])
            tickets = find_tickets(workload, method, densities, request.seed, session)
        save(tickets)


def _find_there(request: PruningRequest, rounds_dir: Path | None, options: dict[str, Any], save: Save) -> None:
    from scratchcard.frontends.client import Client
    from scratchcard.workloads.tasks import load_task

    here = {"--device": options["device"] != "auto", "--rounds-dir": rounds_dir, "--memory": options["memory"]}
    for option, given in here.items():
        if given:
            raise ValueError(f"{option} is for searches here, and --server finds the ticket there; leave one of both")
    task: Any = request.task
    if ":" in task:  # its data are here
        task = load_task(task, request.data_dir)
    elif request.data_dir is not None:
        raise ValueError("--data-dir is for data that are here, and the service has those of its tasks; leave it")
    with Client(options["server"]) as client, opt.progress_bar(f"pruning on {client.server}") as progress:
        opt.when_interrupted("the job on the service was cancelled")
        tickets = client.prune(
            request.network,
            task,
            request.densities,
            request.seed,
            passes=request.passes,
            weights=request.weights,
            recipe=request.recipe,
            recipe_settings=request.recipe_settings,
            progress=progress,
            **request.method,
        )
    save(tickets)


def _elsewhere() -> str:
    """What the budgets reached where they were measured, a line each."""
    from scratchcard.apply.budget import measured

    return "\n".join(
        f"measured beforehand, {found.network} on {found.task} at density {found.density:g}: "
        + ", ".join(f"{100 * accuracy:.1f}" for accuracy in found.accuracy.values())
        + f" % for {', '.join(map(str, found.accuracy))} passes"
        for found in measured()
    )


def _passes(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _effective(density: float | None) -> str:
    return "" if density is None else f", effective {density:.4g}"


def _told(ticket: Ticket, file: Path) -> dict[str, Any]:
    """What is said of a ticket; warns of what is odd about it."""
    from scratchcard.apply.ticket_report import ticket_summary

    odd = ticket.check()
    told = [finding.text for finding in odd if finding.kind != "not_prunable"]  # of these a warning has told
    if told:
        opt.warn(f"{file}: {'; '.join(told)}")
    return {"ticket": str(file)} | ticket_summary(ticket)
