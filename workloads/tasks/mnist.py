"""`mnist` and `fashion_mnist`: 55,000 training, 5,000 validation and 10,000 test images of 28 x 28 pixels."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.task import Split, Task
from scratchcard.workloads.tasks.idx import read_idx
from scratchcard.workloads.tasks.published import cache_folder, found_or_downloaded, published_task

SYSTEM = Path("/usr/share/datasets")
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def mnist(data_dir: Path | None = None) -> Task:
    """Handwritten digits (LeCun, Cortes, Burges 1998), normalised with mean 0.1307 and std 0.3081 of its training set.

    Of the 60,000 training images a fixed random 5,000 are the validation split.

    Raises:
        FileNotFoundError: the four IDX files are nowhere and could not be downloaded.
        ValueError: a file is damaged.

    Examples:
        >>> mnist()  # doctest: +SKIP
        Task('mnist', classification, 55000 + 5000 + 10000 examples, torch.float32 (1, 28, 28))
    """
    return _build("mnist", data_dir, mean=0.1307, std=0.3081)


def fashion_mnist(data_dir: Path | None = None) -> Task:
    """Clothing (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747), mean 0.2860 and std 0.3530 of its training set.

    Of the 60,000 training images a fixed random 5,000 are the validation split. Debian's package
    `dataset-fashion-mnist` is found where it installs itself.

    Raises:
        FileNotFoundError: the four IDX files are nowhere and could not be downloaded.
        ValueError: a file is damaged.

    Examples:
        >>> fashion_mnist()  # doctest: +SKIP
        Task('fashion_mnist', classification, 55000 + 5000 + 10000 examples, torch.float32 (1, 28, 28))
    """
    return _build("fashion_mnist", data_dir, mean=0.2860, std=0.3530)


def _build(name: str, data_dir: Path | None, *, mean: float, std: float) -> Task:
    folder = _find(name, data_dir)
    train_images, train_labels, test_images, test_labels = (read_idx(_file(folder, stem)) for stem in STEMS)
    for images, labels, count in ((train_images, train_labels, 60_000), (test_images, test_labels, 10_000)):
        if images.shape != (count, 28, 28) or labels.shape != (count,):
            raise ValueError(
                f"{folder} does not hold {name}: expected {count} images of 28 x 28 and as many labels, got "
                f"{images.shape} and {labels.shape}"
            )

    def normalised(images: Tensor) -> Tensor:
        return images.unsqueeze(1).float().div_(255.0).sub_(mean).div_(std)

    train, test = (
        Split(normalised(torch.tensor(images)), torch.tensor(labels).long())
        for images, labels in ((train_images, train_labels), (test_images, test_labels))
    )
    return published_task(name, train, test, Encoding((mean,), (std,), 255.0, CLASSES[name]))


def raw_images(name: str, data_dir: Path | None = None) -> tuple[Tensor, Tensor]:
    """The 60,000 training images `(n, 28, 28)` as bytes and their labels: for loops that normalise item by item.

    Examples:
        >>> images, labels = raw_images("mnist")  # doctest: +SKIP
        >>> images.shape, labels[:3]  # doctest: +SKIP
        (torch.Size([60000, 28, 28]), tensor([5, 0, 4]))
    """
    folder = _find(name, data_dir)
    return torch.tensor(read_idx(_file(folder, STEMS[0]))), torch.tensor(read_idx(_file(folder, STEMS[1]))).long()


def _file(folder: Path, stem: str) -> Path:
    plain = folder / stem
    return plain if plain.is_file() else folder / f"{stem}.gz"


def _whole(folder: Path) -> bool:
    return all(_file(folder, stem).is_file() for stem in STEMS)


def _inside(folder: Path, name: str, torchvision_name: str) -> list[Path]:
    """Where in a user's own folder a set can lie: it may hold one set or several side by side.

    fashion_mnist has the same file names as mnist, so the bare folder counts for it only when it is called after it.
    """
    places = [folder / name, folder / name.replace("_", "-"), folder / torchvision_name / "raw"]
    if name == "mnist" or folder.name in (name, name.replace("_", "-"), torchvision_name):
        places.append(folder)
    return list(dict.fromkeys(places))


def _find(name: str, data_dir: Path | None) -> Path:
    """The folder with the four files."""
    torchvision_name = TORCHVISION[name]

    def download(cache: Path) -> Path:
        import torchvision

        getattr(torchvision.datasets, torchvision_name)(root=str(cache), train=True, download=True)
        return cache / torchvision_name / "raw"

    return found_or_downloaded(
        name,
        data_dir,
        inside=lambda folder: _inside(folder, name, torchvision_name),
        elsewhere=[SYSTEM / name.replace("_", "-"), cache_folder() / torchvision_name / "raw"],
        whole=_whole,
        files=f"{', '.join(STEMS)} (each perhaps with .gz)",
        download=download,
    )
