"""One service for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

import scratchcard as sc
from scratchcard.frontends.service.app import Settled
from scratchcard.frontends.service.tokens import Tokens
from scratchcard.meta.predictor import Predictor
from scratchcard.score_tables.schema import Column
from tests.service.running import serving

ANN, BOB, CAROL = "ann-token-0123456789", "bob-token-0123456789", "carol-token-0123456789"


@pytest.fixture(scope="session")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a linear predictor: 2 a - b, and 3 a - b."""
    folder = tmp_path_factory.mktemp("predictors")
    columns = tuple(Column(name, "feature", "raw", "a number") for name in ("a", "b"))
    for version, slope in (("1", 2.0), ("2", 3.0)):
        arrays = {"coefficients": np.array([slope, -1.0]), "intercept": np.array([0.0])}
        sc.save_bundle(Predictor("linear", "regression", "score", columns, arrays), folder / "line" / version)
    return folder


@pytest.fixture(scope="session")
def address(predictors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with three tokens; Carol's is for the page."""
    tokens = Tokens.parsed(f"ann {ANN}\nbob {BOB}\ncarol {CAROL}")
    settled = Settled(tmp_path_factory.mktemp("state") / "state", predictors, tokens=tokens)
    with serving(settled) as found:
        yield found


@pytest.fixture
def ann(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {ANN}"}, timeout=60) as client:
        yield client


@pytest.fixture
def bob(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {BOB}"}, timeout=60) as client:
        yield client
