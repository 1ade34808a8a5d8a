"""RigL: dynamic sparse training; the network is sparse from the first step on, and its mask moves as it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratchcard.pruning.scopes import Scope
from scratchcard.regimes.course import Course
from scratchcard.regimes.one_training import END, OneTraining
from scratchcard.regimes.regime import Found, Search
from scratchcard.setting import setting

if TYPE_CHECKING:
    from torch import Tensor

    from scratchcard.pruning.mask import Mask
    from scratchcard.workloads.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RigL(OneTraining):
    """Train a random mask; now and then drop the lowest scores of each layer and grow where the gradient is largest.

    Evci et al., "Rigging the Lottery: Making All Tickets Winners", 2020, arXiv 1911.11134; by the `magnitude` scorer it
    is theirs. The update at step t drops the share `drop_fraction / 2 * (1 + cos(pi t / T_end))` of each layer's kept
    weights, rounded down to whole ones, and grows as many where `|dL/dw|` of the masked network is largest. What was
    just dropped may grow again, with its weight; all else grows from zero. The ticket starts from the last weights.

    The gradient is the scoring batch's, the same one each time, where the paper has the training batch of the step: it
    is larger, and all methods score by it. An optimiser's moments begin anew at each update, for all weights. Other
    scorers than `magnitude` choose by their own scores what is dropped.

    Attributes:
        scope: how many weights each layer has, from the first step to the last.
        update_steps: steps between two updates.
        drop_fraction: share of a layer's kept weights that an update moves at first.
        update_share: share of the search's steps after which there are no updates, `T_end`.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> regime = RigL(search_steps=40, update_steps=10)
        >>> regime.updates
        (10, 20)
        >>> regime.find(workload, sc.make_scorer("magnitude"), density=0.1, seed=0).mask
        Mask(5,020 of 50,200 weights in 3 layers, density 0.1)
    """

    scope: Scope = setting(
        "erk",
        help="How many weights each layer has: by Erdos-Renyi-Kernel (erk), or the same share of each (layer)",
        example="layer",
        label=", scope {}",
    )
    update_steps: int = setting(100, help="Steps from one update of the mask to the next", example=50, low=1)
    drop_fraction: float = setting(
        0.3, help="Share of each layer's kept weights that the first updates move", example=0.5, above=0, below=1
    )
    update_share: float = setting(
        0.75, help="Share of the search's steps in which the mask is updated", example=0.5, above=0, high=1
    )

    rounds = 1  # masks that move are not nested

    @property
    def starts_from(self) -> str:
        """See `Regime.starts_from`."""
        return END

    @property
    def updates(self) -> tuple[int, ...]:
        """The steps after which the mask is updated."""
        return tuple(range(self.update_steps, math.ceil(self.update_share * self.search_steps), self.update_steps))

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses a search without an update, too."""
        super().check(recipe, density)
        if not self.updates:
            raise ValueError(
                f"updates every {self.update_steps} steps do not fit into {self.update_share:g} of the search's "
                f"{self.search_steps} steps; take fewer update_steps or a longer search"
            )

    def fraction(self, step: int) -> float:
        """The share of each layer's kept weights that the update at a step moves."""
        return self.drop_fraction / 2 * (1 + math.cos(math.pi * step / (self.update_share * self.search_steps)))

    def _search(self, asked: Search) -> Found:
        from scratchcard.pruning.cut import keep_top
        from scratchcard.pruning.modes import scored_by
        from scratchcard.pruning.scores import Scores
        from scratchcard.pruning.state import copy_state
        from scratchcard.scorers.gradients import loss_gradients
        from scratchcard.scorers.random import Random

        network, batch, loss, progress = asked.network, asked.batch, asked.workload.task.loss, asked.session.progress
        course = Course(self, asked)
        how: dict[str, Any] = {"exclude": asked.excluded, "floor": self.floor, "seed": asked.seed}
        mask = keep_top(Random(seed=asked.seed)(network, batch, loss), asked.density, scope=self.scope, **how).to("cpu")
        scorer = asked.scorer.from_start(network, lambda: course.step / self.search_steps)
        training: list[dict[str, Any]] = []
        for step in (*self.updates, self.search_steps):
            course.advance(step, mask, (course.step + step) / 2 / self.search_steps)
            with scored_by(network, self.statistics):
                scores = scorer(network, batch, loss, mask=mask)
                if step != self.search_steps:
                    slopes = loss_gradients(network, batch, loss, mask).gradients
                    mask = moved(mask, scores.tensors, slopes, self.fraction(step), asked.seed + step)
            training.append(course.entry(mask.density))
            if progress is not None:
                progress(step, self.search_steps)
        last = Scores({name: tensor.cpu() for name, tensor in scores.tensors.items()}, scores.criterion)
        survived = {name: kept.int() for name, kept in mask.tensors.items()}
        seconds = sum(each["seconds"] for each in training)
        return Found(mask, last, survived, (asked.density,), copy_state(network), seconds, tuple(training))


def moved(
    mask: Mask, scores: Mapping[str, Tensor], slopes: Mapping[str, Tensor], fraction: float, seed: int = 0
) -> Mask:
    """The mask after an update: of each layer a fraction is dropped by scores and as many weights grow by slopes.

    Examples:
        >>> mask = sc.Mask({"weight": torch.tensor([True, True, False, False])})
        >>> scores, slopes = torch.tensor([0.9, 0.1, 0.0, 0.0]), torch.tensor([9.0, 0.2, 0.3, -0.4])
        >>> moved(mask, {"weight": scores}, {"weight": slopes}, fraction=0.5).tensors["weight"]
        tensor([ True, False, False,  True])
    """
    import numpy as np
    import torch

    from scratchcard.pruning.mask import Mask
    from scratchcard.pruning.top import top

    generator, found = np.random.default_rng(seed), dict(mask.tensors)
    for name, kept in mask.counted.items():
        now, number = kept.reshape(-1).numpy(), int(fraction * int(kept.sum()))
        score, size = (each.reshape(-1).cpu().numpy() for each in (scores[name], slopes[name].abs()))
        (stays,) = top([score], int(kept.sum()) - number, [now], generator)
        (grows,) = top([size], number, [~stays], generator)
        found[name] = torch.from_numpy(stays | grows).reshape(kept.shape)
    return Mask(found, mask.excluded)
