"""Networks of torchvision by their name there: `torchvision:resnet18`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from scratchcard.registry import lookup
from scratchcard.workloads.networks.takes import Shape

PREFIX = "torchvision:"
_AUXILIARY = ("googlenet", "inception_v3")
"""Have further outputs in training mode, which are left out."""


def torchvision_network(name: str, input_shape: Shape | Mapping[str, Shape], outputs: int) -> nn.Module:
    """A classification network of torchvision, not trained, for so many outputs.

    Its weights are drawn as torchvision draws them, from torch's global generator.

    Args:
        name: `torchvision:` and its name there.
        input_shape: of images, `(3, height, width)`.
        outputs: the number of classes.

    Raises:
        ValueError: torchvision has no such network, or the inputs are no images of three channels.

    Examples:
        >>> torchvision_network("torchvision:resnet18", (3, 32, 32), 10).fc
        Linear(in_features=512, out_features=10, bias=True)
        >>> torchvision_network("torchvision:resnet81", (3, 32, 32), 10)
        Traceback (most recent call last):
            ...
        ValueError: unknown torchvision network 'resnet81', known are ...
    """
    from torchvision import models

    check_torchvision_name(name)
    if isinstance(input_shape, Mapping) or len(input_shape) != 3 or input_shape[0] != 3:
        of = f"called {', '.join(input_shape)}" if isinstance(input_shape, Mapping) else f"of shape {input_shape}"
        raise ValueError(f"the network {name!r} takes images, (3, height, width), and the inputs are {of}")
    there = name.removeprefix(PREFIX)
    one: dict[str, Any] = {"aux_logits": False, "init_weights": True} if there in _AUXILIARY else {}
    found: nn.Module = models.get_model(there, weights=None, num_classes=outputs, **one)
    return found


def check_torchvision_name(name: str) -> None:
    """Refuse a name that torchvision does not know.

    Raises:
        ValueError: says which are known and which is nearest.

    Examples:
        >>> check_torchvision_name("torchvision:resnet18")
    """
    from torchvision import models

    known: dict[str, Any] = dict.fromkeys(models.list_models(module=models))
    lookup(known, "torchvision networks", name.removeprefix(PREFIX))
