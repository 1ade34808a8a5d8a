"""Options that several commands share, and how their words become the library's values; and what commands say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click
from click.shell_completion import CompletionItem

from scratchcard.frontends.cli.output import check_new as check_new
from scratchcard.frontends.cli.output import emit as emit
from scratchcard.frontends.cli.output import progress_bar as progress_bar
from scratchcard.frontends.cli.output import took as took
from scratchcard.frontends.cli.output import warn as warn
from scratchcard.frontends.cli.output import when_interrupted as when_interrupted
from scratchcard.frontends.cli.places import PATH as PATH
from scratchcard.frontends.cli.places import TABLE as TABLE
from scratchcard.number_list import LARGEST, whole_numbers
from scratchcard.setting import Setting, shown
from scratchcard.settings import parsed, settings_of
from scratchcard.workloads.recipe import Recipe

if TYPE_CHECKING:
    from scratchcard.workloads.workload import Workload

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]


SEED = click.IntRange(0, LARGEST)
COUNT = click.IntRange(1)


class Numbers(click.ParamType[tuple[int, ...]]):
    """`0-4`, `3` or `0,2,10-12`; with `none` also the word `none`, for no number at all.

    >>> Numbers().convert("0-2,5", None, None), Numbers(none=True).convert("none", None, None)
    ((0, 1, 2, 5), ())
    """

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


def completed(family: Callable[[], Iterable[str]]) -> Callable[..., list[CompletionItem]]:
    """Tab completion of the names that `family` gives; it may import what it needs, as the shell waits for it.

    >>> complete = completed(lambda: ["snip", "synflow"])
    >>> [item.value for item in complete(None, None, "sy")]
    ['synflow']
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in family() if name.startswith(incomplete)]

    return complete


def names_of(family: str) -> Callable[[], Iterable[str]]:
    """The names of a family, as `scratchcard list` has them.

    >>> list(names_of("scopes")())
    ['global', 'layer', 'expected', 'erk']
    """

    def names() -> Iterable[str]:
        from scratchcard.frontends.cli.listing import listed

        return list(listed(family))

    return names


data_dir_option = click.option(
    "--data-dir",
    type=PATH,
    help="Folder with the data files, e.g. ~/data; only it is searched. [default: what SCRATCHCARD_DATA names, "
    "then the system's places, the cache, a download]",
)
_WORKLOAD = (
    click.option(
        "--network",
        default="lenet_300_100",
        show_default=True,
        shell_complete=completed(names_of("networks")),
        help="Registered name, e.g. lenet_300_100; torchvision:NAME or timm:NAME, e.g. torchvision:resnet18; or "
        "package.module:factory of your own network (takes nothing or the task, returns a module).",
    ),
    click.option(
        "--task",
        default="digits",
        show_default=True,
        shell_complete=completed(names_of("tasks")),
        help="Registered task, e.g. mnist; package.module:factory of your own (takes nothing or data_dir, returns a "
        "Task); tensors:FILE, a .npz or .safetensors of train_inputs, train_targets and perhaps validation_* and "
        "test_*; image_folder:PATH, a folder or zip of images with one folder a class, e.g. "
        "image_folder:photos.zip,size=64; or text_folder:PATH, the same of texts. Tasks of texts take options in their "
        "names, e.g. movie_reviews,words=5000.",
    ),
    click.option(
        "--weights",
        type=PATH,
        help="Initial weights, e.g. weights.safetensors, or a .pt or .pth of plain tensors. [default: from the seed]",
    ),
    data_dir_option,
)


def _setting_option(declared: Setting, *, default: str | None = None, only: Iterable[str] = ()) -> Option:
    """The option of a setting; where it is not given the value is None, so that whoever has the setting decides.

    Args:
        declared: the setting.
        default: its default in words, if another than declared.
        only: who has it, for the help, if not everybody.
    """
    option, kind = f"--{declared.name.replace('_', '-')}", declared.plain_type
    example = declared.example if declared.example is not None else declared.default
    who = f"{', '.join(only)}: " if only else ""
    text = who + (declared.phrase if only else declared.help)
    told = f"{text}, e.g. {shown(example)}. [default: {default or declared.told}]"
    if kind is bool:
        return click.option(f"{option}/--no{option[1:]}", default=None, help=told)
    special: dict[Any, Any] = {Literal: click.Choice(declared.words), tuple: _Parsed(declared)}
    chosen: Any = kind if kind in (int, float) else special.get(get_origin(kind), str)
    if get_origin(kind) is tuple and get_args(kind)[-1] is ...:
        return click.option(option, type=chosen, multiple=True, callback=_together, help=told)
    words = declared.words if declared.choices is None else None
    complete = completed(lambda: declared.words if words is None else words)
    return click.option(option, type=chosen, help=told, shell_complete=complete)


def _together(ctx: click.Context, param: click.Parameter, lists: tuple[tuple[Any, ...], ...]) -> Any:
    """A list that was given in several parts; None where it was not given."""
    return tuple(entry for each in lists for entry in each) if lists else None


class _Parsed(click.ParamType[Any]):
    """A value as `Setting.parsed` reads it, e.g. `[0.9,0.999]`; a list of one number needs no brackets."""

    def __init__(self, declared: Setting) -> None:
        self.declared, self.name = declared, declared.kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the setting has it."""
        if not isinstance(value, str):
            return value
        one = value.isdigit() and str not in get_args(self.declared.plain_type)
        return self.declared.parsed(f"[{value}]" if one else value, "the option")


def regime_options(command: Any) -> Any:
    """Every setting that some regime has.

    >>> command = regime_options(click.Command("prune"))
    >>> {option.name: option.opts for option in command.params}["rounds"]
    ['--rounds']
    """
    from scratchcard.regimes import REGIMES, default_told, regime_settings

    for declared in reversed(regime_settings().values()):
        only = () if len(declared) == len(REGIMES) else tuple(declared)
        command = _setting_option(next(iter(declared.values())), default=default_told(declared), only=only)(command)
    return command


def settings_options(kind: Any, *names: str, default: str | None = None) -> Callable[[Command], Command]:
    """The named settings of a dataclass, all of them without names.

    >>> @click.command()
    ... @settings_options(Recipe, "learning_rate", "max_steps")
    ... def command(**options): click.echo(options)
    >>> [option.opts[0] for option in command.params]
    ['--learning-rate', '--max-steps']
    """
    known = settings_of(kind)
    return all_of(*(_setting_option(known[name], default=default) for name in names or known))


scorer_settings_option = click.option(
    "--set",
    "scorer_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the scorer, e.g. temperature=1 for grasp; can be repeated. [default: the scorer's own]",
)


def given_settings(kind: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a dataclass, of its regime and, by `--set`, of its scorer that were given.

    >>> from scratchcard.apply.method import Method
    >>> given_settings(Method, {"scorer": "grasp", "rounds": None, "scorer_settings": ("temperature=1",)})
    {'scorer': {'name': 'grasp', 'temperature': 1.0}}
    """
    from scratchcard.regimes import regime_settings

    words = given_of(options, (*settings_of(kind), *regime_settings()))
    if options["scorer_settings"]:
        from scratchcard.apply.method import FIXED, OF_PREDICTOR
        from scratchcard.registry import lookup
        from scratchcard.scorers import SCORERS

        usual = settings_of(kind)["scorer"].default
        scorer = words.get("scorer", usual if isinstance(usual, str) else FIXED)
        if scorer in OF_PREDICTOR:
            raise ValueError(f"--set is for settings of a scorer, and {scorer} has none")
        found = parsed(lookup(SCORERS, "scorers", scorer), scorer, options["scorer_settings"])
        words["scorer"] = {"name": scorer} | found
    return words


def given_of(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The options that were given, of these names.

    >>> given_of({"seed": 3, "rounds": None}, ["seed", "rounds"])
    {'seed': 3}
    """
    return {name: options[name] for name in names if options.get(name) is not None}


def all_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one, in their order.

    >>> @click.command()
    ... @all_of(data_dir_option, json_option)
    ... def count(**options): click.echo(options)
    >>> [option.name for option in count.params]
    ['data_dir', 'as_json']
    """

    def decorate(command: Command) -> Command:
        """Give a command the options, in the order of its help.

        >>> @click.command()
        ... @workload_options
        ... def build(**options): click.echo(options)
        >>> [option.name for option in build.params]
        ['network', 'task', 'weights', 'data_dir']
        """
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


workload_options = all_of(*_WORKLOAD)
device_option = click.option("--device", default="auto", show_default=True, help="E.g. auto, cpu, cuda or cuda:1.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout, e.g. for jq. [default: as text]"
)


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace what --out names, e.g. an earlier result. [default: it is refused]"
)


def make_workload(options: dict[str, Any]) -> Workload:
    """The workload that the shared options describe.

    >>> workload = make_workload({"network": "lenet_300_100", "task": "digits", "max_steps": 100})
    >>> workload.task.name, workload.recipe.max_steps
    ('digits', 100)
    """
    from scratchcard.workloads.named_workload import named_workload

    return named_workload(
        options["network"],
        options["task"],
        recipe=options.get("recipe"),
        settings=given_of(options, settings_of(Recipe)),
        data_dir=options.get("data_dir"),
        weights=options.get("weights"),
    )
