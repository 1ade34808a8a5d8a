"""Options that several commands share, and how their words become the library's values."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scratchcard.settings import LARGEST, whole_numbers

if TYPE_CHECKING:
    from scratchcard.workloads.recipe import Recipe
    from scratchcard.workloads.workload import Workload

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
SEED = click.IntRange(0, LARGEST)
COUNT = click.IntRange(1)


class Numbers(click.ParamType[tuple[int, ...]]):
    """`0-4`, `3` or `0,2,10-12`; with `none` also the word `none`, for no number at all."""

    def __init__(self, name: str = "seed", *, none: bool = False) -> None:
        self.name, self.none = name, none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers as a tuple of integers."""
        if not isinstance(value, str):
            return tuple(value)
        if self.none and value.strip().lower() == "none":
            return ()
        try:
            return whole_numbers(value, self.name)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """As the help shows it."""
        return f"{self.name.upper()}S"


SEEDS = Numbers()

_WORKLOAD = (
    click.option(
        "--network",
        default="lenet_300_100",
        show_default=True,
        help="Registered name, e.g. lenet_300_100, or package.module:factory of your own network (takes nothing or the "
        "task, returns a module).",
    ),
    click.option(
        "--task",
        default="digits",
        show_default=True,
        help="Registered task, e.g. mnist; package.module:factory of your own (takes nothing or data_dir, returns a "
        "Task); or tensors:FILE, a .npz or .safetensors of train_inputs, train_targets and perhaps validation_* and "
        "test_*.",
    ),
    click.option("--weights", type=PATH, help="Initial weights, e.g. weights.safetensors. [default: from the seed]"),
    click.option(
        "--data-dir",
        type=PATH,
        help="Folder with the data files, e.g. ~/data; only it is searched. [default: what SCRATCHCARD_DATA names, "
        "then the system's places, the cache, a download]",
    ),
)


def _training(of_ticket: bool) -> tuple[Callable[[Command], Command], ...]:
    """The recipe's options; a ticket's own recipe is the default where there is a ticket."""

    def default(text: str) -> str:
        return "[default: the ticket's]" if of_ticket else f"[default: {text}]"

    return (
        click.option("--optimizer", type=click.Choice(["sgd", "adam"]), help=f"E.g. adam. {default('sgd')}"),
        click.option("--learning-rate", type=float, help=f"E.g. 0.05. {default('0.1')}"),
        click.option("--momentum", type=float, help=f"Of SGD, e.g. 0.9. {default('0')}"),
        click.option("--weight-decay", type=float, help=f"L2, e.g. 0.0005. {default('0')}"),
        click.option("--batch-size", type=int, help=f"Examples a step, e.g. 128. {default('64')}"),
        click.option(
            "--max-steps",
            type=int,
            help=f"Longest training, e.g. 2000. {default('12885, 15 epochs of MNIST')}",
        ),
        click.option(
            "--evaluation-interval",
            type=int,
            help=f"Steps between looks at the validation loss, e.g. 100. {default('430')}",
        ),
        click.option(
            "--patience",
            type=int,
            help=f"Looks without a lower validation loss before stopping, e.g. 5. {default('10')}",
        ),
    )


_SCORING = (
    click.option(
        "--scoring-examples",
        type=int,
        help="Size of the scoring batch, e.g. 1000; all of a smaller training split. [default: 2560]",
    ),
    click.option(
        "--scoring-balanced/--no-scoring-balanced",
        default=None,
        help="As many scoring examples of each class, e.g. 256 of each of ten. [default: no]",
    ),
)


def _apply(options: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


workload_options = _apply(_WORKLOAD)
recipe_options = _apply((*_training(False), *_SCORING))
ticket_recipe_options = _apply(_training(True))
device_option = click.option("--device", default="auto", show_default=True, help="E.g. auto, cpu, cuda or cuda:1.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, e.g. for jq. [default: as text]"
)


def make_workload(options: dict[str, Any], recipe: Recipe | None = None) -> Workload:
    """The workload that the shared options describe; `recipe` holds defaults from elsewhere (a ticket)."""
    from scratchcard.workloads.recipe import Recipe
    from scratchcard.workloads.tasks import load_task
    from scratchcard.workloads.workload import Workload

    chosen = {name: options[name] for name in Recipe.names() if options.get(name) is not None}
    recipe = dataclasses.replace(recipe or Recipe(), **chosen)
    task = load_task(options["task"], options.get("data_dir"))
    return Workload(options["network"], task, recipe, options.get("weights"))


def when_interrupted(truth: str) -> None:
    """What the command's Ctrl-C message says from here on."""
    click.get_current_context().meta["scratchcard.interrupted"] = truth


def warn(text: str) -> None:
    """One line on stderr."""
    click.echo(f"scratchcard: warning: {' '.join(text.split())}", err=True)


def emit(result: Any, as_json: bool, text: str) -> None:
    """Print a result: JSON for machines (NaN and infinity as null, which JSON lacks), text for people."""
    click.echo(json.dumps(_finite(result), indent=1, sort_keys=True, allow_nan=False) if as_json else text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the time left on stderr; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
