"""`scratchcard anatomy` on real tickets of the digits task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scratchcard.analysis.overlap import PackedMask, jaccards
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket, train_ticket
from scratchcard.frontends.cli.anatomy import anatomy
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods with two seeds at two densities, kept as a sweep keeps them."""
    folder = tmp_path_factory.mktemp("results")
    recipe = Recipe(max_steps=30, evaluation_interval=10, scoring_examples=100)
    workload = Workload("lenet_300_100", load_task("digits"), recipe)
    (folder / "tickets").mkdir()
    for scorer in ("snip", "magnitude"):
        for density in (0.02, 0.1):
            for seed in (0, 1):
                ticket, _ = train_ticket(find_ticket(workload, Method(scorer), density, seed), workload, seed)
                ticket.save(folder / "tickets" / f"{scorer}{density}{seed}.safetensors")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(anatomy, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, ValueError | OSError), error
    assert "\n" not in str(error)
    return str(error)


def test_text_and_json(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "anatomy.parquet"
    result = run(folder, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("lenet_300_100-digits, density") == 2
    assert "kept by all 2 tickets of a seed:" in result.stdout
    assert f"written to {out}" in result.stdout
    assert "nan" not in result.stdout
    entries = json.loads(run(folder, "--json").stdout)
    assert [entry["density"] for entry in entries] == [0.02, 0.1]
    entry = entries[0]
    assert entry["labels"] == ["magnitude", "snip"]
    masks = {
        (scorer, seed): Ticket.load(folder / "tickets" / f"{scorer}0.02{seed}.safetensors").mask
        for scorer in ("snip", "magnitude")
        for seed in (0, 1)
    }
    packed = {key: PackedMask.of(mask) for key, mask in masks.items()}
    mean = sum(jaccards([packed["snip", seed], packed["magnitude", seed]])[0, 1] for seed in (0, 1)) / 2
    assert entry["overlap"]["jaccard"] == [[None, pytest.approx(mean)], [pytest.approx(mean), None]]
    assert entry["overlap"]["chance_by_layer"][0][1] < mean  # both like large weights
    shared = [(masks["snip", seed] & masks["magnitude", seed]).kept for seed in (0, 1)]
    assert entry["core"][-1]["weights"] == pytest.approx(sum(shared) / 2)
    assert {row["label"]: row["kept"] for row in entry["tickets"]} == {"snip": 1004, "magnitude": 1004}
    assert all(row["steps"] == 30 for row in entry["tickets"])
    # Magnitude keeps no small weight: a gap at zero, and two modes.
    weights = {(row["label"], row["layer"]): row for row in entry["weights"]}
    assert weights["magnitude", "1.weight"]["initial_kept.bimodality"] > 5 / 9
    assert weights["magnitude", "1.weight"]["initial_kept.central_share"] == 0.0

    # The file alone says the same.
    assert json.loads(run(out, "--json").stdout) == entries
    assert json.loads(run(out, "--density", 0.1, "--json").stdout) == entries[1:]
    assert json.loads(run(folder, "--density", 0.1, "--json").stdout) == entries[1:]


def test_single_tickets(folder: Path) -> None:
    snip, magnitude = (folder / "tickets" / f"{scorer}0.10.safetensors" for scorer in ("snip", "magnitude"))
    both = run(snip, magnitude)
    assert both.exit_code == 0, both.output
    assert "Jaccard index" in both.stdout
    one = run(snip)
    assert one.exit_code == 0, one.output
    assert "nothing to compare" in one.stdout
    assert "live units" in one.stdout


def test_many_methods_are_not_drawn_as_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchcard.frontends.cli.anatomy.MOST_LABELS", 1)
    assert "too wide for text, see --json or --out" in run(folder).stdout


def test_refusals_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    assert "--keep-tickets" in refusal(tmp_path)
    assert "nothing at" in refusal(tmp_path / "missing")
    assert "no ticket of density 0.5; there are tickets of 0.02, 0.1" in refusal(folder, "--density", 0.5)
    out = tmp_path / "anatomy.parquet"
    assert run(folder, "--out", out).exit_code == 0
    assert "has no tickets of density 0.5; it has 0.02, 0.1" in refusal(out, "--density", 0.5)
    assert "must name a .parquet file" in refusal(folder, "--out", tmp_path / "anatomy.csv")
    assert "name it alone" in refusal(out, folder)
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    assert "damaged or truncated" in refusal(tmp_path / "bad.safetensors")
    assert run(folder, "--density", 0).exit_code == 2
