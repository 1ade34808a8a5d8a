"""Every public name has an example, and every example runs as printed."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
import torch
from torch import nn

import scratchcard as sc
from scratchcard import registry
from scratchcard.frontends.cli import COMMANDS, cli


def modules() -> Iterator[ModuleType]:
    """All modules of the installed package but the scripts that run when they are imported."""
    for found in pkgutil.walk_packages(sc.__path__, f"{sc.__name__}."):
        if found.name.split(".")[1] not in ("benchmarks", "experiments", "tests") and "__main__" not in found.name:
            yield importlib.import_module(found.name)


def own(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public classes and functions that a module defines."""
    for name, value in vars(module).items():
        mine = getattr(value, "__module__", None) == module.__name__
        if mine and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def shown(value: Any) -> bool:
    return ">>>" in (inspect.getdoc(value) or "")


def family_members() -> Iterator[tuple[str, Any]]:
    """Everything that can be named: scorers, regimes, networks, tasks, objectives ..."""
    for family in registry.FAMILIES:
        yield from registry.family(family).items()
    yield from sc.OBJECTIVES.items()


def examples() -> Iterator[doctest.DocTest]:
    """The examples of all modules, and those that doctest passes over: of functions that a decorator returned."""
    usual = {"np": np, "torch": torch, "nn": nn, "sc": sc}
    finder = doctest.DocTestFinder(exclude_empty=True)
    seen: set[str] = set()
    for module in modules():
        for found in finder.find(module, module.__name__, extraglobs=usual):
            seen.add(found.docstring)
            yield found
    decorated = [value for module in modules() for _, value in own(module)]
    for value in [*decorated, *(value for _, value in family_members())]:
        for found in finder.find(value, value.__name__, sys.modules[value.__module__], extraglobs=usual):
            if found.docstring not in seen:
                seen.add(found.docstring)
                yield found


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    ran, failed = 0, []
    for example in examples():
        if not example.examples:
            continue
        torch.manual_seed(0)
        printed: list[str] = []
        result = runner.run(example, out=printed.append)
        ran += 1
        if result.failed:
            failed.append("".join(printed))
    assert not failed, "\n".join(failed)
    assert ran > 300


def test_whoever_is_public_has_an_example() -> None:
    wanted = {f"{module.__name__}.{name}": value for module in modules() for name, value in own(module)}
    wanted |= {f"{value.__module__}.{name}": value for name, value in family_members()}
    named = {name: getattr(sc, name) for name in sc.__all__}
    wanted |= {name: value for name, value in named.items() if inspect.isclass(value) or inspect.isfunction(value)}
    missing = [name for name, value in wanted.items() if not shown(value)]
    assert not missing, f"no >>> example in the docstring of {', '.join(missing)}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_it_understands(name: str) -> None:
    """A command's examples are the calls in its help, and in that of all; they are parsed here, not run."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    own_help = [line for line in _help(command) if line.startswith(f"scratchcard {name}")]
    assert own_help, f"no example in the help of scratchcard {name}"
    for line in own_help + [line for line in _help(cli) if line.startswith(f"scratchcard {name} ")]:
        command.make_context(name, shlex.split(line)[2:])


def _help(command: click.Command) -> list[str]:
    return [line.strip() for line in (command.help or "").splitlines()]


def test_values_are_said_in_one_short_line(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    mask = sc.Mask.dense(network)
    workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
    table = sc.build(workload, [0], tmp_path / "table", sc.Recording("USS", "magnitude", 0.1))
    predictor = sc.fit(table, "linear", features=["magnitude"], held_out_seeds=[])
    scores = sc.make_scorer("magnitude")(network, (torch.ones(1, 4), torch.ones(1, 2)), nn.functional.mse_loss)
    path = sc.TicketPath.of({1.0: mask}, network.state_dict(), torch.zeros(1, 4))
    for value in (mask, scores, sc.Ticket.of(network, mask), path, workload, table, predictor):
        assert len(repr(value)) < 160, repr(value)
        assert "\n" not in repr(value)
        assert repr(value).startswith(type(value).__name__)


def test_a_notebook_shows_the_layers_of_a_ticket() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("<b>", nn.Linear(2, 3))

    network = Odd()
    mask = sc.Mask({"<b>.weight": torch.tensor([[True, False], [False, False], [False, True]])})
    html = sc.Ticket.of(network, mask)._repr_html_()
    assert "<td>&lt;b&gt;.weight</td><td>3 × 2</td><td>2</td><td>0.3333</td>" in html
    assert "<b>" not in html


def test_the_reference_lists_every_module() -> None:
    pages = (Path(__file__).parents[1] / "docs" / "api").glob("*.md")
    listed = [line[4:] for page in pages for line in page.read_text().splitlines() if line.startswith("::: ")]
    # The reference of the command line is its own help.
    api = [module for module in modules() if module.__name__.split(".")[1] != "frontends"]
    wanted = {module.__name__ for module in api if not _only_a_docstring(module)}
    assert not wanted - set(listed), "not in docs/api"
    assert len(set(listed)) == len(listed), "listed twice"


def _only_a_docstring(module: ModuleType) -> bool:
    return hasattr(module, "__path__") and not any(own(module))
