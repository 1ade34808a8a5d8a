"""Methods whose runs are the same: one result under several names, and not evidence that counts twice.

Magnitude on SNIP's scores, say, where both score in every round, finds by construction the ticket of SNIP, and the same
seed then trains it to the same numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PLACE = ("network", "task", "density", "seed")
EQUAL = ("test_accuracy", "validation_loss", "kept", "effective_density")
"""What must be there and agree to the last digit; a run that lacks one of them agrees with none."""
ALSO = ("test_loss", "validation_accuracy", "best_step", "layer_density", "live_units")
"""What must agree too, a missing value with a missing one: dead networks of one accuracy differ in their layers."""


@dataclass(frozen=True)
class Identical:
    """Methods that agree in every run that they have in common.

    Attributes:
        methods: two or more; the shortest name first, which stands for all.
        common: runs (density and seed) that they have in common; of several pairs, the fewest.
        whole: whether none has a run that another lacks.
    """

    methods: tuple[str, ...]
    common: int
    whole: bool

    @property
    def sentence(self) -> str:
        """For a reader of a table that has them all."""
        names = ", ".join(f"'{name}'" for name in self.methods[:-1]) + f" and '{self.methods[-1]}'"
        where = f"all {self.common} runs" + ("" if self.whole else " that they have in common")
        return f"{names} are identical in {where}"


def identical(runs: pd.DataFrame, by: str = "method") -> list[Identical]:
    """Groups of methods whose runs of the same network, task, density and seed agree in all of `EQUAL` and `ALSO`.

    A method belongs to a group when it agrees with each of its members, in two or more common runs and in all that they
    have in common. Seconds may differ: two ways to one ticket.

    Args:
        runs: from `analysis.results.frame`.
        by: the column that names the methods.

    Raises:
        ValueError: columns are missing.
    """
    wanted = [by, *PLACE, *EQUAL]
    absent = [name for name in wanted if name not in runs.columns]
    if absent:
        raise ValueError(f"the frame of runs has no column {', '.join(absent)}; expected {', '.join(wanted)}")
    columns = [*EQUAL, *(name for name in ALSO if name in runs.columns)]
    values = runs[columns].astype(object).where(runs[columns].notna(), None)
    found: dict[str, dict[tuple[object, ...], tuple[object, ...]]] = {}
    twice = set()
    for method, *row in zip(runs[by], *(runs[name] for name in PLACE), values.itertuples(index=False), strict=True):
        place, numbers = tuple(row[:-1]), tuple(row[-1])
        own = found.setdefault(str(method), {})
        if place in own:
            twice.add(str(method))
        own[place] = numbers
    groups: list[list[str]] = []
    for method in sorted(found, key=lambda name: (len(name), name)):
        if method in twice:  # several runs of one seed under one name: nothing to compare one by one
            continue
        for group in groups:
            if all(_agree(found[method], found[other]) for other in group):
                group.append(method)
                break
        else:
            groups.append([method])
    return [_group(group, found) for group in groups if len(group) > 1]


def others(groups: Iterable[Identical]) -> dict[str, str]:
    """Each method that another stands for, to that one."""
    return {method: group.methods[0] for group in groups for method in group.methods[1:]}


def note(groups: Sequence[Identical]) -> str:
    """What a table with these methods must say; empty without any."""
    if not groups:
        return ""
    told = "; ".join(group.sentence for group in groups)
    return (
        f"The same result under several names: {told} (test accuracy, losses, kept weights, effective density, steps). "
        "Read each such group as one result, not as evidence that counts twice."
    )


def repeated(tests: pd.DataFrame, groups: Sequence[Identical]) -> str:
    """What must stand beside the tests of a family (rows of `analysis.significance.compare`); empty if nothing."""
    stands = others(groups)
    counted = tests[tests["counted"]]
    hypotheses: dict[tuple[object, ...], bool] = {}
    same = 0
    columns = ("of", "against", "network", "task", "density", "paired", "significant")
    for of, against, *where, significant in zip(*(counted[name] for name in columns), strict=True):
        pair = frozenset((stands.get(of, of), stands.get(against, against)))
        same += len(pair) == 1
        if len(pair) == 2:
            key = (pair, *where)
            hypotheses[key] = hypotheses.get(key, False) or bool(significant)
    again = len(counted) - same - len(hypotheses)
    told = []
    if again:
        told.append(
            f"Of these {len(counted)} tests {again} repeat another, since methods are identical in every run: "
            f"{len(hypotheses)} are different tests, {sum(hypotheses.values())} of them significant."
        )
    if same:
        told.append(f"{same} of these {len(counted)} tests compare a method with one that is identical in every run.")
    if told:
        told.append("Holm's correction counts all that were declared, which makes it stricter, never too lenient.")
    return " ".join(told)


def _agree(
    one: dict[tuple[object, ...], tuple[object, ...]], other: dict[tuple[object, ...], tuple[object, ...]]
) -> bool:
    common = one.keys() & other.keys()
    return len(common) > 1 and all(one[place] == other[place] and _whole(one[place]) for place in common)


def _whole(numbers: tuple[object, ...]) -> bool:
    return None not in numbers[: len(EQUAL)]


def _group(methods: Sequence[str], found: dict[str, dict[tuple[object, ...], tuple[object, ...]]]) -> Identical:
    places = [set(found[method]) for method in methods]
    common = min(len(one & other) for one, other in itertools.combinations(places, 2))
    return Identical(tuple(methods), common, all(place == places[0] for place in places))
