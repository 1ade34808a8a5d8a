"""What means no good: each is a 4xx problem document or a closed connection, and the service is ready after it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from safetensors.torch import save

from scratchcard.frontends.service.app import Settled
from scratchcard.frontends.service.limits import Limits
from scratchcard.frontends.service.tensor_header import check_header
from scratchcard.frontends.service.tokens import Tokens
from tests.service.conftest import ANN
from tests.service.running import serving

SLOW = 0.6


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A service that waits for nobody, and its state folder."""
    limits = Limits(slow_seconds=SLOW, upload_megabytes=2, quota_megabytes=3, connections=20, requests_per_second=1e4)
    state = tmp_path_factory.mktemp("narrow") / "state"
    tokens = Tokens.parsed(f"ann {ANN}\nbob bob-token-0123456789")
    with serving(Settled(state, tokens=tokens, limits=limits)) as address:
        yield address, state


@pytest.fixture(scope="module")
def tokenless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service for this machine alone."""
    with serving(Settled(tmp_path_factory.mktemp("tokenless") / "state")) as address:
        yield address


def talk(address: str, content: bytes, *, wait: float = 5.0) -> bytes:
    """What is answered to raw bytes until the connection is closed, or nothing comes."""
    host, port = address.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        try:
            connection.sendall(content)
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
    return answer


def header(tensors: dict[str, Any]) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


BOMBS = {
    "a header of 2^63 bytes": bytes([255] * 8) + b"{}",
    "a header of 3 MB": (3_000_000).to_bytes(8, "little") + b"{" + b" " * 1000,
    "no JSON": header({})[:-1] + b"x",
    "deep JSON": (5000).to_bytes(8, "little") + b"[" * 5000,
    "no tensor": header({}),
    "a product beyond the place": header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}})
    + b"1234",
    "a place beyond the file": header({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}),
    "an unknown type": header({"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 1]}}) + b"1",
    "overlapping places": header({name: {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]} for name in ("a", "b")})
    + b"12",
    "a gap": header({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}) + b"12",
    "numbers that are none": header({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}) + b"1",
    "too many tensors": header({f"{n}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(10_001)}),
    "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a zip": b"PK\x03\x04" + b"0" * 200,
    "nothing": b"",
}

SAID = {
    "a header of 2^63 bytes": "or its header has more than",
    "a header of 3 MB": "or its header has more than",
    "no JSON": "its header is no JSON",
    "deep JSON": "its header is no JSON",
    "no tensor": "it holds 0 tensors",
    "a product beyond the place": "and its place has 4",
    "a place beyond the file": "and the file has 0 for them",
    "an unknown type": "is of 'PICKLE'",
    "overlapping places": "does not follow the one before it",
    "a gap": "does not follow the one before it",
    "numbers that are none": "has the shape [True]",
    "too many tensors": "it holds 10,001 tensors",
    "a pickle": "or its header has more than",
    "a zip": "or its header has more than",
    "nothing": "no whole safetensors file",
}


@pytest.mark.parametrize("what", BOMBS)
def test_what_is_no_honest_safetensors_file_is_refused_and_nothing_of_it_stays(
    narrow: tuple[str, Path], what: str
) -> None:
    address, state = narrow
    with httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {ANN}"}) as client:
        content = BOMBS[what]
        for path in (f"/networks/{hashlib.sha256(content).hexdigest()}", "/tasks/bomb"):
            answer = client.put(path, content=content)
            assert answer.status_code == 422, answer.text
            assert SAID[what] in answer.json()["detail"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert client.get(path).status_code == 404
    assert not [path for path in state.rglob("*") if path.suffix in (".part", ".safetensors")]


def test_a_header_is_refused_before_the_rest_has_come(narrow: tuple[str, Path]) -> None:
    address, _ = narrow
    head = f"PUT /networks/{'0' * 64} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\n"
    head += "Content-Length: 1500000\r\n\r\n"
    begun = time.monotonic()
    answer = talk(address, head.encode() + bytes([255] * 2_000))
    # The refusal comes once a piece is whole or the sender has paused; never is the rest needed.
    assert b" 4" in answer.split(b"\r\n")[0]
    assert time.monotonic() - begun < 5


def test_limits_on_uploads(narrow: tuple[str, Path]) -> None:
    address, state = narrow
    with httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {ANN}"}) as client:
        content = save({"train_inputs": torch.zeros(1000, 299), "train_targets": torch.zeros(1000)})
        digest = hashlib.sha256(content).hexdigest()
        wrong = client.put(f"/networks/{'0' * 64}", content=content)
        assert (wrong.status_code, "the sha256 of what came is" in wrong.json()["detail"]) == (422, True)
        large = client.put("/tasks/large", content=b"0" * 2_000_001)
        assert (large.status_code, large.json()["status"]) == (413, 413)
        endless = client.put("/tasks/large", content=(b"0" * 100_000 for _ in range(30)))  # without a length
        assert endless.status_code in (413, 422)
        assert client.put(f"/networks/{digest}", content=content).status_code == 201
        assert client.put("/tasks/one", content=content).status_code == 201
        quota = client.put("/tasks/two", content=content)
        assert (quota.status_code, "would take more than 3,000,000 bytes" in quota.json()["detail"]) == (413, True)
        packed = client.put("/tasks/one", content=content, headers={"Content-Encoding": "gzip"})
        assert packed.status_code == 415
        assert client.put("/tasks/mnist", content=content).status_code == 409
        for path in (f"/networks/{digest}", "/tasks/one"):
            assert client.delete(path).status_code == 204
        gone = client.put("/tasks/one", content=content, headers={"Content-Range": "bytes 5-9/10"})
        assert gone.status_code == 400
        length = len(content) - 1000
        ahead = {"Content-Range": f"bytes 1000-{len(content) - 1}/{len(content)}", "Content-Length": str(length)}
        nothing = client.put(f"/networks/{digest}", content=content[1000:], headers=ahead)
        assert (nothing.status_code, nothing.headers["upload-offset"]) == (409, "0")
    assert not list(state.rglob("*.part"))


@pytest.mark.parametrize("path", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "..", "a/../../b", "a%00b", "x" * 65, ".hidden"])
def test_no_name_leads_out_of_its_folder(narrow: tuple[str, Path], path: str) -> None:
    address, state = narrow
    before = {each for each in state.parent.rglob("*") if "jobs.sqlite" not in each.name}
    for kind in ("tasks", "networks", "jobs"):
        for method in (b"PUT", b"GET", b"DELETE"):
            head = f" /{kind}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\nConnection: close\r\n"
            answer = talk(address, method + head.encode() + b"Content-Length: 0\r\n\r\n")
            assert answer.split(b" ")[1] in (b"400", b"404", b"405", b"422"), answer[:200]
    assert {each for each in state.parent.rglob("*") if "jobs.sqlite" not in each.name} == before


def test_wrong_tokens_are_refused(narrow: tuple[str, Path]) -> None:
    address, _ = narrow
    basic = base64.b64encode(f"ann:{ANN}".encode()).decode()
    wrong = [None, "", "Bearer", f"Basic {basic}", f"Bearer {ANN}x", f"Bearer {ANN[:-1]}", f"Token {ANN}"]
    for word in wrong:
        answer = httpx2.get(f"{address}/jobs", headers={} if word is None else {"Authorization": word})
        assert answer.status_code in (401, 429)
        assert ANN not in answer.text
    assert httpx2.get(f"{address}/metrics").status_code in (401, 429)


@pytest.mark.slow
def test_senders_that_never_end_are_closed(narrow: tuple[str, Path]) -> None:
    address, _ = narrow
    begins = [
        b"",
        b"GET /v2 HTTP/1.1\r\nHo",
        f"PUT /tasks/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\nContent-Length: 100\r\n\r\nab".encode(),
        f"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\nContent-Length: 100\r\n\r\n{{".encode(),
    ]
    for begin in begins:
        begun = time.monotonic()
        answer = talk(address, begin, wait=10)
        assert time.monotonic() - begun < SLOW + 3
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in answer
    begun = time.monotonic()
    port = int(address.rpartition(":")[2])
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as drops:
        for letter in begins[1] * 100:  # a letter at a time
            drops.send(bytes([letter]))
            time.sleep(0.05)
    assert time.monotonic() - begun < SLOW + 3


def test_open_connections_have_a_limit(narrow: tuple[str, Path]) -> None:
    address, _ = narrow
    host, port = "127.0.0.1", int(address.rpartition(":")[2])
    held = [socket.create_connection((host, port)) for _ in range(20)]
    time.sleep(0.1)
    assert talk(address, b"").startswith(b"HTTP/1.1 503 ")
    for each in held:
        each.close()
    time.sleep(0.1)
    assert httpx2.get(f"{address}/v2/health/ready").status_code == 200


@pytest.mark.slow
def test_a_page_of_another_site_is_not_answered_where_there_are_no_tokens(tmp_path: Path) -> None:
    with serving(Settled(tmp_path / "state")) as address:
        port = address.rpartition(":")[2]
        for name in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example"):
            assert httpx2.get(f"{address}/jobs", headers={"Host": name}).status_code == 403
        foreign = {"Origin": "http://evil.example"}
        assert httpx2.post(f"{address}/jobs", json={"task": "digits"}, headers=foreign).status_code == 403
        form = httpx2.post(f"{address}/jobs", content=b'{"task": "digits"}', headers={"Content-Type": "text/plain"})
        assert form.status_code in (415, 422)
        assert httpx2.get(f"http://localhost:{port}/jobs", headers={"Origin": f"http://localhost:{port}"}).json() == []


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Host: [", b"400"),
        ("Host: [::1", b"400"),
        ("Host: localhost:abc", b"400"),
        ("Host: localhost:8000.evil.com", b"400"),
        ("Host: evil@localhost", b"400"),
        ("Host: localhost\r\nOrigin: http://[", b"403"),
        ("Host: localhost\r\nOrigin: null", b"403"),
        ("Host: localhost\r\nOrigin: http://localhost:1", b"403"),
        ("Host: [::1]:8000\r\nOrigin: http://[::1]:8000", b"200"),
        ("Host: LOCALHOST:8000", b"200"),
    ],
)
def test_a_name_that_is_none_is_refused(tokenless: str, said: str, status: bytes) -> None:
    answer = talk(tokenless, f"GET /jobs HTTP/1.1\r\n{said}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] == status, answer


METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "BREW", "\x00"]
PATHS = [
    "/jobs",
    "/jobs/%00",
    f"/networks/{'0' * 64}",
    "/tasks/a",
    "/v2/models/policy/infer",
    "/v2",
    "/metrics",
    "//",
    "*",
    f"/v2/models/{'x' * 9000}",
    f"/jobs/{'f' * 24}/scores?density=nan",
    "/jobs?limit=1e9",
    "/\xff",
    "/?a=%zz",
]
BODIES = [
    b"",
    b"{}",
    b'{"task": "digits"',
    b'{"task": NaN}',
    b"[" * 3000,
    b"\x00" * 500,
    b'{"seed": 1' + b"0" * 400 + b"}",
    b'{"density": 1e999}',
    b'{"network": "\\ud800"}',
    bytes(range(256)),
    BOMBS["a gap"],
]
EXTRA = [
    "",
    "Transfer-Encoding: chunked\r\n",
    "Inference-Header-Content-Length: 99\r\n",
    "Range: bytes=9-1\r\n",
    "Content-Range: bytes 0-0/0\r\n",
    f"X: {'y' * 40_000}\r\n",
    "Expect: 200-ok\r\n",
    "Upgrade: websocket\r\n",
    "Content-Type: application/xml\r\n",
    "Idempotency-Key: \x01\r\n",
    "bad header\r\n",
    "Repr-Digest: md5=:a:\r\n",
]


def _hostile(rng: random.Random) -> bytes:
    """A request with something wrong with it."""
    method, path, body, extra = (rng.choice(some) for some in (METHODS, PATHS, BODIES, EXTRA))  # type: ignore[arg-type]
    token = rng.choice([f"Bearer {ANN}", "Bearer wrong", "Bearer \xff", "x" * 5000, ""])
    right = str(len(body))
    length = rng.choice([right, right, "-1", "1e3", "99999999999999999999", str(len(body) + 10), "", "0"])
    head = f"{method} {path} HTTP/{rng.choice(['1.1', '1.1', '1.0', '9.9'])}\r\nHost: x\r\nAuthorization: {token}\r\n"
    content = f"{head}Content-Length: {length}\r\nContent-Type: application/json\r\n{extra}Connection: close\r\n\r\n"
    whole = content.encode("latin-1") + body
    return whole[: rng.randrange(1, len(whole))] if rng.random() < 0.2 else whole


def _hostile_requests(address: str, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(count):
        sent = _hostile(rng)
        answer = talk(address, sent, wait=10)
        status = answer[9:12]
        # What happens to be right is answered; an empty answer is a connection that was closed.
        assert not answer or status[:1] in (b"2", b"4"), (number, sent[:300], answer[:500])
        if status[:1] == b"4" and not sent.startswith(b"HEAD"):
            assert b"content-type: application/problem+json" in answer.lower(), (sent[:300], answer[:500])
    assert httpx2.get(f"{address}/v2/health/ready").status_code == 200


@pytest.mark.slow
def test_hostile_requests_are_refused(narrow: tuple[str, Path]) -> None:
    _hostile_requests(narrow[0], 40, seed=1)


@pytest.mark.slow
def test_two_thousand_hostile_requests_are_refused(narrow: tuple[str, Path]) -> None:
    _hostile_requests(narrow[0], 2000, seed=2)


def test_the_header_of_an_honest_file_passes() -> None:
    content = save({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int64), "c": torch.zeros(0)})
    size = int.from_bytes(content[:8], "little")
    assert len(check_header(content[8 : 8 + size], len(content))) == 3


def test_a_token_file_is_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# a remark\nann {ANN}\n\nbob bob-token-0123456789  # the second\n")
    path.chmod(0o600)
    assert Tokens.read(path).owner(f"bearer {ANN}") == "ann"
    path.chmod(0o644)
    with pytest.warns(UserWarning, match="can be read by everybody"):
        Tokens.read(path)
    for text, said in (
        ("ann short", "too short"),
        ("../x aaaaaaaaaaaaaaaaaaaa", "is not NAME TOKEN"),
        ("", "no token"),
    ):
        with pytest.raises(ValueError, match=said):
            Tokens.parsed(text)
    with pytest.raises(ValueError, match="can be reached from other machines"):
        Settled(tmp_path / "state", host="0.0.0.0")  # noqa: S104
