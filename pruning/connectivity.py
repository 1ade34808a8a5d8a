"""Connectivity: which kept weights lie on a path from an input to an output, which units are dead.

Source: Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity
(Vysogorets & Kempe, arXiv 2107.02306).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs, tensors
from scratchcard.pruning.known_layers import input_first
from scratchcard.pruning.linear_image import LinearImage
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable, prunable_layers
from scratchcard.pruning.signal_arithmetic import NOTHING

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Example = tuple[int, ...] | Inputs


def effective_mask(network: nn.Module, mask: Mask, input_shape: Example) -> Mask:
    """The kept weights that lie on a path of kept weights from an input to an output.

    The linear image with 0/1 weights counts paths: a weight is on one exactly when the gradient of the summed output
    with respect to it is positive. Behind every weight and every product the counts are cut back to 0 or 1, in the
    forward and in the backward pass, so that they stay exact at any depth. Max pooling lets all of its inputs pass.
    A unit that only its bias feeds is on no path. What gates and attention count as, `signals` says.

    Args:
        network: any module; left untouched.
        mask: the kept weights.
        input_shape: of one input, without the batch, such as `(1, 28, 28)`; or inputs of the network, needed where it
            takes several, or tokens elsewhere than in its first layer. Of these, floating values play no part; the
            first example's whole numbers and booleans are taken as they are (masks).

    Raises:
        ValueError: a mask of another layout, an input shape that the network does not take, or no path even if all
            weights are kept, or what `LinearImage` refuses.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, True]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> effective_mask(network, mask, (2,)).tensors["0.weight"]  # the second unit leads nowhere
        tensor([[ True, False],
                [False, False]])
    """
    check_same_layout(prunable(network), mask.tensors, "the mask")
    found = _effective(network, mask, input_shape)
    if not found.kept and not _effective(network, Mask.dense(network), input_shape).kept:
        raise ValueError(
            f"no path leads from the inputs of {type(network).__name__} to its outputs even if all weights are kept; "
            "look for a layer that is never called, or a constant factor of zero"
        )
    return found


def _effective(network: nn.Module, mask: Mask, input_shape: Example) -> Mask:
    own = prunable(network)
    image = LinearImage(network, pooling="average", cut=True)
    image.put(mask.tensors)
    first = next(iter(prunable_layers(network).values()))
    features, tokens = _ones(input_shape, isinstance(first, nn.Embedding | nn.EmbeddingBag), image.begin)
    with torch.inference_mode(False), torch.enable_grad():
        try:
            output = image(features, tokens)
        except ValueError as error:
            if not isinstance(error.__cause__, RuntimeError | IndexError):
                raise
            reason = str(error.__cause__).splitlines()[0]
            shapes = {name: tuple(tensor.shape[1:]) for name, tensor in (features | tokens).items()}
            shape = shapes.get("", shapes)
            raise ValueError(f"the network does not take an input of shape {shape}: {reason}") from error
        found = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in own.items()}
        for name, leaf in image.leaves.items():
            leaf.register_post_accumulate_grad_hook(partial(_note, found[name]))  # type: ignore[no-untyped-call]
        torch.autograd.backward(output.sum(), inputs=list(image.leaves.values()))
    return Mask({name: mask.tensors[name].to(tensor.device) & tensor for name, tensor in found.items()})


def _note(reached: Tensor, leaf: Tensor) -> None:
    """Where a slope is positive; one layer's slopes at a time, not all of them."""
    assert leaf.grad is not None  # noqa: S101  (the hook is called when it is there)
    torch.gt(leaf.grad, NOTHING, out=reached)
    leaf.grad = None


def _ones(example: Example, tokens: bool, like: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features and tokens of one example: ones; of a table every entry is an input, so one look-up stands for all."""
    if isinstance(example, tuple):
        example = torch.zeros((1, *example), dtype=torch.int64 if tokens else torch.float64)
    given = {name: tensor[:1].to(like.device) for name, tensor in tensors(example).items()}
    features = {
        name: torch.ones(tensor.shape if tensor.is_floating_point() else (1,), dtype=like.dtype, device=like.device)
        for name, tensor in given.items()
    }
    return features, {name: tensor for name, tensor in given.items() if not tensor.is_floating_point()}


def effective_density(network: nn.Module, mask: Mask, input_shape: Example) -> float:
    """Kept weights on a path from an input to an output / prunable weights.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, True]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> mask.density, round(effective_density(network, mask, (2,)), 3)
        (0.5, 0.333)
    """
    return _share(effective_mask(network, mask, input_shape), mask)


def _share(effective: Mask, mask: Mask) -> float:
    """Effective weights / prunable weights, without those that `mask` excludes."""
    return sum(int(effective.tensors[name].count_nonzero()) for name in mask.counted) / mask.total


def dead_units(mask: Mask) -> dict[str, Tensor]:
    """For each layer a boolean vector `(out,)`: True where the unit keeps no incoming weight.

    A unit is a row of the weight, its first dimension: a linear layer's output, a convolution's channel.

    Examples:
        >>> dead_units(Mask({"weight": torch.tensor([[True, False], [False, False]])}))
        {'weight': tensor([False,  True])}
    """
    return {name: ~kept.reshape(kept.shape[0], -1).any(1) for name, kept in mask.tensors.items()}


def collapsed_layers(mask: Mask) -> tuple[str, ...]:
    """The names of the weights of which nothing is kept (layer collapse).

    Examples:
        >>> collapsed_layers(Mask({"a": torch.tensor([[True]]), "b": torch.tensor([[False]])}))
        ('b',)
    """
    return tuple(name for name, kept in mask.tensors.items() if kept.numel() and not bool(kept.any()))


@dataclass(frozen=True)
class Connectivity:
    """How a mask connects a network.

    Attributes:
        density: kept / all weights, by weight name.
        units: the number of units (outputs, output channels, table widths) by weight name.
        live_units: how many of them lie on a path from an input to an output.
        effective_density: kept weights on such a path / prunable weights.
        collapsed: the names of the weights of which nothing is kept.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> first = torch.tensor([[True, False], [False, False]])
        >>> mask = Mask({"0.weight": first, "2.weight": torch.tensor([[True, False]])})
        >>> found = Connectivity.of(network, mask, (2,))
        >>> found.live_units, round(found.effective_density, 3), found.collapsed
        ({'0.weight': 1, '2.weight': 1}, 0.333, ())
    """

    density: Mapping[str, float]
    units: Mapping[str, int]
    live_units: Mapping[str, int]
    effective_density: float
    collapsed: tuple[str, ...]

    @classmethod
    def of(cls, network: nn.Module, mask: Mask, input_shape: Example) -> Connectivity:
        """Summarise `mask` on `network`; arguments and errors as of `effective_mask`."""
        effective = effective_mask(network, mask, input_shape)
        units, live = {}, {}
        for name, layer in prunable_layers(network).items():
            on_path = effective.tensors[name]
            if isinstance(layer, _TRANSPOSED):
                # (in, out / groups, ...): one column for each group.
                groups = on_path.reshape(layer.groups, -1, *on_path.shape[1:])
                reached = groups.transpose(1, 2).flatten(0, 1).flatten(1).any(1)
            else:
                rows = on_path.transpose(0, 1) if input_first(layer) else on_path
                reached = rows.flatten(1).any(1)
            units[name], live[name] = reached.numel(), int(reached.sum())
        density = {name: int(kept.count_nonzero()) / kept.numel() for name, kept in mask.tensors.items()}
        return cls(density, units, live, _share(effective, mask), collapsed_layers(mask))
