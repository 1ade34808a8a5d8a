"""`scratchcard list`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click

from scratchcard import registry
from scratchcard.frontends.cli.described import without_libraries
from scratchcard.frontends.cli.options import emit, json_option
from scratchcard.setting import shown
from scratchcard.settings import changed, settings_of
from scratchcard.workloads.named_options import options_of

FAMILIES = registry.FAMILIES | {
    "formats": "scratchcard.pruning.export:FORMATS",
    "scopes": "scratchcard.pruning.scopes:SCOPES",
    "initial": "scratchcard.apply.initial:INITIAL",
    "shipped": "scratchcard.apply.shipped:SHIPPED",
    "features": "scratchcard.dataset_builder.features:FEATURES",
    "targets": "scratchcard.dataset_builder.targets:TARGETS",
    "recipe": "scratchcard.workloads.recipe:Recipe",
}
"""What can be named, and where it is declared."""
_OWN = "package.module:factory"
FORMS = {
    "networks": {
        "torchvision:NAME": "A classifier of torchvision's, built for the task, without trained weights, e.g. "
        "torchvision:resnet18.",
        "timm:NAME": "One of timm's, with pip install 'scratchcard[timm]', e.g. timm:resnet10t.",
        _OWN: "A network of your own: a function of nothing, or of the task, that returns a module.",
    },
    "tasks": {
        "tensors:FILE": "The arrays of a .npz or .safetensors, e.g. tensors:mine.npz.",
        "image_folder:PATH": "A folder or zip of images, one folder a class, e.g. image_folder:photos.zip,size=64.",
        "text_folder:PATH": "A folder or archive of texts, one folder a class, e.g. text_folder:mail.zip,words=5000.",
        _OWN: "A task of your own: a function of nothing, or of data_dir, that returns a Task.",
    },
}
"""Names that are no members of a family, by their form."""


@click.command("list")
@click.argument("family", required=False, metavar="[FAMILY]", type=click.Choice(list(FAMILIES)))
@json_option
def list_(family: str | None, as_json: bool) -> None:
    """Everything that can be named on this command line, with one line each; with --json its settings too.

    FAMILY is one of scorers, schedules, regimes, networks, tasks, recipes, predictors, scopes, initial, shipped,
    formats, features, targets and recipe, which is a recipe's settings. [default: all]

    \b
    scratchcard list
    scratchcard list features
    scratchcard list scorers --json
    """
    found = {name: listed(name) for name in ([family] if family else FAMILIES)}
    for name in FORMS.keys() & found:
        found[name] |= {form: {"about": about} for form, about in FORMS[name].items()}
    if as_json:
        emit(found, True, "")
        return
    lines = []
    for name, entries in found.items():
        width = max(map(len, entries), default=0)
        lines += [f"{name}:", *(f"  {entry:<{width}}  {_line(about)}" for entry, about in entries.items())]
    emit(None, False, "\n".join(lines))


def listed(family: str) -> dict[str, dict[str, Any]]:
    """The members of a family by name: what each is, and its settings.

    >>> list(listed("scopes")), listed("scorers")["grasp"]["settings"]["temperature"]["default"]
    (['global', 'layer', 'expected', 'erk'], 200.0)
    """
    with without_libraries():
        return described(family)


def described(family: str) -> dict[str, dict[str, Any]]:
    """The same in a process that has the libraries, or wants them.

    >>> described("recipes")["lenet"]["sets"]["batch_size"]
    60
    """
    module_name, _, attribute = FAMILIES[family].partition(":")
    module = import_module(module_name)
    found: Any = getattr(module, attribute)
    if family == "features":
        found = (*found, *module.PAIR_FEATURES, *module.MOVEMENT_FEATURES)
    if family in ("features", "targets"):
        return {column.name: {"about": f"{column.description} [{column.transform}]"} for column in found}
    if family == "scopes":
        return {name: {"about": about} for name, about in found.items()}
    if family == "formats":
        return {
            name: _about(each.write) | {"ending": each.ending} for name, each in registry.members(found, family).items()
        }
    if family == "recipe":
        return {name: {"about": each.help} | each.plain() for name, each in settings_of(found).items()}
    if family == "recipes":
        return {
            name: _about(each) | {"sets": changed(each())} for name, each in registry.members(found, family).items()
        }
    if family == "scorers":
        from scratchcard.apply.method import OF_PREDICTOR

        found = dict(found) | OF_PREDICTOR
    return {name: _about(member) for name, member in registry.members(found, family).items()}


def _about(member: Callable[..., Any] | str) -> dict[str, Any]:
    if isinstance(member, str):
        return {"about": member}
    kind = options_of(member) or member  # of a task or network: what its name may hold
    settings = {name: declared.plain() for name, declared in settings_of(kind).items()}
    return {"about": (inspect.getdoc(member) or "").partition("\n")[0], "settings": settings}


def _line(about: Mapping[str, Any]) -> str:
    settings = about.get("settings", {})
    named = ", ".join(f"{name}={each.get('default')}" for name, each in settings.items())
    named += ", ".join(f"{name}={shown(value)}" for name, value in about.get("sets", {}).items())
    return f"{about['about']}{f' ({named})' if named else ''}"
