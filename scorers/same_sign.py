"""Same sign: scores by which weights that training has turned round rank below all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import Batch, Loss, Scorer, check_mask, hand_over, without_pruned


@dataclass(frozen=True, eq=False)
class SameSign(Scorer):
    """A scorer whose scores are reflected where a weight's sign is not that of its initial value.

        s' = s            where w and w0 have the same sign
        s' = 2 m - s      elsewhere (also where either is zero), m = min(0, the lowest score of a kept weight)

    So every weight that has kept its sign ranks above, or level with, all that have not, and the latter are in the
    opposite order. For criteria that are never negative m is 0: magnitude becomes `sign(w0) w`, by which Zhou et al.
    2019 (arXiv 1905.01067) and the studies after them find supermasks. Theirs is `max(0, sign(w0) w)`, which leaves the
    order of the others to the lot. Where m is not 0, reflected scores are float64.

    Attributes:
        scorer: whose scores they are, as it is in this search.
        start: the initial weights by name.

    Examples:
        >>> network = nn.Linear(3, 1, bias=False)
        >>> network.weight.data = torch.tensor([[0.1, 0.2, 0.3]])
        >>> scorer = SameSign.of(sc.make_scorer("magnitude"), network)
        >>> network.weight.data = torch.tensor([[-0.2, 0.05, 0.3]])
        >>> scorer(network, (torch.ones(1, 3), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([-0.2000,  0.0500,  0.3000])
    """

    scorer: Scorer
    start: Mapping[str, Tensor]

    @classmethod
    def of(cls, scorer: Scorer, network: nn.Module) -> SameSign:
        """The scorer in a search that begins at the weights that `network` has now."""
        return cls(scorer, {name: weight.detach().clone() for name, weight in prunable(network).items()})

    def __repr__(self) -> str:
        return f"SameSign({self.scorer!r})"

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """With what the scorer prepares for a multi-shot sequence."""
        return SameSign(self.scorer.prepare(network, batch, loss, mask=mask), self.start)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`.

        Raises:
            ValueError: (also) a network of another layout than the one that the search began with.
        """
        weights = check_mask(network, mask)
        check_same_layout(weights, self.start, "the initial weights")
        scores = self.scorer(network, batch, loss, mask=mask).tensors
        lowest = min(0.0, *(_lowest(tensor, None if mask is None else mask.tensors[n]) for n, tensor in scores.items()))
        reflected = {}
        for name, weight in weights.items():
            now, then = weight.detach(), self.start[name].to(weight.device)
            kept = (now.sign() == then.sign()) & (now != 0)
            values = scores[name] if lowest == 0.0 else scores[name].double()
            reflected[name] = torch.where(kept, values, 2 * lowest - values)
        return hand_over(without_pruned(reflected, mask), mask, self)


def _lowest(scores: Tensor, kept: Tensor | None) -> float:
    """The lowest score of a kept weight; 0 where there is none."""
    live = scores if kept is None else scores[kept.to(scores.device)]
    return float(live.min()) if live.numel() else 0.0
