"""Grid: a file that states a comparison, and the runs that it expands to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scratchcard.apply.experiment import Experiment
from scratchcard.apply.method import Method
from scratchcard.apply.shipped import SHIPPED
from scratchcard.setting import SettingError
from scratchcard.sweeps.fitted import FittedSpec
from scratchcard.sweeps.grid_file import GridFile, MethodSpec, read_file
from scratchcard.sweeps.noted_task import noted_task, read_notes
from scratchcard.workloads.factory import load_factory
from scratchcard.workloads.networks import plainly
from scratchcard.workloads.networks.of_package import check_package_name, is_of_package
from scratchcard.workloads.recipes import make_recipe
from scratchcard.workloads.tasks import is_of_files, load_task, takes_data_dir
from scratchcard.workloads.workload import Workload


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid that was read: its file, its runs, the predictors that they need.

    Attributes:
        file: what was read.
        path: from where.
        text: the file's text.
        experiments: the runs, each once.
        fitted: for each predictor of the file and workload that its tables are built from, what to build and fit.
        digests: of the runs at all densities, also of those that were left out.
        whole: whether these are the runs of all its tasks.

    Examples:
        >>> from scratchcard.sweeps.grid_file import EXAMPLE
        >>> _ = Path("small.toml").write_text(EXAMPLE)
        >>> grid = read_grid("small.toml", "results")
        >>> grid.name, len(grid.experiments)
        ('small', 2)
    """

    file: GridFile
    path: Path
    text: str
    experiments: tuple[Experiment, ...]
    fitted: tuple[tuple[str, FittedSpec, Workload], ...]
    digests: tuple[str, ...] = ()
    whole: bool = True

    @property
    def name(self) -> str:
        """Short, for file names and tables."""
        return self.file.name


def read_grid(
    path: str | Path,
    folder: str | Path,
    *,
    data_dir: Path | None = None,
    tasks: Sequence[str] | None = None,
    densities: Sequence[float] | None = None,
    imports: bool = True,
) -> Grid:
    """Read and expand a grid's file; loads the tasks, whose digests are part of the runs' identity.

    Args:
        path: the TOML file.
        folder: of the results, where the grid's predictors will lie.
        data_dir: where the data files lie, of the tasks that look in a folder.
        tasks: only these of the grid's tasks.
        densities: only these of the grid's densities.
        imports: whether code that the file names may be imported. Without it the grid is good for asking how far it
            is: tasks of one's own are known by what an earlier sweep into the folder noted of them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no TOML, has a wrong key or value, methods that make no sense, or a comparison between labels
            that none of its methods has, at a density without runs; or a task or density is named that the grid lacks.

    Examples:
        >>> text = '''
        ... name = "snip_or_not"
        ... title = "SNIP against chance"
        ... densities = 0.05
        ... seeds = "0-2"
        ... workload = { task = "digits" }
        ... methods = [{ scorer = ["random", "snip"] }]
        ... '''
        >>> _ = Path("snip_or_not.toml").write_text(text)
        >>> [(run.label, run.seed) for run in read_grid("snip_or_not.toml", "results").experiments]
        [('random', 0), ('random', 1), ('random', 2), ('snip', 0), ('snip', 1), ('snip', 2)]
    """
    path = Path(path)
    file, text = read_file(path)
    unknown = [name for name in tasks or () if name not in file.workload.task]
    if unknown:
        raise ValueError(f"{path} has no task {unknown[0]!r}; it has {', '.join(file.workload.task)}")
    wanted = [name for name in dict.fromkeys(file.workload.task) if tasks is None or name in tasks]
    with _said_of(f"{path}, [workload.recipe]"):
        recipe = make_recipe(file.workload.recipe)
    noted = {} if imports else read_notes(Path(folder), file.name)
    own = {task for task in wanted if _is_own(task, imports)}
    with _said_of(f"{path}, [workload]"):
        takes = {task: data_dir is not None and task not in own and takes_data_dir(task) for task in wanted}
        loaded = {
            task: noted_task(task, noted) if task in own else load_task(task, data_dir if takes[task] else None)
            for task in wanted
        }
        workloads = [
            Workload(network, loaded[task], recipe)
            for task in wanted
            for network in dict.fromkeys(file.workload.network)
        ]
        for task in wanted:
            _check_plain(task, loaded[task].name)
        for network in file.workload.network:
            if ":" not in network:
                _check_plain(network, plainly(network))
            elif is_of_package(network):
                check_package_name(network)
            elif imports:
                load_factory(network)
    elsewhere: dict[str, Workload] = {}
    for name, spec in file.predictors.items():
        if spec.workload is not None:
            with _said_of(f"{path}, [predictors.{name}.workload]"):
                elsewhere[name] = spec.workload.make(data_dir)
    looking = [spec.workload.task for spec in file.predictors.values() if spec.workload is not None]
    if data_dir is not None and not own and not any(takes.values()) and not any(map(takes_data_dir, looking)):
        look = "looks" if len(wanted) == 1 else "look"
        told = f"{path} has no task with a setting data_dir: {', '.join(wanted)} {look} in no folder; leave it out"
        raise SettingError(told, "data_dir")
    place = Path(folder).absolute()  # workers may work in another one
    experiments = _expanded(path, file, workloads, elsewhere, place)
    whole = set(wanted) == set(file.workload.task)
    _check_workloads(path, file)
    if whole:
        _check_comparisons(path, file, experiments)
    if densities is not None:
        known = sorted({run.density for run in experiments})
        lacking = [density for density in densities if density not in known]
        if lacking:
            raise ValueError(f"{path} has no density {lacking[0]:g}; it has {', '.join(f'{d:g}' for d in known)}")
    digests = tuple(run.digest for run in experiments)
    runs = tuple(run for run in experiments if densities is None or run.density in densities)
    return Grid(file, path, text, runs, tuple(_fitted(file, workloads, elsewhere, runs)), digests, whole)


def _check_plain(name: str, plain: str) -> None:
    """Refuse options that say what they would be anyway: records, methods and comparisons know the plain name."""
    if name != plain:
        raise ValueError(f"{name!r} is {plain!r}, as some of its options are at their default; write it so")


def _is_own(task: str, imports: bool) -> bool:
    """Whether a task is code that must not be imported."""
    return not imports and ":" in task and not is_of_files(task)


def _expanded(
    path: Path, file: GridFile, workloads: Sequence[Workload], elsewhere: Mapping[str, Workload], folder: Path
) -> list[Experiment]:
    """The runs, each once; a dense network is one run, whatever the method that prunes nothing of it."""
    found: dict[object, Experiment] = {}
    for spec in file.methods:
        for number, workload in enumerate(workloads):
            if spec.tasks is not None and workload.task.name not in spec.tasks:
                continue
            learned = {name: elsewhere.get(name, workload) for name in file.predictors}
            for method in _methods(path, file, spec, learned, folder):
                for density, seed in _points(file, spec):
                    with _said_of(f"{path}, the method {method.label!r}"):
                        method.make_regime().check(workload.recipe, density)
                        run = Experiment(workload, method, density, seed)
                    key: object = run.digest if density < 1 else (number, run.label, seed)
                    if _trains(run) < _trains(found.get(key)):  # nothing is to be found: no rounds are needed
                        found[key] = run
                    found.setdefault(key, run)
    return list(found.values())


def _trains(run: Experiment | None) -> bool:
    return run is not None and run.method.make_regime().trains


def _fitted(
    file: GridFile,
    workloads: Sequence[Workload],
    elsewhere: Mapping[str, Workload],
    experiments: Sequence[Experiment],
) -> Iterator[tuple[str, FittedSpec, Workload]]:
    """Predictors and workloads: those that runs need; one that no method names is fitted for all of them."""
    named = {name for spec in file.methods for name in spec.predictor}
    needed = {experiment.method.predictor_identity for experiment in experiments}
    for name, spec in file.predictors.items():
        for workload in [elsewhere[name]] if name in elsewhere else workloads:
            if name not in named or spec.identity(workload) in needed:
                yield name, spec, workload


@contextmanager
def _said_of(place: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _methods(
    path: Path, file: GridFile, spec: MethodSpec, learned: Mapping[str, Workload], folder: Path
) -> Iterator[Method]:
    for arguments in spec.combinations():
        name = arguments.get("predictor")
        if name in file.predictors:
            identity = file.predictors[name].identity(learned[name])
            arguments |= {
                "predictor": str(folder / "predictors" / identity),
                "predictor_name": name,
                "predictor_identity": identity,
            }
        elif name is not None:
            if name not in SHIPPED and not Path(name).is_dir():
                known = ", ".join(file.predictors) or "it has none"
                raise ValueError(
                    f"{path}: {name!r} is none of its predictors ({known}), no shipped one ({', '.join(SHIPPED)}) "
                    "and no folder of a bundle"
                )
            arguments["predictor_name"] = Path(name).absolute().name  # two bundles are two labels
        given = {key: value for key, value in arguments.items() if value is not None}
        with _said_of(f"{path}, the method {given}"):
            method = Method.of(**arguments)
        yield method


def _points(file: GridFile, spec: MethodSpec) -> Iterator[tuple[float, int]]:
    """Densities and seeds of some methods."""
    for density in spec.densities or file.densities:
        extra = [seed for more in file.extra if density in more.densities for seed in more.seeds]
        for seed in dict.fromkeys((*(spec.seeds or file.seeds), *extra)):
            yield density, seed


def _check_workloads(path: Path, file: GridFile) -> None:
    tasks, networks = file.workload.task, file.workload.network
    asked = [("a method", "task", name, tasks) for spec in file.methods for name in spec.tasks or ()]
    for spec in file.comparisons:
        who = f"the comparison {spec.name!r}"
        asked += [(who, "task", spec.task, tasks)] if spec.task is not None else []
        asked += [(who, "network", spec.network, networks)] if spec.network is not None else []
    for who, what, name, known in asked:
        if name not in known:
            raise ValueError(f"{path}: {who} names the {what} {name!r}; the grid has {', '.join(known)}")


def _check_comparisons(path: Path, file: GridFile, experiments: Sequence[Experiment]) -> None:
    labels = {experiment.label for experiment in experiments}
    densities = {experiment.density for experiment in experiments}
    for comparison in file.comparisons:
        unknown = [label for label in (*comparison.of, *comparison.against) if label not in labels]
        if unknown:
            raise ValueError(
                f"{path}: the comparison {comparison.name!r} names {unknown[0]!r}, which no method of this grid is "
                f"called; they are: {'; '.join(sorted(labels))}"
            )
        absent = [density for density in comparison.densities or () if density not in densities]
        if absent:
            raise ValueError(
                f"{path}: the comparison {comparison.name!r} is at density {absent[0]:g}, at which the grid has no run"
            )
