"""Edge-popup: the mask keeps the highest of scores that are learned by gradients of the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scratchcard.pruning.scopes import Scope
from scratchcard.regimes.learned_mask import LearnedMask
from scratchcard.regimes.regime import Search
from scratchcard.setting import setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scratchcard.pruning.mask import Mask


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
        return self.final(learned, asked, None)[0].tensors

    def slope(self, learned: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        """`dL/ds = dL/d(w m) w`.

        >>> EdgePopup().slope(torch.tensor([0.3]), torch.tensor([-2.0]), torch.tensor([0.5]))
        tensor([-1.])
        """
        return gradient * weight

    def final(self, learned: Mapping[str, Tensor], asked: Search, within: Mask | None) -> tuple[Mask, int]:
        """See `LearnedMask`."""
        from scratchcard.pruning.cut import keep_top
        from scratchcard.pruning.scores import Scores

        how: dict[str, Any] = {"scope": self.scope, "exclude": asked.excluded, "floor": self.floor, "seed": asked.seed}
        return keep_top(Scores(learned, repr(self)), asked.density, **how), 0
