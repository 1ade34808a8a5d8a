"""`keep_top`: the mask of the highest scores, and what of it was left to the lot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, count, matching
from scratchcard.pruning.schedules import check_density, check_floor
from scratchcard.pruning.scopes import SCOPES, Scope
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.top import top as _top

_CHUNK = 2**17


def keep_top(
    scores: Scores,
    density: float,
    *,
    scope: Scope = "global",
    within: Mask | None = None,
    exclude: Iterable[str] = (),
    floor: int = 0,
    seed: int = 0,
) -> Mask:
    """Keep exactly `round(density * n)` weights: those with the highest scores.

    Args:
        scores: one number for each prunable weight; higher = keep.
        density: share to keep of *all* prunable weights that are not excluded (of each layer's with `scope="layer"`).
        scope: `"global"` compares all weights with each other; `"layer"` keeps the same share of each layer;
            `"expected"` reads the scores as probabilities to be kept: each layer keeps its share of their sum, and
            within a layer the highest; `"erk"` gives the layers densities in proportion to `(out + in + kernel sizes) /
            (out in kernel sizes)`, at most 1 (Erdos-Renyi-Kernel: Evci et al. 2020, arXiv 1911.11134), and keeps the
            highest of each. Counts are cut by largest remainder, so that the total is exact.
        within: never keep a weight outside this mask. If it keeps fewer weights than asked for, all of them stay. What
            it excludes is excluded.
        exclude: weights that stay whole and are not counted, as `matching` reads names.
        floor: keep the highest scores of each layer, at least this many (all, where a layer has fewer); they count as
            part of the density.
        seed: of the random order that breaks ties, so that equal scores are not decided by position.

    Raises:
        ValueError: density outside (0, 1], an unknown scope, `within` of another layout, negative scores (or only
            zeros) with scope `"expected"`, nothing left to prune, an excluded weight that `within` prunes, or a floor
            that needs more weights than are kept.

    Examples:
        >>> scores = Scores({"weight": torch.tensor([[0.1, 0.7, 0.4, 0.2]])}, "by hand")
        >>> keep_top(scores, density=0.5).tensors["weight"]
        tensor([[False,  True,  True, False]])
        >>> scores = Scores({"a": torch.tensor([0.9, 0.8]), "b": torch.tensor([0.1, 0.2])}, "by hand")
        >>> keep_top(scores, density=0.5, floor=1).tensors["b"]
        tensor([False,  True])
        >>> keep_top(scores, density=0.5, exclude=["b"])
        Mask(1 of 2 weights in 1 layer, density 0.5)
    """
    check_density(density)
    if within is not None:
        check_same_layout(scores.tensors, within.tensors, "the mask `within`")
    excluded = matching(scores.tensors, exclude) | (frozenset() if within is None else within.excluded)
    live = {name: tensor for name, tensor in scores.tensors.items() if name not in excluded}
    for name in sorted(excluded) if within is not None else ():
        if not bool(within.tensors[name].all()):  # type: ignore[union-attr]
            raise ValueError(f"{name!r} is excluded and is to stay whole, but the mask `within` prunes some of it")
    if not live:
        raise ValueError("all weights are excluded from pruning; leave at least one in")
    rng = np.random.default_rng(seed)
    allowed = {name: None if within is None else _numpy(within.tensors[name].reshape(-1)) for name in live}
    keep = round(density * count(live))
    if scope == "global":
        kept = _global(live, keep, allowed, floor, rng)
    else:
        kept = _by_layer(live, density, keep, scope, allowed, floor, rng)
    return Mask(
        {
            name: torch.ones_like(tensor, dtype=torch.bool) if name in excluded else kept[name].to(tensor.device)
            for name, tensor in scores.tensors.items()
        },
        excluded,
    )


def by_lot(scores: Scores, mask: Mask, *, scope: Scope = "global", within: Mask | None = None) -> int:
    """How many kept weights were chosen by the seed: others of the same score were pruned.

    They are the kept weights whose score is the highest of the pruned ones, among the weights that were compared with
    each other: all of them, or each layer's. A floor compares those of its layer.

    Examples:
        >>> scores = Scores({"weight": torch.tensor([3.0, 1.0, 1.0, 1.0])}, "by hand")
        >>> by_lot(scores, keep_top(scores, 0.5))  # one of the three ones
        1
    """
    together = [list(mask.counted)] if scope == "global" else [[name] for name in mask.counted]
    return sum(_drawn({name: scores.tensors[name] for name in names}, mask, within) for names in together)


def _drawn(compared: Mapping[str, Tensor], mask: Mask, within: Mask | None) -> int:
    """`by_lot` of weights that were compared with each other."""
    best: dict[str, Tensor] = {}  # of what is pruned of each layer
    for name, values in compared.items():
        lowest = torch.finfo(values.dtype).min
        found = []
        for part, kept, room in _parts(values, mask.tensors[name], None if within is None else within.tensors[name]):
            out = ~kept if room is None else ~kept & room
            if bool(out.any()):
                found.append(part.masked_fill(~out, lowest).max())
        if found:
            best[name] = torch.stack(found).max()
    if not best:
        return 0
    cut = max(float(value) for value in best.values())
    lots = 0
    for name, values in compared.items():
        own = values.new_tensor(cut)
        there = float(own) == cut  # layers of less precision may not have this number
        for part, kept, _ in _parts(values, mask.tensors[name], None):
            # What a floor kept by lot has the score of pruned weights of its own layer.
            for height in ([own] if there else []) + ([best[name]] if name in best and best[name] != own else []):
                equal = part == height
                lots += int((equal & kept).sum()) if bool(equal.any()) else 0
    return lots


def _parts(*tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Parts of the same places of several tensors, on the device of the first; of None always None."""
    first = next(tensor for tensor in tensors if tensor is not None)
    flat = [None if tensor is None else tensor.to(first.device).reshape(-1) for tensor in tensors]
    size = first.numel()
    for start in range(0, size, _CHUNK):
        yield tuple(None if tensor is None else tensor[start : start + _CHUNK] for tensor in flat)


def _global(
    live: Mapping[str, Tensor],
    keep: int,
    allowed: Mapping[str, np.ndarray | None],
    floor: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """All weights compared with each other, after each layer's floor."""
    flats, rooms = [_numpy(tensor.reshape(-1)) for tensor in live.values()], [allowed[name] for name in live]
    if not floor:
        return _shaped(_top(flats, keep, rooms, rng), live)
    lowest = [_room(tensor, allowed[name], floor) for name, tensor in live.items()]
    forced = [_top([flat], least, [room], rng)[0] for flat, least, room in zip(flats, lowest, rooms, strict=True)]
    needed = sum(int(np.count_nonzero(best)) for best in forced)
    check_floor(floor, needed, keep)
    left = [~best if room is None else room & ~best for room, best in zip(rooms, forced, strict=True)]
    more = _top(flats, keep - needed, left, rng)
    return _shaped([one | other for one, other in zip(forced, more, strict=True)], live)


def _shaped(flats: Sequence[np.ndarray], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    shapes = zip(flats, like.items(), strict=True)
    return {name: torch.from_numpy(flat).reshape(tensor.shape) for flat, (name, tensor) in shapes}


def _by_layer(
    live: Mapping[str, Tensor],
    density: float,
    keep: int,
    scope: Scope,
    allowed: Mapping[str, np.ndarray | None],
    floor: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Each layer's weights among themselves."""
    flats = {name: _numpy(tensor.reshape(-1)) for name, tensor in live.items()}
    if scope == "layer":
        counts = {name: round(density * flat.size) for name, flat in flats.items()}
    elif scope == "erk":
        counts = _shared_out([float(sum(t.shape)) for t in live.values()], flats, allowed, keep)
    elif scope == "expected":
        counts = _expected_counts(flats, allowed, keep)
    else:
        raise ValueError(f"unknown scope {scope!r}, expected one of {', '.join(SCOPES)}")
    if floor:
        counts = _lifted(counts, {name: _room(tensor, allowed[name], floor) for name, tensor in live.items()}, floor)
    return {
        name: torch.from_numpy(_top([flats[name]], counts[name], [allowed[name]], rng)[0]).reshape(tensor.shape)
        for name, tensor in live.items()
    }


def _room(tensor: Tensor, allowed: np.ndarray | None, floor: int) -> int:
    """The floor, or fewer where a layer has fewer weights that may be kept."""
    return min(floor, tensor.numel() if allowed is None else int(allowed.sum()))


def _lifted(counts: Mapping[str, int], floors: Mapping[str, int], floor: int) -> dict[str, int]:
    """Counts of the same sum, none below its floor; the largest layers give what is missing."""
    check_floor(floor, sum(floors.values()), sum(counts.values()))
    lifted = {name: max(number, floors[name]) for name, number in counts.items()}
    for _ in range(sum(lifted.values()) - sum(counts.values())):
        lifted[max(lifted, key=lambda name: lifted[name] - floors[name])] -= 1
    return lifted


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
