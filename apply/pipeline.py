"""Prune, train and evaluate one ticket."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torch import nn

from scratchcard.apply.bill import passes
from scratchcard.apply.kept_weights import acted_on
from scratchcard.apply.method import Method
from scratchcard.apply.ticket_workload import check_unchanged
from scratchcard.apply.training_summary import finite, history, training_summary
from scratchcard.artefacts.destination import check_destination
from scratchcard.artefacts.version import versions
from scratchcard.clock import counted_reads, spent
from scratchcard.pruning.export import FORMATS
from scratchcard.pruning.findings import observe, zeros
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.shrunk import Shrunk
from scratchcard.pruning.state import copy_state
from scratchcard.pruning.ticket import Ticket
from scratchcard.regimes.regime import Found
from scratchcard.registry import lookup
from scratchcard.scorers.pieces import scoring_memory
from scratchcard.scorers.stored_scores import Shared
from scratchcard.workloads.encoding import encoding_kept
from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.recalibration import recalibrate as recalibrate_norms
from scratchcard.workloads.engines.training import Evaluated, TrainingRecord, evaluate
from scratchcard.workloads.objective import Classification
from scratchcard.workloads.session import Session
from scratchcard.workloads.stored_training import train_once
from scratchcard.workloads.workload import Workload


def find_ticket(
    workload: Workload,
    method: Method,
    density: float,
    seed: int = 0,
    session: Session | None = None,
    *,
    data_seed: int | None = None,
    check: bool = True,
    on_found: Callable[[float, Found], None] | None = None,
) -> Ticket:
    """Find a ticket of `workload`'s network at initialisation `seed`.

    Args:
        workload, method: network, task, recipe; scorer, regime, initial weights.
        density: kept weights / prunable weights, in (0, 1].
        seed: of the initial weights, the scoring batch, ties, and the data order unless `data_seed` is given.
        session: where and how; with a store, finished trainings and scores of whole networks are kept there, so that a
            second call goes on and other searches share them, and the seconds that they once took count as this one's.
        data_seed: of the data order in regimes that train.
        check: look at the ticket that was found, for `Ticket.check`; without it only the search is done.
        on_found: is told the density and what the regime found: the scores, which a ticket does not keep, among it.

    Returns:
        The ticket: initial weights, mask and provenance; not yet trained.

    Raises:
        ValueError: a density outside (0, 1] or one that keeps no weight, a rewind step that the training does not
            reach, or anything that does not fit together; one sentence.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> find_ticket(workload, Method("magnitude"), density=0.25)
        Ticket(2 of 8 weights, density 0.25, magnitude, untrained)
    """
    session = session or Session()
    device = session.device
    regime = method.make_regime()
    regime.check(workload.recipe, density)
    begin = spent(device)
    described = workload.describe()
    known: dict[str, Any] = {name: described[name] for name in ("network_code", "objective") if name in described}
    shared = None if session.store is None else Shared(session.store, known)
    with scoring_memory(session.memory), counted_reads() as reads:
        network = method.start(workload, density, seed, shared=shared, **session.placement)
        code = network_code(network)
        # Weights as built cost the method nothing; weights made from scores are part of it.
        begin = spent(device) if method.initial == "given" else begin
        scorer = method.make_scorer(density, seed, shared)
        preparation = spent(device) - begin
        how: dict[str, Any] = {"network": network, "copied": regime.trains, "data_seed": data_seed}
        found = regime.find(workload, scorer, density, seed, session, **how)
        if on_found is not None:
            on_found(density, found)
        mask, start, training, seconds = found.mask, dict(found.start), found.training, found.seconds
        criterion, seen = found.scores.criterion, {"only_zeros": zeros(found.scores, mask), "by_lot": found.by_lot}
        del scorer, found  # the checks need the memory
        if method.kept_weights != "rewound":
            start = acted_on(start, mask, method.kept_weights, signs=method.kept_signs, workload=workload, seed=seed)
    provenance = {
        "workload": described,
        "network_code": code,
        "method": method.describe(),
        "label": method.label,
        "scorer": criterion,
        "density": density,
        "kept": mask.kept,
        "prunable": mask.total,
        "seed": seed,
        "data_seed": seed if data_seed is None else data_seed,
        "scoring_batch": workload.scoring(seed),
        "pruning_seconds": preparation + seconds + (0.0 if shared is None else shared.saved),
        "passes": passes(reads.examples, training, workload),
        "versions": versions(),
    }
    if regime.starts_from:
        provenance["starts_from"] = regime.starts_from
    if session.memory is not None:
        provenance["scoring_memory"] = session.memory
    if check:
        provenance["checks"] = _checks(mask, network, workload, seed, **seen)
    if training:
        provenance["rounds"] = [
            {name: finite(value) if isinstance(value, float) else value for name, value in entry.items()}
            for entry in training
        ]
    return Ticket(start, mask, encoding_kept(provenance, workload.task.encoding))


def _checks(mask: Mask, network: nn.Module, workload: Workload, seed: int, **seen: Any) -> dict[str, Any]:
    """What `Ticket.check` needs to know beside the mask."""
    known = observe(network, mask, workload.task.example, **seen)
    task = workload.task
    if isinstance(task.objective, Classification):
        met = set(workload.scoring_batch(seed)[1].tolist())
        missing = [number for number in range(task.outputs) if number not in met]
        known |= {"missing_classes": missing} if missing else {}
    return known


def train_ticket(
    ticket: Ticket,
    workload: Workload,
    seed: int,
    session: Session | None = None,
    *,
    network_changed: bool = False,
    checkpoint: Checkpoint | None = None,
) -> tuple[Ticket, TrainingRecord]:
    """Train a ticket's kept weights; returns it with its trained weights, and the record.

    `seed` is that of the data order. With a store in the session, a training that it holds is not done again:
    methods that find the same ticket share it. The ticket's provenance says under `training` what was done:
    the record in short, the recipe, the data's digest, and the history as `[step, train loss, validation loss,
    validation metric]`; a metric that is no accuracy is named. A network whose code has changed since the ticket was
    found is refused unless `network_changed` says that this is meant; the ticket is then one of the changed network.
    With a checkpoint the training is kept while it goes on, and may go on from there.

    Raises:
        ValueError: the ticket is one of another network, or the checkpoint of another training.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> ticket = find_ticket(workload, Method("magnitude"), density=0.25)
        >>> trained, record = train_ticket(ticket, workload, seed=0)
        >>> trained, record.steps
        (Ticket(2 of 8 weights, density 0.25, magnitude, trained), 10)
    """
    session = session or Session()
    network = workload.build(0, **session.placement)
    if network_changed:
        changed = {"network_code": network_code(network), "network_changed": True}
        ticket = dataclasses.replace(ticket, provenance=dict(ticket.provenance) | changed)
    check_unchanged(ticket, network, workload.network_name)
    ticket.apply_to(network)
    record = train_once(network, workload, session, mask=ticket.mask, seed=seed, checkpoint=checkpoint)
    return with_training(ticket, network, record, workload, seed), record


def with_training(ticket: Ticket, network: nn.Module, record: TrainingRecord, workload: Workload, seed: int) -> Ticket:
    """The ticket with the weights of `network`, its network after training, and what was done in its provenance.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> from scratchcard.workloads.engines.training import train
        >>> ticket, network = find_ticket(workload, Method("magnitude"), density=0.25), workload.build(0)
        >>> record = train(network, task, workload.recipe, mask=ticket.mask)
        >>> with_training(ticket, network, record, workload, seed=0).provenance["training"]["steps"]
        10
    """
    training = training_summary(record) | {
        "data_seed": seed,
        "data_digest": workload.task.digest,
        "recipe": workload.recipe.describe(),
        "history": history(record),
    }
    headline = workload.task.objective.metric_names[0]
    training |= {} if headline == "accuracy" else {"metric": headline}
    provenance = encoding_kept(ticket.provenance, workload.task.encoding) | {"training": training}
    return dataclasses.replace(ticket, trained=copy_state(network), provenance=provenance)


def evaluate_ticket(
    ticket: Ticket,
    workload: Workload,
    split: Literal["train", "validation", "test"] = "test",
    session: Session | None = None,
    *,
    trained: bool = True,
    recalibrate: bool = False,
    network_changed: bool = False,
) -> Evaluated:
    """Loss and metrics of a ticket; arguments as of `scratchcard.evaluate`.

    Raises:
        ValueError: the ticket was not trained and is to be, or is one of another network; or the network's code has
            changed since and `network_changed` does not say that this is meant.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> trained, _ = train_ticket(find_ticket(workload, Method("magnitude"), density=0.25), workload, seed=0)
        >>> evaluate_ticket(trained, workload).examples
        12
    """
    session = session or Session()
    network = network_of(
        ticket, workload, session, trained=trained, recalibrate=recalibrate, network_changed=network_changed
    )
    return evaluate(network, workload.task, split, device=session.device)


def export_ticket(
    ticket: Ticket, workload: Workload, format: str, path: Path, session: Session | None = None, **which: bool
) -> Shrunk | None:
    """Write a ticket's network for other tools; arguments as of `scratchcard.export`.

    The file says what its reader must know, where the format has a place for it: the task's encoding and objective.

    Returns:
        What compaction removed; None where the format is a state of the full size.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task)
        >>> ticket = find_ticket(workload, Method("magnitude"), density=0.25)
        >>> export_ticket(ticket, workload, "torch-export", Path("half.pt2"), trained=False)
        Shrunk(parameters=..., before=10)
    """
    written = lookup(FORMATS, "formats", format)
    check_destination(path)
    network, task = network_of(ticket, workload, session, **which), workload.task
    about = {"objective": task.objective.name} | task.encoding.to_json()
    return written.write(network, ticket.mask, task.example, path, about)


def network_of(
    ticket: Ticket,
    workload: Workload,
    session: Session | None = None,
    *,
    trained: bool = True,
    recalibrate: bool = False,
    network_changed: bool = False,
) -> nn.Module:
    """The workload's network with the trained or the initial weights of a ticket, pruned ones zero.

    Args:
        ticket, workload, session: see `find_ticket`.
        trained: the trained weights; else the initial ones.
        recalibrate: estimate the statistics of its batch norms again, on the training split.
        network_changed: go on although the network's code has changed since the ticket was found.

    Raises:
        ValueError: the ticket has no trained weights and they are asked for, or is one of another network, or of one
            whose code has changed.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task)
        >>> ticket = find_ticket(workload, Method("magnitude"), density=0.25)
        >>> int((network_of(ticket, workload, trained=False).weight != 0).sum())
        2
    """
    if trained and ticket.trained is None:
        raise ValueError(
            "this ticket holds no trained weights: train it first (scratchcard train), or ask for its initial weights "
            "(trained=False)"
        )
    session = session or Session()
    network = workload.build(0, **session.placement)
    if not network_changed:
        check_unchanged(ticket, network, workload.network_name)
    ticket.apply_to(network, trained=trained)
    if recalibrate:
        recalibrate_norms(network, workload.task)
    return network
