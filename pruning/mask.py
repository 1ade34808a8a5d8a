"""Mask: which weights are kept; `keep_top`: the mask of the highest scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.pruning.parameters import check_same_layout, count, flatten, prunable, unflatten
from scratchcard.pruning.schedules import check_density
from scratchcard.pruning.scopes import SCOPES, Scope
from scratchcard.pruning.scores import Scores
from scratchcard.words import counted


@dataclass(frozen=True, eq=False)
class Mask:
    """Which prunable weights are kept: boolean tensors by weight name, True = kept.

    Raises:
        ValueError: a tensor is not boolean.

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

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if tensor.dtype is not torch.bool:
                raise ValueError(f"the mask of {name!r} is {tensor.dtype}, expected bool (True = kept)")

    def __repr__(self) -> str:
        layers = counted(len(self.tensors), "layer")
        return f"Mask({self.kept:,} of {self.total:,} weights in {layers}, density {self.density:.4g})"

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
    scores: Scores, density: float, *, scope: Scope = "global", within: Mask | None = None, seed: int = 0
) -> Mask:
    """Keep exactly `round(density * n)` weights: those with the highest scores.

    Args:
        scores: one number for each prunable weight; higher = keep.
        density: share to keep of *all* prunable weights (of each layer's with `scope="layer"`).
        scope: `"global"` compares all weights with each other; `"layer"` keeps the same share of each layer;
            `"expected"` reads the scores as probabilities to be kept: each layer keeps its share of their sum, and
            within a layer the highest; `"erk"` gives the layers densities in proportion to `(out + in + kernel sizes) /
            (out in kernel sizes)`, at most 1 (Erdos-Renyi-Kernel: Evci et al. 2020, arXiv 1911.11134), and keeps the
            highest of each. Counts are cut by largest remainder, so that the total is exact.
        within: never keep a weight outside this mask. If it keeps fewer weights than asked for, all of them stay.
        seed: of the random order that breaks ties, so that equal scores are not decided by position.

    Raises:
        ValueError: density outside (0, 1], an unknown scope, `within` of another layout, or negative scores (or only
            zeros) with scope `"expected"`.

    Examples:
        >>> scores = Scores({"weight": torch.tensor([[0.1, 0.7, 0.4, 0.2]])}, "by hand")
        >>> keep_top(scores, density=0.5).tensors["weight"]
        tensor([[False,  True,  True, False]])
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
    flats = {name: _numpy(tensor.reshape(-1)) for name, tensor in scores.tensors.items()}
    inside = {name: None if within is None else within.tensors[name].reshape(-1).cpu().numpy() for name in flats}
    keep = round(density * scores.total)
    if scope == "layer":
        counts = {name: round(density * flat.size) for name, flat in flats.items()}
    elif scope == "erk":
        counts = _shared_out([float(sum(t.shape)) for t in scores.tensors.values()], flats, inside, keep)
    elif scope == "expected":
        counts = _expected_counts(flats, inside, keep)
    else:
        raise ValueError(f"unknown scope {scope!r}, expected one of {', '.join(SCOPES)}")
    masks = {}
    for name, tensor in scores.tensors.items():
        kept = torch.from_numpy(_top(flats[name], counts[name], inside[name], rng))
        masks[name] = kept.reshape(tensor.shape).to(tensor.device)
    return Mask(masks)


def _expected_counts(
    flats: Mapping[str, np.ndarray], allowed: Mapping[str, np.ndarray | None], keep: int
) -> dict[str, int]:
    """How many weights each layer keeps: `keep` in proportion to the sums of scores, none above what is allowed."""
    live = {name: flat if allowed[name] is None else flat[allowed[name]] for name, flat in flats.items()}
    if any(bool((values < 0).any()) for values in live.values()):
        raise ValueError("scope 'expected' reads scores as probabilities, but some are negative; use scope 'global'")
    sums = [float(values.sum(dtype=np.float64)) for values in live.values()]
    if not sum(sums) > 0:
        raise ValueError("scope 'expected' needs at least one positive score; use scope 'global'")
    return _shared_out(sums, flats, allowed, keep)


def _shared_out(
    sums: Sequence[float], flats: Mapping[str, np.ndarray], allowed: Mapping[str, np.ndarray | None], keep: int
) -> dict[str, int]:
    """How many weights each layer keeps: `keep` in proportion to numbers of the layers, none above what is allowed."""
    within = [allowed[name] for name in flats]
    room = np.array([flat.size if a is None else int(a.sum()) for flat, a in zip(flats.values(), within, strict=True)])
    keep = min(keep, int(room.sum()))
    counts = np.zeros(len(flats), dtype=np.int64)
    # Each turn gives what is left to the layers that still have room; a full layer's surplus goes to the others.
    while (left := keep - int(counts.sum())) > 0:
        open_ = counts < room
        weight = np.where(open_, sums, 0.0)
        if not weight.sum() > 0:
            weight = np.where(open_, room - counts, 0.0)
        quota = left * weight / weight.sum()
        given = np.floor(quota).astype(np.int64)
        order = np.argsort(-(quota - given), kind="stable")
        given[order[: left - int(given.sum())]] += 1
        counts = np.minimum(counts + given, room)
    return dict(zip(flats, counts.tolist(), strict=True))


def _numpy(vector: Tensor) -> np.ndarray:
    vector = vector.detach().cpu()
    # bfloat16 has no numpy form; every bfloat16 is a float32.
    return (vector.float() if vector.dtype is torch.bfloat16 else vector).numpy()


def _top(flat: np.ndarray, keep: int, allowed: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Boolean vector of the `keep` highest entries of `flat` among `allowed`; ties in a random order."""
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
    kept = np.zeros(flat.size, dtype=bool)
    kept[places[chosen]] = True
    return kept
