"""Bernoulli masks: each weight is kept with a probability that is learned by gradients of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scratchcard.regimes.learned_mask import LearnedMask
from scratchcard.regimes.regime import Search
from scratchcard.setting import SettingError, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scratchcard.pruning.mask import Mask


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

    def final(self, learned: Mapping[str, Tensor], asked: Search, within: Mask | None) -> tuple[Mask, int]:
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
