"""JSON files: whole or not there, one sentence on damage, or nothing where work can be done again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scratchcard.artefacts.json_file import CHECKSUM, as_read, declared, find_json, parse_object, read_json, write_json

DAMAGE = [b"", b"{", b'{"a": 1', b"[1]", b"null", b'"text"', b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 100_000]


def test_what_is_written_is_read_in_one_form(tmp_path: Path) -> None:
    path = write_json(tmp_path / "new" / "file.json", {"b": 1, "a": {"y": 2.5, "x": [True, None, "é"]}})
    assert read_json(path) == find_json(path) == {"a": {"x": [True, None, "é"], "y": 2.5}, "b": 1}
    text = '{\n "a": {\n  "x": [\n   true,\n   null,\n   "\\u00e9"\n  ],\n  "y": 2.5\n },\n "b": 1,\n'
    assert path.read_text().startswith(text)
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_has_no_word_for_leaves_the_file_as_it_was(tmp_path: Path, value: object) -> None:
    path = write_json(tmp_path / "file.json", {"a": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"a": value})
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence_or_counts_as_missing(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(damage)
    assert find_json(path) is None
    with pytest.raises(ValueError, match=r"file\.json is damaged \(.*\); build it again$"):
        read_json(path, "build it again")
    with pytest.raises(ValueError, match=r"."):
        parse_object(damage)


def test_a_missing_file_is_said_or_none(tmp_path: Path) -> None:
    assert find_json(tmp_path / "none.json") is None
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_content_is_as_a_reader_finds_it(tmp_path: Path) -> None:
    content = {"a": (1, 2), "b": {1: "x"}}
    assert as_read(content) == read_json(write_json(tmp_path / "file.json", content)) == {"a": [1, 2], "b": {"1": "x"}}


@dataclass(frozen=True)
class Note:
    name: str
    count: int
    more: dict[str, Any]


NOTE = {"name": "x", "count": 3, "more": {"a": [1, None]}}
ODD: list[Any] = [None, True, 0.5, "text", [], [1], {}, {"a": 1}]


def test_what_is_declared_is_read_and_nothing_else() -> None:
    assert declared(Note, NOTE, "a note") == Note("x", 3, {"a": [1, None]})
    accepted = []
    for key in NOTE:
        for value in ODD:
            try:
                declared(Note, NOTE | {key: value}, "a note")
                accepted.append((key, value))
            except ValueError as error:
                assert str(error).startswith(f"a note: {key} is {value!s}"), error  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017
    assert accepted == [("name", "text"), ("more", {}), ("more", {"a": 1})]
    for value in ODD:
        with pytest.raises(ValueError, match=r"^a note: "):
            declared(Note, value, "a note")
    with pytest.raises(ValueError, match="a note: count is missing"):
        declared(Note, {"name": "x", "more": {}}, "a note")
    with pytest.raises(ValueError, match="a note: colour is no part of it"):
        declared(Note, NOTE | {"colour": "red"}, "a note")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7), indent=st.sampled_from([None, 1]))
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, place: float, bit: int, indent: int | None) -> None:
    said = {"accuracy": 0.9125, "label": "snip", "odd": f'"{CHECKSUM}": "{"0" * 64}"', "rounds": [1, 2]}
    path = write_json(tmp_path / "file.json", said, indent=indent)
    assert read_json(path) == said
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        found = read_json(path)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:  # the name of the checksum itself
        assert {name: value for name, value in found.items() if name in said} == said


def test_a_changed_digit_is_told_and_a_text_without_a_checksum_is_read(tmp_path: Path) -> None:
    path = write_json(tmp_path / "file.json", {"accuracy": 0.91})
    path.write_text(path.read_text().replace("0.91", "0.97"))
    with pytest.raises(ValueError, match="its text is not what was written"):
        read_json(path)
    assert find_json(path) is None
    path.write_text('{"accuracy": 0.97}')
    assert read_json(path) == {"accuracy": 0.97}
