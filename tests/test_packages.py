"""What is installed: every package, under one name, with all that its face promises."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scratchcard

ROOT = Path(__file__).resolve().parent.parent
APART = {"benchmarks", "docs", "experiments", "results", "runs", "tests", "build", "dist", "demo"}


def test_the_wheel_is_told_of_every_package_and_of_no_other() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [path.parent.relative_to(ROOT).parts for path in ROOT.rglob("__init__.py")]
    ours = [parts for parts in folders if not parts or (parts[0] not in APART and not parts[0].startswith("."))]
    assert sorted(told) == sorted(".".join(("scratchcard", *parts)) for parts in ours)


@pytest.mark.parametrize("name", scratchcard.__all__)
def test_every_name_of_the_face_exists(name: str) -> None:
    assert getattr(scratchcard, name) is not None


def test_an_unknown_name_of_the_face_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'jackpot'"):
        _ = scratchcard.jackpot


def test_importing_the_face_imports_nothing_heavy() -> None:
    code = "import scratchcard, sys; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_no_two_packages_have_a_module_of_one_name() -> None:
    """So that a name says which module is meant. Where a file is named for what it adds to a family, or for the command
    that it is, another may be named for the same thing."""
    named_for_members = {"networks", "tasks", "predictors", "frontends"}
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        packages = path.relative_to(ROOT).parts[:-1]
        ours = packages and packages[0] not in APART and not packages[0].startswith(".")
        if ours and path.stem != "__init__" and not named_for_members.intersection(packages):
            found.setdefault(path.stem, set()).add(packages[0])
    assert {name: packages for name, packages in found.items() if len(packages) > 1} == {}
