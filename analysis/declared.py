"""Families of comparisons: the tests that a grid declared before its runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scratchcard.analysis.groups import DENSE, Methods, Place, density_key


@dataclass(frozen=True)
class Pair:
    """One declared test: `of` against `against`.

    Attributes:
        family: name of the comparisons that Holm's correction takes together.
        of: a method's label.
        against: another's.
        network: None if neither label has a run there and no network was declared.
        task: likewise.
        density: likewise.
        paired: test the differences of runs of the same seed, hence the same initial weights.
    """

    family: str
    of: str
    against: str
    network: str | None
    task: str | None
    density: float | None
    paired: bool

    @property
    def hypothesis(self) -> tuple[object, ...]:
        """The same for (of, against) and (against, of): one null hypothesis."""
        return (self.family, frozenset((self.of, self.against)), self.place, self.density, self.paired)

    @property
    def place(self) -> Place | None:
        """Where the two are compared, if it is known."""
        return None if self.network is None or self.task is None else Place(self.network, self.task)


def declared(found: Methods, comparisons: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Every test of every family, once, also those that have no runs yet.

    A family holds each (of, against, density, network, task) with of != against, over all `comparisons` of its name.
    Where no densities are declared they are all at which one of the two labels has runs; a label whose runs are all
    dense (a dense network, density 1) is compared at every density of the other. Where no network or no task is
    declared, it is every one that has runs of one of the two.

    Raises:
        ValueError: a comparison without its parts, or with a text where a list belongs.
    """
    pairs: dict[tuple[object, ...], Pair] = {}
    for comparison in comparisons:
        family, of, against = _parts(comparison)
        for one in of:
            for other in against:
                if one == other:
                    continue
                for network, task, density in _points(found, one, other, comparison):
                    pair = Pair(family, one, other, network, task, density, bool(comparison.get("paired", False)))
                    pairs.setdefault(pair.hypothesis, pair)
    return list(pairs.values())


def absent(found: Methods, label: str) -> str:
    """`no runs of 'snp' (nearest label: 'snip')`; `no runs of 'snip' here` for a label that has some elsewhere."""
    if label in found.labels:
        return f"no runs of {label!r} here"
    near = difflib.get_close_matches(label, found.labels, 1)
    return f"no runs of {label!r}" + (f" (nearest label: {near[0]!r})" if near else "")


def _parts(comparison: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    missing = [key for key in ("name", "of", "against") if key not in comparison]
    if missing:
        raise ValueError(f"a comparison needs a name, of and against; this one has no {', '.join(missing)}")
    name = str(comparison["name"])
    for key in ("of", "against"):
        if isinstance(comparison[key], str):
            raise ValueError(f"{key!r} of the comparison {name!r} must be a list of labels, got {comparison[key]!r}")
    return name, [str(label) for label in comparison["of"]], [str(label) for label in comparison["against"]]


def _points(
    found: Methods, one: str, other: str, comparison: Mapping[str, Any]
) -> Iterator[tuple[str | None, str | None, float | None]]:
    wanted, network, task = (comparison.get(key) for key in ("densities", "network", "task"))
    places = [
        place
        for place in found.places
        if network in (None, place.network)
        and task in (None, place.task)
        and found.densities(one, place) | found.densities(other, place)
    ]
    for place in places:
        for density in _densities(found, one, other, place) if wanted is None else wanted:
            yield *place, density_key(density)
    if not places:
        for density in [None] if wanted is None else wanted:
            yield network, task, None if density is None else density_key(density)


def _densities(found: Methods, one: str, other: str, place: Place) -> Sequence[float]:
    mine, theirs = found.densities(one, place), found.densities(other, place)
    dense = {DENSE}
    if mine and theirs and (mine == dense) != (theirs == dense):
        return sorted(theirs if mine == dense else mine)
    return sorted(mine | theirs)
