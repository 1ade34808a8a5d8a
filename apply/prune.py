"""Prune, train, evaluate and export: the public door, for any network and any task.

One's own network on one's own tensors is three lines:

    >>> inputs, targets = torch.randn(200, 20), torch.arange(200) % 3
    >>> network = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))

    >>> task = Task.of(inputs, targets)
    >>> ticket = prune(network, task, density=0.05)
    >>> ticket, record = train(ticket, network, task)
    >>> evaluate(ticket, network, task).examples
    40

The command line, a grid and `build` go on from there: with `task.save("mine.safetensors")` and a factory of the network
they are `--task tensors:mine.safetensors --network package.module:factory`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from scratchcard.apply.budget import USUAL, within
from scratchcard.apply.method import PREDICTED, Method
from scratchcard.apply.pipeline import evaluate_ticket, export_ticket, find_ticket, train_ticket
from scratchcard.apply.shipped import SHIPPED
from scratchcard.number_list import LARGEST
from scratchcard.pruning.findings import TicketWarning
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.engines.checkpoint import Checkpoint
from scratchcard.workloads.engines.training import Evaluated, TrainingRecord
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import make_recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

SplitName = Literal["train", "validation", "test"]


def prune(
    network: nn.Module | str | Workload,
    task: Task | str | Method | None = None,
    density: float = 0.02,
    seed: int = 0,
    *,
    method: Method | str | None = None,
    passes: float | None = None,
    recipe: Recipe | str | None = None,
    weights: Path | None = None,
    data_seed: int | None = None,
    session: Session | None = None,
    **placement: Any,
) -> Ticket:
    """Find a ticket: the initial weights of a network and a mask of those to keep.

    Args:
        network: a module as it is, which is copied and never changed; a registered name or `package.module:factory`; or
            a workload, which has task and recipe.
        task: a task, or a name that `load_task` knows. With a workload its place may hold the method.
        density: kept weights / prunable weights, in (0, 1].
        seed: of the initial weights (not of a module's own), the scoring batch, ties, and the data order.
        method: a method, a scorer's name, or a shipped predictor's.
        passes: in place of a method a budget, in passes over the training data: the best that is known for it. Without
            a method it is `budget.USUAL`, 4.
        recipe: of the training, for methods that train and for `train`; or a name of `RECIPES`.
        weights: a file of initial weights, see `Workload`.
        data_seed: of the data order in regimes that train, if it is to be another.
        session, placement: where and how: a session, or its fields by name (`device="cuda"`, `store=...`).

    Returns:
        The ticket: initial weights, mask and provenance; not yet trained.

    Raises:
        ValueError: anything that does not fit together; one sentence.

    Warns:
        TicketWarning: something about the ticket is odd; see `Ticket.check`.

    >>> task = Task.of(torch.randn(50, 4), torch.arange(50) % 2)
    >>> prune(nn.Linear(4, 2), task, density=0.5, method="magnitude").mask.kept
    4
    """
    _check_seed(seed)
    if data_seed is not None:
        _check_seed(data_seed)
    if isinstance(task, Method):
        if method is not None:
            raise ValueError("two methods were given, by place and by name; give one")
        method, task = task, None
    workload = _workload(network, task, recipe, weights)
    if passes is not None and method is not None:
        raise ValueError("a method and a budget in passes were given; give one")
    chosen = within(USUAL if passes is None else passes, workload) if method is None else _method(method)
    ticket = find_ticket(workload, chosen, density, seed, Session.of(session, **placement), data_seed=data_seed)
    # `prunable` has warned of what it does not know, once for each kind of network.
    odd = [finding.text for finding in ticket.check() if finding.kind != "not_prunable"]
    if odd:
        warnings.warn(f"the ticket: {'; '.join(odd)}", TicketWarning, stacklevel=2)
    return ticket


def train(
    ticket: Ticket,
    network: nn.Module | str | Workload,
    task: Task | str | int | None = None,
    seed: int | None = None,
    *,
    recipe: Recipe | str | None = None,
    network_changed: bool = False,
    checkpoint: str | Path | None = None,
    session: Session | None = None,
    **placement: Any,
) -> tuple[Ticket, TrainingRecord]:
    """Train a ticket's kept weights; returns it with its trained weights, and the record.

    Args:
        ticket: from `prune` or `Ticket.load`.
        network, task: the same as it was pruned with, or others with which to train it; with a workload the third place
            may hold the seed.
        seed: of the data order; the ticket's where none is given.
        recipe: the ticket's own where none is given; a workload has its own.
        network_changed: train it although the network's code has changed since it was pruned.
        checkpoint: a file in which the training is kept while it goes on, and from which the same call goes on, to the
            bit, where it was broken off. It is removed when the training is done.
        session, placement: see `prune`.

    Raises:
        ValueError: the ticket is one of another network, or of one whose code has changed since; or the checkpoint is
            damaged or of another training.

    >>> task = Task.of(torch.randn(200, 4), torch.arange(200) % 2)
    >>> network = nn.Linear(4, 2)
    >>> ticket = prune(network, task, 0.5, recipe=Recipe(max_steps=20, learning_rate=0.05))
    >>> trained, record = train(ticket, network, task)
    >>> record.steps, trained.trained is not None
    (20, True)
    """
    _check_ticket(ticket)
    if isinstance(task, int):
        task, seed = None, task
    if seed is None:
        held = ticket.provenance.get("data_seed", 0)
        seed = held if isinstance(held, int) else 0
    _check_seed(seed)
    workload = _workload(network, task, recipe, recorded=ticket)
    found = Session.of(session, **placement)
    kept = None if checkpoint is None else Checkpoint(checkpoint, resume=True)
    done = train_ticket(ticket, workload, seed, found, network_changed=network_changed, checkpoint=kept)
    if kept is not None:
        kept.remove()
    return done


def evaluate(
    ticket: Ticket,
    network: nn.Module | str | Workload,
    task: Task | str | None = None,
    split: SplitName = "test",
    *,
    trained: bool = True,
    recalibrate: bool = False,
    network_changed: bool = False,
    session: Session | None = None,
    **placement: Any,
) -> Evaluated:
    """Loss and metrics of a ticket, as a rule of a trained one.

    Args:
        ticket: from `train`.
        network, task: the same as it was trained with; with a workload the third place may hold the split.
        split: `"test"`, `"validation"` or `"train"`.
        trained: its trained weights; False takes the initial ones under the mask, as of a network that was pre-trained.
        recalibrate: first estimate the statistics of batch norms again, on the training split.
        network_changed: evaluate it although the network's code has changed since it was pruned.
        session, placement: see `prune`.

    Raises:
        ValueError: the ticket was not trained and is to be, or is one of another network, or of one whose code has
            changed since.

    >>> task = Task.of(torch.randn(200, 4), torch.arange(200) % 2)
    >>> workload = Workload(nn.Linear(4, 2), task, Recipe(max_steps=20))
    >>> ticket, _ = train(prune(workload, Method("snip"), 0.5), workload)
    >>> evaluate(ticket, workload, "validation").examples
    20
    """
    _check_ticket(ticket)
    if isinstance(network, Workload) and task in ("train", "validation", "test"):
        split, task = task, None  # type: ignore[assignment]
    session = Session.of(session, **placement)
    workload = _workload(network, task)
    which = {"trained": trained, "recalibrate": recalibrate, "network_changed": network_changed}
    return evaluate_ticket(ticket, workload, split, session, **which)


def export(
    ticket: Ticket,
    network: nn.Module | str | Workload,
    format: str,
    path: str | Path,
    *,
    task: Task | str | None = None,
    trained: bool = True,
    recalibrate: bool = False,
    network_changed: bool = False,
    session: Session | None = None,
    **placement: Any,
) -> Path:
    """Write a ticket's network for other tools; returns the path.

    Args:
        ticket: from `prune`, `train` or `Ticket.load`.
        network, task: the same as it was pruned with; a workload has its task.
        format: a name of `scratchcard.pruning.export.FORMATS`: `"safetensors"`, `"pt"`, `"torch-prune"`,
            `"torch-export"`, `"onnx"`.
        path: the file, whatever its ending.
        trained: its trained weights; False takes the initial ones.
        recalibrate: first estimate the statistics of batch norms again, on the training split.
        network_changed: export it although the network's code has changed since it was pruned.
        session, placement: see `prune`.

    Raises:
        ValueError: an unknown format, a ticket that was not trained and is to be, one of a network whose code has
            changed, a network that the format cannot take, or packages that are not installed; says what to do.
        OSError: nothing can be written there.

    >>> workload = Workload(nn.Linear(4, 2), Task.of(torch.randn(50, 4), torch.arange(50) % 2))
    >>> ticket = prune(workload, method=Method("magnitude"), density=0.5)
    >>> state = torch.load(export(ticket, workload, "pt", "half.pt", trained=False), weights_only=True)
    >>> int((state["weight"] != 0).sum())
    4
    """
    _check_ticket(ticket)
    path, workload = Path(path), _workload(network, task)
    which = {"trained": trained, "recalibrate": recalibrate, "network_changed": network_changed}
    export_ticket(ticket, workload, format, path, Session.of(session, **placement), **which)
    return path


def _workload(
    network: nn.Module | str | Workload,
    task: Task | str | None,
    recipe: Recipe | str | None = None,
    weights: Path | None = None,
    recorded: Ticket | None = None,
) -> Workload:
    if isinstance(network, Workload):
        if task is not None or recipe is not None or weights is not None:
            said = task if isinstance(task, str) else "snip"
            raise ValueError(
                "a workload has its task, recipe and weights; give them there, or the network alone, and a method by "
                f"name: sc.prune(workload, method={said!r}, density=0.05)"
            )
        return network
    if not isinstance(network, nn.Module | str):
        raise ValueError(f"the network is {type(network).__name__}, expected a torch.nn.Module, a name or a Workload")
    if isinstance(task, str):
        task = load_task(task)
    if not isinstance(task, Task):
        raise ValueError(
            f"the task is {type(task).__name__}, expected a Task, such as Task.of(inputs, targets), or a name, such as "
            "'digits'"
        )
    if recipe is None and recorded is not None:
        described: Any = recorded.provenance.get("workload")
        recipe = Recipe.from_json(described["recipe"]) if isinstance(described, Mapping) else None
    recipe = make_recipe(recipe) if isinstance(recipe, str) else recipe or Recipe()
    return Workload(network, task, recipe, weights)


def _check_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST:
        raise ValueError(f"the seed is {seed!r}, expected a whole number in [0, {LARGEST}]")


def _check_ticket(ticket: Any) -> None:
    if not isinstance(ticket, Ticket):
        raise ValueError(f"the ticket is {type(ticket).__name__}, expected one that `prune` or `Ticket.load` gave")


def _method(method: Method | str) -> Method:
    if isinstance(method, str):
        return Method(PREDICTED, predictor=method) if method in SHIPPED else Method(method)
    return method if isinstance(method, Method) else Method(method)
