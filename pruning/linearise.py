"""The linear image of a network: what is left of it when only its prunable weights count.

SynFlow scores the paths of this network, and connectivity asks it which weights lie on a path at all.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pruning.mask import Mask
from pruning.parameters import check_same_layout, prunable

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
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,  # and ReLU6
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.LogSoftmax,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.RReLU,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softmax,
    nn.Softmax2d,
    nn.Softmin,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
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

    In the copy, each prunable weight `w` is `|w|^power * mask`; biases are zero; normalisation layers and
    element-wise activations are the identity; dropout is off (the copy is in eval mode). Other parameters
    stay out of the product: loose ones whose name ends in weight, scale, gamma or gain are one, all others
    zero. Activations that the network applies by a function (`F.relu` in its `forward`) remain; for the
    non-negative inputs and weights that this is for, those of the ReLU kind are the identity too.

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
    """
    own = prunable(network)
    if mask is not None:
        check_same_layout(own, mask.tensors, "the mask")
    if weights is not None:
        check_same_layout(own, weights, "the weights to linearise with")
    # deepcopy takes what its memo already holds: the new parameters are made once, the old ones never copied.
    memo: dict[int, Any] = {}
    with torch.no_grad():
        for name, weight in own.items():
            if weights is None:
                value = weight.detach().to(dtype, copy=True).abs_()
                if power != 1:
                    value.pow_(power)
            else:
                value = weights[name].detach().to(weight.device, dtype, copy=True)
            if mask is not None:
                value.mul_(mask.tensors[name].to(weight.device))
            memo[id(weight)] = nn.Parameter(value)
        for name, parameter in network.named_parameters():
            if id(parameter) not in memo:
                factor = name.rpartition(".")[2].endswith(_FACTORS)
                fill = torch.full_like(parameter, 1.0 if factor else 0.0, dtype=dtype)
                memo[id(parameter)] = nn.Parameter(fill, requires_grad=False)
    duplicate = copy.deepcopy(network, memo)
    for parent in list(duplicate.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NORMALISATIONS + ACTIVATIONS):
                setattr(parent, name, nn.Identity())
            elif pooling == "average":
                setattr(parent, name, _averaging(child))
    return duplicate.eval().to(dtype)


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
