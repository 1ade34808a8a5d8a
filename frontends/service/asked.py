"""What a job asks for: the body of `POST /jobs`, checked name by name, and the library's request that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scratchcard.apply.method import OF_PREDICTOR
from scratchcard.apply.pruning_request import PruningRequest
from scratchcard.frontends.service.shelf import Shelf
from scratchcard.frontends.service.stored import DIGEST, TASK
from scratchcard.number_list import LARGEST
from scratchcard.registry import lookup
from scratchcard.scorers import SCORERS
from scratchcard.settings import settings_of
from scratchcard.workloads.named_options import options_in, plain_name
from scratchcard.workloads.networks import registered_network
from scratchcard.workloads.networks.of_package import check_package_name, is_of_package
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.recipes import make_recipe
from scratchcard.workloads.tasks import TASKS, takes_data_dir

MOST_DENSITIES = 20
METHOD = ("scorer", "on", "regime", "initial", "initial_scorer", "restack", "kept_weights", "kept_signs")
"""Settings of a method that a job may name, beside the predictor."""
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\x21-\x7e]+$")]
Value = bool | int | float | Annotated[str, Field(max_length=100)] | Annotated[list[float], Field(max_length=20)]
Words = Annotated[dict[Name, Value], Field(max_length=40)]
Density = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class JobRequest(BaseModel):
    """What is to be pruned and how. Without a method (scorer, predictor, regime ...) the budget in passes chooses it.

    Examples:
        >>> JobRequest(task="digits", density=0.05).density
        0.05
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    network: Annotated[Name, Field(description="A registered name, torchvision:NAME, or a factory that is allowed")] = (
        "lenet_300_100"
    )
    weights: Annotated[str | None, Field(pattern=f"^{DIGEST.pattern}$", description="Of PUT /networks/{digest}")] = None
    seed: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    task: Annotated[Name | None, Field(description="A registered name, or one of PUT /tasks/{name}")] = None
    input_shape: Annotated[
        list[Annotated[int, Field(ge=1, le=65_536)]] | None,
        Field(max_length=4, description="In place of a task, for pruning that reads no data"),
    ] = None
    outputs: Annotated[int | None, Field(ge=1, le=1_000_000, description="With input_shape: of the network")] = None
    density: Density | Annotated[list[Density], Field(min_length=1, max_length=MOST_DENSITIES)] = 0.02
    passes: Annotated[
        float | None, Field(ge=0, le=10_000, description="A budget in passes over the data, in place of a method")
    ] = None
    scorer: Name | None = None
    scorer_settings: Words = Field(default_factory=dict)
    on: Annotated[Name | None, Field(description="Stacked scoring: whose scores stand in for the weights")] = None
    predictor: Annotated[Name | None, Field(description="One of /v2/repository/index")] = None
    regime: Name | None = None
    regime_settings: Words = Field(default_factory=dict)
    initial: Name | None = None
    initial_scorer: Name | None = None
    restack: bool | None = None
    kept_weights: Name | None = None
    kept_signs: bool | None = None
    recipe: Name | None = None
    recipe_settings: Words = Field(default_factory=dict)

    @property
    def densities(self) -> tuple[float, ...]:
        """The densities, as the library takes them."""
        return tuple(self.density) if isinstance(self.density, list) else (self.density,)


@dataclass(frozen=True)
class Offer:
    """What jobs may name beside what is registered.

    Examples:
        >>> Offer(Shelf(None)).check(JobRequest(network="os:system", task="digits"), ())
        Traceback (most recent call last):
            ...
        ValueError: the network 'os:system' is code that is not allowed here; allowed are none
    """

    shelf: Shelf
    data_dir: Path | None = None
    allowed: tuple[str, ...] = ()

    def check(self, asked: JobRequest, uploaded: Collection[str]) -> None:
        """Refuse what cannot be found, before the job waits.

        Args:
            asked: the job.
            uploaded: names of the owner's tasks.

        Raises:
            ValueError: one sentence.
        """
        self._check_network(asked.network)
        if asked.task is not None and asked.task not in uploaded and asked.task not in TASKS:
            self._check_task(asked.task, uploaded)
        for name in filter(None, (asked.scorer, asked.on, asked.initial_scorer)):
            lookup(dict[str, Any](SCORERS) | OF_PREDICTOR, "scorers", name)
        if len(set(asked.densities)) < len(asked.densities):
            raise ValueError("a density is given twice")
        (make_recipe(asked.recipe) if asked.recipe else Recipe()).changed(**_plain(asked.recipe_settings))
        predictor = None if asked.predictor is None else self._predictor(asked.predictor)
        own_task = f"tensors:{asked.task}.safetensors" if asked.task in uploaded else None
        request = self.request(asked, predictor=predictor, own_task=own_task)
        if request.task is None or request.method:
            request.make_method()
        if request.task is None:
            request.make_workload()

    def request(
        self,
        asked: JobRequest,
        *,
        predictor: str | None = None,
        weights: Path | None = None,
        own_task: str | None = None,
    ) -> PruningRequest:
        """The library's request.

        Args:
            asked: the job.
            predictor: its folder or shipped name.
            weights: where they lie.
            own_task: `tensors:FILE` for a task that was uploaded.
        """
        task = own_task or asked.task
        looks = own_task is None and asked.task is not None and takes_data_dir(asked.task)
        return PruningRequest(
            asked.network,
            task,
            asked.densities,
            asked.seed,
            asked.passes,
            method_words(asked, predictor),
            asked.recipe,
            _plain(asked.recipe_settings),
            weights,
            self.data_dir if looks else None,
            None if asked.input_shape is None else tuple(asked.input_shape),
            asked.outputs,
        )

    def _predictor(self, name: str) -> str:
        try:
            return str(self.shelf.place(name))
        except KeyError as error:
            raise ValueError(str(error.args[0])) from error

    def _check_network(self, name: str) -> None:
        if is_of_package(name):
            check_package_name(name)
        elif ":" in name:
            self._check_allowed("network", name)
        else:
            _check_options(registered_network(name), name)

    def _check_task(self, name: str, uploaded: Collection[str]) -> None:
        if ":" in name:
            self._check_allowed("task", name)
        elif TASK.fullmatch(name):
            lookup(TASKS | dict.fromkeys(uploaded), "tasks", name)
        elif TASK.fullmatch(plain_name(name)):
            _check_options(lookup(TASKS, "tasks", plain_name(name)), name)
        else:
            raise ValueError(f"{name!r} is no name of a task")

    def _check_allowed(self, kind: str, name: str) -> None:
        if name not in self.allowed:
            known = ", ".join(self.allowed) or "none"
            raise ValueError(f"the {kind} {name!r} is code that is not allowed here; allowed are {known}")


def _check_options(factory: Callable[..., Any], name: str) -> None:
    """Refuse options in a name that it does not take, and those that name a file: the service's are not for reading."""
    options = options_in(factory, name)
    for option, declared in settings_of(type(options)).items() if options is not None else ():
        if declared.plain_type is str and getattr(options, option) != declared.default:
            raise ValueError(f"the option {option} of {plain_name(name)} is not taken here: it may name a file")


def method_words(asked: JobRequest, predictor: str | None) -> dict[str, Any]:
    """The words of `Method.of`, those that were given; `predictor` is the folder or shipped name of the one asked for.

    Raises:
        ValueError: settings of a scorer that is not named.

    Examples:
        >>> method_words(JobRequest(scorer="grasp", scorer_settings={"temperature": 1.0}), None)
        {'scorer': {'name': 'grasp', 'temperature': 1.0}}
    """
    named = {name: getattr(asked, name) for name in METHOD}
    words: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if asked.scorer_settings:
        if asked.scorer is None or asked.scorer in OF_PREDICTOR:
            raise ValueError("scorer_settings are for settings of a scorer: name one that has some")
        words["scorer"] = {"name": asked.scorer} | _plain(asked.scorer_settings)
    if predictor is not None:
        words["predictor"] = predictor
    reserved = sorted(asked.regime_settings.keys() & {"predictor_name", "predictor_identity", "predictor", *named})
    if reserved:
        raise ValueError(f"{reserved[0]} is no setting of a regime")
    return words | _plain(asked.regime_settings)


def _plain(words: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in words.items()}
