"""Budget: the best method that is known for so many passes over the training data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scratchcard.apply.bill import STEP
from scratchcard.apply.method import Method
from scratchcard.regimes.one_training import MOST_STEPS, OneTraining
from scratchcard.workloads.workload import Workload

if TYPE_CHECKING:
    from scratchcard.pruning.ticket import Ticket

LEAST_STEPS = 150
"""Of a search; with fewer it is not worth its steps, and the method of the next smaller budget is taken."""


USUAL = 4
"""Passes, where neither a method nor a budget is named."""
TOLD = 0.1
"""Passes; a smaller bill of a method that reads no data is not explained."""
MOST = 10_000
"""Passes; IMP in ten whole trainings takes some hundreds."""


class Known(NamedTuple):
    """What is known for a budget.

    Attributes:
        passes: that it needs at least.
        words: of `Method.of`; of an early search without its steps, which come from the passes and the data.
        reads: of an early search, what it computes beside its steps, in forward passes of one example.

    Examples:
        >>> [known.passes for known in budgets()]
        [0, 1, 2, 12]
    """

    passes: float
    words: Mapping[str, Any]
    reads: float = 0.0

    @property
    def searches(self) -> bool:
        """Whether it trains for as many steps as the budget allows."""
        return self.reads > 0


class Measured(NamedTuple):
    """What a budget's method reached elsewhere; `python -m experiments.budgets` measures it.

    Attributes:
        network, task, density: where.
        accuracy: of the test split, a mean over initialisations, by budget in passes.

    Examples:
        >>> sorted(measured()[0].accuracy)
        [0, 1, 4, 16]
    """

    network: str
    task: str
    density: float
    accuracy: Mapping[int, float]


@lru_cache(maxsize=1)
def _read() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((Path(__file__).parent / "default" / "budgets.json").read_text())
    return found


def budgets() -> tuple[Known, ...]:
    """What the package knows, from few passes to many; `apply/default/budgets.json`.

    Examples:
        >>> budgets()[0].words["scorer"]
        'synflow'
    """
    return tuple(Known(**each) for each in _read()["budgets"])


def measured() -> tuple[Measured, ...]:
    """What the budgets' methods reached where they were measured; likewise.

    Examples:
        >>> [(found.network, found.task) for found in measured()]
        [('lenet_300_100', 'mnist'), ('lenet_300_100', 'fashion_mnist')]
    """
    rows = ({**each, "accuracy": {int(n): a for n, a in each["accuracy"].items()}} for each in _read()["measured"])
    return tuple(Measured(**row) for row in rows)


def within(passes: float, workload: Workload) -> Method:
    """The method for a budget: the one for the most passes that are not more, and as many steps as the rest allows.

    Args:
        passes: forward passes over the training split that finding the ticket may cost; an epoch of training is three.
            0: no data are read (what SynFlow computes of one input of ones is in the bill all the same), 1: before
            training.
        workload: whose training split and batch size turn passes into steps.

    Raises:
        ValueError: no number from 0 to `MOST`.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> within(0, workload).label
        'synflow, UMS 100'
        >>> within(40, workload).make_regime().search_steps
        470
    """
    if isinstance(passes, bool) or not isinstance(passes, int | float) or not 0 <= passes <= MOST:
        raise ValueError(
            f"the budget is {passes!r} passes over the data, expected a number from 0 to {MOST}, such as 4"
        )
    reads = passes * len(workload.task.train)
    for known in reversed(budgets()):
        if known.passes > passes:
            continue
        if not known.searches:
            return Method.of(**known.words)
        regime = Method.of(**known.words).make_regime()
        assert isinstance(regime, OneTraining)  # noqa: S101  (since it searches)
        batch = regime.search_batch_size or workload.recipe.batch_size
        steps = min(int((reads - known.reads) / (STEP * batch)), MOST_STEPS)
        if steps >= LEAST_STEPS:
            return Method.of(**known.words, search_steps=steps)
    raise ValueError("apply/default/budgets.json has no budget of 0 passes")


def remark(passes: float, ticket: Ticket) -> str:
    """What is to be said of a ticket that a budget chose the method of; nothing, if all is as one would expect.

    Examples:
        >>> ticket = sc.prune("lenet_300_100", "digits", density=0.1)
        >>> print(remark(4, ticket))
        for a search of 150 steps and more within 4 passes the training split is too small, so that the method is ...
    """
    told = []
    searching = any(known.searches and known.passes <= passes for known in budgets())
    if searching and "rounds" not in ticket.provenance:
        told.append(
            f"for a search of {LEAST_STEPS} steps and more within {passes:g} passes the training split is too small, "
            "so that the method is one before training"
        )
    spent = ticket.provenance.get("passes")
    if isinstance(spent, float) and spent > 1.1 * max(passes, TOLD):
        told.append(
            f"its scoring batch and rounds cost {spent:.3g} passes however small the training split is"
            if passes >= 1
            else f"it reads no data: its rounds, of one input of ones, cost as much as {spent:.3g} passes over a "
            "training split as small as this one"
        )
    return "; ".join(told)
