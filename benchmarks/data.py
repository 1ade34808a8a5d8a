"""What the benchmarks measure on: MNIST, or noise of its shape where it is not there; they say which."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.tasks.mnist import raw_images

LEFT_OUT = 77
"""Exit status of a benchmark that cannot be run here; test programs have used it for long."""


def noise_images(count: int = 60_000) -> tuple[Tensor, Tensor]:
    """Images of noise in the shape of MNIST's, and labels: what takes time does not depend on what is seen."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (count,), generator=generator)


def noise() -> Task:
    """Noise in the shape of MNIST: nothing is learned, but the time does not depend on that."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        inputs = torch.randn(count, 1, 28, 28, generator=generator)
        return Split(inputs, torch.randint(0, 10, (count,), generator=generator))

    splits = (split(55_000), split(5_000), split(10))
    return Task("noise", *splits, outputs=10, digest=task_digest(*splits))


def mnist_or_noise(data_dir: str | Path | None = None, *, synthetic: bool = False) -> Task:
    """The task; where the data is nowhere, noise, which is said on stderr."""
    try:
        return noise() if synthetic else load_task("mnist", data_dir)
    except FileNotFoundError as error:
        _say(f"no MNIST, measured on noise of its shape instead ({error})")
        return noise()


def images_or_noise(data_dir: str | Path | None = None, *, synthetic: bool = False) -> tuple[Tensor, Tensor]:
    """The raw training images and labels; where the data is nowhere, noise, which is said on stderr."""
    try:
        return noise_images() if synthetic else raw_images("mnist", None if data_dir is None else Path(data_dir))
    except FileNotFoundError as error:
        _say(f"no MNIST, measured on noise of its shape instead ({error})")
        return noise_images()


def mnist_or_left_out(data_dir: str | Path | None = None) -> Task:
    """The task; where the data is nowhere the benchmark ends with `LEFT_OUT`, as it measures nothing without it."""
    try:
        return load_task("mnist", data_dir)
    except FileNotFoundError as error:
        _say(f"left out: it needs MNIST ({error})")
        sys.exit(LEFT_OUT)


def _say(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
