"""What is installed: every package, under one name, with all that its face promises."""

from __future__ import annotations

import re
import shutil
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


def test_what_the_report_installs_is_what_its_code_imports() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["report"]
    imports = {"vl-convert-python": "vl_convert", "pillow": "PIL"}
    wanted = {imports.get(name, name) for name in (re.split(r"[><=\[]", each)[0] for each in told)}
    code = "".join(path.read_text() for path in (ROOT / "analysis").rglob("*.py"))
    found = {name for name in wanted | {"altair", "statsmodels"} if re.search(rf"(?:import|from) {name}\b", code)}
    assert wanted == found


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


def test_no_module_is_longer_than_300_lines() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name not in APART and path.name[0] != "."]
    modules = [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    assert {str(path): n for path in modules if (n := len(path.read_text().splitlines())) > 300} == {}


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


def test_the_wheel_brings_one_top_level_name_and_its_data(tmp_path: Path) -> None:
    """Built from a copy: building leaves folders beside the sources."""
    copy = tmp_path / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith(("results/", "tests/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    python = [sys.executable, "-m"]
    build = [*python, "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(copy)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    there = tmp_path / "there"
    install = [*python, "pip", "install", "--quiet", "--no-deps", "--target", str(there), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    names = {path.name for path in there.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} - {"bin"} == {"scratchcard"}
    files = ("apply/default/manifest.json", "analysis/report/page.css", "frontends/service/page_files/main.js")
    for data in (*files, "score_tables/table.py", "registry.py"):
        assert (there / "scratchcard" / data).is_file()
