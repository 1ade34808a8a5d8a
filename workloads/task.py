"""Task: data + loss + metric, in memory as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from scratchcard.pruning.inputs import tensors
from scratchcard.workloads.objective import Classification, Objective


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a task's data.

    Attributes:
        inputs: `(n, *input_shape)`, float32, already normalised.
        targets: class indices `(n,)`, int64.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
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
        return Split(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True, eq=False)
class Task:
    """A classification task with a fixed training, validation and test split.

    Early stopping and every choice use `validation`; `test` is only read by `evaluate`.
    Loss: mean cross-entropy; metric: accuracy.

    Attributes:
        name: of the data set.
        train, validation, test: the three splits.
        classes: number of classes.
        digest: sha256 over all splits.
        loader: `(function, arguments)` that loads this task; with it a task crosses to another process by name, and
            that process loads the data itself, instead of hundreds of megabytes in a pickle.
        objective: what training lowers and what its result is measured by.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    digest: str
    loader: tuple[Callable[..., Task], tuple[Any, ...]] | None = None
    objective: Objective = field(default_factory=Classification)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.loader is not None:
            return self.loader
        splits = (self.train, self.validation, self.test)
        return (Task, (self.name, *splits, self.classes, self.digest, None, self.objective))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch dimension."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The objective's loss."""
        return self.objective.loss

    def scoring_batch(self, size: int, *, seed: int, balanced: bool = False) -> tuple[Tensor, Tensor]:
        """`size` training examples drawn without replacement, with their targets.

        Args:
            size: number of examples; at most as many as the training split holds.
            seed: of the draw.
            balanced: as many examples of each class as `size` allows (the first classes get one more where it
                does not divide).

        Raises:
            ValueError: size out of range, or a class with too few examples for a balanced draw.
        """
        total = len(self.train)
        if not 1 <= size <= total:
            raise ValueError(f"the scoring batch needs 1 to {total} examples of {self.name}, got {size}")
        order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
        if balanced:
            targets = self.train.targets.cpu()[order]
            parts = []
            for index in range(self.classes):
                wanted = size // self.classes + (index < size % self.classes)
                found = order[targets == index][:wanted]
                if len(found) < wanted:
                    raise ValueError(
                        f"class {index} of {self.name} has {len(found)} training examples, a balanced scoring "
                        f"batch of {size} needs {wanted}; ask for fewer"
                    )
                parts.append(found)
            chosen = torch.cat(parts)
            chosen = chosen[torch.randperm(size, generator=torch.Generator().manual_seed(seed))]
        else:
            chosen = order[:size]
        chosen = chosen.to(self.train.inputs.device)
        return self.train.inputs[chosen], self.train.targets[chosen]

    def to(self, device: torch.device | str) -> Task:
        """The same task with all its data on another device; in another process it is loaded on the CPU again."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )


def task_digest(*splits: Split) -> str:
    """sha256 over the data of all splits, as the networks see it."""
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.inputs, split.targets):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
