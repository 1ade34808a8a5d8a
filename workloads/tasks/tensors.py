"""`tensors:FILE`: a task of the user's own arrays, in a `.npz` or `.safetensors` file.

Entries: `train_inputs` and `train_targets`, perhaps `validation_*` and `test_*`; of several inputs `train_inputs.NAME`.
A split that the file lacks is cut from the training data with a fixed seed, and the data is then copied. Otherwise it
stays in the file and is read as it is needed, so that it may be larger than memory; not so in a compressed `.npz`, nor
where it is float64. The objective is found from the targets; where several fit, the file names it: a text `objective`
in a `.npz`, or in the metadata of a `.safetensors`. An `encoding` may stand there too, as JSON.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scratchcard.artefacts.tensor_file import CHECKSUM, check_bytes, write_tensors
from scratchcard.pruning.inputs import tensors
from scratchcard.words import quoted, shortened
from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.own_data import tensor_of
from scratchcard.workloads.task import Task

SPLITS = ("train", "validation", "test")
_ABOUT = ("objective", "outputs", "encoding")
MOST_UNPACKED = 2**31
"""Bytes that a compressed file may unpack to: a few megabytes can claim a thousand times more."""


def tensors_task(name: str, file: Path) -> Task:
    """The task of a file's arrays.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, of another kind, or lacks what a task needs; one sentence.

    Examples:
        >>> np.savez("labelled.npz", train_inputs=np.eye(50, dtype=np.float32), train_targets=np.arange(50) % 2)
        >>> tensors_task("labelled", Path("labelled.npz"))
        Task('labelled', classification, 35 + 5 + 10 examples, torch.float32 (50,))
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}: expected the .npz or .safetensors of a task, as in tensors:my.npz")
    readers = {".npz": _npz, ".safetensors": _safetensors}
    if file.suffix not in readers:
        raise ValueError(f"{file} is no file of tensors: expected one that ends in {' or '.join(readers)}")
    try:
        found, about = readers[file.suffix](file)
    except (
        SafetensorError,
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        KeyError,
        NotImplementedError,
        UnicodeError,
    ) as error:
        why = shortened(str(error))
        raise ValueError(f"{file} is damaged or no {file.suffix} file ({why}); make it again") from error
    given: dict[str, Any] = {}
    for split, (entries, targets) in splits_among(found, str(file)).items():
        inputs = {key: found[entry] for key, entry in entries.items()}
        given[split] = inputs.get("", inputs), found[targets]
    named = about.get("objective") or None
    try:
        objective = json.loads(named) if named is not None and named.startswith("{") else named
        outputs = int(about["outputs"]) if "outputs" in about else None
        encoding = Encoding.from_json(json.loads(about.get("encoding", "{}")))
    except (ValueError, RecursionError) as error:
        why = shortened(str(error))
        raise ValueError(
            f"{file} names no objective, number of outputs or encoding that can be read ({why})"
        ) from error
    called = objective.get("name") if isinstance(objective, dict) else objective
    if isinstance(called, str) and ":" in called:
        raise ValueError(
            f"{file} names {quoted(called)}; code that a file names is not run: name a task of your own code"
        )
    try:
        return Task.of(
            *given["train"],
            validation=given.get("validation"),
            test=given.get("test"),
            name=name,
            objective=objective,
            outputs=outputs,
            encoding=encoding,
        )
    except ValueError as error:
        raise ValueError(f"{file}: {shortened(str(error), 300)}") from error


def splits_among(entries: Iterable[str], said: str) -> dict[str, tuple[dict[str, str], str]]:
    """Of each split of a task's file the entries of its inputs, by their own names, and that of its targets.

    Raises:
        ValueError: entries that no task has, or lacks; `said` is what the sentence calls the file.

    Examples:
        >>> splits_among(["train_inputs.ids", "train_inputs.mask", "train_targets"], "mine")
        {'train': ({'ids': 'train_inputs.ids', 'mask': 'train_inputs.mask'}, 'train_targets')}
        >>> splits_among(["train_inputs"], "mine")
        Traceback (most recent call last):
            ...
        ValueError: mine lacks train_targets; it has train_inputs
    """
    parts: dict[str, dict[str, str]] = {}
    for entry in (entries := [*entries]):
        place, _, key = entry.partition(".")
        if place not in {f"{split}_{what}" for split in SPLITS for what in ("inputs", "targets")}:
            raise ValueError(
                f"{said} has an entry {quoted(entry)}, expected train_inputs, train_targets, validation_* and test_*"
            )
        parts.setdefault(place, {})[key] = entry
    found: dict[str, tuple[dict[str, str], str]] = {}
    for split in SPLITS:
        inputs, targets = parts.get(f"{split}_inputs"), parts.get(f"{split}_targets")
        if (inputs is None) != (targets is None) or (split == "train" and inputs is None):
            lacking = f"{split}_{'inputs' if inputs is None else 'targets'}"
            raise ValueError(f"{said} lacks {lacking}; it has {shortened(', '.join(entries))}")
        if inputs is not None and targets is not None:
            if set(targets) != {""} or ("" in inputs and len(inputs) > 1):
                raise ValueError(f"{said} has {split} data of several kinds: expected one {split}_targets, and inputs")
            found[split] = inputs, targets[""]
    return found


def save_task(task: Task, path: str | Path) -> Path:
    """Write a task as a file that `tensors:FILE` reads again, with the same digest; `.safetensors`.

    Raises:
        ValueError: another ending, or an objective that no file can name: a loss of the user's own.

    >>> import tempfile
    >>> from scratchcard.workloads.tasks import load_task
    >>> task = Task.of(np.random.rand(40, 2), np.arange(40) % 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     load_task(f"tensors:{task.save(folder + '/mine.safetensors')}").digest == task.digest
    True
    """
    from scratchcard.workloads.objectives import OBJECTIVES

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"a task is written to a .safetensors file, got {path}")
    if task.objective.name not in OBJECTIVES:
        raise ValueError(
            f"{task.name} has a loss of its own, which no file can hold: name the task as package.module:factory, a "
            "function that returns it"
        )
    held: dict[str, Tensor] = {}
    for which in SPLITS:
        split = getattr(task, which)
        for key, tensor in tensors(split.inputs).items():
            held[f"{which}_inputs.{key}" if key else f"{which}_inputs"] = tensor
        held[f"{which}_targets"] = split.targets
    about = {"objective": json.dumps(task.objective.describe()), "outputs": str(task.outputs)}
    if known := task.encoding.to_json():
        about["encoding"] = json.dumps(known)
    return write_tensors(path, held, about)


def _safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Views into the mapped file, and its metadata."""
    with safe_open(file, framework="pt") as opened:
        about = opened.metadata() or {}
        found = {k: tensor_of(opened.get_tensor(k), f"{file}'s {shortened(k, 60)}") for k in sorted(opened.keys())}
    if about.keys() & {*_ABOUT, CHECKSUM}:  # as `save_task` writes it
        try:
            if unknown := about.keys() - {*_ABOUT, CHECKSUM, "format"}:  # the last is safetensors' own
                raise ValueError(f"its metadata have {quoted(min(unknown), 60)}, which no saved task has")
            if CHECKSUM in about:
                check_bytes(file, about[CHECKSUM])
        except ValueError as error:
            raise ValueError(f"{file} is damaged ({error}); make it again") from error
    return found, about


def _npz(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Arrays that lie in the file uncompressed stay there; the others are read."""
    found, about = {}, {}
    with zipfile.ZipFile(file) as archive:
        packed = sum(e.file_size for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED)
        if packed > MOST_UNPACKED:
            raise ValueError(
                f"{file} would unpack to {packed:,} bytes, expected at most {MOST_UNPACKED:,}; save it uncompressed "
                "(np.savez), so that it is read where it lies"
            )
        for entry in archive.infolist():
            key = entry.filename.removesuffix(".npy")
            if key in found or key in about:
                raise ValueError(f"{file} has two entries {quoted(key)}; which one is meant cannot be told")
            try:
                array = _member(file, archive, entry)
            except (
                ValueError,
                TypeError,
                OverflowError,
                SyntaxError,
                TokenError,
                RecursionError,
                IndexError,
            ) as error:  # numpy's own
                raise ValueError(
                    f"{file}'s {shortened(key, 60)} cannot be read ({shortened(str(error))}); save arrays of numbers"
                ) from error
            if key in _ABOUT:
                about[key] = str(array)
            else:
                found[key] = tensor_of(array, f"{file}'s {shortened(key, 60)}")
    return dict(sorted(found.items())), about


def _member(file: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read: Mapping[tuple[int, int], Any] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version in read:
            shape, fortran, dtype = read[version](stream)
            header = stream.tell()
            size = math.prod(shape) * dtype.itemsize
            if not dtype.hasobject and size != entry.file_size - header:
                raise ValueError(f"its header declares {size:,} bytes, and it has {entry.file_size - header:,}")
            stored = entry.compress_type == zipfile.ZIP_STORED
            if stored and not dtype.hasobject and shape and 0 not in shape and dtype.isnative:
                with file.open("rb") as raw:
                    raw.seek(entry.header_offset + 26)
                    sizes = np.frombuffer(raw.read(4), dtype="<u2")
                start = entry.header_offset + 30 + int(sizes.sum()) + header
                # Copy on write: torch wants memory that could be written to.
                order: Any = "F" if fortran else "C"
                return np.memmap(file, dtype, "c", start, shape, order)
    with archive.open(entry) as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return array
