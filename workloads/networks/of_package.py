"""Networks of other packages by their names there: `torchvision:resnet18`, `timm:resnet10t`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from scratchcard.pruning.inputs import told
from scratchcard.registry import lookup
from scratchcard.workloads.networks.takes import Shape

_AUXILIARY = ("googlenet", "inception_v3")
"""Have further outputs in training mode, which are left out."""


@dataclass(frozen=True)
class Package:
    """A package whose classification networks have names.

    Attributes:
        channels: that the images must have; None where the networks are built for any.
        names: what it knows.
        make: the network of a name, not trained, for images of this shape and so many outputs; its weights are drawn
            from torch's global generator.

    Examples:
        >>> PACKAGES["torchvision"].channels
        3
    """

    channels: int | None
    names: Callable[[], list[str]]
    make: Callable[[str, Shape, int], nn.Module]


def is_of_package(network: str) -> bool:
    """Whether a network's name begins with one of these packages' and a colon; else it may be a factory.

    Examples:
        >>> is_of_package("timm:resnet10t"), is_of_package("mine:network"), is_of_package("lenet_300_100")
        (True, False, False)
    """
    package, colon, _ = network.partition(":")
    return bool(colon) and package in PACKAGES


def check_package_name(network: str) -> None:
    """Refuse a name that the package does not know.

    Raises:
        ValueError: says which are known and which is nearest; or which extra to install.

    Examples:
        >>> check_package_name("torchvision:resnet18")
        >>> check_package_name("torchvision:resnet81")
        Traceback (most recent call last):
            ...
        ValueError: unknown torchvision network 'resnet81', known are ...
    """
    package, _, name = network.partition(":")
    known: dict[str, Any] = dict.fromkeys(PACKAGES[package].names())
    lookup(known, f"{package} networks", name)


def package_network(network: str, input_shape: Shape | Mapping[str, Shape], outputs: int) -> nn.Module:
    """A classification network of another package, not trained, for so many outputs.

    Its weights are drawn as the package draws them, from torch's global generator.

    Args:
        network: the package, a colon, and the name there.
        input_shape: of images, `(channels, height, width)`; torchvision's networks take three channels. Networks of
            timm that are built for one size of images are built for this one.
        outputs: the number of classes.

    Raises:
        ValueError: an unknown name, inputs that are no such images, what the package raised, or timm is not installed.

    Examples:
        >>> package_network("torchvision:resnet18", (3, 32, 32), 10).fc
        Linear(in_features=512, out_features=10, bias=True)
    """
    check_package_name(network)
    package, _, name = network.partition(":")
    made = PACKAGES[package]
    if isinstance(input_shape, Mapping) or len(input_shape) != 3 or made.channels not in (None, input_shape[0]):
        of = f"called {', '.join(input_shape)}" if isinstance(input_shape, Mapping) else f"of shape {input_shape}"
        wanted = "channels" if made.channels is None else made.channels
        raise ValueError(f"the network {network!r} takes images, ({wanted}, height, width), and the inputs are {of}")
    with told(lambda: f"{package} cannot build {name!r} for images of shape {input_shape}"):  # no multiple of a patch?
        return made.make(name, input_shape, outputs)


def _names_of_torchvision() -> list[str]:
    from torchvision import models

    return list(models.list_models(module=models))


def _torchvision(name: str, input_shape: Shape, outputs: int) -> nn.Module:
    from torchvision import models

    one: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in _AUXILIARY else {}
    found: nn.Module = models.get_model(name, weights=None, num_classes=outputs, **one)
    return found


def _names_of_timm() -> list[str]:
    return list(_timm_itself().list_models())


def _timm(name: str, input_shape: Shape, outputs: int) -> nn.Module:
    timm = _timm_itself()
    channels, *size = input_shape
    fixed = {"img_size": tuple(size)} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    found: nn.Module = timm.create_model(name, pretrained=False, num_classes=outputs, in_chans=channels, **fixed)
    return found


def _timm_itself() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ValueError("networks of timm need the package timm: pip install 'scratchcard[timm]'") from error
    return timm


PACKAGES: dict[str, Package] = {
    "torchvision": Package(3, _names_of_torchvision, _torchvision),
    "timm": Package(None, _names_of_timm, _timm),
}
