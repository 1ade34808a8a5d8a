"""Errors: one clear line on stderr and exit status 2, whatever a user does wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from scratchcard.pruning.ticket import Ticket
from tests.frontends.calls import FAST, refused, run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prunee"], "did you mean 'prune'"),
        (["prune", "--scorer", "snipp"], "did you mean 'snip'"),
        (["prune", "--regime", "UMSS"], "unknown regime"),
        (["prune", "--schedule", "cubik"], "did you mean 'cubic'"),
        (["prune", "--task", "digit"], "did you mean 'digits'"),
        (["prune", "--network", "lenet_300"], "did you mean 'lenet_300_100'"),
        (["prune", "--network", "no.such.module:net"], "cannot import"),
        (["prune", "--predictor", "defualt"], "did you mean 'default'"),
        (["prune", "--initial", "signed"], "'signed' needs a predictor"),
        (["prune", "--round-steps", "9"], "UMS has no setting --round-steps (ISS, IMS have it)"),
        (["prune", "--density", "0"], "density must lie in (0, 1]"),
        (["prune", "--density", "1.2"], "density must lie in (0, 1]"),
        (["prune", "--density", "many"], "is no density and no list of them"),
        (["prune", "--scorer", "predicted"], "needs a predictor"),
        (
            ["prune", "--scorer", "snip", "--out", "file:///nowhere/t.safetensors"],
            "score tables alone may have addresses",
        ),
        (["prune", "--rounds", "0"], "UMS's --rounds is 0, expected a whole number in [1, 1000000]"),
        (["prune", "--regime", "USS", "--rewind-step", "5"], "no setting --rewind-step (ISS, IMS, ESS, EMS have it)"),
        (["prune", "--regime", "ISS", "--shots", "5"], "ISS has no setting --shots (IMS, EMS have it)"),
        (["build", "--regime", "ISS", "--shots", "5"], "ISS has no setting --shots (IMS, EMS have it)"),
        (["prune", "--scorer", "snip", "--rounds", "5"], "USS has no setting --rounds"),
        (["prune", "--scorer", "grasp", "--set", "heat=1"], "grasp has no setting heat; it has temperature"),
        (["prune", "--scorer", "grasp", "--set", "temperature=0"], "grasp's temperature is '0', expected a positive"),
        (["build", "--scorer", "snip", "--set", "heat"], "'heat' is no NAME=VALUE; snip has no settings"),
        (["prune", "--initial", "saw"], "need an initial scorer"),
        (["prune", "--device", "tpu"], "unknown device"),
        (["prune", "--weights", "absent.safetensors"], "no weights at"),
        (["prune", "--predictor", "absent"], "absent"),
        (["fit", "absent"], "no score table at"),
        (["train", "absent.safetensors"], "no ticket at"),
        (["evaluate", "absent.safetensors"], "no ticket at"),
        (["show", "absent"], "nothing at"),
        (["build", "--seeds", "a-b"], "no list of seeds"),
        (["build", "--seeds", "3-1"], "names no seed"),
        (["build", "--seeds", "0-2000000000"], "more than"),
        (["build", "--seeds", "9999999999"], "beyond the largest seed"),
        (["build", "--jobs", "0"], "not in the range"),
        (["demo", "--jobs", "0"], "not in the range"),
        (["demo", "--device", "cpu:x"], "unknown device 'cpu:x'"),
        (["prune", "--seed", "-1"], "not in the range"),
        (["prune", "--seed", "99999999999999999999"], "not in the range"),
        (["prune", "--seed"], "requires an argument"),
        (["prune", "--device", "cuda:x"], "unknown device 'cuda:x'"),
        (["prune", "--scope", "unit"], "is not one of"),
        (["prune", "--bogus"], "No such option"),
        (["prune", "extra"], "unexpected extra argument"),
        (["prune", "--density", "1e-9"], "keeps none of the 50,200 prunable weights"),
        (["prune", "--patience", "0"], "the recipe's --patience is 0, expected"),
        (["prune", "--learning-rate", "nan"], "the recipe's --learning-rate is nan, expected a positive number"),
        (
            ["prune", "--regime", "ISS", "--scorer", "snip", "--rewind-step", "60", "--max-steps", "60"],
            "cannot rewind to step 60",
        ),
        (["prune", "--out", "."], "is a folder"),
        (["prune", "--task", "mnist", "--data-dir", "nowhere"], "looked for train-images-idx3-ubyte"),
        (
            ["prune", "--data-dir", "."],
            "the task digits has no setting --data-dir, it looks in no folder; leave it out",
        ),
        *(
            (command, "the path is empty, expected the name of a file or a folder")
            for command in (
                ["prune", "--out", ""],
                ["prune", "--weights", ""],
                ["prune", "--task", "mnist", "--data-dir", ""],
                ["build", "--out", ""],
                ["demo", "--out", ""],
                ["fit", ""],
                ["show", ""],
                ["results", ""],
                ["sweep", ""],
            )
        ),
        (
            ["prune", "--predictor", ""],
            "the predictor's name is empty: expected a bundle's folder or default",
        ),
        (["prune", "--predictor", "."], "manifest.json is missing; expected a folder that `scratchcard fit` wrote"),
        (["show"], "Missing argument 'FILE'"),
        (["list", "scorer"], "is not one of"),
        (["--bogus"], "No such option"),
        (["fit", "table", "--option", "trees"], "no NAME=VALUE"),
        (["fit", "table", "--option", "trees=many"], "gbm's trees is 'many', expected a whole number"),
        (["fit", "table", "--option", "seed=3"], "gbm has no setting seed; it has trees"),
        (
            ["fit", "table", "--family", "mlp", "--option", "hidden=wide"],
            "mlp's hidden is 'wide', expected a list",
        ),
        (["fit", "table", "--family", "gbm", "--device", "cpu"], "gbm has no setting --device"),
        (["fit", "table", "--rounds", "first"], "no list of rounds"),
        (["fit", "table", "--threads", "0"], "not in the range"),
    ],
)
def test_each_error_is_one_clear_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert [path.name for path in tmp_path.iterdir()] == []


def truncated(source: Path, target: Path, share: float = 0.6) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(share * len(data))])
    return target


def test_truncated_files_are_refused(job: Path, tmp_path: Path) -> None:
    ticket = truncated(job / "trained.safetensors", tmp_path / "ticket.safetensors")
    for command in ("train", "evaluate", "show"):
        assert "damaged or truncated" in refused(command, ticket)
    table = tmp_path / "table"
    table.mkdir()
    truncated(next((job / "table").glob("*.parquet")), table / "lenet_300_100-digits-seed0.parquet")
    assert "seed0.parquet" in refused("fit", table)
    bundle = tmp_path / "predictor"
    bundle.mkdir()
    (bundle / "manifest.json").write_bytes((job / "predictor" / "manifest.json").read_bytes())
    truncated(job / "predictor" / "model.safetensors", bundle / "model.safetensors")
    assert "model.safetensors" in refused("prune", "--predictor", bundle)
    data = tmp_path / "mnist"
    data.mkdir()
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (data / f"{stem}-ubyte").write_bytes(b"\x00\x00\x08\x01" + struct.pack(">I", 100) + b"12345")
    assert "promises" in refused("prune", "--task", "mnist", "--data-dir", tmp_path)


def test_a_ticket_that_was_not_trained_cannot_be_evaluated(job: Path) -> None:
    assert "no trained weights" in refused("evaluate", job / "ticket.safetensors")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def net(:\n", "SyntaxError"),
        ("raise RuntimeError('on import')\n", "RuntimeError: on import"),
        ("net = 3\n", "is int, expected a function"),
        ("def net(width): pass\n", "called without arguments"),
        ("def net(): raise KeyError('width')\n", "raised KeyError: 'width'"),
        ("def net():\n    raise OSError\n", "raised OSError"),
    ],
)
def test_a_network_that_does_not_work_is_one_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert message in refused("prune", "--network", f"{name}:net", "--out", tmp_path / "ticket.safetensors")


def with_provenance(source: Path, target: Path, change: Any) -> Path:
    ticket = Ticket.load(source)
    provenance = json.loads(json.dumps(dict(ticket.provenance)))
    changed = change(provenance)
    Ticket(ticket.initial, ticket.mask, provenance if changed is None else changed, ticket.trained).save(target)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {}, "does not say which workload"),
        (lambda p: {"workload": []}, "does not say which workload"),
        (lambda p: p["workload"].update(task=["digits"]), "does not say which workload"),
        (lambda p: p["workload"].update(network=None), "does not say which workload"),
        (lambda p: p["workload"].update(recipe=[1, 2]), "expected a recipe as an object"),
        (lambda p: p["workload"]["recipe"].update(speed=3), "has no setting speed"),
        (lambda p: p["workload"]["recipe"].update(batch_size="64"), "batch_size is '64', expected a whole number"),
        (lambda p: p["workload"]["recipe"].update(batch_size=True), "batch_size is True"),
        (lambda p: p["workload"]["recipe"].update(patience=None), "patience is None"),
        (lambda p: p["workload"]["recipe"].update(learning_rate="fast"), "learning_rate is 'fast'"),
        (lambda p: p["workload"]["recipe"].update(betas=0.9), "betas is 0.9, expected two numbers in [0, 1)"),
        (lambda p: p["workload"]["recipe"].update(betas=[0.9, "x"]), "betas is [0.9, 'x']"),
        (lambda p: p["workload"]["recipe"].update(scoring_balanced=1), "scoring_balanced is 1"),
        (lambda p: p["workload"].update(task="digit"), "did you mean 'digits'"),
        (lambda p: p["workload"].update(data_digest="0" * 64), "not the data that the ticket was found with"),
        (lambda p: p.update(seed=None), "does not say its seed"),
        (lambda p: p.update(seed=-3), "does not say its seed"),
    ],
)
def test_tickets_with_odd_provenance_are_refused(job: Path, tmp_path: Path, change: Any, message: str) -> None:
    ticket = with_provenance(job / "trained.safetensors", tmp_path / "odd.safetensors", change)
    assert message in refused("train", ticket)
    if "seed" not in message:
        assert message in refused("evaluate", ticket)
    assert run("show", ticket).exit_code == 0


def test_a_network_whose_paths_cannot_be_followed_keeps_its_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scratchcard.pruning.connectivity import Connectivity

    def fail(*_: object) -> None:
        raise RuntimeError("no such path")

    monkeypatch.setattr(Connectivity, "of", fail)
    out = tmp_path / "ticket.safetensors"
    result = run("prune", "--scorer", "snip", *FAST, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["effective_density"] is None
    assert result.stderr.count("\n") == 1
    assert "its effective density is not known" in result.stderr
    assert Ticket.load(out).mask.kept == 1004
    assert "effective" not in run("prune", "--scorer", "snip", *FAST, "--out", out, "--overwrite").stdout


def test_places_are_checked_before_the_work(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for command in (["build"], ["demo"], ["fit", str(job / "table")]):
        assert "is a file" in refused(*command, "--out", file)
    assert "not a folder" in refused("prune", "--out", file / "deep" / "ticket.safetensors")
    assert "is a folder" in refused("train", job / "ticket.safetensors", "--out", tmp_path)
    assert "is a file" in refused("prune", "--rounds-dir", file)
    assert "is not a predictor bundle but holds" in refused("fit", job / "table", "--out", tmp_path)
    monkeypatch.setattr("scratchcard.artefacts.destination.tempfile.TemporaryFile", _deny)
    assert "nothing can be written to" in refused("prune", "--out", tmp_path / "ticket.safetensors")


def _deny(**_: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no memory")])
def test_out_of_memory_is_one_line(job: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("scratchcard.apply.pipeline.evaluate_ticket", fail)
    assert "out of memory" in refused("evaluate", job / "trained.safetensors")


def test_our_own_errors_stay_visible(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("scratchcard.apply.pipeline.evaluate_ticket", fail)
    result = run("evaluate", job / "trained.safetensors")
    assert isinstance(result.exception, RuntimeError)
