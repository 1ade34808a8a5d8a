"""`scratchcard report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.report_results import BASELINES, runs, write_grid
from tests.frontends.calls import as_json, refused, run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write_grid(folder, "baselines", runs(BASELINES, (0.005, 0.1), (0, 1)))
    return folder


def test_it_writes_the_page(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    told = as_json("report", results, "--out", out, "--title", "Four baselines")
    assert told == {"report": str(out), "bytes": out.stat().st_size, "seconds": told["seconds"]}
    assert told["seconds"] > 0
    assert "<title>Four baselines</title>" in out.read_text()
    assert run("report", results, "--out", out, "--overwrite").stdout.startswith(f"{out} (")
    assert "<title>Baselines</title>" in out.read_text()


def test_refusals_are_one_line(results: Path, tmp_path: Path) -> None:
    assert "must end in .html" in refused("report", results, "--out", tmp_path / "page.pdf")
    assert "nothing" in refused("report", tmp_path / "nothing", "--out", tmp_path / "page.html")
    assert "none.parquet" in refused(
        "report", results, "--out", tmp_path / "page.html", "--anatomy", tmp_path / "none.parquet"
    )
    (tmp_path / "file").write_text("")
    assert "not a folder" in refused("report", results, "--out", tmp_path / "file" / "page.html")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
