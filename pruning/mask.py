"""Mask: which weights are kept; `keep_top`: the mask of the highest scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from pruning.parameters import check_same_layout, count, flatten, prunable, unflatten
from pruning.schedules import check_density
from pruning.scores import Scores

Scope = Literal["global", "layer"]


@dataclass(frozen=True, eq=False)
class Mask:
    """Which prunable weights are kept: boolean tensors by weight name, True = kept.

    Raises:
        ValueError: a tensor is not boolean.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if tensor.dtype is not torch.bool:
                raise ValueError(f"the mask of {name!r} is {tensor.dtype}, expected bool (True = kept)")

    @classmethod
    def dense(cls, network: nn.Module) -> Mask:
        """The mask that keeps every prunable weight of `network`."""
        return cls({name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(network).items()})

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return count(self.tensors)

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(int(tensor.sum()) for tensor in self.tensors.values())

    @property
    def density(self) -> float:
        """Kept weights / prunable weights."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """1 - density."""
        return 1.0 - self.density

    def flat(self) -> Tensor:
        """The whole mask as one boolean vector `(n,)`."""
        return flatten(self.tensors)

    def __and__(self, other: Mask) -> Mask:
        check_same_layout(self.tensors, other.tensors, "the other mask")
        return Mask({name: tensor & other.tensors[name] for name, tensor in self.tensors.items()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return list(self.tensors) == list(other.tensors) and all(
            torch.equal(tensor, other.tensors[name]) for name, tensor in self.tensors.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def contains(self, other: Mask) -> bool:
        """Whether every weight that `other` keeps is kept here too (nested masks)."""
        check_same_layout(self.tensors, other.tensors, "the other mask")
        return not any(bool((other.tensors[name] & ~tensor).any()) for name, tensor in self.tensors.items())

    def to(self, device: torch.device | str) -> Mask:
        """The same mask on another device."""
        return Mask({name: tensor.to(device) for name, tensor in self.tensors.items()})

    def apply_to(self, network: nn.Module) -> None:
        """Set the pruned weights of `network` to zero, in place.

        Raises:
            ValueError: the network's prunable weights have other names or shapes.
        """
        weights = prunable(network)
        check_same_layout(weights, self.tensors, "the mask")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.masked_fill_(~self.tensors[name].to(weight.device), 0)


def keep_top(
    scores: Scores,
    density: float,
    *,
    scope: Scope = "global",
    within: Mask | None = None,
    seed: int = 0,
) -> Mask:
    """Keep exactly `round(density * n)` weights: those with the highest scores.

    Args:
        scores: one number for each prunable weight; higher = keep.
        density: share to keep of *all* prunable weights (of each layer's with `scope="layer"`).
        scope: `"global"` compares all weights with each other, `"layer"` each layer's among themselves.
        within: never keep a weight outside this mask. If it keeps fewer weights than asked for, all of them stay.
        seed: of the random order that breaks ties, so that equal scores are not decided by position.

    Raises:
        ValueError: density outside (0, 1], an unknown scope, or `within` of another layout.
    """
    check_density(density)
    if within is not None:
        check_same_layout(scores.tensors, within.tensors, "the mask `within`")
    rng = np.random.default_rng(seed)
    if scope == "global":
        flat = _numpy(scores.flat())
        allowed = None if within is None else within.flat().cpu().numpy()
        kept = torch.from_numpy(_top(flat, round(density * flat.size), allowed, rng))
        device = next(iter(scores.tensors.values())).device
        return Mask(unflatten(kept.to(device), scores.tensors))
    if scope == "layer":
        masks = {}
        for name, tensor in scores.tensors.items():
            flat = _numpy(tensor.reshape(-1))
            allowed = None if within is None else within.tensors[name].reshape(-1).cpu().numpy()
            kept = torch.from_numpy(_top(flat, round(density * flat.size), allowed, rng))
            masks[name] = kept.reshape(tensor.shape).to(tensor.device)
        return Mask(masks)
    raise ValueError(f"unknown scope {scope!r}, expected 'global' or 'layer'")


def _numpy(vector: Tensor) -> np.ndarray:
    vector = vector.detach().cpu()
    # bfloat16 has no numpy form; every bfloat16 is a float32.
    return (vector.float() if vector.dtype is torch.bfloat16 else vector).numpy()


def _top(flat: np.ndarray, keep: int, allowed: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Boolean vector of the `keep` highest entries of `flat` among `allowed`; ties in a random order."""
    kept = np.zeros(flat.size, dtype=bool)
    places = None if allowed is None else np.flatnonzero(allowed)
    values = flat if places is None else flat[places]
    if keep >= values.size:
        chosen = np.ones(values.size, dtype=bool)
    elif keep == 0:
        chosen = np.zeros(values.size, dtype=bool)
    else:
        threshold = np.partition(values, values.size - keep)[values.size - keep]
        chosen = values > threshold
        ties = np.flatnonzero(values == threshold)
        missing = keep - int(chosen.sum())
        chosen[rng.choice(ties, size=missing, replace=False)] = True
    if places is None:
        return chosen
    kept[places[chosen]] = True
    return kept
