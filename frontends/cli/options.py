"""Options that several commands share, and how their words become the library's values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from workloads.workload import Workload

Command = TypeVar("Command", bound=Callable[..., Any])


class Seeds(click.ParamType[tuple[int, ...]]):
    """`0-4`, `3` or `0,2,10-12`."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The seeds as a tuple of integers."""
        if not isinstance(value, str):
            return tuple(value)
        found: list[int] = []
        try:
            for part in value.split(","):
                first, dash, last = part.strip().partition("-")
                found += range(int(first), int(last) + 1) if dash else [int(first)]
        except ValueError:
            self.fail(f"{value!r} is no list of seeds; expected for example 0-4 or 0,2,10-12", param, ctx)
        if not found:
            self.fail(f"{value!r} names no seed", param, ctx)
        return tuple(found)


SEEDS = Seeds()

_WORKLOAD = (
    click.option(
        "--network",
        default="lenet_300_100",
        show_default=True,
        help="Registered name, or package.module:factory of your own network (no arguments, returns a module).",
    ),
    click.option("--task", default="digits", show_default=True, help="Registered task: digits, mnist ..."),
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="Initial weights as safetensors, e.g. weights.safetensors.",
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Folder with the data files, e.g. ~/data (also SCRATCHCARD_DATA).",
    ),
)
_RECIPE = (
    click.option("--optimizer", type=click.Choice(["sgd", "adam"]), help="Default sgd."),
    click.option("--learning-rate", type=float, help="Default 0.1."),
    click.option("--momentum", type=float, help="Default 0, e.g. 0.9."),
    click.option("--weight-decay", type=float, help="Default 0, e.g. 0.0005."),
    click.option("--batch-size", type=int, help="Default 64."),
    click.option("--max-steps", type=int, help="Longest training, e.g. 2000; default 15 epochs of MNIST."),
    click.option("--evaluation-interval", type=int, help="Steps between looks at the validation loss."),
    click.option("--patience", type=int, help="Looks without a lower validation loss before stopping."),
    click.option("--scoring-examples", type=int, help="Size of the scoring batch, default 2560."),
    click.option("--scoring-balanced/--no-scoring-balanced", default=None, help="As many of each class."),
)


def _apply(options: tuple[Callable[[Command], Command], ...]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


workload_options = _apply(_WORKLOAD)
recipe_options = _apply(_RECIPE)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")

RECIPE_NAMES = (
    "optimizer",
    "learning_rate",
    "momentum",
    "weight_decay",
    "batch_size",
    "max_steps",
    "evaluation_interval",
    "patience",
    "scoring_examples",
    "scoring_balanced",
)


def make_workload(options: dict[str, Any], recipe: dict[str, Any] | None = None) -> Workload:
    """The workload that the shared options describe; `recipe` holds defaults from elsewhere (a ticket)."""
    from workloads.tasks import load_task
    from workloads.training import Recipe
    from workloads.workload import Workload

    chosen = dict(recipe or {}) | {name: options[name] for name in RECIPE_NAMES if options.get(name) is not None}
    task = load_task(options["task"], options.get("data_dir"))
    return Workload(options["network"], task, Recipe(**chosen), options.get("weights"))


def emit(result: Any, as_json: bool, text: str) -> None:
    """Print a result: JSON for machines, text for people."""
    click.echo(json.dumps(result, indent=1, sort_keys=True) if as_json else text)


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
