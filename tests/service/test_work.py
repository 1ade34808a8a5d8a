"""What a worker does in a job's folder, called here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import scratchcard as sc
from scratchcard.apply.shipped import shipped
from scratchcard.frontends.service.app import Settled
from scratchcard.frontends.service.work import GIVEN, REQUEST, RESULT, WEIGHTS, Order, work
from tests.service.test_jobs import same


def ordered(folder: Path, request: dict[str, Any], predictor: Path | None = None) -> Order:
    (folder / GIVEN).mkdir(parents=True, exist_ok=True)
    (folder / REQUEST).write_text(json.dumps(request))
    return Order("ab", str(folder), str(folder / "leases"), None, predictor and str(predictor), 100_000)


def listing(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["rounds", "given"])
def test_a_predictor_of_any_name_stays_as_it_is(tmp_path: Path, name: str) -> None:
    shelved = tmp_path / "predictors" / name
    for version in ("1", "2"):
        shutil.copytree(shipped("policy")[0], shelved / version, ignore=shutil.ignore_patterns("tickets"))
    before = listing(shelved)
    trained = {"regime": "ISS", "regime_settings": {"rounds": 2}, "recipe_settings": {"max_steps": 4}}
    request = {"task": "digits", "predictor": name, "density": 0.3} | trained
    folder = tmp_path / "job"
    broken = ordered(folder, request | {"recipe_settings": {"batch_size": 10**9}}, shelved / "1")
    assert work(broken)["state"] == "failed"
    assert work(ordered(folder, request, shelved / "2")) == {"state": "done"}  # the next attempt, at a later version
    assert (folder / GIVEN / name).resolve() == shelved / "2"
    assert listing(shelved) == before
    ticket = sc.Ticket.load(folder / RESULT / "ticket-0.3.safetensors")
    assert ticket.provenance["method"]["predictor"] == name
    assert str(tmp_path) not in json.dumps(ticket.provenance)
    workload = sc.Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=4))
    method = sc.Method.of(predictor=str(shelved / "2"), regime="ISS", rounds=2)
    with pytest.warns(UserWarning, match="lies outside of what the predictor"):
        assert same(ticket, sc.prune(workload, method, density=0.3))


def test_folders_of_the_service_are_seen_from_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settled = Settled(Path("state"), Path("predictors"), Path("data"))
    assert (settled.predictors, settled.data_dir) == (tmp_path / "predictors", tmp_path / "data")


def test_sentences_name_what_the_client_sent(tmp_path: Path) -> None:
    data, digest = {"train_inputs": torch.randn(60, 4)}, "ab" * 32
    order = ordered(tmp_path / "lacks", {"task": "bad", "scorer": "snip"})
    save_file(data, tmp_path / "lacks" / GIVEN / "bad.safetensors")
    assert work(order) == {"state": "failed", "error": "bad lacks train_targets; it has train_inputs"}
    order = ordered(tmp_path / "odd", {"task": "bad", "scorer": "snip"})
    save_file(data | {"train_targets": torch.arange(50)}, tmp_path / "odd" / GIVEN / "bad.safetensors")
    text = work(order)["error"]
    assert (".safetensors" in text, text.count("bad")) == (False, 1), text
    order = ordered(tmp_path / "job", {"task": "digits", "scorer": "snip", "weights": digest})
    save_file(data, tmp_path / "job" / GIVEN / f"{WEIGHTS}.safetensors")
    assert work(order)["error"].startswith("the weights in abababababab do not fit the network")
