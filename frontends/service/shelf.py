"""Shelf: the predictors that a service offers, by name and version; a bundle's folder, or numbered ones in it."""

from __future__ import annotations

import re
from pathlib import Path

from scratchcard.apply.method_parts import predictor_of
from scratchcard.apply.shipped import SHIPPED, shipped
from scratchcard.meta.bundle import MANIFEST
from scratchcard.meta.predictor import Predictor

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ShelfAwayError(OSError):
    """The folder of predictors cannot be read now.

    Examples:
        >>> issubclass(ShelfAwayError, OSError)
        True
    """


class Shelf:
    """Predictors of a folder, `NAME/` or `NAME/1/`, `NAME/2/` ..., and the shipped ones.

    A name has letters, digits, dots, - and _, and is not that of a file of tensors.

    Examples:
        >>> shelf = Shelf(None)
        >>> shelf.names(), shelf.versions("policy")
        (['default', 'early', 'policy'], ['1'])
        >>> shelf.predictor("policy").features[0]
        'magnitude_ln'
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f"no folder of predictors at {folder}: expected one that holds bundles")
        double = sorted(SHIPPED.keys() & self._own())
        if double:
            raise ValueError(
                f"{folder} holds {double[0]!r}, which is the name of a shipped predictor: rename the bundle"
            )

    def names(self) -> list[str]:
        """What there is."""
        return sorted({*SHIPPED, *self._own()})

    def versions(self, name: str) -> list[str]:
        """The versions of a predictor, the latest last; empty for an unknown name."""
        if name in SHIPPED:
            return ["1"]
        folder = self._own().get(name)
        if folder is None:
            return []
        numbered = [found.name for found in folder.iterdir() if found.name.isdecimal() and (found / MANIFEST).is_file()]
        return ["1"] if (folder / MANIFEST).is_file() else sorted(numbered, key=int)

    def place(self, name: str, version: str | None = None) -> Path | str:
        """The folder of a version, the latest where none is named; of a shipped one its name.

        Raises:
            KeyError: there is no such predictor or version; a sentence.
        """
        versions = self.versions(name)
        if not versions:
            raise KeyError(f"there is no predictor {name[:100]!r}; there are {', '.join(self.names())}")
        if version is not None and version not in versions:
            raise KeyError(f"the predictor {name!r} has no version {version[:20]!r}; it has {', '.join(versions)}")
        if name in SHIPPED:
            return name
        folder = self._own()[name]
        return folder if (folder / MANIFEST).is_file() else folder / (version or versions[-1])

    def predictor(self, name: str, version: str | None = None) -> Predictor:
        """The predictor, read again only where its manifest has changed.

        Raises:
            KeyError: see `place`.
            ValueError: its bundle is damaged.
        """
        place = self.place(name, version)
        return predictor_of(str(shipped(place)[0] if isinstance(place, str) else place))

    def _own(self) -> dict[str, Path]:
        if self.folder is None:
            return {}
        try:
            found = {path.name: path for path in self.folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name)}
        except OSError as error:  # its sentence goes to whoever asked, who needs no folders of the service
            raise ShelfAwayError("the folder of predictors cannot be read now; ask again later") from error
        found = {name: path for name, path in found.items() if not name.endswith(".safetensors")}  # as a job's data are
        return {
            name: path
            for name, path in found.items()
            if (path / MANIFEST).is_file() or any((each / MANIFEST).is_file() for each in path.glob("[0-9]*"))
        }
