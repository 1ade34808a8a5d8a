"""What is to be pruned and how, in plain words: what a command line and a service both ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from scratchcard.apply.budget import USUAL, within
from scratchcard.apply.density_path import find_tickets
from scratchcard.apply.method import Method
from scratchcard.pruning.ticket import Ticket
from scratchcard.regimes import Found
from scratchcard.setting import SettingError
from scratchcard.settings import settings_of
from scratchcard.workloads.named_workload import named_workload
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import make_recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.task import Task
from scratchcard.workloads.workload import Workload

DATA_FREE = ("magnitude", "random", "synflow")
"""Scorers that read no data: before training they need no task, but the shape of an input and the number of outputs."""
NO_DATA = "no_data"
"""The name of the task that stands in where there is none."""


@dataclass(frozen=True)
class PruningRequest:
    """What is to be pruned and how.

    Attributes:
        network, weights: see `Workload`.
        task, data_dir: see `load_task`; None for pruning that reads no data, which names `input_shape` and `outputs`.
        densities: kept weights / prunable weights; tickets of several come from one search.
        seed: see `prune`.
        passes: a budget in place of a method, see `within`; without both it is `USUAL`.
        method: the words of `Method.of`.
        recipe, recipe_settings: see `named_workload`.
        input_shape, outputs: of a network without a task.

    Examples:
        >>> request = PruningRequest("lenet_300_100", "digits", (0.05,), method={"scorer": "magnitude"})
        >>> [ticket.mask.kept for ticket in request.find().values()]
        [2510]
        >>> PruningRequest("lenet_300_100", None, (0.05,), passes=0, input_shape=(784,), outputs=10).make_method().label
        'synflow, UMS 100'
    """

    network: str = "lenet_300_100"
    task: str | None = "digits"
    densities: tuple[float, ...] = (0.02,)
    seed: int = 0
    passes: float | None = None
    method: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    recipe_settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    data_dir: Path | None = None
    input_shape: tuple[int, ...] | None = None
    outputs: int | None = None

    def __post_init__(self) -> None:
        if self.passes is not None and self.method:
            raise SettingError(
                f"passes chooses the method, and so does {', '.join(self.method)}; give one of both", "passes"
            )
        shaped = self.input_shape is not None and self.outputs is not None
        if self.task is None and not shaped:
            raise ValueError(
                "there is no task: name one, or, for pruning that reads no data, the input_shape and the outputs of "
                "the network"
            )
        if self.task is not None and (self.input_shape is not None or self.outputs is not None):
            raise ValueError("input_shape and outputs are for pruning without a task, and a task is named: leave them")

    def make_workload(self) -> Workload:
        """Network, task and recipe.

        Raises:
            ValueError: see `named_workload`, or a method that reads data where there is no task.
        """
        if self.task is not None:
            return named_workload(
                self.network,
                self.task,
                recipe=self.recipe,
                settings=self.recipe_settings,
                data_dir=self.data_dir,
                weights=self.weights,
            )
        method = self.make_method()
        if method.scorer not in DATA_FREE or method.on or method.initial != "given" or method.make_regime().trains:
            raise ValueError(
                f"{method.label} reads data, and there is no task: name one, or take passes=0 or one of the scorers "
                f"{', '.join(DATA_FREE)} before training"
            )
        recipe = (make_recipe(self.recipe) if self.recipe else Recipe()).changed(**self.recipe_settings)
        return Workload(self.network, shape_task(self.input_shape or (), self.outputs or 0), recipe, self.weights)

    def make_method(self, workload: Workload | None = None) -> Method:
        """The method that is named, or the one of the budget for this workload.

        Raises:
            ValueError: see `Method.of` and `within`.
        """
        if self.method:
            return Method.of(**self.method)
        passes = USUAL if self.passes is None else self.passes
        if workload is None:
            if passes:
                raise ValueError(f"a budget of {passes:g} passes reads data, and there is no task: name one")
            workload = Workload(self.network, shape_task((1,), 2))
        return within(passes, workload)

    def find(
        self, session: Session | None = None, on_found: Callable[[float, Found], None] | None = None
    ) -> dict[float, Ticket]:
        """The tickets by density; arguments and errors as of `find_tickets`. A store is used by regimes that train."""
        workload = self.make_workload()
        method = self.make_method(workload)
        if session is not None and not method.make_regime().trains:
            session = replace(session, store=None)
        found = find_tickets(workload, method, list(self.densities), self.seed, session, on_found=on_found)
        return found if self.task is not None else {density: _of_no_data(ticket) for density, ticket in found.items()}


def _of_no_data(ticket: Ticket) -> Ticket:
    """Without what was noted of the stand-in: the ticket belongs to any data of its shape."""
    known = dict(ticket.provenance)
    known["workload"] = {name: value for name, value in known["workload"].items() if name != "data_digest"}
    known["checks"] = {name: value for name, value in known["checks"].items() if name != "missing_classes"}
    return replace(ticket, provenance=known)


def method_request(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words of `Method.of` as a service is asked: settings of scorer and regime apart from the method's own.

    Raises:
        ValueError: an object of Python where a service needs a name.

    Examples:
        >>> method_request({"scorer": {"name": "grasp", "temperature": 1.0}, "regime": "UMS", "rounds": 3})
        {'scorer': 'grasp', 'scorer_settings': {'temperature': 1.0}, 'regime': 'UMS', 'regime_settings': {'rounds': 3}}
    """
    found: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, value in words.items():
        if not isinstance(value, str | int | float | tuple | list | Mapping | None):
            raise ValueError(f"the {name} is {type(value).__name__}: name it, a service takes no objects of Python")
        if name == "scorer" and isinstance(value, Mapping):
            found |= {"scorer": value["name"], "scorer_settings": {n: v for n, v in value.items() if n != "name"}}
        elif name in settings_of(Method):
            found[name] = value
        else:
            settings[name] = list(value) if isinstance(value, tuple) else value
    return found | ({"regime_settings": settings} if settings else {})


def shape_task(shape: tuple[int, ...], outputs: int) -> Task:
    """A stand-in for data: zeros of a shape, for pruning that reads none.

    Raises:
        ValueError: no shape or number of outputs that a network could have.

    Examples:
        >>> shape_task((1, 28, 28), 10)
        Task('no_data', classification, 3 + 1 + 1 examples, torch.float32 (1, 28, 28))
    """
    if len(shape) > 4 or any(isinstance(size, bool) or not 1 <= size <= 2**16 for size in shape):
        raise ValueError(f"the input_shape is {list(shape)}, expected up to 4 numbers from 1 to 65,536")
    if torch.Size(shape).numel() > 2**24:
        raise ValueError(f"the input_shape {list(shape)} has more than 16,777,216 numbers")
    split = torch.zeros(1, *shape), torch.zeros(1, dtype=torch.long)
    several = torch.zeros(3, *shape), torch.zeros(3, dtype=torch.long)
    return Task.of(*several, validation=split, test=split, name=NO_DATA, objective="classification", outputs=outputs)
