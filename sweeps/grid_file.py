"""The TOML file of a grid: its keys, as pydantic models; docs/grids.md lists them for users."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from scratchcard.sweeps.fitted import FittedSpec
from scratchcard.sweeps.grid_values import STRICT, Densities, Names, OptionalNames, Seeds, Some


class WorkloadSpec(BaseModel):
    """`[workload]`: each value may be a list; all combinations are run."""

    model_config = STRICT

    network: Names = ["lenet_300_100"]
    task: Names
    recipe: dict[str, Any] = {}


class MethodSpec(BaseModel):
    """One `[[methods]]`: the fields of `Method`; a list of values stands for all of them, in all combinations.

    `on = "none"` and `initial_scorer = "none"` stand for none of them within a list. `densities`, `seeds` and `tasks`
    narrow or widen the grid's for these methods. `predictor` is one of the file's `[predictors]`, a shipped name or a
    bundle's folder.
    """

    model_config = STRICT

    scorer: Names
    on: OptionalNames = [None]
    predictor: OptionalNames = [None]
    regime: Names = ["USS"]
    rounds: int | None = None
    shots: int | None = None
    schedule: Names = ["exponential"]
    scope: Annotated[list[Literal["global", "layer", "expected", "erk"]], Some] = ["global"]
    rewind_step: Annotated[list[int], Some] = [0]
    towards: float | None = None
    round_steps: int | None = None
    restack: bool = False
    initial: Annotated[list[Literal["given", "saw", "saw_variance", "bimodal", "signed", "transplanted"]], Some] = [
        "given"
    ]
    initial_scorer: OptionalNames = [None]
    densities: Densities | None = None
    seeds: Seeds | None = None
    tasks: Names | None = None

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The keyword arguments of all its methods."""
        lists: dict[str, list[Any]] = {
            "scorer": self.scorer,
            "on": [None if name == "none" else name for name in self.on],
            "predictor": self.predictor,
            "regime": self.regime,
            "schedule": self.schedule,
            "scope": self.scope,
            "rewind_step": self.rewind_step,
            "initial": self.initial,
            "initial_scorer": [None if name == "none" else name for name in self.initial_scorer],
        }
        single = {"rounds": self.rounds, "shots": self.shots, "towards": self.towards, "round_steps": self.round_steps}
        given = {name: value for name, value in single.items() if value is not None}
        for values in itertools.product(*lists.values()):
            arguments = dict(zip(lists, values, strict=True)) | given
            # Within a list of stacks and single scorers, only the stacks have a first scorer to score anew.
            yield arguments | ({"restack": True} if self.restack and arguments["on"] is not None else {})


class ComparisonSpec(BaseModel):
    """One `[[comparisons]]`: a family of tests declared before the runs; every `of` against every `against`.

    Labels are `Experiment.label`; `dense`, where nothing is pruned, is compared at every density. Each network and each
    task is compared by itself, all of them unless one is named. Holm's correction runs over the whole family.
    """

    model_config = STRICT

    name: str
    of: Names
    against: Names
    densities: Densities | None = None
    network: str | None = None
    task: str | None = None
    paired: bool = False


class ExtraSpec(BaseModel):
    """One `[[extra]]`: more seeds at some densities, for all methods that have these densities."""

    model_config = STRICT

    densities: Densities
    seeds: Seeds


class GridFile(BaseModel):
    """What a grid's TOML file may hold."""

    model_config = STRICT

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: str
    source: str = ""
    references: Annotated[list[str], Some] = []
    workload: WorkloadSpec
    densities: Densities
    seeds: Seeds
    extra: list[ExtraSpec] = []
    methods: Annotated[list[MethodSpec], Field(min_length=1)]
    predictors: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")], FittedSpec] = {}
    comparisons: list[ComparisonSpec] = []


def read_file(path: Path) -> tuple[GridFile, str]:
    """What a grid's file holds, and its text; a byte order mark and Windows' line ends do no harm.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML in UTF-8, or has a wrong key or value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no grid at {path}: expected a TOML file, for example one of experiments/*.toml")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return GridFile.model_validate(tomllib.loads(text)), text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8, which TOML is written in ({error}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{place} is no key of a grid; docs/grids.md and experiments/*.toml show those that are{more}"
    if first["type"] == "missing":
        return f"{place} is missing{more}"
    said = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):  # a rule over several keys, whose values the sentence names itself
        return f"{place}: {said}{more}"
    return f"{place} is {first['input']!r}: {said}{more}"
