"""The page's files: who gets them, under which policy, and what they must not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from scratchcard.frontends.service.page import FILES, KINDS, addresses

MOST_BYTES = 60_000


@pytest.fixture
def stranger(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=address) as client:
        yield client


@pytest.mark.parametrize("place", addresses())
def test_everybody_gets_the_files_under_a_strict_policy(stranger: httpx2.Client, place: str) -> None:
    content = addresses()[place].read_bytes()
    for encoding in ("identity", "gzip"):
        answer = stranger.get(place, headers={"Accept-Encoding": encoding})
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers.get("content-encoding") == (None if encoding == "identity" else "gzip")
        assert answer.headers["content-type"] == f"{KINDS[addresses()[place].suffix]}; charset=utf-8"
        assert answer.headers.get_list("cache-control") == ["no-cache"]
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        tag = {"If-None-Match": answer.headers["etag"], "Accept-Encoding": encoding}
        again = stranger.get(place, headers=tag)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
        head = stranger.head(place, headers={"Accept-Encoding": encoding})
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])
    assert stranger.get(place, headers={"Accept-Encoding": "identity", "If-None-Match": '"x"'}).status_code == 200


def test_there_is_nothing_but_reading_and_nothing_beside_the_files(stranger: httpx2.Client) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert stranger.request(method, "/").status_code == 405
    for place in ("/page", "/page/page.py", "/page/../page.py", "/page/%2e%2e/app.py", "/page/main.js/x"):
        assert stranger.get(place).status_code in (401, 404)


def test_what_may_be_chosen_is_told_to_those_with_a_token(stranger: httpx2.Client, ann: httpx2.Client) -> None:
    assert stranger.get("/choices").status_code == 401
    told = ann.get("/choices").json()
    assert told["predictors"] == ["default", "early", "line", "policy"]
    assert "digits" in told["tasks"]
    assert told["scorers"]["grasp"]["settings"]["temperature"]["default"] == 200
    assert told["regimes"]["UMS"]["settings"]["rounds"]["type"] == "whole number"


def test_the_page_is_light(stranger: httpx2.Client) -> None:
    size = 0
    for place in addresses():
        with stranger.stream("GET", place, headers={"Accept-Encoding": "gzip"}) as answer:
            size += sum(map(len, answer.iter_raw()))
    assert size < MOST_BYTES / 2
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 1.1 * MOST_BYTES


def test_no_file_has_scripts_within_reads_html_or_asks_elsewhere() -> None:
    page = (FILES / "index.html").read_text()
    assert re.findall(r"<script[^>]*>([^<]*)", page) == [""]
    assert not re.search(r"\s(on\w+|style)=", page)
    for path in FILES.iterdir():
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|(local|session)Storage", text)
        assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}, path.name
