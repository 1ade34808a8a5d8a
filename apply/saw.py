"""SaW: a scorer's scores become the initial weights; and the bi-modal initialisation that the source compares it to."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from scratchcard.pruning.parameters import check_same_layout, prunable
from scratchcard.pruning.scores import Scores

Scale = Literal["unit", "variance"]


def scores_as_weights(network: nn.Module, scores: Scores, *, scale: Scale = "unit") -> None:
    """Set each prunable weight to `sign(w) |s|`, scaled, in place. Biases stay as they are.

    `scale="unit"`: divided by the largest |s| of the network, so that all weights lie in [-1, 1] (Lutz & Manai 2022,
    bachelor thesis, ZHAW). `scale="variance"`: each layer's weights keep the root mean square that the layer had, which
    keeps the variance of its outputs at initialisation.

    Raises:
        ValueError: scores of another layout, all scores zero (in the network, or in a layer with `scale="variance"`),
            or an unknown scale.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> network.weight.data = torch.tensor([[-1.0, 3.0]])
        >>> scores_as_weights(network, Scores({"weight": torch.tensor([[0.2, 0.1]])}, "by hand"))
        >>> network.weight.data
        tensor([[-1.0000,  0.5000]])
    """
    weights = prunable(network)
    check_same_layout(weights, scores.tensors, "the scores")
    if scale not in ("unit", "variance"):
        raise ValueError(f"unknown scale {scale!r}, expected 'unit' or 'variance'")
    largest = max(float(tensor.abs().max()) for tensor in scores.tensors.values())
    if largest == 0.0:
        raise ValueError(f"all scores of {scores.criterion} are zero: they cannot serve as initial weights")
    with torch.no_grad():
        for name, weight in weights.items():
            # Scores may be tiny (SynFlow's products): scale in their own precision before the cast.
            value = scores.tensors[name].to(weight.device).abs()
            if scale == "unit":
                value = value / largest
            else:
                top = value.max()
                if float(top) == 0.0:
                    raise ValueError(f"all scores of {name!r} are zero: its variance cannot be kept")
                value = value / top
                value = value * (weight.to(value.dtype).square().mean() / value.square().mean()).sqrt()
            weight.copy_(weight.sign() * value.to(weight.dtype))


def signed_constant(network: nn.Module) -> None:
    """Set every prunable weight to `sign(w) sqrt(mean w²)` of its layer, in place; zeros stay.

    Of Kaiming-normal weights that is `± sqrt(2 / fan_in)` but for chance, the signed Kaiming constant of Ramanujan et
    al. 2020 (arXiv 1911.13299); Zhou et al. 2019 (arXiv 1905.01067) have it too.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> network.weight.data = torch.tensor([[-1.0, 7.0]])
        >>> signed_constant(network)
        >>> network.weight.data
        tensor([[-5.,  5.]])
    """
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.copy_(weight.sign() * weight.double().square().mean().sqrt())


def scaled_kaiming(network: nn.Module, density: float, *, generator: torch.Generator) -> None:
    """Draw every prunable weight from `N(0, 2 / (density fan_in))`, in place.

    Where each unit keeps that share of its inputs, outputs then have the variance that Kaiming's weights give the whole
    network (Ramanujan et al. 2020, arXiv 1911.13299: scaled Kaiming normal).

    Examples:
        >>> network = nn.Linear(800, 100)
        >>> scaled_kaiming(network, 0.25, generator=torch.Generator().manual_seed(0))
        >>> round(float(network.weight.detach().std()), 2)  # sqrt(2 / 200)
        0.1
    """
    with torch.no_grad():
        for weight in prunable(network).values():
            drawn: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
            deviation = (2.0 / (density * max(1, weight[0].numel()))) ** 0.5
            weight.copy_(torch.randn(tuple(weight.shape), **drawn) * deviation)


def bimodal(network: nn.Module, *, generator: torch.Generator, share: float = 0.9) -> None:
    """Draw every prunable weight from two normals at `+m` and `-m`, in place, with Kaiming's variance.

    With `v = 2 / fan_in`: `m = sqrt(share v)`, standard deviation `sqrt((1 - share) v)`, each sign with probability
    1/2, so that the variance is v as in He et al. 2015 (arXiv 1502.01852). The shape, kept weights of winning tickets
    being bi-modal, is what Lutz & Manai 2022 saw; the share is ours, since the source does not state one.

    Raises:
        ValueError: share outside [0, 1].

    Examples:
        >>> network = nn.Linear(8, 1)
        >>> bimodal(network, generator=torch.Generator().manual_seed(0), share=1.0)
        >>> network.weight.data.abs().unique()
        tensor([0.5000])
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    with torch.no_grad():
        for weight in prunable(network).values():
            variance = 2.0 / max(1, weight[0].numel())
            shape = tuple(weight.shape)
            # On the generator's own device, wherever the network is.
            drawn: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
            sign = torch.randint(0, 2, shape, **drawn) * 2 - 1
            noise = torch.randn(shape, **drawn)
            weight.copy_(sign * (share * variance) ** 0.5 + noise * ((1.0 - share) * variance) ** 0.5)
