"""Augmentations: how the images of a training batch are changed at random, each example in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.pruning.inputs import Inputs
from scratchcard.workloads.recipe import Recipe

NONE = "none"


def crop_flip(images: Tensor) -> Tensor:
    """A random crop of the image padded by an eighth of its side with zeros, mirrored in half of the cases.

    Of 32 x 32 pixels that is the padding by 4 of He et al. (2016, arXiv 1512.03385). The transforms of
    `torchvision.transforms.v2` draw once a call, so for a batch of examples that each have a draw of their own they
    would be called once an example; instead the batch is gathered at once from the flattened padded images, which is
    the same to the bit and many times as fast.

    Args:
        images: `(n, channels, height, width)`.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> images = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).expand(100, 1, 8, 8)
        >>> changed = crop_flip(images)
        >>> changed.shape, len({tuple(image.flatten().tolist()) for image in changed})
        (torch.Size([100, 1, 8, 8]), 18)
    """
    count, channels, height, width = images.shape
    pad_y, pad_x = _padding(height), _padding(width)
    # Drawn on the CPU, whatever the device: a few numbers an example, the same everywhere.
    top = torch.randint(2 * pad_y + 1, (count, 1))
    left = torch.randint(2 * pad_x + 1, (count, 1))
    mirrored = torch.rand(count, 1) < 0.5
    rows = top + torch.arange(height)
    columns = left + torch.where(mirrored, torch.arange(width - 1, -1, -1), torch.arange(width))
    places = rows[:, :, None] * (width + 2 * pad_x) + columns[:, None, :]
    places = places.reshape(count, 1, -1).to(images.device).expand(count, channels, -1)
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y)).reshape(count, channels, -1)
    return padded.gather(2, places).reshape(images.shape)


def crop_flip_cutout(images: Tensor) -> Tensor:
    """`crop_flip`, and a square of zeros of half the image's side, its middle anywhere (Cutout).

    DeVries & Taylor (2017, arXiv 1708.04552) take 16 pixels of 32. At the edge less of the square is in the image.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> changed = crop_flip_cutout(torch.ones(100, 1, 8, 8))
        >>> bool((changed.flatten(1).sum(1) < 64).all()), int(changed.min())
        (True, 0)
    """
    count, _, height, width = images.shape
    inside = [(torch.arange(side) + 0.5 - torch.randint(side, (count, 1))).abs() < side / 4 for side in (height, width)]
    hidden = (inside[0][:, :, None] & inside[1][:, None, :]).to(images.device)
    return crop_flip(images).masked_fill(hidden[:, None], 0)


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {"crop_flip": crop_flip, "crop_flip_cutout": crop_flip_cutout}
"""They draw from torch's global random state of the CPU, which a training seeds and puts back."""


def augment_by(name: str) -> Callable[[Any], Any]:
    """What changes the inputs of a batch; `"none"` leaves them as they are.

    Examples:
        >>> augment_by("none")(torch.ones(2, 3))
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """
    return AUGMENTATIONS.get(name, lambda inputs: inputs)


def check_images(recipe: Recipe, inputs: Inputs, what: str) -> None:
    """Refuse what a recipe has for images only where the inputs are none; `what` names them.

    Raises:
        ValueError: not one floating tensor `(n, channels, height, width)`.

    Examples:
        >>> check_images(Recipe(augmentation="crop_flip"), torch.zeros(5, 3, 8, 8), "the inputs")
        >>> check_images(Recipe(augmentation="crop_flip"), torch.zeros(5, 64), "the inputs of own")
        Traceback (most recent call last):
            ...
        ValueError: the recipe's augmentation is for images (channels, height, width), and the inputs of own are ...
    """
    if isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.is_floating_point():
        return
    for name, is_asked in (("augmentation", recipe.augmentation != NONE), ("channels_last", recipe.channels_last)):
        if is_asked:
            kind = f"{inputs.dtype} {tuple(inputs.shape[1:])}" if isinstance(inputs, Tensor) else "several tensors"
            raise ValueError(
                f"the recipe's {name} is for images (channels, height, width), and {what} are {kind}; leave it out"
            )


def _padding(side: int) -> int:
    return max(1, round(side / 8))
