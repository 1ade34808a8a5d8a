"""`image_folder:PATH`: a task of images in a folder or zip, one folder a class.

    PATH/CLASS/*.jpg                                   validation and test are cut from all images
    PATH/train/CLASS/*.jpg, PATH/test/CLASS/*.jpg      perhaps validation (or val): what is missing is cut from train

`image_folder:PATH,size=64` scales each image so that it covers 64 x 64 pixels, and cuts the middle out; without a size
all images must have one. Grey images stay grey, others become RGB. Values are scaled to 0 to 1, and each channel is
normalised with the mean and standard deviation of the training images. What is larger than a gigabyte is decoded once
into the user's cache and read from there as it is needed, so that it may be larger than memory.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from scratchcard.artefacts.digest import sha256
from scratchcard.artefacts.files import written_beside
from scratchcard.words import quoted
from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.own_data import SPLIT_SEED, TEST, VALIDATION, cut_places
from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks.image_files import ImageReader, Listed
from scratchcard.workloads.tasks.published import cache_folder

MOST_IN_MEMORY = 2**30
"""Bytes of all images, as floats; more are mapped from the cache."""
_SIZE = re.compile(r"^(?P<path>.+?),size=(?P<size>[^,/]*)$")
_VERSION = "2"


def path_and_size(named: str) -> tuple[Path, int | None]:
    """The folder or zip of `PATH` or `PATH,size=PIXELS`, and the size.

    Raises:
        ValueError: a size that is no number of pixels.

    Examples:
        >>> path_and_size("photos.zip,size=64")
        (PosixPath('photos.zip'), 64)
        >>> path_and_size("photos.zip,size=big")
        Traceback (most recent call last):
            ...
        ValueError: the size of the images is 'big', expected a whole number of pixels in [1, 4096], as in ...,size=64
    """
    found = _SIZE.match(named)
    if found is None:
        other = re.search(r",(\w+)=[^,/]*$", named)
        if other is not None and not Path(named).exists():
            raise ValueError(f"a folder of images has no setting {quoted(other[1])}; it has size, as in ...,size=64")
        return Path(named), None
    size = found["size"]
    if not size.isascii() or not size.isdecimal() or not 1 <= int(size) <= 4096:
        raise ValueError(
            f"the size of the images is {quoted(size)}, expected a whole number of pixels in [1, 4096], as in "
            "...,size=64"
        )
    return Path(found["path"]), int(size)


def image_folder_task(name: str, found: Listed, size: int | None = None) -> Task:
    """The task of a folder's or zip's images.

    Raises:
        ValueError: a damaged image, images of several sizes and no `size`, 16 bits a pixel, or a class that only some
            splits have; one sentence.

    Examples:
        >>> from PIL import Image
        >>> from scratchcard.workloads.tasks.image_files import listed
        >>> for number in range(40):
        ...     Path(f"shades/{number % 2}").mkdir(parents=True, exist_ok=True)
        ...     Image.new("L", (4, 4), 100 * (number % 2) + number).save(f"shades/{number % 2}/{number}.png")
        >>> image_folder_task("shades", listed(Path("shades")))
        Task('shades', classification, 28 + 4 + 8 examples, torch.float32 (1, 4, 4))
    """
    parts = _parts(found)
    classes = {kind: number for number, kind in enumerate(found.classes)}
    lacking = classes.keys() - {kind for kind, _ in parts["train"]}
    if lacking:
        raise ValueError(
            f"the class {quoted(min(lacking))} of {found.path} has no training image; give each class some"
        )
    with ImageReader(found.path) as reader:
        arrays, (mean, std) = _arrays(found, parts, reader, size)
    train, validation, test = (
        Split(torch.from_numpy(arrays[which]), torch.tensor([classes[kind] for kind, _ in part]))
        for which, part in parts.items()
    )
    encoding = Encoding(mean.tolist(), std.tolist(), 255.0, tuple(classes))
    digest = task_digest(train, validation, test)
    return Task(name, train, validation, test, outputs=len(classes), digest=digest, encoding=encoding)


_Part = list[tuple[str, str]]
"""Class and name of each image of a split."""


def _parts(found: Listed) -> dict[str, _Part]:
    """The images of each split; those that the path does not have are cut from the training images."""
    parts: dict[str, _Part] = {which: [] for which in ("train", "validation", "test")}
    for split, kind, name in found.images:
        parts[split or "train"].append((kind, name))
    sizes = {which: share for which, share in (("test", TEST), ("validation", VALIDATION)) if not parts[which]}
    if sizes:
        every = parts["train"]
        for which, places in cut_places(len(every), sizes, SPLIT_SEED).items():
            parts[which] = [every[place] for place in sorted(places.tolist())]
    return parts


def _arrays(
    found: Listed, parts: Mapping[str, _Part], reader: ImageReader, size: int | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The normalised images of each split, `(n, channels, height, width)`: in memory, or mapped from the cache.

    And mean and standard deviation by which they are, `(2, channels)`.
    """
    channels, height, width = reader.kind([file for _, _, file in found.images], size)
    shapes = {which: (len(part), channels, height, width) for which, part in parts.items()}
    if 4 * sum(map(math.prod, shapes.values())) <= MOST_IN_MEMORY:
        arrays: dict[str, np.ndarray] = {which: np.empty(shape, np.float32) for which, shape in shapes.items()}
        return arrays, _fill(arrays, parts, reader, size)
    folder = cache_folder() / "images" / sha256([f"{_VERSION} {size} {found.state}"])
    files = {which: folder / f"{which}.npy" for which in parts}
    normalised = folder / "normalised.npy"
    if not all(file.is_file() for file in (*files.values(), normalised)):
        with contextlib.ExitStack() as stack:
            mapped = {
                which: np.lib.format.open_memmap(
                    stack.enter_context(written_beside(file)), "w+", np.dtype(np.float32), shapes[which]
                )
                for which, file in files.items()
            }
            np.save(stack.enter_context(written_beside(normalised)), _fill(mapped, parts, reader, size))
            for array in mapped.values():
                array.flush()
    return {which: np.load(file, mmap_mode="c") for which, file in files.items()}, np.load(normalised)


def _fill(
    arrays: Mapping[str, np.ndarray], parts: Mapping[str, _Part], reader: ImageReader, size: int | None
) -> np.ndarray:
    """Decode all images, then normalise them by the training images' mean and standard deviation of each channel."""
    channels = arrays["train"].shape[1]
    sums, squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for which, part in parts.items():
        for place, (_, name) in enumerate(part):
            pixels = reader.pixels(name, size, channels)
            arrays[which][place] = pixels / np.float32(255)
            if which == "train":
                whole = pixels.astype(np.int64)
                sums += whole.sum((1, 2))
                squares += (whole**2).sum((1, 2))
    count = math.prod(arrays["train"].shape) // channels
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    scale = np.where(std > 0, std, 255.0) / 255
    for array in arrays.values():
        for image in array:  # one at a time: what is mapped may be larger than memory
            image -= (mean / 255).astype(np.float32)[:, None, None]
            image /= scale.astype(np.float32)[:, None, None]
    return np.stack([mean / 255, scale])
