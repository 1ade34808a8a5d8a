"""The Open Inference Protocol: an unchanged public client, what servers are known to get wrong, every refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from scratchcard.apply.shipped import SHIPPED
from scratchcard.frontends.service.app import Settled
from scratchcard.frontends.service.columns import HEADER
from tests.service.running import serving

INFER = "/v2/models/line/versions/1/infer"


def column(name: str, numbers: Any, **changes: Any) -> dict[str, Any]:
    given = {"name": name, "datatype": "FP32", "shape": [len(numbers)], "data": numbers} | changes
    return {key: value for key, value in given.items() if value is not None}


def body(*inputs: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs)} | more


@pytest.fixture
def client(predictors: Path, tmp_path: Path) -> Iterator[triton.InferenceServerClient]:
    with serving(Settled(tmp_path / "state", predictors)) as address:
        found = triton.InferenceServerClient(address.removeprefix("http://"))
        yield found
        found.close()


def inputs(rows: np.ndarray, *, binary: bool) -> list[triton.InferInput]:
    found = []
    for name, values in zip("ab", rows.T, strict=True):
        each = triton.InferInput(name, [len(values)], "FP32")
        each.set_data_from_numpy(np.ascontiguousarray(values), binary_data=binary)
        found.append(each)
    return found


def test_an_unchanged_public_client_lists_describes_and_calls(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("line")
    assert client.is_model_ready("line", "2")
    assert client.get_server_metadata()["name"] == "scratchcard"
    listed = {(each["name"], each["version"], each["state"]) for each in client.get_model_repository_index()}
    assert {("line", "1", "READY"), ("line", "2", "READY"), ("default", "1", "READY")} <= listed
    told = client.get_model_metadata("line")
    assert told["versions"] == ["1", "2"]
    assert told["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [-1]}
    rows = np.random.default_rng(0).normal(size=(70_000, 2)).astype(np.float32)  # more than a block
    for binary in (True, False):
        wanted = [triton.InferRequestedOutput("scores", binary_data=binary)]
        found = client.infer("line", inputs(rows, binary=binary), outputs=wanted, request_id="seven")
        # Independently: float64 arithmetic on the float32 columns.
        assert np.allclose(found.as_numpy("scores"), 3.0 * rows[:, 0].astype(np.float64) - rows[:, 1], atol=1e-6)
        assert found.get_response()["id"] == "seven"
    first = client.infer("line", inputs(rows[:3], binary=True), model_version="1").as_numpy("scores")
    assert np.allclose(first, 2.0 * rows[:3, 0] - rows[:3, 1])


def test_a_public_client_shows_why_it_was_refused(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="there is no predictor 'lime'; there are"):
        client.get_model_metadata("lime")
    wrong = triton.InferInput("a", [2], "INT64")
    wrong.set_data_from_numpy(np.array([1, 2], dtype=np.int64))
    other = inputs(np.ones((2, 2), dtype=np.float32), binary=True)
    with pytest.raises(InferenceServerException, match="input 'a' has the datatype 'INT64': expected FP32"):
        client.infer("line", [wrong, other[1]])
    found = client.infer("line", other).as_numpy("scores")  # the connection goes on
    assert found.tolist() == [2.0, 2.0]


def test_flat_and_nested_data_give_the_same(ann: httpx2.Client) -> None:
    flat = ann.post(INFER, json=body(column("b", [1, 2]), column("a", [0.5, 4])))
    nested = ann.post(INFER, json=body(column("a", [[0.5], [4]], shape=[2, 1]), column("b", [[1], [2]])))
    assert flat.json()["outputs"] == nested.json()["outputs"]
    assert flat.json()["outputs"][0] == {"name": "scores", "datatype": "FP64", "shape": [2], "data": [0.0, 6.0]}
    assert ann.post(INFER, json=body(column("a", []), column("b", []))).json()["outputs"][0]["data"] == []


A, B = column("a", [1, 2]), column("b", [1, 2])
REFUSED: list[tuple[Any, str]] = [
    (b"{", "the request is no JSON"),
    (b"NaN", "the request is no JSON"),  # kserve 3117: not a "scalar NaN"
    (b'{"inputs": NaN}', "the request is no JSON"),
    (b'{"inputs": [{"name": "a", "data": [NaN]}]}', "the request is no JSON"),
    (b"[" * 5000, "the request is no JSON"),
    (b"\xff\xfe", "the request is no JSON"),
    ([1], "the request is a list, expected a JSON object"),
    ({}, "the member inputs is missing, expected a list of objects"),
    ({"inputs": {"a": [1]}}, "the member inputs is an object, expected a list of objects"),
    (body(column("a", [1, 2], shape=None), B), "input 'a' has no shape: expected FP32 of shape [n] or [n, 1]"),  # 3478
    (body(column("a", [1, 2], datatype=None), B), "input 'a' has no datatype: expected FP32"),
    (body(column("a", [1, 2], datatype="BYTES"), B), "input 'a' has the datatype 'BYTES': expected FP32"),
    (body(column("a", [1, 2], shape=[1, 2]), B), "input 'a' has the shape [1, 2]: expected FP32 of shape [n]"),  # 5188
    (body(column("a", [1, 2], shape=[-1]), B), "the shape of input 'a' is [-1]: expected FP32"),
    (body(column("a", [1, 2], shape="2"), B), "the shape of input 'a' is '2'"),
    (body(column("a", [1, 2], shape=[3]), B), "input 'a' of shape [3] has 2 numbers: expected 3 numbers"),
    (body(column("a", [1, 2], data=None), B), "input 'a' has no data"),
    (body(column("a", [1, "2"]), B), "input 'a' of shape [2] holds a text: expected 2 numbers"),
    (body(column("a", [1, True]), B), "input 'a' of shape [2] holds true or false"),
    (body(column("a", [1, None]), B), "input 'a' of shape [2] holds null"),
    (body(column("a", [[1, 2], [3, 4]]), B), "input 'a' of shape [2] has nested data of another shape"),
    (body(column("a", [1, 1e300]), B), "input 'a' holds NaN or infinity, expected finite FP32"),
    (body(column("a", [1, 10**400]), B), "input 'a' of shape [2] holds a number beyond FP32"),
    (body(A, column("b", [1])), "input 'b' has 1 rows and 'a' has 2; all need as many"),
    (body(A), "input 'b' is missing: expected FP32 of shape [n] or [n, 1]; it is one of a, b"),
    (body(A, A, B), "input 'a' is given twice"),
    (body(A, B, column("c", [1, 2])), "there is no input 'c': expected a, b, each FP32"),
    (body({"shape": [2]}, B), "input number 1 has no name"),
    (body(A, B, outputs=[{"name": "label"}]), "there is no output 'label': the only one is 'scores'"),
    (body(A, B, id=7), "the request's id is a number, expected a text"),
    (body(column("a", [1, 2], data=None, parameters={"binary_data_size": 8}), B), "binary_data_size 8 of 0 bytes left"),
]


@pytest.mark.parametrize(("sent", "said"), REFUSED)
def test_a_refusal_says_what_came_and_what_was_expected(ann: httpx2.Client, sent: Any, said: str) -> None:
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    answer = ann.post(INFER, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["detail"].startswith(said) or said in problem["detail"]
    assert problem["error"] == problem["detail"]
    assert problem["status"] == 400
    assert ann.post(INFER, json=body(A, B)).status_code == 200  # on the same connection


@pytest.mark.parametrize(
    ("length", "sent", "said"),
    [
        ("x", b"{}", "expected the number of bytes of the JSON"),
        ("-1", b"{}", "expected the number of bytes of the JSON"),
        ("3", b"{}", "expected the number of bytes of the JSON, up to the body's 2"),
        ("1e3", b"{}", "expected the number of bytes of the JSON"),
    ],
)
def test_a_wrong_header_length_is_refused(ann: httpx2.Client, length: str, sent: bytes, said: str) -> None:
    answer = ann.post(INFER, content=sent, headers={HEADER: length})
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_binary_data_that_no_input_has_or_that_is_missing_is_refused(ann: httpx2.Client) -> None:
    parts = [column(name, [1], data=None, parameters={"binary_data_size": 4}) for name in "ab"]
    head = json.dumps(body(*parts)).encode()
    numbers = np.array([1, 2], dtype="<f4").tobytes()
    for content, status in ((numbers, 200), (numbers[:-1], 400), (numbers + b"1", 400), (b"", 400)):
        answer = ann.post(INFER, content=head + content, headers={HEADER: str(len(head))})
        assert answer.status_code == status, answer.text
    infinite = np.array([1, np.inf], dtype="<f4").tobytes()
    answer = ann.post(INFER, content=head + infinite, headers={HEADER: str(len(head))})
    assert "input 'b' holds NaN or infinity" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v2/models/line", "/v2/models/line/versions/2"])
@pytest.mark.parametrize("end", ["", "/"])
def test_all_forms_of_a_path_answer(ann: httpx2.Client, path: str, end: str) -> None:
    """kserve 2955: one path of V2 failed where another answered."""
    assert ann.get(path + end).json()["name"] == "line"
    assert ann.get(f"{path}/ready{end}").status_code == 200
    assert ann.post(f"{path}/infer{end}", json=body(A, B)).json()["model_version"] == "2"
    for wrong in ("/v2/models/line/versions/3", "/v2/models/none", "/v2/models/..%2F..%2Fetc"):
        for end_ in ("", "/ready"):
            assert ann.get(wrong + end_).status_code == 404
        assert ann.post(f"{wrong}/infer", json=body(A, B)).status_code == 404


def test_a_large_request_goes_through_a_file(ann: httpx2.Client) -> None:
    rows = 1_500_000
    values = np.arange(2 * rows, dtype="<f4")
    parts = [column(n, [0], shape=[rows], data=None, parameters={"binary_data_size": 4 * rows}) for n in "ab"]
    head = json.dumps(body(*parts, parameters={"binary_data_output": True})).encode()
    answer = ann.post(INFER, content=head + values.tobytes(), headers={HEADER: str(len(head))})
    told = int(answer.headers[HEADER])
    scores = np.frombuffer(answer.content[told:], dtype="<f8")
    assert np.allclose(scores, 2.0 * values[:rows] - values[rows:].astype(np.float64), rtol=1e-6)
    too_much = ann.post(INFER, content=b" " * (17 << 20), headers={"Content-Type": "application/json"})
    assert too_much.status_code == 413
    assert "send such batches as binary tensors" in too_much.json()["detail"]


def test_while_the_folder_of_predictors_is_away_the_shipped_ones_answer(predictors: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(predictors, tmp_path / "predictors"))
    with serving(Settled(tmp_path / "state", folder)) as address, httpx2.Client(base_url=address) as client:
        own = next(each["name"] for each in client.post("/v2/repository/index").json() if each["name"] not in SHIPPED)
        assert client.get(f"/v2/models/{own}").status_code == 200
        folder.rename(tmp_path / "elsewhere")
        for answer in (client.post("/v2/repository/index"), client.get(f"/v2/models/{own}"), client.get("/choices")):
            told = answer.json()["detail"]
            assert (answer.status_code, told) == (503, "the folder of predictors cannot be read now; ask again later")
            assert int(answer.headers["retry-after"]) > 0
        assert client.get("/v2/models/policy/ready").status_code == 200
        (tmp_path / "elsewhere").rename(folder)
        assert client.get(f"/v2/models/{own}").status_code == 200
