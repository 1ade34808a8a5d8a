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
