"""Course: the training of a search, at a rate that gives way where it is too high."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratchcard.pruning.mask import Mask
    from scratchcard.regimes.one_training import OneTraining
    from scratchcard.regimes.regime import Search

LARGEST_RETREAT = 1024
"""By which a rate may have fallen until a training that diverges is given up."""


class Course:
    """The one training of a search, and what it took.

    Where the rate comes from a `search_stride` and a stretch diverges, the network goes back to the stretch's
    beginning, and the search goes on from there at half the rate. Steps that led nowhere count in the bill. A rate that
    was given is not changed: such a search ends with `Diverged`.

    Args:
        regime, asked: the search.
        onward: see `Trajectory`.

    Attributes:
        trajectory: of the network asked for.
        rate: at the search's beginning, halved at each retreat.

    Examples:
        >>> from scratchcard.regimes import EMS
        >>> from scratchcard.regimes.regime import Search
        >>> workload, scorer = sc.Workload("lenet_300_100", sc.load_task("digits")), sc.make_scorer("magnitude")
        >>> batch, session = workload.scoring_batch(0), sc.Session()
        >>> course = Course(EMS(), Search(workload, workload.build(0), batch, scorer, 0.1, 0, 0, session))
        >>> course.advance(20, None, share=0.0)
        >>> course.entry(1.0)["steps"], course.entry(1.0)["steps"]
        (20, 0)
    """

    def __init__(self, regime: OneTraining, asked: Search, *, onward: bool = False) -> None:
        from scratchcard.clock import spent
        from scratchcard.workloads.engines.trajectory import Trajectory

        self._regime, self._asked, session = regime, asked, asked.session
        self._begin, self._stored, self._steps = spent(session.device), 0.0, 0
        self._described = asked.workload.describe() if session.store is not None else {}
        self.rate = self._first = regime.first_rate(asked)
        recipe, task = regime.recipe(asked.workload.recipe, self.rate), asked.workload.task
        placed: dict[str, Any] = {"device": session.device, "onward": onward}
        self.trajectory = Trajectory(asked.network, task, recipe, seed=asked.data_seed, **placed)

    @property
    def step(self) -> int:
        """Where it stands; steps that led nowhere are not in it."""
        return self.trajectory.step

    def advance(self, step: int, mask: Mask | None, share: float) -> None:
        """Train until it stands at a step, what is pruned at zero.

        Args:
            step: nothing is done where it stands there.
            mask: the kept weights.
            share: of the search's steps, which decides how far the rate has risen.

        Raises:
            Diverged: at a rate that was given, or at any.
        """
        from scratchcard.pruning.state import copy_state, load_state
        from scratchcard.workloads.engines.trajectory import Diverged
        from scratchcard.workloads.stored_training import advance_once

        trajectory, store = self.trajectory, self._asked.session.store
        steps, before = step - self.step, copy_state(trajectory.network)
        while self.step < step:
            trajectory.recipe = self._regime.recipe(self._asked.workload.recipe, self.rate, share)
            self._steps += steps
            try:
                self._stored += advance_once(trajectory, steps, mask, store, self._described)
            except Diverged:
                if self._regime.search_stride is None or self.rate * LARGEST_RETREAT <= self._first:
                    raise
                load_state(trajectory.network, before)
                self.rate /= 2

    def entry(self, density: float) -> dict[str, Any]:
        """What was trained since the last entry, for `Found.training`: its steps, also lost ones, and its seconds."""
        from scratchcard.clock import spent

        recipe, now = self.trajectory.recipe, spent(self._asked.session.device)
        entry = {
            "density": density,
            "steps": self._steps,
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "seconds": now - self._begin + self._stored,
        }
        self._begin, self._stored, self._steps = now, 0.0, 0
        return entry
