"""The saved form of a predictor: a folder with `manifest.json` and `model.safetensors`.

The manifest says what the arrays are and where they come from; the arrays are plain numbers. Reading either
runs no code. The digests in the manifest find damage; against intent, which can write new digests, every
array is checked by the family that will use it (see `Family.forward`) before anything is predicted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from scratchcard.artefacts.destination import check_own
from scratchcard.artefacts.digest import sha256
from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.json_file import declared, parse_object, sealed
from scratchcard.meta.arrays import WIDTH, plain
from scratchcard.meta.predictor import Predictor
from scratchcard.meta.predictors import PREDICTORS
from scratchcard.meta.trees import FILE_LIMIT
from scratchcard.registry import lookup
from scratchcard.score_tables.schema import Column
from scratchcard.words import quoted, shortened

BUNDLE_VERSION = 1
FORMAT = "scratchcard-predictor"
MANIFEST = "manifest.json"
ARRAYS = "model.safetensors"
MANIFEST_LIMIT = 16_000_000
REPLACED_SECONDS = 0.02
_PARTS = Path("what was given")


def save_bundle(predictor: Predictor, folder: str | Path) -> Path:
    """Write the predictor; a new folder is complete or not there.

    In the folder of an earlier bundle only the bundle's own two files are replaced, the manifest last; whatever else
    lies there stays.

    Raises:
        ValueError: the arrays exceed the 50 MB of a bundle.
        OSError: `folder` holds something other than a bundle, or nothing can be written there.

    Examples:
        >>> from scratchcard.score_tables.schema import Column
        >>> columns = (Column("magnitude", "feature", "raw", "|w|"),)
        >>> arrays = {"coefficients": np.array([2.0]), "intercept": np.array([1.0])}
        >>> import tempfile
        >>> predictor = Predictor("linear", "regression", "score", columns, arrays)
        >>> sorted(file.name for file in save_bundle(predictor, Path(tempfile.mkdtemp()) / "bundle").iterdir())
        ['manifest.json', 'model.safetensors']
    """
    folder = Path(folder)
    check_replaceable(folder)
    data = save({name: np.ascontiguousarray(array) for name, array in predictor.arrays.items()})
    if len(data) > FILE_LIMIT:
        raise ValueError(
            f"the predictor's arrays take {len(data) / 1e6:.0f} MB, a bundle holds up to "
            f"{FILE_LIMIT / 1e6:.0f} MB; fit with fewer trees or leaves"
        )
    manifest = {
        "format": FORMAT,
        "schema_version": BUNDLE_VERSION,
        "family": predictor.family,
        "objective": predictor.objective,
        "target": predictor.target,
        "features": [asdict(column) for column in predictor.columns],
        "options": plain(predictor.options),
        "training": plain(predictor.training),
        "metrics": plain(predictor.metrics),
        "files": {ARRAYS: {"sha256": sha256([data]), "bytes": len(data)}},
    }
    text = sealed(manifest, indent=2)
    if folder.is_dir() and any(folder.iterdir()):
        _write(folder, data, text)
        return folder
    folder = folder.resolve()  # a link to a folder stays one
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        beside.chmod(0o755)
        _write(beside, data, text)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _write(folder: Path, data: bytes, text: bytes) -> None:
    """Both are whole on the disk before either is in its place; a reader between the two renames tries again."""
    with written_beside(folder / MANIFEST) as manifest, written_beside(folder / ARRAYS) as arrays:
        for part, content in ((arrays, data), (manifest, text)):
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())


def check_replaceable(folder: Path) -> None:
    """Refuse to write into a folder that holds anything but a bundle.

    Raises:
        OSError: it holds something else.

    Examples:
        >>> check_replaceable(Path("not-there-yet"))
    """
    check_own(folder, "a predictor bundle", is_bundle)


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle's manifest that can be read; its arrays may be damaged.

    Examples:
        >>> from scratchcard.apply.shipped import shipped
        >>> is_bundle(shipped("policy")[0]), is_bundle(Path("not-there-yet"))
        (True, False)
    """
    try:
        read_manifest(folder)
    except ValueError:
        return False
    return True


Parts = Mapping[str, bytes]
"""The contents of a bundle's files by their names, in place of its folder."""


def load_bundle(folder: str | Path | Parts) -> Predictor:
    """Read a bundle, a folder or the contents of its files by name, and check all of it.

    Raises:
        FileNotFoundError: there is nothing at `folder`.
        ValueError: a file is missing, damaged, too large, of another digest or version, or holds arrays that
            are not what its family needs; one sentence says which.

    Examples:
        >>> from scratchcard.apply.shipped import shipped
        >>> load_bundle(shipped("policy")[0]).family
        'multishot'
        >>> load_bundle({file.name: file.read_bytes() for file in shipped("policy")[0].glob("m*")}).family
        'multishot'
    """
    if isinstance(folder, Mapping):
        manifest, data = _whole(folder)
        folder = _PARTS
    else:
        folder = Path(folder)
        if not folder.exists():
            raise FileNotFoundError(f"no predictor bundle at {folder}: expected a folder written by save_bundle")
        try:
            manifest, data = _whole(folder)
        except ValueError:
            time.sleep(REPLACED_SECONDS)  # it may be just being replaced
            manifest, data = _whole(folder)
    try:
        family, objective, target = (_text(manifest, key) for key in ("family", "objective", "target"))
        lookup(PREDICTORS, "predictors", family)
        columns = _columns(manifest.get("features"))
        record = {key: _mapping(manifest, key) for key in ("options", "training", "metrics")}
        declared(dict[str, dict[str, Any]], record["metrics"], "its metrics")
        return Predictor(family, objective, target, columns, _arrays(data), **record)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{folder} is no usable predictor bundle: {shortened(str(error), 300)}") from error


def _whole(folder: Path | Parts) -> tuple[dict[str, Any], bytes]:
    """The manifest and the arrays' bytes, which belong together."""
    manifest = _manifest(folder)
    data = _read(folder, ARRAYS, FILE_LIMIT)
    try:
        entry = manifest["files"][ARRAYS]
        size, digest = entry["bytes"], entry["sha256"]
    except (KeyError, TypeError):
        _refuse(folder, f"its {MANIFEST} does not list {ARRAYS}")
    if size != len(data) or digest != sha256([data]):
        _refuse(folder, f"{ARRAYS} is not the file that {MANIFEST} lists (other size or sha256)")
    return manifest, data


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest alone, after format and version were checked; for showing, not for predicting.

    Raises:
        ValueError: missing, damaged, or of another format or version.

    Examples:
        >>> from scratchcard.apply.shipped import shipped
        >>> read_manifest(shipped("policy")[0])["family"]
        'multishot'
    """
    return _manifest(Path(folder))


def _manifest(folder: Path | Parts) -> dict[str, Any]:
    text = _read(folder, MANIFEST, MANIFEST_LIMIT)
    try:
        manifest = parse_object(text)
    except ValueError as error:
        raise ValueError(
            f"{_said(folder)} is no usable predictor bundle: {MANIFEST} is not plain JSON ({shortened(str(error))})"
        ) from error
    if manifest.get("format") != FORMAT:
        _refuse(folder, f"{MANIFEST} does not say {FORMAT!r}")
    found = manifest.get("schema_version")
    if type(found) is not int or found != BUNDLE_VERSION:
        _refuse(folder, f"schema version {quoted(found, 40)}, this release reads {BUNDLE_VERSION}")
    return manifest


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file as arrays of their own, by name: the library's order is another each time.

    The library checks that header, offsets and sizes fit the file; a family checks dtypes and shapes of its arrays.
    """
    try:
        return {name: array.copy() for name, array in sorted(load(data).items())}
    except (SafetensorError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise ValueError(f"{ARRAYS} is damaged or no safetensors file ({shortened(str(error), 120)})") from error


def _read(folder: Path | Parts, name: str, limit: int) -> bytes:
    if isinstance(folder, Mapping) and name in folder:
        data = folder[name]
    elif isinstance(folder, Mapping) or not (folder / name).is_file():
        _refuse(folder, f"{name} is missing; expected a folder that `scratchcard fit` wrote")
    else:
        with (folder / name).open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        _refuse(folder, f"{name} is larger than the {limit / 1e6:.0f} MB that it may have")
    return data


def _said(folder: Path | Parts) -> Path:
    return _PARTS if isinstance(folder, Mapping) else folder


def _refuse(folder: Path | Parts, reason: str) -> NoReturn:
    raise ValueError(f"{_said(folder)} is no usable predictor bundle: {reason}")


def _text(manifest: Mapping[str, Any], key: str) -> str:
    value = manifest.get(key)
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"{MANIFEST} has no text of at most 200 characters under {key!r}")
    return value


def _mapping(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = manifest.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{MANIFEST} has no object under {key!r}")
    return value


def _columns(entries: Any) -> tuple[Column, ...]:
    names = {field.name for field in fields(Column)}
    if not isinstance(entries, list) or not 1 <= len(entries) <= WIDTH:
        raise ValueError(f"{MANIFEST} lists no features")
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != names or not all(isinstance(v, str) for v in entry.values()):
            raise ValueError(f"{MANIFEST} lists a feature without {', '.join(sorted(names))} as texts")
    return tuple(Column(**entry) for entry in entries)
