"""The packages are flat, under common names: make sure that they are ours, and that the face shows all it promises."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import scratchcard

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["pruning", "scorers", "workloads", "regimes", "dataset_builder", "meta", "apply", "analysis", "frontends"]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_ours(name: str) -> None:
    found = importlib.import_module(name).__file__
    assert found is not None
    assert Path(found).resolve().is_relative_to(ROOT)


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
