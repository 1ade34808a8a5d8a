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
import io
import math
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from scratchcard.artefacts.digest import sha256
from scratchcard.artefacts.files import written_beside
from scratchcard.pruning.inputs import told
from scratchcard.words import quoted, shortened
from scratchcard.workloads.own_data import SPLIT_SEED, TEST, VALIDATION, cut_places
from scratchcard.workloads.task import Split, Task, task_digest
from scratchcard.workloads.tasks.published import cache_folder

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What Pillow may read: decoders of pixels alone. Some of its others start programs."""
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
GREY = ("1", "L", "LA")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
MOST_IN_MEMORY = 2**30
"""Bytes of all images, as floats; more are mapped from the cache."""
MOST_OF_A_FILE = 2**28
"""Bytes of an image file in a zip."""
_SIZE = re.compile(r"^(?P<path>.+?),size=(?P<size>[^,/]*)$")
_VERSION = "1"
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


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
        return Path(named), None
    size = found["size"]
    if not size.isascii() or not size.isdecimal() or not 1 <= int(size) <= 4096:
        raise ValueError(
            f"the size of the images is {quoted(size)}, expected a whole number of pixels in [1, 4096], as in "
            "...,size=64"
        )
    return Path(found["path"]), int(size)


@dataclass(frozen=True)
class Listed:
    """The images of a folder or zip.

    Attributes:
        path: the folder or zip.
        images: split (empty where the path has none) and class of each image, and its name in the path.
        state: of all their files: another one where any changed.

    Examples:
        >>> Listed(Path("photos"), (("train", "cat", "train/cat/1.png"),), "").classes
        ['cat']
    """

    path: Path
    images: tuple[tuple[str, str, str], ...]
    state: str

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted: their places are the targets."""
        return sorted({kind for _, kind, _ in self.images})


def listed(path: Path) -> Listed:
    """The images in a folder or zip; hidden files and such that end like no image are left out.

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: no zip, or folders that are no classes of images.

    Examples:
        >>> Path("pets/cat").mkdir(parents=True)
        >>> Image.new("L", (2, 2)).save("pets/cat/1.png")
        >>> listed(Path("pets")).images
        (('', 'cat', 'cat/1.png'),)
    """
    if not path.exists():
        raise FileNotFoundError(f"no folder or zip {path}: expected one folder of images a class in it")
    found = sorted(_files_of_zip(path) if path.is_file() else _files_of_folder(path))
    state = sha256([f"{name}\0{size}\0{mark}\0" for name, size, mark in found])
    names = [PurePosixPath(name) for name, _, _ in found]
    names = [name for name in names if name.suffix.lower() in ENDINGS and not _is_hidden(name)]
    outer = {name.parts[0] for name in names if len(name.parts) > 1}
    # A zip of one folder, such as an archive of `pets`, is that folder.
    skipped = 1 if len(outer) == 1 and outer.isdisjoint(SPLITS) and all(len(name.parts) > 2 for name in names) else 0
    inner = {name.parts[skipped] for name in names if len(name.parts) > skipped + 1}
    in_splits = "train" in inner and inner <= SPLITS.keys()
    images = []
    for name in names:
        place = name.parts[skipped:]
        split, place = (SPLITS[place[0]], place[1:]) if in_splits and len(place) > 1 else ("", place)
        if len(place) < 2:
            raise ValueError(
                f"the image {shortened(str(name))} of {path} lies in no folder of a class; expected CLASS/NAME or "
                "train/CLASS/NAME"
            )
        images.append((split, place[0], str(name)))
    if len({kind for _, kind, _ in images}) < 2:
        raise ValueError(
            f"{path} has images of {len({kind for _, kind, _ in images})} class(es), expected two "
            f"folders at least, with images that end in {', '.join(ENDINGS)}"
        )
    return Listed(path, tuple(images), state)


def image_folder_task(name: str, found: Listed, size: int | None = None) -> Task:
    """The task of a folder's or zip's images.

    Raises:
        ValueError: a damaged image, images of several sizes and no `size`, 16 bits a pixel, or a class that only some
            splits have; one sentence.

    Examples:
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
    with _Reader(found.path) as reader:
        arrays = _arrays(found, parts, reader, size)
    splits = [
        Split(torch.from_numpy(arrays[which]), torch.tensor([classes[kind] for kind, _ in part]))
        for which, part in parts.items()
    ]
    return Task(name, *splits, outputs=len(classes), digest=task_digest(*splits))


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


def _arrays(found: Listed, parts: Mapping[str, _Part], reader: _Reader, size: int | None) -> dict[str, np.ndarray]:
    """The normalised images of each split, `(n, channels, height, width)`: in memory, or mapped from the cache."""
    channels, height, width = reader.kind([file for _, _, file in found.images], size)
    shapes = {which: (len(part), channels, height, width) for which, part in parts.items()}
    if 4 * sum(map(math.prod, shapes.values())) <= MOST_IN_MEMORY:
        arrays: dict[str, np.ndarray] = {which: np.empty(shape, np.float32) for which, shape in shapes.items()}
        _fill(arrays, parts, reader, size)
        return arrays
    folder = cache_folder() / "images" / sha256([f"{_VERSION} {size} {found.state}"])
    files = {which: folder / f"{which}.npy" for which in parts}
    if not all(file.is_file() for file in files.values()):
        with contextlib.ExitStack() as stack:
            mapped = {
                which: np.lib.format.open_memmap(
                    stack.enter_context(written_beside(file)), "w+", np.dtype(np.float32), shapes[which]
                )
                for which, file in files.items()
            }
            _fill(mapped, parts, reader, size)
            for array in mapped.values():
                array.flush()
    return {which: np.load(file, mmap_mode="c") for which, file in files.items()}


def _fill(arrays: Mapping[str, np.ndarray], parts: Mapping[str, _Part], reader: _Reader, size: int | None) -> None:
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


class _Reader:
    """Images of a folder or a zip."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = zipfile.ZipFile(path) if path.is_file() else None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def kind(self, names: Sequence[str], size: int | None) -> tuple[int, int, int]:
        """Channels, height and width of all images."""
        modes: set[str] = set()
        shapes: dict[tuple[int, int], str] = {}
        for name in names:
            with self._opened(name) as image:
                if image.mode in DEEP:
                    raise ValueError(
                        f"{self._path}'s {shortened(name)} has 16 bits or more a pixel ({image.mode}); expected 8-bit "
                        "images: convert them, or save the arrays for a task tensors:FILE"
                    )
                modes.add(image.mode)
                shapes.setdefault(image.size[::-1] if self._turned(image, name) else image.size, name)
        if size is None and len(shapes) > 1:
            (first, one), (second, other) = list(shapes.items())[:2]
            raise ValueError(
                f"the images of {self._path} differ in size: {shortened(one)} has {first[0]} x {first[1]} pixels, "
                f"{shortened(other)} {second[0]} x {second[1]}; name one, as in image_folder:{self._path},size=64"
            )
        width, height = (size, size) if size is not None else next(iter(shapes))
        return 1 if modes <= {*GREY} else 3, height, width

    def pixels(self, name: str, size: int | None, channels: int) -> np.ndarray:
        """The bytes of an image, `(channels, height, width)`."""
        with self._opened(name) as opened, told(lambda: self._undecoded(name)):
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
            if size is not None:
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
            return np.asarray(image).reshape(image.height, image.width, channels).transpose(2, 0, 1)

    def _turned(self, image: Image.Image, name: str) -> bool:
        with told(lambda: self._undecoded(name)):
            return image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE

    def _undecoded(self, name: str) -> str:
        return f"{self._path}'s {shortened(name)} cannot be decoded; get it again or delete it"

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[Image.Image]:
        with contextlib.ExitStack() as stack:
            with told(lambda: f"{self._path}'s {shortened(name)} is damaged or no image; get it again or delete it"):
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                if self._zip is not None:
                    if self._zip.getinfo(name).file_size > MOST_OF_A_FILE:
                        raise ValueError(f"it unpacks to over {MOST_OF_A_FILE:,} bytes")
                    stream: Any = io.BytesIO(self._zip.read(name))
                else:
                    stream = stack.enter_context((self._path / name).open("rb"))
                image = stack.enter_context(Image.open(stream, formats=FORMATS))
            yield image


def _files_of_folder(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of each file; links to folders are followed, once each."""
    seen = set()
    for place, inner, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        inner[:] = [name for name in inner if os.path.realpath(os.path.join(place, name)) not in seen]
        for name in files:
            file = Path(place, name)
            with contextlib.suppress(FileNotFoundError):  # a link to nothing
                about = file.stat()
                yield file.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns


def _files_of_zip(file: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and CRC of each file."""
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, entry.CRC
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeError, ValueError) as error:
        raise ValueError(f"{file} is damaged or no zip ({shortened(str(error))}); get it again") from error


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.parts)
