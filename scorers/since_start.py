"""What criteria share that compare trained weights with those that the search began with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.scorer import (
    Batch,
    Loss,
    Scorer,
    at_least_single,
    check_mask,
    hand_over,
)
from scratchcard.settings import Settings


@dataclass(frozen=True)
class SinceStart(Settings, Scorer):
    """A criterion `s = f(w, w0)` on each weight as it is now and as it was before any training; needs no data.

    Only a regime that trains in between (ISS, IMS, ESS, EMS) has both. Rewinding does not change where a search began:
    `w0` are the weights before its first step.

    Examples:
        >>> @dataclass(frozen=True)
        ... class SignKept(SinceStart):
        ...     def score(self, weight, start):
        ...         return (weight * start).sign()
        >>> network = nn.Linear(2, 1, bias=False)
        >>> network.weight.data = torch.tensor([[1.0, -2.0]])
        >>> scorer = SignKept().from_start(network, lambda: 1.0)
        >>> network.weight.data = torch.tensor([[3.0, 0.5]])
        >>> scorer(network, (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([ 1., -1.])
    """

    regime: ClassVar[str] = "ISS"

    @abstractmethod
    def score(self, weight: Tensor, start: Tensor) -> Tensor:
        """The scores of one parameter's kept weights `(k,)`, from them now and at the start, float32 at least."""

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """Refuses: it was not shown the start of a search.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{self} compares weights with those before training, and here it has no weights of before: nothing was "
            "trained since, or another scorer's scores stand in for the weights; take a regime that trains in between "
            "(ISS, IMS, ESS, EMS, RigL or Supermask), or a criterion on the weights as they are, such as magnitude"
        )

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """The scorer of one search, with a copy of the initial weights."""
        return Begun(self, {name: weight.detach().clone() for name, weight in prunable(network).items()})


@dataclass(frozen=True, eq=False)
class Begun(Scorer):
    """A criterion of `SinceStart` in one search.

    Attributes:
        criterion: whose scores they are.
        start: the initial weights by name.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> sc.make_scorer("movement").from_start(network, lambda: 1.0)
        Movement()
    """

    criterion: SinceStart
    start: Mapping[str, Tensor]

    def __repr__(self) -> str:
        return repr(self.criterion)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`.

        Raises:
            ValueError: (also) a network of another layout than the one that the search began with.
        """
        weights = check_mask(network, mask)
        check_same_layout(weights, self.start, "the initial weights")
        scores = {}
        for name, weight in weights.items():
            kept = None if mask is None else mask.tensors[name].to(weight.device)
            now, then = weight.detach(), self.start[name].to(weight.device)
            found = self.criterion.score(*(at_least_single(_of(tensor, kept)) for tensor in (now, then)))
            if kept is None:
                scores[name] = found.reshape(weight.shape)
            else:
                scores[name] = found.new_zeros(weight.shape).masked_scatter_(kept, found)
        return hand_over(scores, mask, self)


def _of(tensor: Tensor, kept: Tensor | None) -> Tensor:
    """The kept numbers of a tensor, as a vector."""
    return tensor.reshape(-1) if kept is None else tensor[kept]
