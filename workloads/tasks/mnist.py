"""`mnist` and `fashion_mnist`: 55,000 training, 5,000 validation and 10,000 test images of 28 x 28 pixels."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from workloads.task import Split, Task, task_digest
from workloads.tasks.idx import read_idx

VALIDATION = 5_000
SPLIT_SEED = 2022
STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def mnist(data_dir: Path | None = None) -> Task:
    """Handwritten digits (LeCun, Cortes, Burges 1998), normalised with mean 0.1307 and std 0.3081 of its training set.

    Of the 60,000 training images a fixed random 5,000 are the validation split.

    Raises:
        FileNotFoundError: the four IDX files are nowhere and could not be downloaded.
        ValueError: a file is damaged.
    """
    return _build("mnist", "MNIST", ("/usr/share/datasets/mnist",), data_dir, mean=0.1307, std=0.3081)


def fashion_mnist(data_dir: Path | None = None) -> Task:
    """Clothing (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747), mean 0.2860 and std 0.3530 of its training set.

    Of the 60,000 training images a fixed random 5,000 are the validation split. Debian's package
    `dataset-fashion-mnist` is found where it installs itself.

    Raises:
        FileNotFoundError: the four IDX files are nowhere and could not be downloaded.
        ValueError: a file is damaged.
    """
    places = ("/usr/share/datasets/fashion-mnist",)
    return _build("fashion_mnist", "FashionMNIST", places, data_dir, mean=0.2860, std=0.3530)


def _build(
    name: str, torchvision_name: str, places: tuple[str, ...], data_dir: Path | None, *, mean: float, std: float
) -> Task:
    folder = _find(name, torchvision_name, places, data_dir)
    train_images, train_labels, test_images, test_labels = (read_idx(_file(folder, stem)) for stem in STEMS)
    for images, labels, count in ((train_images, train_labels, 60_000), (test_images, test_labels, 10_000)):
        if images.shape != (count, 28, 28) or labels.shape != (count,):
            raise ValueError(
                f"{folder} does not hold {name}: expected {count} images of 28 x 28 and as many labels, got "
                f"{images.shape} and {labels.shape}"
            )

    def normalised(images: Tensor) -> Tensor:
        return images.unsqueeze(1).float().div_(255.0).sub_(mean).div_(std)

    inputs, targets = normalised(torch.tensor(train_images)), torch.tensor(train_labels).long()
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(SPLIT_SEED))
    validation, train = order[:VALIDATION].sort().values, order[VALIDATION:].sort().values
    splits = (
        Split(inputs[train], targets[train]),
        Split(inputs[validation], targets[validation]),
        Split(normalised(torch.tensor(test_images)), torch.tensor(test_labels).long()),
    )
    return Task(name, *splits, classes=10, digest=task_digest(*splits))


def raw_images(name: str, data_dir: Path | None = None) -> tuple[Tensor, Tensor]:
    """The 60,000 training images `(n, 28, 28)` as bytes and their labels: for loops that normalise item by item."""
    torchvision_name, place = {
        "mnist": ("MNIST", "/usr/share/datasets/mnist"),
        "fashion_mnist": ("FashionMNIST", "/usr/share/datasets/fashion-mnist"),
    }[name]
    folder = _find(name, torchvision_name, (place,), data_dir)
    return torch.tensor(read_idx(_file(folder, STEMS[0]))), torch.tensor(read_idx(_file(folder, STEMS[1]))).long()


def _file(folder: Path, stem: str) -> Path:
    plain = folder / stem
    return plain if plain.is_file() else folder / f"{stem}.gz"


def _whole(folder: Path) -> bool:
    return all(_file(folder, stem).is_file() for stem in STEMS)


def _find(name: str, torchvision_name: str, places: tuple[str, ...], data_dir: Path | None) -> Path:
    """The folder with the four files: the asked one, the system's, the user's cache, at last a download."""
    asked = data_dir or (Path(os.environ["SCRATCHCARD_DATA"]) if os.environ.get("SCRATCHCARD_DATA") else None)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "scratchcard"
    candidates: list[Path] = []
    if asked is not None:
        # A user's own folder may hold one set or several side by side. fashion_mnist has the same file names as
        # mnist, so the bare folder counts only when it is called after the set.
        candidates += [asked / name, asked / name.replace("_", "-"), asked / torchvision_name / "raw"]
        if asked.name in (name, name.replace("_", "-"), torchvision_name) or name == "mnist":
            candidates.append(asked)
    candidates += [Path(place) for place in places]
    candidates += [cache / torchvision_name / "raw"]
    for folder in candidates:
        if _whole(folder):
            return folder
    import torchvision

    try:
        dataset = getattr(torchvision.datasets, torchvision_name)
        dataset(root=str(cache), train=True, download=True)
    except Exception as error:  # torchvision raises URLError, RuntimeError, OSError ... depending on the mirror
        raise FileNotFoundError(
            f"no {name} data in {', '.join(str(folder) for folder in candidates)} and the download failed "
            f"({type(error).__name__}); put its four IDX files into a folder called {name!r} and name the folder "
            "above it with --data-dir or SCRATCHCARD_DATA"
        ) from error
    return cache / torchvision_name / "raw"
