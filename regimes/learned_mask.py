"""Learned masks: the mask is trained, by gradients of the loss, and no weight is."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from scratchcard.pruning.schedules import exponential
from scratchcard.regimes.one_training import MOST_STEPS, search_setting
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.setting import setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scratchcard.pruning.mask import Mask
    from scratchcard.workloads.recipe import Recipe

MOMENTUM = 0.9
"""Of the steps on scores."""


@dataclass(frozen=True, kw_only=True)
class LearnedMask(Regime):
    """Learns a number for each prunable weight by stochastic gradient descent; the weights stay as they are.

    Each step evaluates the network at `w0 * m`, with the step's mask m, on a training batch in training mode, and takes
    `g = dL/d(w0 m)` there. What the step does with it is the subclass's. Steps have momentum 0.9, no weight decay, and
    a rate that falls from `mask_rate` to zero by half a cosine. Images are taken as they are, without the recipe's
    augmentation. Biases and normalisations are the untrained network's own; batch norm normalises by the batch, and the
    ticket has the initial running statistics. The scorer gives the numbers that it begins with.

    With more than one round, the lowest numbers are frozen at zero along the way, for good: round k of K comes after
    `round(S k / K)` of the S steps, and leaves the share `density^(k / K)` of the weights. The last one is the mask.

    Attributes:
        search_steps: training steps of the mask.
        search_batch_size: examples of a step; None: the recipe's.
        mask_rate: the step size at first.

    Examples:
        >>> from scratchcard.regimes import EdgePopup
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> found = EdgePopup(search_steps=5).find(workload, sc.make_scorer("random"), density=0.5, seed=0)
        >>> found.start["1.weight"].equal(workload.build(0)[1].weight)  # no weight was trained
        True
    """

    trains: ClassVar[bool] = True
    keeps = "initial scores"

    search_steps: int = setting(
        2000, help="Training steps of the mask", example=1000, low=1, high=MOST_STEPS, label=", {} steps"
    )
    search_batch_size: int | None = search_setting("search_batch_size")

    rounds = 1

    @property
    @abstractmethod
    def rate(self) -> float:
        """The step size at first."""

    @abstractmethod
    def begin(self, scores: Tensor, weight: Tensor) -> Tensor:
        """The numbers of a layer that it begins with, from the scorer's, all of one shape."""

    @abstractmethod
    def masks(self, learned: Mapping[str, Tensor], asked: Search, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The mask of a step: bool, by name."""

    @abstractmethod
    def slope(self, learned: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of a layer's numbers, from `dL/d(w m)`."""

    @abstractmethod
    def final(self, learned: Mapping[str, Tensor], asked: Search, within: Mask | None) -> tuple[Mask, int]:
        """The mask of a round, within that of the round before, and how many of its weights were kept by lot."""

    def project(self, learned: Tensor) -> None:
        """Bring a layer's numbers back to where they may lie after a step, in place: they may lie anywhere."""

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses batches that the recipe could not have and more rounds than steps, too."""
        super().check(recipe, density)
        if self.rounds > self.search_steps:
            raise ValueError(
                f"{self.rounds} rounds do not fit into {self.search_steps} steps; take fewer rounds or more steps"
            )
        if self.search_batch_size is not None:
            recipe.changed(batch_size=self.search_batch_size)

    def _search(self, asked: Search) -> Found:
        import torch

        from scratchcard.clock import spent
        from scratchcard.pruning.modes import scored_by
        from scratchcard.pruning.parameters import prunable
        from scratchcard.pruning.scores import Scores
        from scratchcard.pruning.state import copy_state
        from scratchcard.workloads.engines.engine import place_split, seeded
        from scratchcard.workloads.engines.loop import batches
        from scratchcard.workloads.recipe import check_batch_size

        network, session, task = asked.network, asked.session, asked.workload.task
        begin, start = spent(session.device), copy_state(network)
        recipe = asked.workload.recipe
        recipe = recipe if self.search_batch_size is None else recipe.changed(batch_size=self.search_batch_size)
        check_batch_size(task, recipe)
        with scored_by(network, self.statistics):
            scores = asked.scorer(network, asked.batch, task.loss).tensors
        weights = {name: weight.detach().clone() for name, weight in prunable(network).items()}
        learned = {name: self.begin(scores[name].to(weight.dtype), weight) for name, weight in weights.items()}
        speed = {name: torch.zeros_like(values) for name, values in learned.items()}
        network.requires_grad_(requires_grad=False)
        device = next(iter(weights.values())).device
        train, generator = place_split(task.train, network, device), torch.Generator().manual_seed(asked.seed)
        order = batches(len(train), recipe.batch_size, asked.data_seed)
        ends = [round(self.search_steps * (done + 1) / self.rounds) for done in range(self.rounds)]
        cuts = dict(zip(ends, exponential(asked.density, self.rounds), strict=True))
        found: list[Mask] = []
        with scored_by(network, self.statistics), seeded(asked.seed, device):
            for step in range(self.search_steps):
                masks = self.masks(learned, asked, generator)
                gradients = _gradients(network, train, next(order), task.loss, weights, masks)
                rate = self.rate * (1 + math.cos(math.pi * step / self.search_steps)) / 2
                for name, values in learned.items():
                    slope = self.slope(values, weights[name], gradients[name])
                    values.sub_(speed[name].mul_(MOMENTUM).add_(slope), alpha=rate)
                    self.project(values)
                if not all(bool(values.isfinite().all()) for values in learned.values()):
                    raise ValueError(
                        f"the mask's training diverged at a rate of {self.rate:g}; take a lower mask_rate, or another "
                        "scorer"
                    )
                if step + 1 in cuts:
                    at = replace(asked, density=cuts[step + 1])
                    mask, lots = self.final(learned, at, found[-1] if found else None)
                    found.append(mask)
                    if step + 1 < self.search_steps:  # frozen for good: a weight of 0 has no slope
                        for name, kept in mask.tensors.items():
                            for tensor in (weights[name], learned[name], speed[name]):
                                tensor.mul_(kept)
                if session.progress is not None and step % 100 == 99:
                    session.progress(step + 1, self.search_steps)
        rounds = [mask.to("cpu") for mask in found]
        seconds, mask = spent(session.device) - begin, rounds[-1]
        entry: dict[str, Any] = {"density": mask.density, "steps": self.search_steps, "batch_size": recipe.batch_size}
        entry |= {"learning_rate": self.rate, "seconds": seconds}
        last = Scores({name: values.cpu() for name, values in learned.items()}, f"{self!r} from {asked.scorer!r}")
        survived = {
            name: torch.stack([each.tensors[name] for each in rounds]).sum(0, dtype=torch.int32) for name in learned
        }
        densities = tuple(each.density for each in rounds)
        return Found(mask, last, survived, densities, start, seconds, (entry,), lots)


def _gradients(
    network: Any, train: Any, places: Tensor, loss: Any, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """`dL/d(w m)` of a batch, also where m is 0."""
    import torch

    from scratchcard.pruning.inputs import forward, loss_of, rows

    with torch.enable_grad():
        leaves = {name: (weight * masks[name]).requires_grad_() for name, weight in weights.items()}
        outputs = forward(network, rows(train.inputs, places), leaves)
        value = loss_of(loss, outputs, train.targets[places.to(train.targets.device)])
        return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
