"""Tasks of the user's own data: from tensors or a dataset to three checked splits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratchcard.number_list import LARGEST
from scratchcard.pruning.inputs import Inputs, rows, tensors
from scratchcard.words import said
from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.objective import Objective
from scratchcard.workloads.objectives import make_objective
from scratchcard.workloads.task import Split, Task, task_digest

SPLIT_SEED = 2022
VALIDATION, TEST = 0.1, 0.2


def task_of(
    inputs: Any,
    targets: Any = None,
    *,
    validation: Any = None,
    test: Any = None,
    name: str = "own",
    objective: str | Mapping[str, Any] | Objective | None = None,
    outputs: int | None = None,
    encoding: Encoding | Mapping[str, Any] | None = None,
    validation_size: float = VALIDATION,
    test_size: float = TEST,
    seed: int = SPLIT_SEED,
) -> Task:
    """A task of tensors, arrays or a dataset; splits that are not given are cut from the training data at random.

    Floating inputs become float32 if they are float64, integers stay integers. Tensors are taken as they are where no
    split is cut: an array that is mapped from a file stays there. Cutting a split copies the data.

    Args:
        inputs: `(n, ...)`, a tensor or an array; several by name, which the network takes as keyword arguments; or a
            map-style `torch.utils.data.Dataset` of `(input, target)` pairs. A dataset is read once and kept in memory:
            that costs the time of one epoch, the size of all its items, and its transforms are those of that one time.
        targets: `(n, ...)`; None for a dataset.
        validation, test: `(inputs, targets)` or a dataset; None cuts the split from `inputs`.
        name: of the task.
        objective: a name such as `"multi_label"`, or an `Objective`; None takes classification for whole numbers `(n,)`
            and regression for floats. Where more than one fits, it must be named.
        outputs: how many outputs a network needs; None takes it from the targets.
        encoding: how raw values became the inputs, and the classes' names, such as `{"classes": ["cat", "dog"]}`:
            tickets and exports then tell them.
        validation_size, test_size: of a split that is cut: a share of the given examples, or, from 1 on, their number.
        seed: of the cut.

    Raises:
        ValueError: what `Task` refuses, targets that several objectives fit, or a split that would be empty.

    >>> numbers = torch.rand(50, 3)
    >>> task_of(numbers, numbers.sum(1), test_size=5).objective.name
    'regression'
    """
    given: dict[str, tuple[Inputs, Tensor]] = {"train": _pair(inputs, targets, "train")}
    for which, data in (("validation", validation), ("test", test)):
        if data is not None:
            both = data if isinstance(data, tuple | list) and len(data) == 2 else (data, None)
            given[which] = _pair(both[0], both[1], which)
    chosen = make_objective(_inferred(given["train"][1]) if objective is None else objective)
    sizes = {"test": test_size, "validation": validation_size}
    parts = _cut(given, {which: size for which, size in sizes.items() if which not in given}, seed)
    splits = [Split(parts[which][0], _fitting(parts[which][1], chosen)) for which in ("train", "validation", "test")]
    if outputs is None:
        outputs = max(chosen.outputs_of(split.targets) for split in splits)
        shape = tuple(splits[0].targets.shape)
        if outputs < 1 and chosen.name in ("classification", "per_position"):
            raise ValueError(f"the targets of {name} are all negative; expected class indices from 0 on")
        if outputs < 1 and 0 in shape:
            raise ValueError(f"the targets of {name} have the shape {shape}, and no label or number; give one at least")
    known = encoding if isinstance(encoding, Encoding) else Encoding.from_json({} if encoding is None else encoding)
    train, held, tested = splits
    return Task(name, train, held, tested, outputs, task_digest(*splits), objective=chosen, encoding=known)


def _inferred(targets: Tensor) -> str:
    """The only objective that fits the targets."""
    whole = not targets.is_floating_point()
    binary = bool(((targets == 0) | (targets == 1)).all())
    if whole and targets.ndim == 1:
        return "classification"
    if not whole and targets.ndim <= 2 and not binary:
        return "regression"
    kind = f"targets of {targets.dtype} and shape {tuple(targets.shape)}"
    if binary and targets.ndim == 2:
        if bool((targets.sum(1) == 1).all()):
            kind += ", one 1 in each row"
        raise ValueError(
            f"{kind} fit several objectives: name 'multi_label' (labels that do not exclude each other), "
            f"{'per_position' if whole else 'regression'!r}, or pass targets.argmax(1) for classification"
        )
    if binary:
        raise ValueError(f"{kind}, all 0 or 1, may be numbers or classes: name 'regression', or pass whole numbers")
    if whole:
        raise ValueError(f"{kind} may be class indices at each position: name the objective 'per_position'")
    raise ValueError(f"no registered objective fits {kind}: give the objective, such as OwnObjective(loss)")


def _fitting(targets: Tensor, objective: Objective) -> Tensor:
    """Targets in the type and shape that a registered objective wants, where nothing is lost by it."""
    if objective.name in ("classification", "per_position") and not targets.is_floating_point():
        return targets.long()
    if objective.name in ("multi_label", "regression"):
        targets = targets if targets.is_floating_point() else targets.float()
        return targets.unsqueeze(1) if targets.ndim == 1 else targets
    return targets


def _cut(
    given: Mapping[str, tuple[Inputs, Tensor]], sizes: Mapping[str, float], seed: int
) -> dict[str, tuple[Inputs, Tensor]]:
    """The given parts, and those to be cut from the training part: the first places of one random order."""
    inputs, targets = given["train"]
    total = len(targets)
    if not sizes:
        return dict(given)
    for count in map(len, tensors(inputs).values()):
        if count != total:
            raise ValueError(f"expected as many inputs as targets, got {count} inputs and {total} targets")
    parts = dict(given)
    for which, chosen in cut_places(total, sizes, seed).items():
        parts[which] = (rows(inputs, chosen), targets[chosen.to(targets.device)])
    return parts


def cut_places(total: int, sizes: Mapping[str, float], seed: int) -> dict[str, Tensor]:
    """Which of `total` examples each split gets that is cut: the first places of one random order; `train` the rest.

    Raises:
        ValueError: a size that is no share or number, or a split that would be empty.

    Examples:
        >>> {which: len(places) for which, places in cut_places(50, {"test": 0.2, "validation": 5}, seed=0).items()}
        {'test': 10, 'validation': 5, 'train': 35}
    """
    for which, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | float) or not -math.inf < size < math.inf:
            raise ValueError(f"{which}_size is {size!r}, expected a share of the examples or their number")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST:
        raise ValueError(f"the seed of the cut is {seed!r}, expected a whole number in [0, {LARGEST}]")
    counts = {which: int(size) if size >= 1 else round(size * total) for which, size in sizes.items()}
    if min(counts.values()) < 1 or sum(counts.values()) >= total:
        asked = " and ".join(f"{count} for {which}" for which, count in counts.items())
        raise ValueError(
            f"cannot cut {asked} from {total} examples: each split needs at least one; give other sizes, or the splits"
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    parts, start = {}, 0
    for which, count in (*counts.items(), ("train", total)):  # what is left is trained on
        parts[which] = order[start : start + count]
        start += count
    return parts


def _pair(inputs: Any, targets: Any, which: str) -> tuple[Inputs, Tensor]:
    if targets is None:
        if isinstance(inputs, Tensor | np.ndarray | Mapping | list | tuple) or not hasattr(inputs, "__getitem__"):
            raise ValueError(
                f"the {which} data is {type(inputs).__name__} without targets; give inputs and targets, or a map-style "
                "Dataset of (input, target) pairs"
            )
        inputs, targets = _read(inputs, which)
    what = f"the {which} inputs"
    if isinstance(inputs, Mapping):
        if not inputs or any(not isinstance(key, str) or not key for key in inputs):
            raise ValueError(
                f"the {which} inputs are called {', '.join(map(repr, inputs)) or 'nothing'}; name each as the "
                "network's `forward` calls it"
            )
        inputs = {key: tensor_of(value, f"{what} {key!r}") for key, value in inputs.items()}
    else:
        inputs = tensor_of(inputs, what)
    return inputs, tensor_of(targets, f"the {which} targets")


def tensor_of(value: Any, what: str) -> Tensor:
    """A tensor of numbers from a tensor, an array or nested lists: float64 becomes float32, bool stays.

    Raises:
        ValueError: no numbers, or no first dimension of examples.

    Examples:
        >>> tensor_of([[1.0, 2.0]], "the inputs")
        tensor([[1., 2.]])
        >>> tensor_of(["a", "b"], "the inputs")
        Traceback (most recent call last):
            ...
        ValueError: the inputs are no tensor of numbers (TypeError: ...
    """
    if isinstance(value, np.memmap) and not value.flags.writeable:
        raise ValueError(f"{what} are mapped read-only, which torch cannot hold; open the file with mmap_mode='c'")
    if isinstance(value, Tensor) and (
        value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_nested
    ):
        raise ValueError(f"{what} are no plain tensor of numbers: expected a dense one, such as `.to_dense()` gives")
    try:
        tensor = value.detach() if isinstance(value, Tensor) else torch.as_tensor(np.require(value, requirements="W"))
    except (TypeError, ValueError) as error:
        several = isinstance(value, tuple | list) and any(isinstance(part, Tensor | np.ndarray) for part in value)
        hint = '; several inputs go by name: {"left": ..., "right": ...}' if several else ""
        raise ValueError(f"{what} are no tensor of numbers ({said(error)}){hint}") from error
    if tensor.ndim == 0 or tensor.is_complex() or (tensor.is_floating_point() and tensor.element_size() == 1):
        raise ValueError(f"{what} are {tensor.dtype} of shape {tuple(tensor.shape)}, expected numbers, examples first")
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _plain(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return torch.as_tensor(np.require(value, requirements="W"))


def _read(dataset: Any, which: str) -> tuple[Inputs, Tensor]:
    """All items of a map-style dataset, stacked."""
    try:
        total = len(dataset)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the {which} dataset has no length, so that it is no map-style Dataset; stack its items and pass tensors"
        ) from error
    kept: dict[str, Tensor] | None = None
    targets: list[Tensor] = []
    for number in range(total):
        try:
            item = dataset[number]
        except (Exception, SystemExit) as error:  # a dataset of the user's own can raise anything
            raise ValueError(f"item {number} of the {which} dataset raised {said(error)}") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(f"item {number} of the {which} dataset is {type(item).__name__}, expected (input, target)")
        one = item[0] if isinstance(item[0], Mapping) else {"": item[0]}
        try:
            found = {str(key): _plain(value) for key, value in one.items()}
            targets.append(_plain(item[1]))
            if kept is None:
                kept = {key: value.new_empty((total, *value.shape)) for key, value in found.items()}
            if found.keys() != kept.keys():
                raise ValueError(f"its inputs are called {', '.join(found)}, the first one's {', '.join(kept)}")
            for key, value in found.items():
                first = kept[key]
                if value.shape != first.shape[1:]:
                    raise ValueError(f"its shape is {tuple(value.shape)}, the first one's {tuple(first.shape[1:])}")
                if value.dtype != first.dtype:
                    raise ValueError(f"its type is {value.dtype}, the first one's {first.dtype}")
                kept[key][number] = value
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(
                f"item {number} of the {which} dataset is not like the first or no tensor of numbers ({said(error)}); "
                "give the dataset a transform, such as torchvision's ToTensor"
            ) from error
    if kept is None:
        raise ValueError(f"the {which} dataset is empty")
    try:
        stacked = torch.stack(targets)
    except RuntimeError as error:
        raise ValueError(f"the targets of the {which} dataset differ in shape ({said(error)})") from error
    return kept.get("", kept), stacked
