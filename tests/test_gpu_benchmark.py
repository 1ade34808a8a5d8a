"""`make gpu` without a GPU: its steps run on the CPU, its page is written as rows come, a step's end is said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_steps
from benchmarks.gpu_steps import Place

ABOUT = {"device": "Toy 9000", "machine": "one core"}
ROW = {"what": "copy", "size": "1 MiB", "seconds": 0.5, "cpu_seconds": 1.0, "bytes": 1e9, "peak_mib": None}


def test_the_page_says_rates_and_ratios_and_is_written_at_every_row(tmp_path: Path) -> None:
    page = gpu.Page(ABOUT, tmp_path / "deep" / "page.md")
    page.begin("memory")
    page.add("memory", ROW)
    first = (tmp_path / "deep" / "page.md").read_text()
    assert "| copy | 1 MiB | 0.5 | 1 | 2.00 | 2.0 | 100.0 % |  |" in first
    page.begin("scorers")
    page.add("scorers", ROW | {"what": "snip", "seconds": 2.0, "peak_mib": 10.2})
    page.ends.append("stopped after 5 s, its limit")
    page.tests = True, "3 passed."
    page.write()
    text = (tmp_path / "deep" / "page.md").read_text()
    assert "| snip | 1 MiB | 2 | 1 | 0.50 | 0.5 | 25.0 % | 10 |" in text
    assert text.index("## Tests") < text.index("## Memory") < text.index("This step was stopped after 5 s")
    assert not page.failed
    page.ends.append("broken off: no luck")
    page.write()
    assert page.failed


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("print(1, flush=True); import time; time.sleep(60)", "stopped after 1.5 s, its limit"),
        ("print(1); raise ValueError('no luck')", "broken off: ValueError: no luck"),
        ("print(1); import os; os._exit(3)", "broken off: exit status 3"),
        ("print(1)", None),
    ],
)
def test_a_step_that_takes_too_long_or_breaks_off_keeps_what_it_said(code: str, ended: str | None) -> None:
    ends: list[str] = []
    begin = time.monotonic()
    said = list(gpu._lines([sys.executable, "-uc", code], dict(os.environ), 1.5, ends))
    assert time.monotonic() - begin < 20
    assert ends == ([] if ended is None else [ended])
    assert said in (["1"], [])  # a busy machine may not have started it


def test_all_steps_together_take_at_most_eight_minutes() -> None:
    assert gpu.TITLES.keys() == gpu.LIMITS.keys() == gpu_steps.STEPS.keys()
    assert sum(gpu.LIMITS.values()) + gpu.TEST_SECONDS <= 480


def test_only_files_with_tests_for_a_gpu_are_collected() -> None:
    found = gpu.cuda_tests()
    assert {"tests/apply/test_cuda.py", "tests/scorers/test_contract.py"} <= set(found)
    assert "tests/test_words.py" not in found


def test_wheels_are_unpacked_and_the_checkout_has_its_import_name(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "carried-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried/__init__.py", "word = 'here'")
    environment = gpu._environment(tmp_path, tmp_path / "wheels")
    code = "import carried, scratchcard; print(carried.word, scratchcard.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    word, place = done.stdout.split()
    assert word == "here"
    assert Path(place).resolve().parent == gpu.ROOT


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", "-"]) == 2
    assert capsys.readouterr().err == (
        "benchmarks.gpu: torch sees no CUDA device; --device cpu --tiny tries the command without one\n"
    )


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "NEEDED", ("torch", "no_such_package"))
    assert gpu.main(["--out", "-", "--device", "cpu"]) == 2
    assert "this Python lacks no_such_package: install them, or put their wheels" in capsys.readouterr().err


def test_memory_is_measured_in_this_process() -> None:
    (row,) = gpu_steps.rows("memory", Place(torch.device("cpu"), tiny=True))
    assert row["bytes"] == 2 * 2**20
    assert row["seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in gpu_steps.STEPS if name != "memory"])
def test_every_step_measures_on_the_cpu_in_a_tiny_size(name: str) -> None:
    rows = list(gpu_steps.rows(name, Place(torch.device("cpu"), tiny=True)))
    assert len({row["what"] for row in rows}) == len(rows) >= 1
    assert all(row["seconds"] > 0 for row in rows)


@pytest.mark.slow
def test_the_whole_command_prints_one_page(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    chosen = ["--device", "cpu", "--tiny", "--steps", "memory", "features", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *chosen], cwd=gpu.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# CPU\n")
    assert "| all features |" in out.read_text()
