"""Gem-Miner: the mask is what rounds up, and the lowest numbers are frozen round by round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scratchcard.regimes.learned_mask import LearnedMask
from scratchcard.regimes.regime import Search
from scratchcard.regimes.upfront import in_rounds
from scratchcard.setting import setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scratchcard.pruning.mask import Mask


@dataclass(frozen=True, kw_only=True)
class GemMiner(LearnedMask):
    """Gem-Miner: the mask keeps what rounds up to 1, and in each round the lowest numbers are frozen at 0.

        m = q [p >= 1/2]                                        q: what is not frozen yet
        dp = -rate (dL/d(w0 m) w0 + 2 mask_decay p)             the gradient goes straight through the rounding
        p = min(1, max(0, p)) q                                 after each step
        q = the density^(k / K) n highest p, within q           after round(S k / K) of S steps, k = 1 ... K

    Sreenivasan, Sohn, Yang, Grinde, Nagle, Wang, Xing, Lee & Papailiopoulos, "Rare Gems: Finding Lottery Tickets at
    Initialization", 2022, arXiv 2202.12002. The mask that is found is the last q, of exactly the density asked for. It
    has what rounds up within it, and what does not; so have theirs, before they are trained. Theirs freezes every
    eight of 150 epochs and learns on for a little after the last time, which no longer changes q; ours freezes last
    after the last step.

    The p of a layer begin as the ranks of the scorer's scores in it, evenly spread over [0, 1], so that half of a
    layer's weights round up; by `random` that is theirs, uniform at random. Weights whose p is the same, such as those
    at 1, are drawn by lot where a round separates them, and `by_lot` says how many the last one kept so.

    Attributes:
        rounds: K, how often the lowest are frozen; theirs is 18.
        mask_decay: the factor of the L2 regulariser, `mask_decay * sum p^2`; theirs is 0.0001 for ResNet-20.
        mask_rate: see `LearnedMask`; theirs is 0.1, for ten times as many steps and more.

    Raises:
        ValueError: more rounds than steps.

    Examples:
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> regime = GemMiner(rounds=2, search_steps=20)
        >>> found = regime.find(workload, sc.make_scorer("random"), density=0.25, seed=0)
        >>> found.mask_after(1).density, found.mask
        (0.5, Mask(12,550 of 50,200 weights in 3 layers, density 0.25))
    """

    rounds: int = in_rounds(20)
    mask_rate: float = setting(
        1.0, help="Step size of the mask's training, at first", example=0.5, above=0, label=", rate {:g}"
    )
    mask_decay: float = setting(
        0.0001,
        help="Factor of the squares of what is learned, which are added to the loss",
        example=0.001,
        low=0,
        label=", mask decay {:g}",
    )

    @property
    def rate(self) -> float:
        """See `mask_rate`."""
        return self.mask_rate

    def begin(self, scores: Tensor, weight: Tensor) -> Tensor:
        """The ranks, `(rank - 1/2) / n` from the lowest, equal scores at the mean of theirs; a level layer is at 1/2.

        >>> GemMiner().begin(torch.tensor([[0.7, -3.0], [0.7, 9.0]]), torch.ones(2, 2))
        tensor([[0.5000, 0.1250],
                [0.5000, 0.8750]])
        """
        _, places, counts = scores.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        ranks: Tensor = (counts.cumsum(0) - counts.double() / 2)[places]
        return (ranks / scores.numel()).to(weight.dtype)

    def masks(self, learned: Mapping[str, Tensor], asked: Search, generator: torch.Generator) -> Mapping[str, Tensor]:
        """See `LearnedMask`; what is frozen is 0, and so rounds down."""
        rounded = {name: values >= 0.5 for name, values in learned.items()}
        return rounded | {name: rounded[name].new_ones(rounded[name].shape) for name in asked.excluded}

    def slope(self, learned: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """`dL/dp = dL/d(w m) w + 2 mask_decay p`.

        >>> GemMiner(mask_decay=0.5).slope(torch.tensor([0.25]), torch.tensor([-2.0]), torch.tensor([0.5]))
        tensor([-0.7500])
        """
        return gradient * weight + 2 * self.mask_decay * learned

    def project(self, learned: Tensor) -> None:
        """See `LearnedMask`; to [0, 1].

        >>> learned = torch.tensor([-0.5, 0.25, 1.5])
        >>> GemMiner().project(learned)
        >>> learned
        tensor([0.0000, 0.2500, 1.0000])
        """
        learned.clamp_(0, 1)

    def final(self, learned: Mapping[str, Tensor], asked: Search, within: Mask | None) -> tuple[Mask, int]:
        """See `LearnedMask`."""
        from scratchcard.pruning.cut import by_lot, keep_top
        from scratchcard.pruning.scores import Scores

        scores = Scores(learned, repr(self))
        mask = keep_top(
            scores,
            asked.density,
            scope=self.scope,
            within=within,
            exclude=asked.excluded,
            floor=self.floor,
            seed=asked.seed,
        )
        return mask, by_lot(scores, mask, scope=self.scope, within=within)
