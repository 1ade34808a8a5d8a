"""Looks: what the looks of one search have seen of its weights, from where it began to where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.scorer import Batch, Loss
from scratchcard.scorers.shelf import array

LOOKED = (
    "start",
    "start_magnitude",
    "last_magnitude",
    "moved",
    "movement",
    "increase",
    "sign_kept",
    "gradient_mean",
    "gradient_variance",
)
"""Numbers of a weight that only the looks of a search know."""


class Looks:
    """The looks of one search: its initial weights, those of the last look and of this one, and gradients so far.

    A look is a moment of a search at which scores are taken; all scorings of one look see the same weights. It is told
    by the share of the search that is done: `see`, called again at the same share, does nothing.

    Args:
        network: with its initial weights; it is trained in place afterwards.
        done: the share of the search's training that is done, see `Scorer.from_start`.
        gradients: whether each look takes the gradient of the batch's mean loss.

    Attributes:
        number: looks so far.
        share: of the search's training that was done at this look; None before the first one.

    Examples:
        >>> network, batch = nn.Linear(2, 1, bias=False), (torch.ones(1, 2), torch.ones(1, 1))
        >>> network.weight.data = torch.tensor([[0.5, -1.0]])
        >>> shares = iter([0.5, 1.0])
        >>> looks = Looks(network, lambda: next(shares))
        >>> for _ in range(2):
        ...     network.weight.data += 1.0
        ...     looks.see(network, batch, nn.functional.mse_loss, None)
        >>> looks.number, looks.values("moved", "weight"), looks.values("sign_kept", "weight")
        (2, array([2., 2.], dtype=float32), array([1., 0.], dtype=float32))
        >>> looks.values("gradient_mean", "weight")  # 2 (1.5 - 1), then 2 (3.5 - 1)
        array([3., 3.], dtype=float32)
    """

    def __init__(self, network: nn.Module, done: Callable[[], float], *, gradients: bool = True) -> None:
        self._done, self._gradients = done, gradients
        self._start = self._last = self._now = _weights(network)
        self._mean = {name: np.zeros_like(weight) for name, weight in self._start.items()} if gradients else {}
        self._squares = {name: np.zeros_like(weight) for name, weight in self._mean.items()}
        self.number, self.share = 0, None  # type: tuple[int, float | None]

    def see(self, network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None) -> None:
        """Look at the network as it is now, unless that was done at this share of the search already.

        The gradient is that at `w * mask`. Mean and variance are updated as by Welford (1962).
        """
        share = self._done()
        if share == self.share:
            return
        self.share, self.number = share, self.number + 1
        self._last, self._now = self._now, _weights(network)
        if not self._gradients:
            return
        for name, tensor in loss_gradients(network, batch, loss, mask).gradients.items():
            gradient = array(tensor)
            off = gradient - self._mean[name]
            self._mean[name] += off / self.number
            self._squares[name] += off * (gradient - self._mean[name])

    def values(self, what: str, name: str, choice: Any = slice(None)) -> np.ndarray:
        """One of the numbers `LOOKED` of chosen weights of a parameter, in the weights' precision.

        `start` w0; `start_magnitude` |w0|; `last_magnitude` |w| at the look before this one, of the first look that at
        the start; `moved` w - w0; `movement` |w - w0|; `increase` |w| - |w0|; `sign_kept` 0 where w and w0 have
        opposite signs, else 1; `gradient_mean` and `gradient_variance` of the looks so far, the variance uncorrected.

        Raises:
            ValueError: the gradients were not asked for.
        """
        if what in ("gradient_mean", "gradient_variance"):
            if not self._gradients:
                raise ValueError(f"{what} needs the gradients of the looks, which were not asked for")
            mean = what == "gradient_mean"
            return np.asarray(self._mean[name][choice] if mean else self._squares[name][choice] / max(1, self.number))
        if what == "last_magnitude":
            return np.asarray(np.abs(self._last[name][choice]))
        start, weight = self._start[name][choice], self._now[name][choice]
        if what == "start":
            return np.asarray(start)
        if what == "start_magnitude":
            return np.asarray(np.abs(start))
        if what == "sign_kept":
            return np.asarray(np.sign(weight) * np.sign(start) >= 0, dtype=weight.dtype)
        if what == "increase":
            return np.asarray(np.abs(weight) - np.abs(start))
        moved = weight - start
        return np.asarray(np.abs(moved) if what == "movement" else moved)


def _weights(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: array(weight).copy() for name, weight in prunable(network).items()}
