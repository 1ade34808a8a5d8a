"""`scratchcard train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scratchcard.frontends.cli import options as opt

if TYPE_CHECKING:
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.workload import Workload

network_option = click.option(
    "--network",
    help="Only for a network of your own, the same as when it was pruned, e.g. package.module:factory. "
    "[default: the ticket's]",
)
task_option = click.option(
    "--task",
    help="Only for data of your own, the same as when it was pruned, e.g. package.module:factory or tensors:FILE. "
    "[default: the ticket's]",
)

changed_option = click.option(
    "--network-changed",
    is_flag=True,
    help="Go on although the network's code has changed since it was pruned, e.g. after a change that alters nothing. "
    "[default: refuse]",
)


@click.command()
@click.argument("ticket", type=opt.PATH, default="ticket.safetensors")
@network_option
@changed_option
@task_option
@opt.data_dir_option
@click.option("--seed", type=opt.SEED, help="Of the data order, e.g. 7. [default: the ticket's]")
@click.option(
    "--out", type=opt.PATH, help="Where to write the trained ticket, e.g. trained.safetensors. [default: in place]"
)
@opt.device_option
@opt.ticket_recipe_options
@opt.json_option
def train(ticket: Path, **options: Any) -> None:
    """Train a ticket's kept weights on its own task and write the trained weights back into it.

    \b
    scratchcard train ticket.safetensors
    scratchcard train ticket.safetensors --learning-rate 0.05 --max-steps 5000 --out trained.safetensors
    """
    from scratchcard.apply.pipeline import train_ticket, training_summary
    from scratchcard.artefacts.destination import check_destination
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.session import Session

    loaded = Ticket.load(ticket)
    device = choose_device(options["device"])
    out = options["out"] or ticket
    check_destination(out)
    workload = _workload_of(loaded, ticket, options)
    seed = _seed_of(loaded, ticket) if options["seed"] is None else options["seed"]
    with opt.progress_bar(f"training {ticket}") as progress:
        changed = {"network_changed": options["network_changed"]}
        trained, record = train_ticket(loaded, workload, seed, Session(device, progress=progress), **changed)
    trained.save(out)
    text = f"{out}: {record.steps} steps in {record.seconds:.1f} s ({record.engine})"
    if record.history and record.best_step:
        text += (
            f", lowest validation loss {record.best_validation_loss:.4f} at step {record.best_step}, where validation "
            + _measured(workload.task.objective.metric_names[0], "was", record.best_validation_metric)
        )
    if record.diverged:
        kept = f"those of step {record.best_step}" if record.best_step else "those before training"
        opt.warn(
            f"the training diverged (a loss became NaN or infinite by step {record.steps}): the weights saved are "
            f"{kept}; try a lower --learning-rate"
        )
    opt.emit({"ticket": str(out)} | training_summary(record), options["as_json"], text + opt.took())


@click.command()
@click.argument("ticket", type=opt.PATH, default="ticket.safetensors")
@network_option
@changed_option
@task_option
@opt.data_dir_option
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Which part of the data, e.g. validation while you still choose.",
)
@opt.device_option
@opt.json_option
def evaluate(ticket: Path, **options: Any) -> None:
    """Loss and accuracy, or the task's own metrics, of a trained ticket on its task's test set.

    \b
    scratchcard evaluate ticket.safetensors
    scratchcard evaluate ticket.safetensors --split validation --json
    """
    from scratchcard.apply.pipeline import evaluate_ticket
    from scratchcard.pruning.ticket import Ticket
    from scratchcard.workloads.device import choose_device
    from scratchcard.workloads.session import Session

    loaded = Ticket.load(ticket)
    device = choose_device(options["device"])
    workload = _workload_of(loaded, ticket, options)
    changed = {"network_changed": options["network_changed"]}
    found = evaluate_ticket(loaded, workload, options["split"], Session(device), **changed)
    training = loaded.provenance.get("training")
    diverged = isinstance(training, dict) and training.get("diverged") is True
    if diverged:
        opt.warn(f"the training of {ticket} diverged: these are the weights before it did")
    result = {
        "ticket": str(ticket),
        "split": options["split"],
        "accuracy": found.metric,
        "loss": found.loss,
        "examples": found.examples,
        "diverged": diverged,
    }
    headline = next(iter(found.metrics))
    if headline != "accuracy":
        result |= {"metric": headline, "metrics": dict(found.metrics)}
    text = (
        f"{ticket}: {options['split']} {_measured(headline, '', found.metric)}, loss {found.loss:.4f} over "
        f"{found.examples:,} examples"
    )
    opt.emit(result, options["as_json"], text)


def _measured(metric: str, verb: str, value: float) -> str:
    """`accuracy was 93.10 %`, or `r2 was 0.8120`."""
    number = f"{100 * value:.2f} %" if metric == "accuracy" else f"{value:.4f}"
    return " ".join(filter(None, (metric, verb, number)))


def _seed_of(ticket: Ticket, path: Path) -> int:
    seed = ticket.provenance.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"{path} does not say its seed (it says {seed!r}); name one with --seed")
    return seed


def _workload_of(ticket: Ticket, path: Path, options: dict[str, Any]) -> Workload:
    """The workload that a ticket says it is of. Code named inside a file is never imported."""
    from scratchcard.apply.pipeline import check_belongs
    from scratchcard.registry import lookup
    from scratchcard.workloads.recipe import Recipe
    from scratchcard.workloads.tasks import TASKS, TENSORS

    described = ticket.provenance.get("workload")
    if not isinstance(described, dict) or not all(isinstance(described.get(name), str) for name in ("network", "task")):
        raise ValueError(
            f"{path} does not say which workload it is of (the names of its network and task); make it with "
            "`scratchcard prune`"
        )
    try:
        recipe = Recipe.from_json(described.get("recipe"))
    except ValueError as error:
        raise ValueError(f"{path} holds a recipe that cannot be read: {error}") from error
    named = {}
    for what in ("network", "task"):
        name = named[what] = options[what] or described[what]
        if options[what] is not None or name.startswith(TENSORS):
            continue
        if ":" in name or f"{what}_state" in described:
            own = name if ":" in name else "package.module:factory"
            raise ValueError(
                f"{path} is a ticket of the {what} {name!r}, which is code of your own: name it with --{what} {own}"
            )
        if what == "task":
            try:
                lookup(TASKS, "tasks", name)
            except ValueError as error:
                raise ValueError(f"{path}: {error}; data of your own is named with --task") from error
    workload = opt.make_workload(options | named, recipe)
    check_belongs(ticket, workload)
    return workload
