"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.networks.takes import Shape, takes

WIDTH, HEADS, LAYERS, SIDE = 128, 4, 6, 8


class Tokens(nn.Module):
    """Patches of an image as tokens `(n, patches, width)`, to each its place added.

    Examples:
        >>> Tokens((3, 32, 32))(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 64, 128])
    """

    def __init__(self, input_shape: Shape) -> None:
        super().__init__()
        channels, height, width = input_shape
        patch = (height // SIDE, width // SIDE)
        self.patches = nn.Conv2d(channels, WIDTH, patch, stride=patch)
        self.register_buffer("position", waves(SIDE, WIDTH), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """The tokens."""
        patches: Tensor = self.patches(inputs)
        return patches.flatten(2).transpose(1, 2) + self.get_buffer("position")


def waves(side: int, width: int) -> Tensor:
    """Sines and cosines of both coordinates of a square grid, `(side * side, width)`; wavelengths up to 2 pi 10^4.

    Examples:
        >>> waves(2, 4)[0]  # sin x, cos x, sin y, cos y at the origin
        tensor([0., 1., 0., 1.])
    """
    steps = max(1, width // 4 - 1)
    frequencies = 10_000.0 ** -(torch.arange(width // 4) / steps)
    along = torch.arange(side)[:, None] * frequencies
    row, column = along.repeat_interleave(side, 0), along.repeat(side, 1)
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], 1)


class Mean(nn.Module):
    """The mean over the tokens.

    Examples:
        >>> Mean()(torch.ones(2, 64, 128)).shape
        torch.Size([2, 128])
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """`(n, width)`."""
        return inputs.mean(1)


@takes((1, 8, 8), (3, 16, 24), sizes=(None, None, None))
def vit_small(input_shape: Shape, outputs: int, *, generator: torch.Generator) -> nn.Sequential:
    """A vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) of 8 x 8 patches, 6 layers and 128 units.

    Four heads, hidden layers of 512 units with GELU, normalisation before each part, no dropout. Places are sines and
    cosines, and the mean over the tokens stands for a class token, as in Beyer et al. (2022, arXiv 2205.01580). The
    image's sides are multiples of 8.

    Raises:
        ValueError: other sides.

    Examples:
        >>> network = sc.NETWORKS["vit_small"]((3, 32, 32), 10, generator=torch.Generator().manual_seed(0))
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        1187072
    """
    if any(side % SIDE or not side for side in input_shape[1:]):
        raise ValueError(
            f"the network 'vit_small' takes images whose sides are multiples of {SIDE}, and these are {input_shape}"
        )
    layers = [
        nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(LAYERS)
    ]
    network = nn.Sequential(Tokens(input_shape), *layers, nn.LayerNorm(WIDTH), Mean(), nn.Linear(WIDTH, outputs))
    initialise(network, generator)
    with torch.no_grad():
        for layer in layers:
            nn.init.xavier_uniform_(layer.self_attn.in_proj_weight, generator=generator)
    return network
