"""Learned masks: the mask is trained, by gradients of the loss, and no weight is: edge-popup and Bernoulli masks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from scratchcard.pruning.scopes import Scope
from scratchcard.regimes.one_training import MOST_STEPS, search_setting
from scratchcard.regimes.regime import Found, Regime, Search
from scratchcard.setting import SettingError, setting

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
    def final(self, learned: Mapping[str, Tensor], asked: Search) -> tuple[Mask, int]:
        """The mask that is found, and how many of its weights were kept by lot."""

    def check(self, recipe: Recipe, density: float) -> None:
        """See `Regime.check`; refuses batches that the recipe could not have, too."""
        super().check(recipe, density)
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
        with scored_by(network, self.statistics), seeded(asked.seed, device):
            for step in range(self.search_steps):
                masks = self.masks(learned, asked, generator)
                gradients = _gradients(network, train, next(order), task.loss, weights, masks)
                rate = self.rate * (1 + math.cos(math.pi * step / self.search_steps)) / 2
                for name, values in learned.items():
                    slope = self.slope(values, weights[name], gradients[name])
                    values.sub_(speed[name].mul_(MOMENTUM).add_(slope), alpha=rate)
                if not all(bool(values.isfinite().all()) for values in learned.values()):
                    raise ValueError(
                        f"the mask's training diverged at a rate of {self.rate:g}; take a lower mask_rate, or another "
                        "scorer"
                    )
                if session.progress is not None and step % 100 == 99:
                    session.progress(step + 1, self.search_steps)
        mask, lots = self.final(learned, asked)
        mask = mask.to("cpu")
        seconds = spent(session.device) - begin
        entry: dict[str, Any] = {"density": mask.density, "steps": self.search_steps, "batch_size": recipe.batch_size}
        entry |= {"learning_rate": self.rate, "seconds": seconds}
        found = Scores({name: values.cpu() for name, values in learned.items()}, f"{self!r} from {asked.scorer!r}")
        survived = {name: kept.int() for name, kept in mask.tensors.items()}
        return Found(mask, found, survived, (mask.density,), start, seconds, (entry,), lots)


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


@dataclass(frozen=True, kw_only=True)
class EdgePopup(LearnedMask):
    """Edge-popup: the mask keeps the highest of learned scores; the gradient goes straight through that choice.

        m = 1 for the round(density n) highest scores of each layer, else 0
        ds = -rate dL/d(w0 m) w0

    Ramanujan, Wortsman, Kembhavi, Farhadi & Rastegari, "What's Hidden in a Randomly Weighted Neural Network?", 2020,
    arXiv 1911.13299. Scores begin as the scorer's, scaled so that each layer's root mean square is that of the uniform
    distribution on ±1/sqrt(fan_in); by `random` they are distributed as the sizes of theirs. Theirs compares sizes of
    scores, ours scores. It is best on signed-constant weights: `initial="constant"`, or `"scaled_kaiming"`.

    Attributes:
        scope: of the choice in each step and at the end; theirs is by layer.
        mask_rate: see `LearnedMask`; theirs is 0.1.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> EdgePopup(search_steps=20).find(workload, sc.make_scorer("random"), density=0.5, seed=0).mask
        Mask(25,100 of 50,200 weights in 3 layers, density 0.5)
    """

    scope: Scope = setting(
        "layer",
        help="The same share of each layer (layer), all weights compared with each other (global), or by "
        "Erdos-Renyi-Kernel (erk)",
        example="global",
        label=", scope {}",
    )
    mask_rate: float = setting(
        0.1, help="Step size of the mask's training, at first", example=0.5, above=0, label=", rate {:g}"
    )

    @property
    def rate(self) -> float:
        """See `mask_rate`."""
        return self.mask_rate

    def begin(self, scores: Tensor, weight: Tensor) -> Tensor:
        """The scores, scaled; see above. A layer without any difference begins level.

        >>> EdgePopup().begin(torch.tensor([[3.0, 4.0]]), torch.ones(1, 2)).square().mean() * 6  # fan_in 2, 1 / (3 * 2)
        tensor(1.0000)
        """
        size = scores.double().square().mean().sqrt()
        wanted = 1 / math.sqrt(3 * max(1, weight[0].numel()))
        return (scores.double() * (wanted / size if float(size) else 1.0)).to(weight.dtype)

    def masks(self, learned: Mapping[str, Tensor], asked: Search, generator: torch.Generator) -> Mapping[str, Tensor]:
        """See `LearnedMask`."""
        return self.final(learned, asked)[0].tensors

    def slope(self, learned: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """`dL/ds = dL/d(w m) w`.

        >>> EdgePopup().slope(torch.tensor([0.3]), torch.tensor([-2.0]), torch.tensor([0.5]))
        tensor([-1.])
        """
        return gradient * weight

    def final(self, learned: Mapping[str, Tensor], asked: Search) -> tuple[Mask, int]:
        """See `LearnedMask`."""
        from scratchcard.pruning.cut import keep_top
        from scratchcard.pruning.scores import Scores

        how: dict[str, Any] = {"scope": self.scope, "exclude": asked.excluded, "floor": self.floor, "seed": asked.seed}
        return keep_top(Scores(learned, repr(self)), asked.density, **how), 0


@dataclass(frozen=True, kw_only=True)
class BernoulliMask(LearnedMask):
    """Bernoulli masks: each weight is kept with a learned probability, drawn anew in each step.

        m ~ Bernoulli(sigmoid(s))
        ds = -rate dL/d(w0 m) w0 sigmoid'(s)

    Zhou, Lan, Liu & Yosinski 2019, arXiv 1905.01067: the gradient treats the drawn mask as its probability. The mask
    that is found keeps what is more probable than not, and so chooses its density; **the density asked for is the most
    that it may keep**. Theirs is evaluated by drawing; ours is one mask, the most probable one. Numbers begin as the
    scorer's, with mean 0 and deviation 1 in each layer; theirs begin level. A floor adds the most probable of a layer
    that has too few; the least probable of others yield only where the density leaves no room. A scope is refused.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> found = BernoulliMask(search_steps=20).find(workload, sc.make_scorer("random"), density=0.3, seed=0)
        >>> found.mask.density <= 0.3
        True
    """

    chooses: ClassVar[bool] = True

    mask_rate: float = setting(
        50.0, help="Step size of the mask's training, at first", example=20.0, above=0, label=", rate {:g}"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope != "global":
            why = f"BernoulliMask keeps what is more probable than not; leave the scope {self.scope} out"
            raise SettingError(why, "scope")

    @property
    def rate(self) -> float:
        """See `mask_rate`."""
        return self.mask_rate

    def begin(self, scores: Tensor, weight: Tensor) -> Tensor:
        """The scores with mean 0 and deviation 1; a layer without any difference begins at 0.

        >>> BernoulliMask().begin(torch.tensor([[3.0, 4.0]]), torch.ones(1, 2))
        tensor([[-1.,  1.]])
        """
        centred = scores.double() - scores.double().mean()
        size = centred.square().mean().sqrt()
        return (centred / (size if float(size) else 1.0)).to(weight.dtype)

    def masks(self, learned: Mapping[str, Tensor], asked: Search, generator: torch.Generator) -> Mapping[str, Tensor]:
        """See `LearnedMask`; drawn on the CPU, so that every device draws the same."""
        import torch

        drawn = {}
        for name, values in learned.items():
            luck = torch.rand(values.shape, generator=generator, dtype=torch.float32).to(values.device)
            kept = luck < values.sigmoid()
            drawn[name] = torch.ones_like(kept) if name in asked.excluded else kept
        return drawn

    def slope(self, learned: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """`dL/ds = dL/d(w m) w sigmoid'(s)`.

        >>> BernoulliMask().slope(torch.tensor([0.0]), torch.tensor([-2.0]), torch.tensor([0.5]))
        tensor([-0.2500])
        """
        chance = learned.sigmoid()
        return gradient * weight * chance * (1 - chance)

    def final(self, learned: Mapping[str, Tensor], asked: Search) -> tuple[Mask, int]:
        """See `LearnedMask`; one weight is kept at least."""
        from scratchcard.pruning.cut import by_lot, keep_top
        from scratchcard.pruning.scores import Scores

        live = [values for name, values in learned.items() if name not in asked.excluded]
        total = sum(values.numel() for values in live)
        wanted = sum(max(int((values > 0).sum()), min(self.floor, values.numel())) for values in live)
        kept = max(1, min(wanted, round(asked.density * total)))
        scores = Scores(learned, repr(self))
        mask = keep_top(scores, kept / total, exclude=asked.excluded, floor=self.floor, seed=asked.seed)
        return mask, by_lot(scores, mask)
