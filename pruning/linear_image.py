"""The linear image of a network: what is left of it when only its prunable weights count.

SynFlow scores the paths of this network, and connectivity asks it which weights lie on a path at all.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scratchcard.pruning.elementwise import ELEMENTWISE
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, prunable, prunable_layers

NORMALISATIONS: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
)
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *ELEMENTWISE,
    nn.LogSigmoid,
    nn.LogSoftmax,
    nn.PReLU,
    nn.RReLU,
    nn.Softmax,
    nn.Softmax2d,
    nn.Softmin,
    nn.Threshold,
)
MAX_POOLINGS: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)
HIDDEN = (
    "softmax, a normalisation or a saturating activation is applied by a function in its `forward`; return logits, "
    "and use layers (nn.LayerNorm, nn.Tanh) in place of functions"
)
"""Why a linearised network is not linear, and how to mend it."""


class _LeftOut(nn.Identity):
    """In place of a normalisation; nn.TransformerEncoderLayer asks for its eps, and leaves its fast path for this."""

    eps = float("nan")


# Names under which a network of one's own usually keeps a factor; every other loose parameter is a summand.
_FACTORS = ("weight", "scale", "gamma", "gain")


def linearised(
    network: nn.Module,
    mask: Mask | None = None,
    *,
    power: float = 1,
    weights: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float64,
    pooling: Literal["keep", "average"] = "keep",
) -> nn.Module:
    r"""A copy of `network` whose output is the sum over paths of the product of `|w|^power * mask` on them.

    In the copy, each prunable weight `w` is `|w|^power * mask`; biases are zero; normalisation layers, softmax
    and element-wise activations are the identity; dropout is off (the copy is in eval mode). Other parameters
    stay out of the product: loose ones whose name ends in weight, scale, gamma or gain are one, all others
    zero. Activations that the network applies by a function (`F.relu` in its `forward`) remain; for the
    non-negative inputs and weights that this is for, those of the ReLU kind are the identity too. Softmax or
    normalisation by a function remains as well, and then the copy is not linear: whoever uses it must look.

    Args:
        network: left untouched; the copy shares no memory with it.
        mask: the kept weights; None keeps all.
        power: 1 for SynFlow's l1 form, 2 for the path kernel's, 0 for counting paths.
        weights: tensors by weight name to put in place of `|w|^power`, as they are (not made absolute).
        dtype: of all parameters and buffers of the copy. float32 overflows on deep networks.
        pooling: `"keep"` leaves max pooling as it is; `"average"` makes it average pooling, so that *every*
            path carries something.

    Returns:
        The copy, on the network's device. Its `prunable()` weights, and only they, require a gradient.

    Raises:
        ValueError: nothing to prune, or `mask` or `weights` of another layout.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        >>> network[0].weight.data = torch.tensor([[-3.0, 4.0]])
        >>> linearised(network)(torch.ones(1, 2, dtype=torch.float64)).item()
        7.0
    """
    own = prunable(network)
    if mask is not None:
        check_same_layout(own, mask.tensors, "the mask")
    duplicate = linear_copy(network, dtype=dtype, pooling=pooling)
    if weights is None:
        put_weights(weight_leaves(duplicate), own, mask, power)
    else:
        check_same_layout(own, weights, "the weights to linearise with")
        put_weights(weight_leaves(duplicate), weights, mask, None)
    return duplicate


def linear_copy(
    network: nn.Module, *, dtype: torch.dtype = torch.float64, pooling: Literal["keep", "average"] = "keep"
) -> nn.Module:
    """`linearised` before its weights are put in (`put_weights`): they hold nothing of meaning yet.

    Made once, the copy serves for many masks, as long as the network keeps its layers.

    Raises:
        ValueError: nothing to prune.

    Examples:
        >>> linear_copy(nn.Sequential(nn.Linear(2, 1), nn.ReLU()))[1]
        Identity()
    """
    # deepcopy takes what its memo already holds: the new parameters are made once, the old ones never copied.
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, dtype=dtype, requires_grad=False))
        for weight in prunable(network).values()
    }
    for name, parameter in network.named_parameters():
        if id(parameter) not in memo:
            factor = name.rpartition(".")[2].endswith(_FACTORS)
            fill = torch.full_like(parameter, 1.0 if factor else 0.0, dtype=dtype, requires_grad=False)
            memo[id(parameter)] = nn.Parameter(fill, requires_grad=False)
    duplicate = copy.deepcopy(network, memo)
    for parent in list(duplicate.modules()):
        # Not named_children(), which leaves out the second use of a layer that is used twice.
        for name, child in list(parent._modules.items()):
            if isinstance(child, NORMALISATIONS + ACTIVATIONS):
                setattr(parent, name, _LeftOut() if isinstance(child, NORMALISATIONS) else nn.Identity())
            elif pooling == "average" and child is not None:
                setattr(parent, name, _averaging(child))
    return duplicate.eval().to(dtype)


def weight_leaves(linear: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable weights of a linear copy, by name, whatever they hold.

    Examples:
        >>> [*weight_leaves(linear_copy(nn.Sequential(nn.Linear(2, 1), nn.ReLU())))]
        ['0.weight']
    """
    return {name: layer.get_parameter("weight") for name, layer in prunable_layers(linear).items()}


def put_weights(
    leaves: Mapping[str, Tensor], weights: Mapping[str, Tensor], mask: Mask | None, power: float | None
) -> None:
    """Set a linear copy's leaves to `|w|^power * mask` (with `power` None to `w * mask`), in place.

    Examples:
        >>> leaves = {"weight": torch.zeros(1, 2)}
        >>> put_weights(leaves, {"weight": torch.tensor([[-3.0, 4.0]])}, mask=None, power=2)
        >>> leaves["weight"]
        tensor([[ 9., 16.]])
    """
    with torch.no_grad():
        for name, leaf in leaves.items():
            leaf.copy_(weights[name])
            if power is not None:
                leaf.abs_()
                if power != 1:
                    leaf.pow_(power)
            if mask is not None:
                leaf.mul_(mask.tensors[name].to(leaf.device))


def _averaging(layer: nn.Module) -> nn.Module:
    """Average pooling in place of max pooling; any other layer as it is (so is pooling with dilation)."""
    kind = type(layer).__name__
    if not isinstance(layer, MAX_POOLINGS):
        return layer
    average: type[nn.Module] = getattr(nn, kind.replace("Max", "Avg"))
    if kind.startswith("Adaptive"):
        return average(layer.output_size)
    if layer.dilation not in (1, (1,), (1, 1), (1, 1, 1)):
        return layer
    return average(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
