"""What the service says of itself is true: schemathesis finds nothing against its OpenAPI document."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.service.conftest import ANN


def test_every_route_documents_its_refusals(ann: httpx2.Client) -> None:
    told = ann.get("/openapi.json").json()
    assert len(told["paths"]) > 15
    for path, methods in told["paths"].items():
        for method, about in methods.items():
            for status, answer in about["responses"].items():
                if status.startswith("4") and status != "416":
                    assert "application/problem+json" in answer["content"], (path, method, status)


@pytest.mark.slow
def test_schemathesis_finds_nothing(address: str, tmp_path: Path) -> None:
    """Without its check that all that fits the schema is accepted: no schema says what a safetensors file is, or which
    inputs a predictor has. Events last as long as a job. Its requests without a token stay within their limit, ten a
    second: beyond it 429 comes before 401."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json", "--no-color"]
    how = ["--header", f"Authorization: Bearer {ANN}", "--max-examples", "20", "--seed", "1"]
    how += ["--rate-limit", "9/s"]
    left = ["--exclude-checks", "positive_data_acceptance", "--exclude-path", "/jobs/{job}/events"]
    done = subprocess.run([*command, *how, *left], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout
