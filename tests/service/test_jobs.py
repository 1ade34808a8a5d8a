"""Pruning over HTTP: the same ticket as in this process, watched, fetched, cancelled; nothing of anybody else's."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from safetensors.torch import load, save

import scratchcard as sc
from scratchcard.frontends.service.app import Settled
from scratchcard.frontends.service.asked import METHOD, JobRequest
from scratchcard.frontends.service.job_routes import JobRoutes
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.tokens import Tokens
from scratchcard.settings import settings_of
from tests.service.conftest import ANN
from tests.service.running import ended, serving

QUICK = {"task": "digits", "scorer": "magnitude"}
SLOW = {"task": "digits", "scorer": "synflow", "regime": "UMS", "regime_settings": {"rounds": 20_000}, "density": 0.001}


def put(client: httpx2.Client, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    answer = client.put(f"/networks/{digest}", content=content)
    assert answer.status_code in (200, 201), answer.text
    return digest


def asked(client: httpx2.Client, **words: Any) -> str:
    answer = client.post("/jobs", json=QUICK | words)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    found: str = answer.json()["id"]
    return found


def same(one: sc.Ticket, other: sc.Ticket) -> bool:
    masks = zip(one.mask.tensors.items(), other.mask.tensors.items(), strict=True)
    states = zip(one.initial.items(), other.initial.items(), strict=True)
    return all(a == b and torch.equal(x, y) for pairs in (masks, states) for (a, x), (b, y) in pairs)


def test_a_ticket_is_the_one_of_a_local_prune_to_the_bit(ann: httpx2.Client) -> None:
    job = asked(ann, seed=3, density=[0.1, 0.02], scorer="snip", regime="UMS", regime_settings={"rounds": 3})
    assert ended(ann, job)["state"] == "done"
    method = sc.Method.of("snip", regime="UMS", rounds=3)
    for density in (0.1, 0.02):
        local = sc.prune("lenet_300_100", "digits", density, 3, method=method)
        ticket = sc.Ticket.load(ann.get(f"/jobs/{job}/ticket", params={"density": density}).content)
        assert same(ticket, local)
        mask = load(ann.get(f"/jobs/{job}/mask", params={"density": density}).content)
        assert all(torch.equal(mask[name], kept) for name, kept in local.mask.tensors.items())
        scores = sc.Scores(load(ann.get(f"/jobs/{job}/scores", params={"density": density}).content), "snip")
        assert scores.total == local.mask.total
        report = ann.get(f"/jobs/{job}/report").json()["densities"][str(density)]
        assert report["kept"] == local.mask.kept
        assert report["effective_density"] == local.provenance["checks"]["effective_density"]
    missing = ann.get(f"/jobs/{job}/ticket")
    assert (missing.status_code, missing.json()["detail"][:33]) == (400, "the job has the densities 0.1, 0.")


def test_results_that_are_deleted_while_they_are_asked_for_are_not_there(
    ann: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = asked(ann, density=0.1)
    assert ended(ann, job)["state"] == "done"
    monkeypatch.setattr(JobRoutes, "result", lambda *_: Path("deleted"))  # as found before it was deleted
    for part in ("report", "ticket"):
        answer = ann.get(f"/jobs/{job}/{part}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "the results of this job were removed")


@pytest.mark.slow
def test_scores_are_handed_out_in_ranges(ann: httpx2.Client) -> None:
    job = asked(ann, density=0.1)
    ended(ann, job)
    whole = ann.get(f"/jobs/{job}/scores").content
    part = ann.get(f"/jobs/{job}/scores", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole[100:300])
    beyond = ann.get(f"/jobs/{job}/scores", headers={"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416


@pytest.mark.slow
def test_uploaded_weights_and_data_are_pruned_and_no_folder_of_the_service_is_told(ann: httpx2.Client) -> None:
    network = sc.Workload("lenet_300_100", sc.load_task("digits")).build(11)
    weights = put(ann, save(network.state_dict()))
    inputs, targets = torch.randn(120, 1, 8, 8), torch.arange(120) % 10
    data = save({"train_inputs": inputs, "train_targets": targets})
    assert ann.put("/tasks/noise", content=data).status_code == 201
    assert ann.put("/tasks/weights", content=data).status_code == 201
    assert ended(ann, asked(ann, task="weights", weights=weights, density=0.1))["state"] == "done"
    job = asked(ann, task="noise", weights=weights, scorer="snip", density=0.1)
    assert ann.delete("/tasks/noise").status_code == 204  # the job has its own
    assert ann.delete(f"/networks/{weights}").status_code == 204
    assert ended(ann, job)["state"] == "done"
    ticket = sc.Ticket.load(ann.get(f"/jobs/{job}/ticket").content)
    assert all(torch.equal(ticket.initial[name], value) for name, value in network.state_dict().items())
    local = sc.prune(network, sc.Task.of(inputs, targets, name="noise"), 0.1, method="snip")
    assert same(ticket, local)
    assert ticket.provenance["workload"]["weights"] == "network.weights.safetensors"
    assert ticket.provenance["workload"]["task"] == "tensors:noise.safetensors"
    assert "/state" not in json.dumps(ticket.provenance)


@pytest.mark.slow
def test_pruning_that_reads_no_data_needs_no_task(ann: httpx2.Client) -> None:
    words = {"task": None, "scorer": None, "passes": 0, "input_shape": [1, 8, 8], "outputs": 10, "density": 0.05}
    job = asked(ann, **words)
    assert ended(ann, job)["state"] == "done"
    local = sc.prune("lenet_300_100", "digits", 0.05, passes=0)
    assert same(sc.Ticket.load(ann.get(f"/jobs/{job}/ticket").content), local)


@pytest.mark.slow
def test_a_predictor_of_the_folder_prunes_and_is_named_by_its_name(ann: httpx2.Client) -> None:
    job = asked(ann, scorer=None, predictor="policy", density=0.05)
    assert ended(ann, job)["state"] == "done"
    ticket = sc.Ticket.load(ann.get(f"/jobs/{job}/ticket").content)
    assert ticket.provenance["method"]["predictor"] == "policy"
    failed = ended(ann, asked(ann, scorer=None, predictor="line"))
    assert failed["state"] == "failed"  # its features are none that are known
    assert "state" not in failed["error"]


@pytest.mark.slow
def test_what_the_service_lacks_is_told_without_its_folders(ann: httpx2.Client) -> None:
    data = save({"train_inputs": torch.randn(60, 0), "train_targets": torch.arange(60) % 10})
    ann.put("/tasks/empty", content=data)
    failed = ended(ann, asked(ann, task="empty"))
    assert failed["state"] == "failed"
    assert "/" not in failed["error"]
    failed = ended(ann, asked(ann, task="cifar100"))  # whose data is nowhere here
    assert (failed["state"], "/" in failed["error"]) == ("failed", False)


@pytest.mark.slow
def test_events_tell_how_far_a_job_is_until_it_ends(ann: httpx2.Client) -> None:
    job = asked(ann, **{"scorer": "synflow", "regime": "UMS", "regime_settings": {"rounds": 1500}, "density": 0.05})
    seen: list[dict[str, Any]] = []
    with ann.stream("GET", f"/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        seen = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert seen[-1]["state"] == "done"
    steps = [each["progress"]["done"] for each in seen if each["progress"]]
    assert steps == sorted(steps)
    assert len(steps) > 1
    assert any(each["progress"]["seconds_left"] is not None for each in seen if each["progress"])


@pytest.mark.slow
def test_a_job_at_work_is_cancelled_and_one_that_ended_is_forgotten(ann: httpx2.Client) -> None:
    job = asked(ann, **SLOW)
    waits = asked(ann)
    while ann.get(f"/jobs/{job}").json()["state"] == "queued":
        time.sleep(0.02)
    assert ann.delete(f"/jobs/{job}").status_code == 204
    assert ann.get(f"/jobs/{job}").json()["state"] == "cancelled"
    assert ended(ann, waits)["state"] == "done"  # the worker is free again
    assert ann.get(f"/jobs/{job}/ticket").status_code == 409
    assert ann.delete(f"/jobs/{waits}").status_code == 204
    assert ann.get(f"/jobs/{waits}").status_code == 404


def test_an_idempotency_key_asks_once(ann: httpx2.Client, bob: httpx2.Client) -> None:
    key = {"Idempotency-Key": "once"}
    first = ann.post("/jobs", json=QUICK, headers=key).json()["id"]
    assert ann.post("/jobs", json=QUICK, headers=key).json()["id"] == first
    other = ann.post("/jobs", json=QUICK | {"seed": 1}, headers=key)
    assert (other.status_code, other.json()["detail"]) == (
        422,
        "this Idempotency-Key was used for another request; take a new one",
    )
    assert bob.post("/jobs", json=QUICK, headers=key).json()["id"] != first


def test_each_token_sees_only_its_own(ann: httpx2.Client, bob: httpx2.Client, address: str) -> None:
    weights = put(ann, save({"w": torch.ones(3)}))
    ann.put("/tasks/mine", content=save({"train_inputs": torch.ones(2, 2), "train_targets": torch.zeros(2)}))
    job = asked(ann)
    ended(ann, job)
    for path in (f"/networks/{weights}", "/tasks/mine", f"/jobs/{job}", f"/jobs/{job}/ticket", f"/jobs/{job}/events"):
        assert ann.get(path).status_code == 200
        assert bob.get(path).status_code == 404
        assert httpx2.get(address + path).status_code == 401
    for path in (f"/networks/{weights}", "/tasks/mine", f"/jobs/{job}"):
        assert bob.delete(path).status_code == 404
    assert job not in bob.get("/jobs").text
    assert bob.get("/networks").json() == bob.get("/tasks").json() == []
    refused = bob.post("/jobs", json=QUICK | {"weights": weights})
    assert (refused.status_code, "among the files of this token" in refused.json()["detail"]) == (422, True)
    assert bob.post("/jobs", json=QUICK | {"task": "mine"}).status_code == 422
    assert job in ann.get("/jobs").text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"network": "os:system"}, "the network 'os:system' is code that is not allowed here; allowed are none"),
        ({"task": "os:getcwd"}, "the task 'os:getcwd' is code that is not allowed here"),
        ({"task": "tensors:/etc/passwd"}, "is code that is not allowed here"),
        ({"task": "image_folder:/etc"}, "is code that is not allowed here"),
        ({"task": "../digits"}, "'../digits' is no name of a task"),
        ({"task": "text_folder:/etc"}, "is code that is not allowed here"),
        ({"task": "digits,words=3"}, "digits has no options"),
        ({"task": "movie_reviews,fold=99"}, "fold is '99'"),
        ({"network": "text_cnn,vectors=/etc/passwd"}, "the option vectors of text_cnn is not taken here"),
        ({"task": "digit"}, "did you mean 'digits'?"),
        ({"network": "lenet"}, "unknown"),
        pytest.param({"network": "torchvision:resnet19"}, "did you mean", marks=pytest.mark.slow),
        ({"scorer": "snipe"}, "did you mean 'snip'?"),
        ({"scorer": None, "predictor": "/etc"}, "there is no predictor '/etc'; there are default, early, line, policy"),
        ({"scorer": None, "predictor": ".."}, "there is no predictor"),
        ({"regime_settings": {"rounds": 3}}, "has no setting rounds"),
        ({"regime_settings": {"predictor_identity": "x"}}, "predictor_identity is no setting of a regime"),
        ({"density": 0}, "density"),
        ({"density": [0.1, 0.1]}, "a density is given twice"),
        ({"density": []}, "density"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"recipe": "nothing"}, "nothing"),
        ({"recipe_settings": {"learning_rate": -1}}, "learning_rate"),
        ({"passes": 4}, "passes chooses the method"),
        ({"task": None}, "there is no task: name one"),
        ({"surprise": 1}, "surprise"),
        ({"weights": "0" * 64}, "among the files of this token; PUT it first"),
        ({"weights": "../../etc/passwd"}, "weights"),
        ({"task": None, "input_shape": [65536, 65536], "outputs": 2}, "more than 16,777,216 numbers"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_waits(ann: httpx2.Client, words: dict[str, Any], said: str) -> None:
    given = {name: value for name, value in (QUICK | words).items() if value is not None}
    answer = ann.post("/jobs", json=given)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[httpx2.Client]:
    """A service with narrow limits."""
    limits = Limits(job_megabytes=64, job_seconds=3.0, own_jobs=2, waiting_jobs=1)
    settled = Settled(tmp_path / "state", tokens=Tokens.parsed(f"ann {ANN}"), limits=limits)
    headers = {"Authorization": f"Bearer {ANN}"}
    with serving(settled) as address, httpx2.Client(base_url=address, headers=headers, timeout=60) as client:
        yield client


@pytest.mark.slow
def test_jobs_have_limits_on_memory_and_time_and_the_queue_on_its_length(tight: httpx2.Client) -> None:
    large = {"network": "vgg_19", "task": None, "input_shape": [3, 32, 32], "outputs": 10}
    answer = tight.post("/jobs", json={name: value for name, value in (QUICK | large).items() if value is not None})
    failed = ended(tight, answer.json()["id"])
    assert (failed["state"], failed["error"]) == ("failed", "it took more than the 64 MB that a job may take")
    slow = asked(tight, **SLOW)
    while tight.get(f"/jobs/{slow}").json()["state"] == "queued":
        time.sleep(0.02)
    asked(tight)
    full = tight.post("/jobs", json=QUICK)
    assert full.status_code == 503
    assert "1 jobs wait already" in full.json()["detail"]
    assert int(full.headers["retry-after"]) >= 1
    failed = ended(tight, slow)
    assert (failed["state"], failed["error"]) == ("failed", "it took longer than the 3 s that a job may take")


def test_every_setting_of_a_method_can_be_asked_for() -> None:
    kept_back = {"predictor_name", "predictor_identity"}  # of grids
    assert set(METHOD) | {"predictor"} == settings_of(sc.Method).keys() - kept_back
    assert {*METHOD, "predictor"} <= JobRequest.model_fields.keys()


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        ('{"task": "digits"', "application/json", 400, "the body is no JSON: "),
        ('{"task": "digits"}', "text/plain", 422, "send it with the header Content-Type: application/json"),
        ('{"densty": 0.1}', "application/json", 422, "densty is no member of what is asked here; "),
        ('{"density": 1.5}', "application/json", 422, "density is 1.5, expected at most 1"),
        ('{"density": [0.1, 2]}', "application/json", 422, "density.1 is 2, expected at most 1"),
        ('{"density": "half"}', "application/json", 422, "density is half, expected a number"),
        ('{"density": []}', "application/json", 422, "density is [], expected "),
        ('{"seed": -1}', "application/json", 422, "seed is -1, expected at least 0"),
        ('{"seed": 0.5}', "application/json", 422, "seed is 0.5, expected a whole number"),
        ('{"task": ""}', "application/json", 422, "task is , expected a text of at least 1 characters"),
        ('{"weights": "ab"}', "application/json", 422, "weights is ab, expected a text of the form ^[0-9a-f]{64}$"),
        ('{"regime_settings": 3}', "application/json", 422, "regime_settings is 3, expected an object with names"),
        ("[]", "application/json", 422, "the body is [], expected an object with names"),
    ],
)
def test_a_body_that_is_not_understood_is_told(
    ann: httpx2.Client, body: str, kind: str, status: int, said: str
) -> None:
    answer = ann.post("/jobs", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.json()["detail"]
    assert not re.search(r"[Ii]nput should|[Ss]tring should|density is \[0.1", answer.text)


def test_an_address_of_no_job_has_nothing(ann: httpx2.Client) -> None:
    for name in ("xx", "0" * 24, "a%20b", "%00", "x" * 500):
        for address in (f"/jobs/{name}", f"/jobs/{name}/report", f"/jobs/{name}/events", f"/jobs/{name}/mask"):
            assert ann.get(address).status_code == 404
        assert ann.delete(f"/jobs/{name}").status_code == 404


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"train_inputs": torch.ones(9, 2)}, "the file lacks train_targets; it has train_inputs"),
        ({"0.weight": torch.ones(2)}, "the file has an entry '0.weight', expected train_inputs, train_targets"),
        (
            {"train_inputs": torch.ones(9, 2), "train_targets": torch.ones(9), "test_inputs": torch.ones(9, 2)},
            "the file lacks test_targets",
        ),
    ],
)
def test_a_file_of_no_task_is_refused_when_it_comes(
    ann: httpx2.Client, data: dict[str, torch.Tensor], said: str
) -> None:
    answer = ann.put("/tasks/no_task", content=save(data))
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.json()["detail"]
    assert ann.get("/tasks/no_task").status_code == 404
    assert "[" not in answer.json()["detail"]
