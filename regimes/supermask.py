"""Supermask: train once, and take the mask under which the untrained network does best; it chooses its own density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scratchcard.regimes.cuts import Cuts, of_same_sign
from scratchcard.regimes.one_training import MOST_STEPS, search_changes, search_setting
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.regimes.thresholds import best_of, coarse_to_fine, counts_above, most_tried, nothing
from scratchcard.setting import SettingError, setting
from scratchcard.settings import settings_of

if TYPE_CHECKING:
    from scratchcard.pruning.mask import Mask
    from scratchcard.pruning.scores import Scores
    from scratchcard.workloads.engines.evaluator import Evaluated
    from scratchcard.workloads.engines.masks_at_once import MasksAtOnce
    from scratchcard.workloads.recipe import Recipe

EPOCH = 3
"""A training epoch in forward passes; evaluating all masks costs less, unless that leaves too few examples."""
LEAST_EXAMPLES = 256
"""That masks are chosen on, or all of a smaller validation split, whatever it costs: on a handful most masks tie."""


@dataclass(frozen=True, kw_only=True)
class Supermask(Regime):
    """Train, score once, and keep what the untrained network does best with on the validation split.

    1. The network is initialised, and its state kept. 2. It is trained; its weights are those of the step at which the
    validation loss was lowest, as if it had been trained anew for so many steps. 3. Weights are scored: by `magnitude`
    (name it) with `same_sign`, on by default, the score is `sign(w0) w`. Each threshold t gives the mask `s >= t`.
    4. Under each mask the *untrained* network is evaluated on the validation split; no weight is trained. 5. The best
    is the supermask: the highest metric, of equals the lowest loss, then the fewest weights. 6. It is a ticket like any
    other, from the initial weights, zeros frozen.

    **The density asked for is the most that the mask may keep**; how much it keeps, it chooses itself (`Found.mask`,
    and `kept` in records). Ask for 0.99 to leave it the choice.

    Biases and normalisations are the untrained network's own, see `MasksAtOnce`; `statistics` holds in evaluating masks
    as in scoring. After Zhou et al. 2019 (arXiv 1905.01067), who compare such masks at given densities.

    Thresholds are searched over all values, coarse to fine: `masks` counts of kept weights at even distances, then
    again between the neighbours of the best, until it has none in between. Every value can be told apart, but accuracy
    is no smooth function of the threshold: the best of all values may lie elsewhere. Each mask is evaluated on all of
    the validation split, or on as many of its examples, drawn by the seed, as keep the whole search below a training
    epoch (three passes): on perceptrons whose first layer is the largest as a rule on all, see `MasksAtOnce`. It is
    never on fewer than 256, or than all of a smaller split; the search then costs more than an epoch on small data.

    Attributes:
        search_steps: training steps at most, "to satisfaction"; the recipe says how often it is evaluated, and its
            patience.
        search_learning_rate, search_optimizer, search_batch_size, search_weight_decay: of that training.
        masks: counts at once of the search over all values.
        thresholds: only these, in place of the search.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=60))
        >>> found = Supermask(masks=8).find(workload, sc.make_scorer("magnitude"), density=0.99, seed=0)
        >>> entry = found.training[0]["masks"]
        >>> found.mask.kept == entry["kept"][entry["best"]], entry["metric"][entry["best"]] == max(entry["metric"])
        (True, True)
    """

    trains: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    keeps = "finished trainings"

    search_steps: int | None = setting(
        None,
        help="Training steps of the search, at most",
        example=5000,
        low=1,
        high=MOST_STEPS,
        unset="the recipe's",
        label=", {} steps",
    )
    search_learning_rate: float | None = search_setting("search_learning_rate")
    search_optimizer: Literal["sgd", "adam", "adamw"] | None = search_setting("search_optimizer")
    search_batch_size: int | None = search_setting("search_batch_size")
    search_weight_decay: float | None = search_setting("search_weight_decay")
    same_sign: bool = of_same_sign(default=True)
    masks: int = setting(
        32,
        help="Masks that are tried at once between two thresholds, before the neighbours of the best are",
        example=64,
        low=4,
        high=100_000,
    )
    thresholds: tuple[float, ...] = setting(
        (),
        help="Only these thresholds, in place of a search over all values",
        example=(0.0, 0.01, 0.02),
        unset="a search over all values",
        label=", thresholds {}",
    )

    rounds = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.thresholds:
            return
        if self.masks != settings_of(Supermask)["masks"].default:
            raise SettingError("masks is for the search over all values; with thresholds leave it out", "masks")
        if self.scope != "global" or self.floor:
            raise SettingError(
                "thresholds compare all weights with each other; leave scope and floor out, or the thresholds", "scope"
            )

    @property
    def begins_dense(self) -> bool:
        """Where it trains as the ticket will be."""
        names = ("steps", "learning_rate", "optimizer", "batch_size", "weight_decay")
        return all(getattr(self, f"search_{name}") is None for name in names)

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses what the search's own training cannot have, too."""
        super().check(recipe, density)
        self.recipe(recipe)

    def recipe(self, recipe: Recipe) -> Recipe:
        """How the search trains, for tickets that are trained by `recipe`."""
        own = search_changes(self)
        own |= {} if self.search_steps is None else {"max_steps": self.search_steps}
        own |= {} if self.search_learning_rate is None else {"learning_rate": self.search_learning_rate}
        return recipe.changed(**own) if own else recipe

    def _search(self, asked: Search) -> Found:
        from scratchcard.clock import spent
        from scratchcard.pruning.cut import by_lot, keep_top
        from scratchcard.pruning.state import copy_state, load_state
        from scratchcard.workloads.stored_training import train_once

        network, session = asked.network, asked.session
        workload = replace(asked.workload, recipe=self.recipe(asked.workload.recipe))
        cuts, start = Cuts(self, asked, 1), copy_state(network)
        record = train_once(network, workload, session, seed=asked.data_seed)
        if record.best_step == 0:
            raise ValueError(
                "the search's training diverged before its first evaluation, so that there are no trained weights; "
                "take a lower rate (search_learning_rate)"
            )
        begin = spent(session.device)
        looked = cuts.look(asked.density)
        load_state(network, start)
        scores, total, most = looked.scores, looked.mask.total, round(asked.density * looked.mask.total)
        counts = counts_above(scores, self.thresholds, looked.mask.excluded, most) if self.thresholds else []
        evaluator = self._evaluator(asked, most_tried(most, self.masks) if not counts else (1, len(counts)))
        lines: dict[int, dict[str, Any]] = {}

        def kept(count: int) -> Mask:
            how: dict[str, Any] = {"scope": self.scope, "exclude": asked.excluded, "floor": self.floor}
            return keep_top(scores, count / total, seed=asked.seed, **how)

        def evaluate(some: Sequence[int]) -> Sequence[Evaluated]:
            masks = [kept(count) for count in some]
            found = [each if mask.kept else nothing(each) for mask, each in zip(masks, evaluator(masks), strict=True)]
            lines.update(zip(some, map(_line, masks, found, [scores] * len(some)), strict=True))
            return found

        if counts:
            tried = dict(zip(counts, evaluate(counts), strict=True))
        else:
            least = sum(min(self.floor, tensor.numel()) for tensor in looked.mask.counted.values())
            tried = coarse_to_fine(evaluate, most, self.masks, max(1, least))
        best = best_of(tried)
        mask = kept(best).to("cpu")
        cuts.keep(looked._replace(mask=mask, by_lot=by_lot(scores, mask, scope=self.scope)))
        told: dict[str, Any] = {name: [lines[count][name] for count in sorted(lines)] for name in lines[best]}
        entry = {
            "density": 1.0,
            "steps": record.steps,
            "batch_size": workload.recipe.batch_size,
            "best_step": record.best_step,
            "validation_loss": record.best_validation_loss,
            "validation_accuracy": record.best_validation_metric,
            "seconds": record.seconds + spent(session.device) - begin,
            "masks": told | {"examples": tried[best].examples, "best": sorted(lines).index(best)},
        }
        return cuts.found((mask.density,), start, [entry])

    def _evaluator(self, asked: Search, most: tuple[int, int]) -> MasksAtOnce:
        """Of all of the validation split, or of as many examples as an epoch allows; of `LEAST_EXAMPLES` at least."""
        import torch

        from scratchcard.pruning.inputs import rows
        from scratchcard.workloads.engines.masks_at_once import MasksAtOnce
        from scratchcard.workloads.task import Split

        task = asked.workload.task
        split, how = task.validation, self.statistics
        evaluator = MasksAtOnce(asked.network, split, task.objective, statistics=how)
        examples = max(LEAST_EXAMPLES, int(EPOCH * len(task.train) / evaluator.passes(*most)))
        if examples >= len(split):
            return evaluator
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(asked.seed))[:examples]
        few = Split(rows(split.inputs, order), split.targets[order.to(split.targets.device)])
        return MasksAtOnce(asked.network, few, task.objective, statistics=how)


def _line(mask: Mask, found: Evaluated, scores: Scores) -> dict[str, Any]:
    """What is told of a mask, as plain JSON: how much it keeps, its lowest score, metric and loss."""
    live = [scores.tensors[name][kept.to(scores.tensors[name].device)] for name, kept in mask.counted.items()]
    threshold = min((float(values.min()) for values in live if values.numel()), default=None)
    numbers = {"metric": found.metric, "loss": found.loss}
    told = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return {"kept": mask.kept, "threshold": threshold} | told
