"""Recipes by name, after the papers that networks are compared by; single settings may override them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scratchcard.registry import lookup
from scratchcard.setting import SettingError
from scratchcard.workloads.recipe import Recipe

NEVER = 1_000_000
"""Patience of recipes whose papers do not stop early; the state of the lowest validation loss is kept all the same."""
_SGD: dict[str, Any] = {
    "momentum": 0.9,
    "learning_rate_schedule": "step",
    "augmentation": "crop_flip",
    "patience": NEVER,
}
_ADAM: dict[str, Any] = {"optimizer": "adam", "batch_size": 60, "evaluation_interval": 500, "patience": NEVER}


def lenet() -> Recipe:
    """LeNet-300-100 on MNIST (Frankle & Carbin 2019, arXiv 1803.03635): Adam at 0.0012, batches of 60.

    >>> lenet().learning_rate
    0.0012
    """
    return Recipe(learning_rate=1.2e-3, max_steps=50_000, **_ADAM)


def conv_2() -> Recipe:
    """Conv-2 on CIFAR-10 (Frankle & Carbin 2019, arXiv 1803.03635): Adam at 0.0002, batches of 60.

    >>> conv_2().max_steps
    20000
    """
    return Recipe(learning_rate=2e-4, max_steps=20_000, **_ADAM)


def conv_4() -> Recipe:
    """Conv-4 on CIFAR-10 (Frankle & Carbin 2019, arXiv 1803.03635): Adam at 0.0003, batches of 60.

    >>> conv_4().max_steps
    25000
    """
    return Recipe(learning_rate=3e-4, max_steps=25_000, **_ADAM)


def conv_6() -> Recipe:
    """Conv-6 on CIFAR-10 (Frankle & Carbin 2019, arXiv 1803.03635): Adam at 0.0003, batches of 60.

    >>> conv_6().max_steps
    30000
    """
    return Recipe(learning_rate=3e-4, max_steps=30_000, **_ADAM)


def resnet_cifar() -> Recipe:
    """ResNet-20 to 110 on CIFAR-10 (He et al. 2016, arXiv 1512.03385): SGD at 0.1, a tenth at 1/2 and at 3/4.

    >>> resnet_cifar().milestone_steps
    (32000, 48000)
    """
    return Recipe(
        learning_rate=0.1, weight_decay=1e-4, batch_size=128, max_steps=64_000, evaluation_interval=350, **_SGD
    )


def resnet_cifar_warmup() -> Recipe:
    """ResNet-18 on CIFAR-10 (Frankle & Carbin 2019, arXiv 1803.03635): SGD at 0.03 with a long warm-up.

    >>> resnet_cifar_warmup().milestone_steps
    (20000, 25000)
    """
    return Recipe(
        learning_rate=0.03,
        warmup_steps=2 / 3,
        milestones=(2 / 3, 5 / 6),
        weight_decay=1e-4,
        batch_size=128,
        max_steps=30_000,
        evaluation_interval=350,
        **_SGD,
    )


def vgg_cifar() -> Recipe:
    """VGG-19 on CIFAR-10 (Liu et al. 2019, arXiv 1810.05270): SGD at 0.1, a tenth at 1/2 and at 3/4 of 160 epochs.

    >>> vgg_cifar().milestone_steps
    (56240, 84360)
    """
    return Recipe(
        learning_rate=0.1, weight_decay=1e-4, batch_size=64, max_steps=112_480, evaluation_interval=703, **_SGD
    )


def vgg_cifar_warmup() -> Recipe:
    """VGG-19 on CIFAR-10 (Frankle & Carbin 2019, arXiv 1803.03635): SGD at 0.1 with a warm-up of 10,000 steps.

    >>> vgg_cifar_warmup().warmup
    10000
    """
    return vgg_cifar().changed(warmup_steps=10_000)


def wide_resnet() -> Recipe:
    """Wide ResNets on CIFAR (Zagoruyko & Komodakis 2016, arXiv 1605.07146): Nesterov at 0.1, a fifth three times.

    >>> wide_resnet().milestone_steps
    (23400, 46800, 62400)
    """
    return Recipe(
        learning_rate=0.1,
        nesterov=True,
        milestones=(0.3, 0.6, 0.8),
        milestone_factor=0.2,
        weight_decay=5e-4,
        batch_size=128,
        max_steps=78_000,
        evaluation_interval=390,
        **_SGD,
    )


def vit() -> Recipe:
    """Vision transformers (DeiT, Touvron et al. 2021, arXiv 2012.12877): AdamW, cosine, at their rate for 128 examples.

    Theirs is 0.0005 for 512 examples, in proportion to the batch; 300 epochs of CIFAR, 5 of them warm-up. Their
    augmentation is stronger still: it mixes images and changes colours.

    >>> vit().learning_rate
    0.000125
    """
    return Recipe(
        optimizer="adamw",
        learning_rate=1.25e-4,
        learning_rate_schedule="cosine",
        warmup_steps=1 / 60,
        weight_decay=0.05,
        label_smoothing=0.1,
        augmentation="crop_flip_cutout",
        batch_size=128,
        max_steps=105_300,
        evaluation_interval=351,
        patience=NEVER,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "lenet": lenet,
    "conv_2": conv_2,
    "conv_4": conv_4,
    "conv_6": conv_6,
    "resnet_cifar": resnet_cifar,
    "resnet_cifar_warmup": resnet_cifar_warmup,
    "vgg_cifar": vgg_cifar,
    "vgg_cifar_warmup": vgg_cifar_warmup,
    "wide_resnet": wide_resnet,
    "vit": vit,
}


def make_recipe(named: str | Mapping[str, Any] | Recipe = "", **words: Any) -> Recipe:
    """The recipe of a name of `RECIPES`, with other settings; a mapping holds the name under `name`, and settings.

    What the named recipe has that does not apply any longer gets its default; what is given is refused where it does
    not apply. Without a name settings stand beside the defaults.

    Raises:
        ValueError: no such recipe, settings that none has, or values that do not apply.

    Examples:
        >>> make_recipe("lenet", max_steps=500).learning_rate
        0.0012
        >>> make_recipe({"name": "wide_resnet", "max_steps": 2000}).milestone_steps
        (600, 1200, 1600)
        >>> make_recipe("resnet_cifr")
        Traceback (most recent call last):
            ...
        ValueError: unknown recipe 'resnet_cifr', known are ...; did you mean 'resnet_cifar'?
    """
    if isinstance(named, Recipe):
        return named.changed(**words)
    if isinstance(named, Mapping):
        words = {str(key): value for key, value in named.items() if key != "name"} | words
        named = named.get("name", "")
    if not isinstance(named, str):
        raise SettingError(f"a recipe is {type(named).__name__}, expected a name, an object of settings or a Recipe")
    return lookup(RECIPES, "recipes", named)().changed(**words) if named else Recipe.from_json(words)
