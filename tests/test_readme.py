"""README and the pages under docs/: what they say is what is there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import scratchcard as sc
from scratchcard.dataset_builder.features import FEATURES
from scratchcard.frontends.cli import cli
from scratchcard.regimes import REGIMES
from scratchcard.scorers import SCORERS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted(path for path in [README, *(ROOT / "docs").glob("*.md")])
CARDS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.partition(" #")[0].strip()
                if text:
                    found.append((page.name, text))
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of all lines of tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_first_screen_and_the_length() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) < 900
    first = "\n".join(text.splitlines()[:40])
    for what in ("make demo", "make test", "sc.Task.of(", "sc.prune(", "sc.train(", "![", "| early search"):
        assert what in first, what


def test_the_table_is_the_committed_one() -> None:
    committed = {row[0]: row[2:] for row in rows((ROOT / "results/front/front.md").read_text(encoding="utf-8"))}
    table = [row for row in rows(README.read_text(encoding="utf-8")) if len(row) == 4][2:]
    assert len(table) == 8
    for method, *cells in table:
        assert cells == committed[method], method


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_number_of_features(page: Path) -> None:
    said = re.findall(r"(\d+) features of every weight", page.read_text(encoding="utf-8"))
    assert [int(number) for number in said] == [len(FEATURES)] * len(said)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_parse(page: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[0] == "scratchcard":
        context = click.Context(cli, info_name="scratchcard")
        name, subcommand, arguments = cli.resolve_command(context, words[1:])
        assert subcommand is not None
        subcommand.make_context(name, arguments, parent=context).close()
    elif "-m" in words:
        module = words[words.index("-m") + 1]
        source = ROOT / f"{module.replace('.', '/')}.py"
        text = source.read_text(encoding="utf-8") + (ROOT / "experiments/options.py").read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in words if word.startswith("--"))
    else:
        assert words[0] in ("pip", "mkdir", "tar")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks in their order, with the commands between them that the page says are to be run."""
    text = page.read_text(encoding="utf-8")
    if "import onnxruntime" in text:
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Linear(20, 60), nn.ReLU(), nn.Linear(60, 4))
    names: dict[str, Any] = {"network": network, "inputs": torch.randn(400, 20), "targets": torch.arange(400) % 4}
    for run, language, block in re.findall(
        r"^(<!-- run -->\n)?```(python|sh)\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        if language == "sh":
            for line in block.splitlines() if run else ():
                result = CliRunner().invoke(cli, shlex.split(line)[1:])
                assert result.exit_code == 0, result.output
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, str(page), "exec"), names)  # noqa: S102
    if page.name == "own-data.md":
        right = names["right"]
        assert len(right) == 200
        assert sum(right) > 180


def test_the_example_grid_compares_what_differs(tmp_path: Path) -> None:
    (text,) = blocks(README, "toml")
    path = tmp_path / "grid.toml"
    path.write_text(text, encoding="utf-8")
    grid = sc.read_grid(path, tmp_path / "results")
    assert len({experiment.label for experiment in grid.experiments}) == 2
    assert len(grid.experiments) == 2 * 2 * 5
    assert tomllib.loads(text)["comparisons"]
    two = {experiment.label: experiment for experiment in grid.experiments}.values()
    masks = [sc.prune(one.workload, one.method, 0.05, 100).mask.flat() for one in two]
    assert not masks[0].equal(masks[1])


@pytest.mark.parametrize("name", [*SCORERS, *REGIMES])
def test_every_method_has_a_card(name: str) -> None:
    card = CARDS.partition(f"| **name** | `{name}` |")[2].partition("###")[0]
    said = [f"**{what}**" for what in ("formula", "works when", "fails when", "cost", "source")]
    assert [row[0] for row in rows(card)] == said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_are_those_of_the_committed_results(page: Path) -> None:
    """Every `mean ± interval`, but in sections which say that a command prints it: its outcome is not committed."""
    committed = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "results").glob("**/*.md"))
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        if "prints it" not in section:
            missing = [said for said in re.findall(r"\d+\.\d+ ± \d+\.\d+", section) if said not in committed]
            assert not missing, f"{section.splitlines()[0]}: {missing}"
