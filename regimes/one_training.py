"""OneTraining: what regimes have in common that train once, for some steps and at a learning rate of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scratchcard.regimes.regime import Regime, Search
from scratchcard.setting import SettingError, setting

if TYPE_CHECKING:
    from scratchcard.workloads.recipe import Recipe

MOST_STEPS = 1_000_000
"""Of a search: the order of its data lies in memory."""
LEAST_SHARPNESS = 25.0
"""What a flatter network counts as: where initial outputs are small, as by PyTorch's own initialisation, it is flat
until it trains, and at a rate that fits the beginning it never does."""
END = "the weights at the end of the search"
"""What tickets start from that are not rewound."""


_OWN: dict[str, dict[str, Any]] = {
    "search_learning_rate": {
        "help": "Of the search's training, from its beginning",
        "example": 0.2,
        "above": 0,
        "label": ", rate {:g}",
    },
    "search_optimizer": {
        "help": "Of the search's training, without momentum",
        "example": "sgd",
        "label": " by {}",
    },
    "search_batch_size": {"help": "Of the search's training", "example": 32, "low": 1, "label": ", batches of {}"},
    "search_weight_decay": {"help": "Of the search's training", "example": 0.003, "low": 0, "label": ", decay {:g}"},
}


def search_setting(name: str) -> Any:
    """A setting of a search's own training, for a regime that has it; where it is None, the recipe's holds.

    Examples:
        >>> search_setting("search_batch_size").default is None
        True
    """
    return setting(None, unset="the recipe's", **_OWN[name])


def search_changes(regime: Regime) -> dict[str, Any]:
    """What a search's own settings change of a recipe, but for the rate: another optimiser has no momentum.

    Examples:
        >>> from scratchcard.regimes import EMS
        >>> search_changes(EMS(search_optimizer="sgd", search_batch_size=32))
        {'optimizer': 'sgd', 'batch_size': 32, 'momentum': 0.0, 'nesterov': False}
    """
    own = {name: getattr(regime, f"search_{name}") for name in ("optimizer", "batch_size", "weight_decay")}
    own = {name: value for name, value in own.items() if value is not None}
    return own | ({"momentum": 0.0, "nesterov": False} if "optimizer" in own else {})


@dataclass(frozen=True, kw_only=True)
class OneTraining(Regime):
    """One training (a `Trajectory`) along which the mask is found; it evaluates nothing and stops for nothing.

    With a store, stretches between two changes of the mask that take more than a second are kept, so that the next call
    goes on after them and other searches of the same path share them.

    Attributes:
        search_steps: training steps of the search.
        search_learning_rate: the search's own; None: the recipe's, without its schedule.
        search_rise: by how much the rate has risen at the end, by an equal factor a step (it is constant between two
            changes of the mask). A network that loses weights loses curvature, and bears larger steps.
        search_stride: in place of a rate: the rate begins at `search_stride / sqrt(sharpness)`, with the `sharpness` of
            the loss on the scoring batch at the initial weights, at least `LEAST_SHARPNESS`. So one number serves
            networks that differ in scale; the root is a rule of thumb, not derived. Where training diverges it goes
            back to the last look, and on at half the rate.
        search_optimizer: of the search's training, without momentum; None: the recipe's. Tickets that plain SGD finds
            are better, trained by Adam, than those that Adam finds.
        search_batch_size: examples of a training step of the search; None: the recipe's. Smaller batches are more steps
            for as many passes over the data.
        search_weight_decay: of the search's training; None: the recipe's. It takes weights away that the loss does not
            hold, so that a look tells them from those that it does.

    Examples:
        >>> from scratchcard.regimes import EMS
        >>> recipe = sc.Recipe(learning_rate_schedule="cosine")
        >>> EMS(search_rise=9).recipe(recipe, rate=0.1, share=0.5) == sc.Recipe(learning_rate=0.1 * 3)
        True
    """

    trains: ClassVar[bool] = True
    keeps = "stretches of the search that took over a second"

    search_steps: int = setting(
        2000, help="Training steps of the search", example=1000, low=1, high=MOST_STEPS, label=", {} steps"
    )
    search_learning_rate: float | None = search_setting("search_learning_rate")
    search_rise: float = setting(
        1.0,
        help="By how much the search's rate rises until its end",
        example=8.0,
        above=0,
        high=1000,
        label=", rising {:g}",
    )
    search_stride: float | None = setting(
        None,
        help="In place of a rate: the search's rate begins at this / sqrt(sharpness)",
        example=1.0,
        above=0,
        label=", stride {:g}",
    )
    search_optimizer: Literal["sgd", "adam", "adamw"] | None = search_setting("search_optimizer")
    search_batch_size: int | None = search_setting("search_batch_size")
    search_weight_decay: float | None = search_setting("search_weight_decay")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search_stride is not None and self.search_learning_rate is not None:
            raise SettingError(
                "a search begins at a search_learning_rate or by a search_stride; give one", "search_stride"
            )

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses a stride for optimisers whose steps do not scale with the gradient, too."""
        super().check(recipe, density)
        optimizer = self.search_optimizer or recipe.optimizer
        if self.search_stride is not None and optimizer != "sgd":
            raise ValueError(
                f"a search_stride is a rule for sgd, and the search's optimizer is {optimizer}; give a "
                "search_learning_rate, or sgd as search_optimizer"
            )

    def first_rate(self, asked: Search) -> float:
        """The rate at the search's beginning."""
        if self.search_stride is None:
            return self.search_learning_rate or asked.workload.recipe.learning_rate
        from scratchcard.pruning.modes import scored_by
        from scratchcard.scorers.sharpness import sharpness

        with scored_by(asked.network, self.statistics):
            found = sharpness(asked.network, asked.batch, asked.workload.task.loss)
        return self.search_stride / math.sqrt(max(found, LEAST_SHARPNESS))

    def recipe(self, recipe: Recipe, rate: float, share: float = 0.0) -> Recipe:
        """How the search trains after a share of its steps, for tickets that are trained by `recipe`."""
        rate *= self.search_rise**share
        own = search_changes(self)
        return recipe.changed(learning_rate=rate, learning_rate_schedule="constant", warmup_steps=0, **own)
