"""OneTraining: what regimes have in common that train once, for some steps and at a learning rate of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scratchcard.regimes.regime import Regime
from scratchcard.setting import setting

if TYPE_CHECKING:
    from scratchcard.workloads.recipe import Recipe

END = "the weights at the end of the search"
"""What tickets start from that are not rewound."""


@dataclass(frozen=True, kw_only=True)
class OneTraining(Regime):
    """One training (a `Trajectory`) along which the mask is found; it evaluates nothing and stops for nothing.

    With a store, stretches between two changes of the mask that take more than a second are kept, so that the next call
    goes on after them and other searches of the same path share them.

    Attributes:
        search_steps: training steps of the search.
        search_learning_rate: the search's own; None: the recipe's, without its schedule.
        search_last_rate: where the rate goes until the end, by an equal factor a step (constant between two changes of
            the mask); None: it is constant. A network that loses weights loses curvature, and bears larger steps.

    Examples:
        >>> from scratchcard.regimes import EMS
        >>> EMS(search_learning_rate=0.2).recipe(sc.Recipe(learning_rate_schedule="cosine")) == sc.Recipe(
        ...     learning_rate=0.2
        ... )
        True
    """

    trains: ClassVar[bool] = True
    keeps = "stretches of the search that took over a second"

    search_steps: int = setting(2000, help="Training steps of the search", example=1000, low=1, label=", {} steps")
    search_learning_rate: float | None = setting(
        None,
        help="Of the search's training, from its beginning",
        example=0.2,
        above=0,
        unset="the recipe's",
        label=", rate {:g}",
    )

    search_last_rate: float | None = setting(
        None,
        help="Of the search's training, at its end; it goes there by an equal factor a step",
        example=0.8,
        above=0,
        unset="as at its beginning",
        label=" to {:g}",
    )

    def recipe(self, recipe: Recipe, share: float = 0.0) -> Recipe:
        """How the search trains after a share of its steps, for tickets that are trained by `recipe`."""
        rate = self.search_learning_rate or recipe.learning_rate
        rate *= ((self.search_last_rate or rate) / rate) ** share
        return recipe.changed(learning_rate=rate, learning_rate_schedule="constant", warmup_steps=0)
