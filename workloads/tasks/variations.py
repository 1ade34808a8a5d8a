"""Variations of MNIST: the same digits with other statistics of pixels, for predictors that shall serve other images.

After Larochelle et al., "An Empirical Evaluation of Deep Architectures on Problems with Many Factors of Variation"
(ICML 2007), who drew digits on other backgrounds; the variations here are our own. All are normalised with mean and
standard deviation of their training set, and drawn with fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks.mnist import mnist

Change = Callable[[Tensor, torch.Generator], Tensor]

SEED = 2007


def mnist_blurred(data_dir: Path | None = None) -> Task:
    """MNIST after two means over 5 x 5 pixels: neighbouring pixels are nearly alike.

    Examples:
        >>> mnist_blurred()  # doctest: +SKIP
        Task('mnist_blurred', classification, 55000 + 5000 + 10000 examples, torch.float32 (1, 28, 28))
    """
    return _varied("mnist_blurred", data_dir, lambda images, _: _mean(_mean(images, 5), 5))


def mnist_thick(data_dir: Path | None = None) -> Task:
    """MNIST with strokes of the maximum over 5 x 5 pixels, then the mean over 3 x 3: filled shapes.

    Examples:
        >>> mnist_thick()  # doctest: +SKIP
        Task('mnist_thick', classification, 55000 + 5000 + 10000 examples, torch.float32 (1, 28, 28))
    """
    return _varied("mnist_thick", data_dir, lambda images, _: _mean(F.max_pool2d(images, 5, 1, 2), 3))


def mnist_background(data_dir: Path | None = None) -> Task:
    """MNIST on smooth random clouds: no pixel is constant, and much of the variance says nothing of the class.

    Examples:
        >>> mnist_background()  # doctest: +SKIP
        Task('mnist_background', classification, 55000 + 5000 + 10000 examples, torch.float32 (1, 28, 28))
    """
    return _varied("mnist_background", data_dir, lambda images, g: images + 0.6 * clouds(images, g) * (images < 0))


def mnist_textured(data_dir: Path | None = None) -> Task:
    """MNIST times one plus half of a smooth random cloud: uneven strokes.

    Examples:
        >>> mnist_textured()  # doctest: +SKIP
        Task('mnist_textured', classification, 55000 + 5000 + 10000 examples, torch.float32 (1, 28, 28))
    """
    return _varied("mnist_textured", data_dir, lambda images, g: images * (1 + 0.5 * clouds(images, g)))


def clouds(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise `(n, 1, height, width)` after two means over 7 x 7 pixels, of standard deviation 1.

    Examples:
        >>> noise = clouds(torch.zeros(2, 1, 28, 28), torch.Generator().manual_seed(0))
        >>> tuple(noise.shape), round(float(noise.std()), 3)
        ((2, 1, 28, 28), 1.0)
    """
    n, _, height, width = like.shape
    noise = torch.randn(n, 1, height + 12, width + 12, generator=generator)
    smooth = F.avg_pool2d(F.avg_pool2d(noise, 7, 1), 7, 1)
    return smooth / smooth.std()


def _mean(images: Tensor, width: int) -> Tensor:
    return F.avg_pool2d(images, width, 1, width // 2)


def _varied(name: str, data_dir: Path | None, change: Change) -> Task:
    base = mnist(data_dir)
    changed = []
    for number, split in enumerate((base.train, base.validation, base.test)):
        changed.append(change(split.tensor, torch.Generator().manual_seed(SEED + number)))
    mean, std = changed[0].mean(), changed[0].std()
    train, validation, test = (
        Split(((images - mean) / std).contiguous(), split.targets)
        for images, split in zip(changed, (base.train, base.validation, base.test), strict=True)
    )
    encoding, digest = Encoding(classes=base.encoding.classes), task_digest(train, validation, test)
    return Task(name, train, validation, test, base.outputs, digest, encoding=encoding)
