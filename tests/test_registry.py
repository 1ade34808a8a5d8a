"""Families: members by name, ours and those of installed packages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from scratchcard import registry
from scratchcard.registry import FAMILIES, family, lookup, members

FAMILY = {"snip": "ours", "synflow": "ours too"}


class Point:
    """An entry point as importlib.metadata hands it out."""

    def __init__(self, name: str, member: str) -> None:
        self.name, self.member = name, member
        self.loaded = 0

    def load(self) -> str:
        """The member."""
        self.loaded += 1
        return self.member


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Point]]:
    """What an installed package adds to the scorers."""
    points = [Point("theirs", "foreign"), Point("snip", "clash")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "scratchcard.scorers" else [])
    registry._added.cache_clear()
    yield points
    registry._added.cache_clear()


def test_ours_are_found_without_loading_others(installed: list[Point]) -> None:
    assert lookup(FAMILY, "scorers", "snip") == "ours"
    assert [point.loaded for point in installed] == [0, 0]


def test_other_packages_add_members_and_ours_win_on_a_clash(installed: list[Point]) -> None:
    assert lookup(FAMILY, "scorers", "theirs") == "foreign"
    assert members(FAMILY, "scorers") == {"theirs": "foreign", "snip": "ours", "synflow": "ours too"}
    assert members(FAMILY, "networks") == FAMILY


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(installed: list[Point]) -> None:
    with pytest.raises(ValueError) as caught:
        lookup(FAMILY, "scorers", "sinflow")
    assert str(caught.value) == ("unknown scorer 'sinflow', known are snip, synflow, theirs; did you mean 'synflow'?")


def test_a_name_like_no_other_gets_no_suggestion(installed: list[Point]) -> None:
    with pytest.raises(ValueError) as caught:
        lookup(FAMILY, "networks", "qqqq")
    assert str(caught.value) == "unknown network 'qqqq', known are snip, synflow"


def test_installed_packages_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look(group: str) -> list[Point]:
        looks.append(group)
        return []

    monkeypatch.setattr(registry, "entry_points", look)
    registry._added.cache_clear()
    for _ in range(3):
        members(FAMILY, "scorers")
        members(FAMILY, "networks")
    registry._added.cache_clear()
    assert looks == ["scratchcard.scorers", "scratchcard.networks"]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_members_under_plain_names_that_say_what_they_are(name: str) -> None:
    found = family(name)
    assert found
    for key, member in found.items():
        assert key == key.strip()
        assert key
        said = inspect.getdoc(member) or ""
        assert said.partition("\n")[0].endswith("."), f"{name}: {key} has no first line"


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown family 'scorer', known are .*; did you mean 'scorers'"):
        family("scorer")
