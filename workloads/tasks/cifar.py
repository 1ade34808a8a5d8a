"""`cifar10` and `cifar100`: 45,000 training, 5,000 validation and 10,000 test images of 32 x 32 pixels in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.task import Split, Task
from scratchcard.workloads.tasks.published import cache_folder, found_or_downloaded, published_task


def cifar10(data_dir: Path | None = None) -> Task:
    """Ten kinds of animals and vehicles (Krizhevsky 2009), normalised with the mean and std of its training set.

    Of the 50,000 training images a fixed random 5,000 are the validation split. The files are those of
    `torchvision.datasets.CIFAR10`, the folder `cifar-10-batches-py`; torchvision checks their MD5 before it reads them.

    Raises:
        FileNotFoundError: the files are nowhere and could not be downloaded.
        ValueError: a file is damaged.

    Examples:
        >>> cifar10()  # doctest: +SKIP
        Task('cifar10', classification, 45000 + 5000 + 10000 examples, torch.float32 (3, 32, 32))
    """
    return _build("cifar10", data_dir, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def cifar100(data_dir: Path | None = None) -> Task:
    """A hundred kinds of things (Krizhevsky 2009), normalised with the mean and std of its training set.

    Of the 50,000 training images a fixed random 5,000 are the validation split. The files are those of
    `torchvision.datasets.CIFAR100`, the folder `cifar-100-python`; torchvision checks their MD5 before it reads them.

    Raises:
        FileNotFoundError: the files are nowhere and could not be downloaded.
        ValueError: a file is damaged.

    Examples:
        >>> cifar100()  # doctest: +SKIP
        Task('cifar100', classification, 45000 + 5000 + 10000 examples, torch.float32 (3, 32, 32))
    """
    return _build("cifar100", data_dir, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


def _build(name: str, data_dir: Path | None, mean: tuple[float, ...], std: tuple[float, ...]) -> Task:
    import torchvision

    dataset = getattr(torchvision.datasets, name.upper())
    base = dataset.base_folder

    def download(cache: Path) -> Path:
        dataset(root=str(cache), download=True)
        return cache

    root = found_or_downloaded(
        name,
        data_dir,
        inside=lambda folder: [folder / name, folder, *([folder.parent] if folder.name == base else [])],
        elsewhere=[cache_folder()],
        whole=lambda folder: (folder / base).is_dir(),
        files=f"torchvision's folder {base}",
        download=download,
    )
    try:
        train, test = (dataset(root=str(root), train=training) for training in (True, False))
    except RuntimeError as error:  # torchvision compares the files' MD5
        raise ValueError(
            f"{root / base} is damaged or not whole: expected the files of {name}; get them again"
        ) from error

    def normalised(images: np.ndarray) -> Tensor:
        wide = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255.0)
        return wide.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None]).contiguous()

    return published_task(
        name,
        Split(normalised(train.data), torch.tensor(train.targets)),
        Split(normalised(test.data), torch.tensor(test.targets)),
        Encoding(mean, std, 255.0, tuple(train.classes)),
    )
