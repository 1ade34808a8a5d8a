"""Mask: which weights are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scratchcard.pruning.parameters import check_same_layout, count, flatten, prunable
from scratchcard.words import counted


@dataclass(frozen=True, eq=False)
class Mask:
    """Which prunable weights are kept: boolean tensors by weight name, True = kept.

    Attributes:
        tensors: one for each prunable weight of the network.
        excluded: the names of weights that were left out of pruning (a frozen layer, one that the user named). All of
            their entries are True, and no count and no density has them.

    Raises:
        ValueError: a tensor is not boolean, or an excluded one is not wholly kept.

    Examples:
        >>> mask = Mask({"weight": torch.tensor([[True, False, False, True]])})
        >>> mask.kept, mask.total, mask.density
        (2, 4, 0.5)
        >>> network = nn.Linear(4, 1)
        >>> mask.apply_to(network)
        >>> network.weight != 0
        tensor([[ True, False, False,  True]])
    """

    tensors: Mapping[str, Tensor]
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "excluded", frozenset(self.excluded))
        for name, tensor in self.tensors.items():
            if tensor.dtype is not torch.bool:
                raise ValueError(f"the mask of {name!r} is {tensor.dtype}, expected bool (True = kept)")
        for name in sorted(self.excluded):
            if name not in self.tensors or not bool(self.tensors[name].all()):
                raise ValueError(f"the mask leaves {name!r} out of pruning, but does not keep the whole weight")
        if self.tensors and len(self.excluded) == len(self.tensors):
            raise ValueError("the mask leaves all weights out of pruning; nothing is left to prune")

    def __repr__(self) -> str:
        layers = counted(len(self.counted), "layer")
        return f"Mask({self.kept:,} of {self.total:,} weights in {layers}, density {self.density:.4g})"

    @classmethod
    def dense(cls, network: nn.Module) -> Mask:
        """The mask that keeps every prunable weight of `network`."""
        return cls({name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(network).items()})

    @property
    def counted(self) -> dict[str, Tensor]:
        """The tensors of weights that are not excluded."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in self.excluded}

    @property
    def total(self) -> int:
        """Number of prunable weights, without those that are excluded."""
        return count(self.counted)

    @property
    def kept(self) -> int:
        """Number of kept weights, without those that are excluded."""
        return sum(int(tensor.count_nonzero()) for tensor in self.counted.values())

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
        both = {name: tensor & other.tensors[name] for name, tensor in self.tensors.items()}
        return Mask(both, self.excluded & other.excluded)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return (list(self.tensors), self.excluded) == (list(other.tensors), other.excluded) and all(
            torch.equal(tensor, other.tensors[name]) for name, tensor in self.tensors.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def contains(self, other: Mask) -> bool:
        """Whether every weight that `other` keeps is kept here too (nested masks)."""
        check_same_layout(self.tensors, other.tensors, "the other mask")
        return not any(bool((other.tensors[name] & ~tensor).any()) for name, tensor in self.tensors.items())

    def to(self, device: torch.device | str) -> Mask:
        """The same mask on another device."""
        return Mask({name: tensor.to(device) for name, tensor in self.tensors.items()}, self.excluded)

    def apply_to(self, network: nn.Module) -> None:
        """Set the pruned weights of `network` to zero, in place.

        Raises:
            ValueError: the network's prunable weights have other names or shapes.
        """
        weights = prunable(network)
        check_same_layout(weights, self.tensors, "the mask")
        for name, weight in weights.items():
            with torch.inference_mode(weight.is_inference()), torch.no_grad():
                weight.masked_fill_(~self.tensors[name].to(weight.device), 0)
