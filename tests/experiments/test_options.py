"""The experiments' commands refuse bad input in one sentence and write nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments import ablation, default_predictor, publish, raw_inputs, tables
from experiments.options import run_command


def refusal(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        run_command(main)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out.strip() in ("", "all:")  # the ablation tells what it is at
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        (ablation, ["--data-dir", "nowhere"], "no mnist data in"),
        (default_predictor, ["--data-dir", "nowhere"], "no mnist data in"),
        (tables, ["nowhere"], "there are no results at nowhere"),
        (publish, ["nowhere.toml"], "no grid at nowhere.toml"),
        (raw_inputs, ["--seeds", "x"], "'x' is no list of seeds"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    module: type[object],
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *arguments])
    assert said in refusal(module.main, capsys)  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def test_a_truncated_record_of_a_search_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "ablation" / "all" / "search.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"settings": {"rounds"')
    monkeypatch.setattr(sys, "argv", ["ablation.py", "--runs", str(tmp_path), "--out", str(tmp_path / "out")])
    assert f"{record} is no record of a search" in refusal(ablation.main, capsys)
    assert record.read_text() == '{"settings": {"rounds"'
    assert not (tmp_path / "out").exists()
