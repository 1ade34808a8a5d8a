"""One small job for all tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.frontends.calls import FAST, as_json


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a predictor, a ticket and a trained ticket."""
    folder = tmp_path_factory.mktemp("job")
    slow = ["--regime", "ISS", "--scorer", "magnitude", "--rounds", "2", "--density", "0.05"]
    built = as_json("build", "--seeds", "0-2", *slow, *FAST, "--out", folder / "table")
    assert built["rows"] == 3 * 50_200
    fitted = as_json("fit", folder / "table", "--family", "tree", "--out", folder / "predictor")
    assert 0 <= fitted["metrics"]["held_out"]["overlap"] <= 1
    stacked = ["--predictor", folder / "predictor", "--scorer", "synflow", "--on", "predicted", "--rounds", "5"]
    pruned = as_json("prune", "--seed", 9, "--density", 0.05, *stacked, *FAST, "--out", folder / "ticket.safetensors")
    assert pruned["kept"] == round(0.05 * 50_200)
    trained = as_json("train", folder / "ticket.safetensors", "--out", folder / "trained.safetensors")
    assert trained["steps"] <= 60
    return folder
