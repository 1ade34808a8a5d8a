"""Image files in a folder or a zip, one folder a class: which there are, and their pixels."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from scratchcard.artefacts.digest import sha256
from scratchcard.pruning.inputs import told
from scratchcard.words import quoted, shortened

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What Pillow may read: decoders of pixels alone. Some of its others start programs."""
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
GREY = ("1", "L", "LA")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
MOST_OF_A_FILE = 2**28
"""Bytes of an image file in a zip."""
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True)
class Listed:
    """The images of a folder or zip.

    Attributes:
        path: the folder or zip.
        images: split (empty where the path has none) and class of each image, or text, and its name in the path.
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
        >>> for kind in ("cat", "dog"):
        ...     Path(f"pets/{kind}").mkdir(parents=True)
        ...     Image.new("L", (2, 2)).save(f"pets/{kind}/1.png")
        >>> listed(Path("pets")).images
        (('', 'cat', 'cat/1.png'), ('', 'dog', 'dog/1.png'))
    """
    if not path.exists():
        raise FileNotFoundError(
            f"no folder or zip {path}, expected one folder of images a class in it; one that is not seen from the "
            "working folder is looked for where SCRATCHCARD_DATA names a folder, and a ticket's can be named by --task"
        )
    return in_classes(path, sorted(_files_of_zip(path) if path.is_file() else files_of_folder(path)), ENDINGS, "image")


def in_classes(path: Path, found: Sequence[tuple[str, int, int]], endings: Sequence[str], kind_of: str) -> Listed:
    """Split and class of each file, by the folders that it lies in.

    Args:
        path: the folder or archive.
        found: name, size and mark (a time, a checksum) of its files, sorted.
        endings: of the files that count, with their dots.
        kind_of: what they are, a word for the sentences.

    Raises:
        ValueError: folders that are no classes.

    Examples:
        >>> in_classes(Path("mail"), [("ham/1.txt", 5, 0), ("spam/1.txt", 9, 0)], [".txt"], "text").classes
        ['ham', 'spam']
    """
    state = sha256([f"{name}\0{size}\0{mark}\0" for name, size, mark in found])
    for one, other in pairwise(found):
        if one[0] == other[0]:
            made = "zip" if kind_of == "image" else "archive"
            raise ValueError(f"{path} holds {shortened(one[0])} twice; make the {made} anew")
    files = {name: PurePosixPath(name) for name, _, _ in found}
    names = {name: file for name, file in files.items() if file.suffix.lower() in endings and not _is_hidden(file)}
    outer = {name.parts[0] for name in names.values() if len(name.parts) > 1}
    # A zip of one folder, such as an archive of `pets`, is that folder.
    single = len(outer) == 1 and all(len(name.parts) > 2 for name in names.values())
    skipped = 1 if single and min(outer).lower() not in _SPLIT_OF else 0
    inner = {name.parts[skipped].lower() for name in names.values() if len(name.parts) > skipped + 1}
    in_splits = not inner.isdisjoint(SPLITS["train"])
    others = sorted(inner - _SPLIT_OF.keys())
    if in_splits and others:
        raise ValueError(
            f"{path} has a folder train beside {quoted(others[0])}: expected splits alone ({', '.join(_SPLIT_OF)}), or "
            "classes alone"
        )
    images = []
    for file, name in names.items():
        place = name.parts[skipped:]
        split, place = (_SPLIT_OF[place[0].lower()], place[1:]) if in_splits and len(place) > 1 else ("", place)
        if len(place) < 2:
            raise ValueError(
                f"the {kind_of} {shortened(str(name))} of {path} lies in no folder of a class; expected CLASS/NAME or "
                "train/CLASS/NAME"
            )
        images.append((split, place[0], file))
    kinds = len({kind for _, kind, _ in images})
    if kinds < 2:
        raise ValueError(
            f"{path} has {kind_of}s of {'one class' if kinds else 'no class'}, expected two folders at least, with "
            f"{kind_of}s that end in {', '.join(ending or 'nothing' for ending in endings)}"
        )
    return Listed(path, tuple(images), state)


class ImageReader:
    """Images of a folder or a zip; a context manager.

    Examples:
        >>> Image.new("L", (3, 2), 7).save("seven.png")
        >>> with ImageReader(Path(".")) as reader:
        ...     reader.kind(["seven.png"], None), reader.pixels("seven.png", None, 1).tolist()
        ((1, 2, 3), [[[7, 7, 7], [7, 7, 7]]])
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = zipfile.ZipFile(path) if path.is_file() else None

    def __enter__(self) -> ImageReader:
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
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            image = image.convert("L" if channels == 1 else "RGB")
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


def files_of_folder(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of each file; links to folders are followed, but not back to where they lie.

    Raises:
        ValueError: two folders are one, by a link: its images would count twice, under both names.

    Examples:
        >>> Path("ones").mkdir()
        >>> _ = Path("ones/one.txt").write_text("one")
        >>> [(name, size) for name, size, _ in files_of_folder(Path("ones"))]
        [('one.txt', 3)]
    """
    seen: dict[str, str] = {}
    for place, inner, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        known = seen.setdefault(here, place)
        if known != place:
            one, other = (quoted(os.path.relpath(name, folder)) for name in sorted((known, place)))
            raise ValueError(f"{one} and {other} of {folder} are one folder, linked; remove the link")
        inner[:] = [
            name
            for name in inner
            if not name.startswith(".") and not f"{here}/".startswith(f"{os.path.realpath(f'{place}/{name}')}/")
        ]
        for name in files:
            file = Path(place, name)
            if file.exists():  # no link to nothing
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
