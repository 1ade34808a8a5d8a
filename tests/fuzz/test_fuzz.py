"""A sample of the fuzzer's mutations; `python -m tests.fuzz` tries many, in processes with limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import trials
from tests.fuzz.readers import READERS

QUICK = [name for name in READERS if name not in ("ticket", "records", "results", "anatomy", "bundle gbm")]
"""Readers whose whole files cost little to make; the others have theirs in the slow suite."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in READERS]
)
def test_damaged_and_tampered_files_are_read_right_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    found = list(trials(name, 1, range(20 if name in QUICK else 100), tmp_path / "files"))
    assert [text for _, kind, text in found if kind == "failed"] == []
    assert {kind for _, kind, _ in found} - {"equal"}
