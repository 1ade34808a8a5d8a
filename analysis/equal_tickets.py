"""Methods that find the very same tickets: one result under several names.

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

    Examples:
        >>> Identical(("snip", "magnitude on snip"), common=6, whole=True).sentence
        "'snip' and 'magnitude on snip' are identical in all 6 runs"
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

    Examples:
        >>> import pandas as pd
        >>> methods = ["snip", "snip", "magnitude on snip", "magnitude on snip"]
        >>> runs = pd.DataFrame({"method": methods, "seed": [0, 1, 0, 1]})
        >>> runs = runs.assign(network="lenet", task="digits", density=0.1, kept=100, effective_density=0.1)
        >>> runs = runs.assign(test_accuracy=[0.91, 0.93, 0.91, 0.93], validation_loss=[0.4, 0.3, 0.4, 0.3])
        >>> identical(runs)
        [Identical(methods=('snip', 'magnitude on snip'), common=2, whole=True)]
    """
    columns = [*EQUAL, *(name for name in ALSO if name in runs.columns)]
    values = runs[columns].astype(object).where(runs[columns].notna(), None)
    places = runs[list(PLACE)].itertuples(index=False, name=None)
    found: dict[str, dict[tuple[object, ...], tuple[object, ...]]] = {}
    for method, place, numbers in zip(runs[by], places, values.itertuples(index=False, name=None), strict=True):
        found.setdefault(str(method), {})[place] = numbers
    twice = set(runs.loc[runs.duplicated([by, *PLACE]), by])  # nothing to compare one by one

    def agree(one: str, other: str) -> bool:
        common = found[one].keys() & found[other].keys()
        pairs = [(found[one][place], found[other][place]) for place in common]
        return len(common) > 1 and all(a == b and None not in a[: len(EQUAL)] for a, b in pairs)

    groups: list[list[str]] = []
    for method in sorted(found.keys() - twice, key=lambda name: (len(name), name)):
        group = next((group for group in groups if all(agree(method, other) for other in group)), [])
        if not group:
            groups.append(group)
        group.append(method)
    told = []
    for group in groups:
        if len(group) > 1:
            there = [found[method].keys() for method in group]
            common = min(len(a & b) for a, b in itertools.combinations(there, 2))
            told.append(Identical(tuple(group), common, all(one == there[0] for one in there)))
    return told


def others(groups: Iterable[Identical]) -> dict[str, str]:
    """Each method that another stands for, to that one.

    >>> others([Identical(("snip", "magnitude on snip", "grasp on snip"), 6, True)])
    {'magnitude on snip': 'snip', 'grasp on snip': 'snip'}
    """
    return {method: group.methods[0] for group in groups for method in group.methods[1:]}


def note(groups: Sequence[Identical]) -> str:
    """What a table with these methods must say; empty without any.

    >>> note([Identical(("snip", "magnitude on snip"), 6, True)]).partition(" (")[0]
    "The same result under several names: 'snip' and 'magnitude on snip' are identical in all 6 runs"
    """
    if not groups:
        return ""
    told = "; ".join(group.sentence for group in groups)
    return (
        f"The same result under several names: {told} (test accuracy, losses, kept weights, effective density, steps). "
        "Read each such group as one result, not as evidence that counts twice."
    )


def repeated(tests: pd.DataFrame, groups: Sequence[Identical]) -> str:
    """What must stand beside the tests of a family (rows of `analysis.significance.compare`); empty if nothing.

    >>> import pandas as pd
    >>> tests = pd.DataFrame({"of": ["snip", "magnitude on snip"], "against": "random", "network": "lenet"})
    >>> tests = tests.assign(task="digits", density=0.1, paired=False, counted=True, significant=True)
    >>> repeated(tests, [Identical(("snip", "magnitude on snip"), 6, True)]).partition(": ")[2].partition(".")[0]
    '1 are different tests, 1 of them significant'
    """
    import pandas as pd

    stands = others(groups)
    counted = tests[tests["counted"]]
    sides = zip(*(counted[side].replace(stands) for side in ("of", "against")), strict=True)
    pairs = counted.assign(pair=pd.Series(map(frozenset, sides), counted.index, dtype=object))
    different = pairs[pairs["pair"].map(len) == 2]
    same = len(pairs) - len(different)
    where = ["pair", "network", "task", "density", "paired"]
    hypotheses = different.groupby(where, dropna=False, sort=False)["significant"].any()
    again = len(different) - len(hypotheses)
    repeats = (
        f"Of these {len(counted)} tests {again} repeat another, since methods are identical in every run: "
        f"{len(hypotheses)} are different tests, {int(hypotheses.sum())} of them significant."
    )
    itself = f"{same} of these {len(counted)} tests compare a method with one that is identical in every run."
    stricter = "Holm's correction counts all that were declared, which makes it stricter, never too lenient."
    told = {repeats: again, itself: same, stricter: again or same}
    return " ".join(text for text, there in told.items() if there)
