"""Grid: a file that states a comparison, and the runs that it expands to."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from apply.experiment import Experiment
from apply.fitted import FittedSpec
from apply.method import Method
from pruning.ranges import whole_numbers
from pruning.schedules import check_density
from workloads.recipe import Recipe
from workloads.tasks import load_task
from workloads.workload import Workload


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _seeds(value: Any) -> Any:
    return whole_numbers(value) if isinstance(value, str) else _listed(value)


def _density(value: float) -> float:
    return check_density(value)


Some = BeforeValidator(_listed)
Names = Annotated[list[str], Some, Field(min_length=1)]
OptionalNames = Annotated[list[str | None], Some, Field(min_length=1)]
Density = Annotated[float, BeforeValidator(_density)]
Densities = Annotated[list[Density], Some, Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds), Field(min_length=1)]


class Strict(BaseModel):
    """A part of the file; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class WorkloadSpec(Strict):
    """`[workload]`: each value may be a list; all combinations are run."""

    network: Names = ["lenet_300_100"]
    task: Names
    recipe: dict[str, Any] = {}


class MethodSpec(Strict):
    """One `[[methods]]`: the fields of `Method`; a list of values stands for all of them, in all combinations.

    `on = "none"` and `initial_scorer = "none"` stand for none of them within a list. `densities`, `seeds` and `tasks`
    narrow or widen the grid's for these methods. `predictor` is one of the file's `[predictors]` or a bundle's folder.
    """

    scorer: Names
    on: OptionalNames = [None]
    predictor: OptionalNames = [None]
    regime: Names = ["USS"]
    rounds: int | None = None
    shots: int | None = None
    schedule: Names = ["exponential"]
    scope: Annotated[list[Literal["global", "layer", "expected"]], Some] = ["global"]
    rewind_step: Annotated[list[int], Some] = [0]
    towards: float | None = None
    restack: bool = False
    initial: Annotated[list[Literal["given", "saw", "saw_variance", "bimodal"]], Some] = ["given"]
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
        single = {"rounds": self.rounds, "shots": self.shots, "towards": self.towards}
        given = {name: value for name, value in single.items() if value is not None}
        for values in itertools.product(*lists.values()):
            arguments = dict(zip(lists, values, strict=True)) | given
            # Within a list of stacks and single scorers, only the stacks have a first scorer to score anew.
            yield arguments | ({"restack": True} if self.restack and arguments["on"] is not None else {})


class ComparisonSpec(Strict):
    """One `[[comparisons]]`: a family of tests declared before the runs; every `of` against every `against`.

    Labels are `Experiment.label`; `dense`, where nothing is pruned, is compared at every density. Holm's correction
    runs over the whole family.
    """

    name: str
    of: Names
    against: Names
    densities: Densities | None = None
    task: str | None = None
    paired: bool = False


class ExtraSpec(Strict):
    """One `[[extra]]`: more seeds at some densities, for all methods that have these densities."""

    densities: Densities
    seeds: Seeds


class GridFile(Strict):
    """What a grid's TOML file may hold."""

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


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid that was read: its file, its runs, the predictors that they need.

    Attributes:
        file: what was read.
        path: from where.
        text: the file's text.
        experiments: the runs, each once.
        fitted: for each predictor of the file and workload that its tables are built from, what to build and fit.
    """

    file: GridFile
    path: Path
    text: str
    experiments: tuple[Experiment, ...]
    fitted: tuple[tuple[str, FittedSpec, Workload], ...]

    @property
    def name(self) -> str:
        """Short, for file names and tables."""
        return self.file.name


def read_grid(
    path: str | Path, folder: str | Path, *, data_dir: Path | None = None, tasks: Sequence[str] | None = None
) -> Grid:
    """Read and expand a grid's file; loads the tasks, whose digests are part of the runs' identity.

    Args:
        path: the TOML file.
        folder: of the results, where the grid's predictors will lie.
        data_dir: where the tasks' data files lie.
        tasks: only these of the grid's tasks.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML, has a wrong key or value, methods that make no sense, or a comparison between labels
            that none of its methods has; or `tasks` names one that the grid lacks.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no grid at {path}: expected a TOML file, for example one of experiments/*.toml")
    text = path.read_text()
    try:
        file = GridFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {_sentence(error)}") from error
    unknown = [name for name in tasks or () if name not in file.workload.task]
    if unknown:
        raise ValueError(f"{path} has no task {unknown[0]!r}; it has {', '.join(file.workload.task)}")
    wanted = [name for name in file.workload.task if tasks is None or name in tasks]
    workloads = [
        Workload(network, load_task(task, data_dir), _recipe(path, file.workload.recipe))
        for task in wanted
        for network in file.workload.network
    ]
    experiments: dict[str, Experiment] = {}
    for spec in file.methods:
        for workload in workloads:
            if spec.tasks is not None and workload.task.name not in spec.tasks:
                continue
            for method in _methods(path, file, spec, workload, Path(folder)):
                for density, seed in _points(file, spec):
                    experiment = Experiment(workload, method, density, seed)
                    experiments.setdefault(experiment.digest, experiment)
    _check_comparisons(path, file, {experiment.label for experiment in experiments.values()})
    fitted = tuple((name, spec, workload) for name, spec in file.predictors.items() for workload in workloads)
    return Grid(file, path, text, tuple(experiments.values()), fitted)


def _recipe(path: Path, described: dict[str, Any]) -> Recipe:
    try:
        return Recipe.from_json(described)
    except ValueError as error:
        raise ValueError(f"{path}, [workload.recipe]: {error}") from error


def _methods(path: Path, file: GridFile, spec: MethodSpec, workload: Workload, folder: Path) -> Iterator[Method]:
    for arguments in spec.combinations():
        name = arguments["predictor"]
        if name in file.predictors:
            identity = file.predictors[name].identity(workload)
            arguments |= {
                "predictor": str(folder / "predictors" / identity),
                "predictor_name": name,
                "predictor_identity": identity,
            }
        try:
            yield Method(**arguments)
        except ValueError as error:
            given = {key: value for key, value in arguments.items() if value is not None}
            raise ValueError(f"{path}, the method {given}: {error}") from error


def _points(file: GridFile, spec: MethodSpec) -> Iterator[tuple[float, int]]:
    """Densities and seeds of some methods."""
    for density in spec.densities or file.densities:
        extra = [seed for more in file.extra if density in more.densities for seed in more.seeds]
        for seed in dict.fromkeys((*(spec.seeds or file.seeds), *extra)):
            yield density, seed


def _check_comparisons(path: Path, file: GridFile, labels: set[str]) -> None:
    for comparison in file.comparisons:
        unknown = [label for label in (*comparison.of, *comparison.against) if label not in labels]
        if unknown:
            raise ValueError(
                f"{path}: the comparison {comparison.name!r} names {unknown[0]!r}, which no method of this grid is "
                f"called; they are: {'; '.join(sorted(labels))}"
            )


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{place} is no key of a grid; see `scratchcard sweep --help` and experiments/*.toml{more}"
    if first["type"] == "missing":
        return f"{place} is missing{more}"
    return f"{place} is {first['input']!r}: {first['msg']}{more}"
