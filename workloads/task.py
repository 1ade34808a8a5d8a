"""Task: data and objective, in memory as tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchcard.artefacts.digest import sha256
from scratchcard.number_list import LARGEST
from scratchcard.pruning.inputs import Inputs, check_finite, device_of, each, one_tensor, rows, tensors
from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.objective import Classification, Objective

# So many bytes at once, where all data is read: data that is mapped from a file stays there.
_CHUNK = 2**24


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a task's data.

    Attributes:
        inputs: `(n, *input_shape)`, floats (already normalised) or integers (tokens); or several such tensors by name,
            which the network takes as keyword arguments.
        targets: `(n, ...)`, as the task's objective wants them: for classification class indices `(n,)`, int64.

    >>> len(Split(torch.zeros(3, 2), torch.tensor([0, 1, 0])))
    3
    """

    inputs: Inputs
    targets: Tensor

    def __post_init__(self) -> None:
        if not all(
            isinstance(tensor, Tensor) and tensor.ndim for tensor in (*tensors(self.inputs).values(), self.targets)
        ):
            raise ValueError("a split is of tensors, examples first; `Task.of` makes them of arrays and lists")
        counts = {len(tensor) for tensor in tensors(self.inputs).values()}
        if counts != {len(self.targets)} or len(self.targets) == 0:
            raise ValueError(
                "a split needs as many inputs as targets and at least one, got "
                f"{' and '.join(map(str, sorted(counts))) or 'no'} inputs and {len(self.targets)} targets"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> Split:
        """The same data on another device."""
        return Split(each(self.inputs, lambda tensor: tensor.to(device)), self.targets.to(device))

    @property
    def tensor(self) -> Tensor:
        """The inputs, where they are a single tensor.

        Raises:
            ValueError: there are several.
        """
        return one_tensor(self.inputs, "this")

    @property
    def shapes(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """Shape of one input, without the batch dimension; by name where there are several."""
        found = {name: tuple(tensor.shape[1:]) for name, tensor in tensors(self.inputs).items()}
        return found if isinstance(self.inputs, Mapping) else found[""]


@dataclass(frozen=True, eq=False)
class Task:
    """Data with a fixed training, validation and test split, and what a network shall do with it.

    Early stopping and every choice use `validation`; `test` is only read by `evaluate`. All splits are checked when the
    task is made. `Task.of` makes one of tensors or of a dataset.

    Attributes:
        name: of the data set.
        train, validation, test: the three splits.
        outputs: how many outputs a network needs: classes, labels, numbers.
        digest: sha256 over all splits.
        loader: `(function, arguments)` that loads this task; with it a task crosses to another process by name, and
            that process loads the data itself, instead of hundreds of megabytes in a pickle.
        code: digest of the code that made it, of a task of the user's own.
        objective: loss, metrics, checks of targets and outputs.
        encoding: how raw values became inputs, and what the outputs are called, as far as it is known; no part of the
            data's identity.

    Raises:
        ValueError: inputs that are not finite or differ in shape or type between splits, or targets that the objective
            does not take; one sentence.

    Examples:
        >>> x = torch.linspace(-1, 1, 60)[:, None]
        >>> task = Task.of(x, (x[:, 0] > 0).long(), name="sign")
        >>> task
        Task('sign', classification, 42 + 6 + 12 examples, torch.float32 (1,))
        >>> task.outputs, task.input_shape, task.class_sizes()
        (2, (1,), [21, 21])
    """

    name: str
    train: Split
    validation: Split
    test: Split
    outputs: int
    digest: str
    loader: tuple[Callable[..., Task], tuple[Any, ...]] | None = None
    code: str | None = None
    objective: Objective = field(default_factory=Classification)
    encoding: Encoding = field(default_factory=Encoding)

    def __post_init__(self) -> None:
        if isinstance(self.outputs, bool) or not isinstance(self.outputs, int) or not 1 <= self.outputs <= LARGEST:
            raise ValueError(
                f"the outputs of {self.name} are {self.outputs!r}, expected a whole number in [1, {LARGEST}]: of "
                "classes, labels or numbers"
            )
        self.encoding.check_fits(self.outputs, self.train.shapes, self.name)
        kinds = self._kinds(self.train)
        for which in ("train", "validation", "test"):
            split: Split = getattr(self, which)
            if self._kinds(split) != kinds:
                raise ValueError(
                    f"the {which} inputs of {self.name} are {_said(self._kinds(split))}, and those of train are "
                    f"{_said(kinds)}; all splits need the same"
                )
            check_finite(split.inputs, f"the {which} inputs of {self.name}")
            self.objective.check_targets(
                split.targets, outputs=self.outputs, what=f"the {which} targets of {self.name}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        if self.loader is not None:
            return self.loader
        splits = (self.train, self.validation, self.test)
        made = (self.outputs, self.digest, None, self.code, self.objective, self.encoding)
        return (Task, (self.name, *splits, *made))

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} + {len(self.validation)} + {len(self.test)}"
        return f"Task({self.name!r}, {self.objective.name}, {sizes} examples, {_said(self._kinds(self.train))})"

    @classmethod
    def of(cls, inputs: Any, targets: Any = None, **options: Any) -> Task:
        """A task of the user's own data; see `workloads.own_data.task_of`, whose options it takes.

        >>> x = torch.randn(100, 8)
        >>> Task.of(x, (x[:, 0] > 0).long(), name="sign")
        Task('sign', classification, 70 + 10 + 20 examples, torch.float32 (8,))
        """
        from scratchcard.workloads.own_data import task_of

        return task_of(inputs, targets, **options)

    @property
    def input_shape(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """Shape of one input, without the batch dimension; by name where there are several."""
        return self.train.shapes

    @property
    def example(self) -> Inputs:
        """The first training example as a batch of one."""
        return rows(self.train.inputs, slice(0, 1))

    @property
    def classes(self) -> int:
        """Number of classes, of a classification (also per position).

        Raises:
            ValueError: the task has another objective.
        """
        if self.objective.name not in ("classification", "per_position"):
            raise ValueError(f"{self.name} has no classes: its objective is {self.objective.name}; ask for `outputs`")
        return self.outputs

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The objective's mean loss of outputs and targets."""
        return self.objective.loss

    def scoring_batch(self, size: int, *, seed: int, balanced: bool = False) -> tuple[Inputs, Tensor]:
        """`size` training examples drawn without replacement, with their targets.

        Args:
            size: number of examples; at most as many as the training split holds.
            seed: of the draw.
            balanced: as many examples of each class as `size` allows (the first classes get one more where it
                does not divide).

        Raises:
            ValueError: size out of range, a class with too few examples for a balanced draw, or a balanced draw of a
                task without classes.
        """
        total = len(self.train)
        if not 1 <= size <= total:
            raise ValueError(f"the scoring batch needs 1 to {total} examples of {self.name}, got {size}")
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        if balanced:
            parts = []
            for index, having in enumerate(self.class_sizes()):
                wanted = size // self.outputs + (index < size % self.outputs)
                if having < wanted:
                    raise ValueError(
                        f"class {index} of {self.name} has {having} training examples, a balanced scoring "
                        f"batch of {size} needs {wanted}; ask for fewer"
                    )
                parts.append(order[self.train.targets.cpu()[order] == index][:wanted])
            chosen = torch.cat(parts)
            chosen = chosen[torch.randperm(size, generator=torch.Generator().manual_seed(seed))]
        else:
            chosen = order[:size]
        chosen = chosen.to(device_of(self.train.inputs))
        return rows(self.train.inputs, chosen), self.train.targets[chosen]

    def class_sizes(self) -> list[int]:
        """Training examples of each class.

        Raises:
            ValueError: the task is not one of one class an example.
        """
        if not isinstance(self.objective, Classification):
            raise ValueError(
                f"a balanced scoring batch needs one class an example, and {self.name} is {self.objective.name}; leave "
                "scoring_balanced away"
            )
        sizes: list[int] = self.train.targets.bincount(minlength=self.outputs).tolist()
        return sizes

    def loaded_by(
        self, loader: tuple[Callable[..., Task], tuple[Any, ...]], *, name: str, code: str | None = None
    ) -> Task:
        """The same task under the name by which `loader` finds it; its data is not checked again."""
        found = copy.copy(self)
        for key, value in (("loader", loader), ("name", name), ("code", code)):
            object.__setattr__(found, key, value)
        return found

    def save(self, path: str | Path) -> Path:
        """Write the task to a `.safetensors` file, which `load_task("tensors:FILE")` reads; see `tasks.tensors`."""
        from scratchcard.workloads.tasks.tensors import save_task

        return save_task(self, path)

    def to(self, device: torch.device | str) -> Task:
        """The same task with all its data on another device; in another process it is loaded on the CPU again."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )

    @staticmethod
    def _kinds(split: Split) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        return {name: (tensor.dtype, tuple(tensor.shape[1:])) for name, tensor in tensors(split.inputs).items()}


def _said(kinds: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name + ' ' if name else ''}{dtype} {shape}" for name, (dtype, shape) in kinds.items())


def task_digest(*splits: Split) -> str:
    """sha256 over the data of all splits, as the networks see it.

    >>> split = Split(torch.zeros(2, 1), torch.tensor([0, 1]))
    >>> task_digest(split, split, split)[:12]
    '...'
    """

    def parts() -> Iterator[str | memoryview]:
        for split in splits:
            for name, tensor in (*sorted(tensors(split.inputs).items()), ("", split.targets)):
                yield f"{name}{tensor.dtype}{tuple(tensor.shape)}"
                flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                for start in range(0, flat.numel(), _CHUNK):
                    yield flat[start : start + _CHUNK].numpy().data

    return sha256(parts())
