"""The TOML file of a grid: its keys, as pydantic models; docs/grids.md lists them for users."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, get_origin

from pydantic import BaseModel, Field, ValidationError, model_validator

from scratchcard.apply.method import Method
from scratchcard.regimes import regime_settings
from scratchcard.setting import Setting, SettingError
from scratchcard.settings import settings_of
from scratchcard.sweeps.fitted import FittedSpec
from scratchcard.sweeps.grid_values import NO_KEY, OPEN, STRICT, Densities, Names, OptionalNames, Seeds, Some, check_key
from scratchcard.words import QUOTED, quoted, shortened

EXAMPLE = """
name = "small"
title = "SNIP on digits"
densities = 0.1
seeds = "0-1"
workload = { task = "digits", recipe = { max_steps = 20 } }
methods = [{ scorer = "snip" }]
"""
"""The text of a grid of two runs, which take a second."""


class WorkloadSpec(BaseModel):
    """`[workload]`: each value may be a list; all combinations are run.

    Examples:
        >>> WorkloadSpec(task="digits", recipe={"max_steps": 500})
        WorkloadSpec(network=['lenet_300_100'], task=['digits'], recipe={'max_steps': 500})
    """

    model_config = STRICT

    network: Names = ["lenet_300_100"]
    task: Names
    recipe: str | dict[str, Any] = {}


class MethodSpec(BaseModel):
    """One `[[methods]]`: settings of `Method` and of the regime; a list of values stands for all of them, in all
    combinations.

    `"none"` within a list stands for None, and a table `{ name = "grasp", temperature = 1.0 }` for a scorer with
    settings. A setting that is a list itself, such as `exclude`, takes a list of lists for several. `densities`,
    `seeds` and `tasks` narrow or widen the grid's for these methods. `predictor` is one of the file's `[predictors]`, a
    shipped name or a bundle's folder.

    Examples:
        >>> spec = MethodSpec(scorer=["snip", "synflow"], regime="UMS", rounds=[10, 100])
        >>> [(words["scorer"], words["rounds"]) for words in spec.combinations()]
        [('snip', 10), ('snip', 100), ('synflow', 10), ('synflow', 100)]
        >>> MethodSpec(scorer="snip", exclude=["stem", "head"]).words["exclude"]
        [['stem', 'head']]
    """

    model_config = OPEN

    scorer: Annotated[list[str | dict[str, Any]], Some, Field(min_length=1)]
    predictor: OptionalNames = [None]
    densities: Densities | None = None
    seeds: Seeds | None = None
    tasks: Names | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, values in self.words.items():
            if not values:
                raise SettingError(f"{name} is [], of which no method can be made; leave it out", name)
            for value in values:
                check_key(name, value, method_keys(), "the method")
        return self

    @property
    def words(self) -> dict[str, list[Any]]:
        """The values of each setting that is given."""
        given = {"scorer": self.scorer, "predictor": self.predictor} | (self.model_extra or {})
        return {name: _values(name, values) for name, values in given.items()}

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The words of all its methods; see `Method.of`."""
        lists = self.words
        order = sorted(lists, key=list(method_keys()).index)
        for values in itertools.product(*(lists[name] for name in order)):
            words = dict(zip(order, values, strict=True))
            # Within a list of stacks and single scorers, only the stacks have a first scorer to score anew.
            if words.get("on") is None:
                words.pop("restack", None)
            yield words


def _values(name: str, given: Any) -> list[Any]:
    """The values that a key stands for, each of which makes a method."""
    declared = method_keys().get(name)
    if declared is not None and get_origin(declared.plain_type) is tuple:  # a flat list is one value
        several = isinstance(given, list) and any(isinstance(each, list) for each in given)
        return [[] if each == "none" else each for each in (given if several else [given])]
    return [None if each == "none" else each for each in (given if isinstance(given, list) else [given])]


def method_keys() -> dict[str, Setting]:
    """The keys of `[[methods]]` that are settings: of `Method`, then of the regimes.

    Examples:
        >>> list(method_keys())[:3], method_keys()["rounds"].kind
        (['scorer', 'on', 'predictor'], 'whole number')
    """
    own = {n: s for n, s in settings_of(Method).items() if n not in ("predictor_name", "predictor_identity")}
    return own | {name: next(iter(declared.values())) for name, declared in regime_settings().items()}


class ComparisonSpec(BaseModel):
    """One `[[comparisons]]`: a family of tests declared before the runs; every `of` against every `against`.

    Labels are `Experiment.label`; `dense`, where nothing is pruned, is compared at every density. Each network and each
    task is compared by itself, all of them unless one is named. Holm's correction runs over the whole family.

    Examples:
        >>> ComparisonSpec(name="stacks", of="synflow on snip", against=["synflow", "snip"]).against
        ['synflow', 'snip']
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
    """One `[[extra]]`: more seeds at some densities, for all methods that have these densities.

    Examples:
        >>> ExtraSpec(densities=0.005, seeds="10-19").seeds[-1]
        19
    """

    model_config = STRICT

    densities: Densities
    seeds: Seeds


class GridFile(BaseModel):
    """What a grid's TOML file may hold.

    Examples:
        >>> spec = {"name": "small", "title": "SNIP on digits", "densities": 0.1, "seeds": "0-4"}
        >>> file = GridFile(**spec, workload={"task": "digits"}, methods=[{"scorer": "snip"}])
        >>> file.densities, file.seeds
        ([0.1], (0, 1, 2, 3, 4))
    """

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

    Examples:
        >>> _ = Path("bad.toml").write_text('name = "bad"')
        >>> read_file(Path("bad.toml"))
        Traceback (most recent call last):
            ...
        ValueError: bad.toml: title is missing (and 4 more)
    """
    if not path.is_file():
        raise FileNotFoundError(f"no grid at {path}: expected a TOML file, for example one of experiments/*.toml")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return GridFile.model_validate(tomllib.loads(text)), text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in UTF-8, which TOML is written in ({shortened(str(error))}); save it as UTF-8"
        ) from error
    except ValidationError as error:
        raise ValueError(f"{path}: {_sentence(error)}") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits is no TOMLDecodeError
        raise ValueError(f"{path} is no TOML file: {shortened(str(error))}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = shortened(".".join(str(part) for part in first["loc"]), 80) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{place} {NO_KEY}{more}"
    if first["type"] == "missing":
        return f"{place} is missing{more}"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SettingError) and cause.setting and cause.bare.startswith(cause.setting):
        return f"{place}.{cause.bare}{more}"
    said = shortened(first["msg"].removeprefix("Value error, "), 2 * QUOTED)
    if isinstance(first["input"], dict):  # a rule over several keys, whose values the sentence names itself
        return f"{place}: {said}{more}"
    return f"{place} is {quoted(first['input'], 80)}: {said}{more}"
