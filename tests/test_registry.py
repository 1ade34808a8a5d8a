"""Families: members by name, ours and those of installed packages."""

from __future__ import annotations

import pytest

from scratchcard import registry
from scratchcard.registry import lookup, members

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
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Point]]:
    """Entry points by group."""
    points: dict[str, list[Point]] = {"scratchcard.scorers": [Point("theirs", "foreign"), Point("snip", "clash")]}
    monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, []))
    return points


def test_ours_are_found_without_loading_others(installed: dict[str, list[Point]]) -> None:
    assert lookup(FAMILY, "scorers", "snip") == "ours"
    assert [point.loaded for point in installed["scratchcard.scorers"]] == [0, 0]


def test_other_packages_add_members_and_ours_win_on_a_clash(installed: dict[str, list[Point]]) -> None:
    assert lookup(FAMILY, "scorers", "theirs") == "foreign"
    assert members(FAMILY, "scorers") == {"theirs": "foreign", "snip": "ours", "synflow": "ours too"}
    assert members(FAMILY, "networks") == FAMILY


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(installed: dict[str, list[Point]]) -> None:
    with pytest.raises(ValueError) as caught:
        lookup(FAMILY, "scorers", "sinflow")
    assert str(caught.value) == ("unknown scorer 'sinflow', known are snip, synflow, theirs; did you mean 'synflow'?")


def test_a_name_like_no_other_gets_no_suggestion(installed: dict[str, list[Point]]) -> None:
    with pytest.raises(ValueError) as caught:
        lookup(FAMILY, "networks", "qqqq")
    assert str(caught.value) == "unknown network 'qqqq', known are snip, synflow"
