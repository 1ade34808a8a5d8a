"""TicketPath: the nested tickets of one slow search, from a few per cent of the weights down, in one small value."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchcard.artefacts.tensor_file import read_tensors, write_tensors
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import count
from scratchcard.words import shortened

FORMAT = "scratchcard-ticket-path"
FORMAT_VERSION = 2
VERSIONS = ("1", "2")
LEVELS = 255
MOST_WEIGHTS = 100_000_000
"""Of the network that a stored path is of: its tensors are made in full."""
MOST_TIMES = 1000
"""So many weights at most for each that a file stores: a path begins with a few per cent of the weights."""


@dataclass(frozen=True, eq=False)
class TicketPath:
    """Which weights a slow search kept at each of several densities, and their initial values.

    Attributes:
        densities: descending, at most 255; each mask lies within the one before it.
        levels: by weight name, uint8 in the weight's shape: how many of the densities' masks keep the weight.
        values: by weight name, float32 in the weight's shape: initial weights where the level is above 0, else 0.
        inputs: `(classes, features)` float32: mean input of each class, by which the task is known again.
        about: plain JSON: workload, scorer, regime, seed, versions ...

    Raises:
        ValueError: what does not fit together.

    Examples:
        >>> masks = {
        ...     0.5: Mask({"weight": torch.tensor([[True, True, False, False]])}),
        ...     0.25: Mask({"weight": torch.tensor([[True, False, False, False]])}),
        ... }
        >>> path = TicketPath.of(masks, {"weight": torch.tensor([[0.4, -0.3, 0.2, -0.1]])}, inputs=torch.zeros(2, 4))
        >>> path.densities, path.kept
        ((0.5, 0.25), (2, 1))
        >>> path.signs(0.5)["weight"]
        tensor([[ 1, -1,  0,  0]], dtype=torch.int8)
    """

    densities: tuple[float, ...]
    levels: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    inputs: Tensor
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        steps = list(self.densities)
        if (
            not 1 <= len(steps) <= LEVELS
            or steps != sorted(set(steps), reverse=True)
            or not 0 < steps[-1] <= steps[0] <= 1
        ):
            raise ValueError(
                f"a path's densities must fall from at most 1 to above 0, up to {LEVELS} of them, got {steps}"
            )
        if list(self.levels) != list(self.values) or not self.levels:
            raise ValueError("a path needs a level and a value for each weight, under the same names")
        for name, level in self.levels.items():
            if level.dtype != torch.uint8 or level.shape != self.values[name].shape or int(level.max()) > len(steps):
                raise ValueError(f"the levels of {name!r} are not those of a path of {len(steps)} densities")
            if not bool(torch.isfinite(self.values[name]).all()):
                raise ValueError(f"the values of {name!r} hold NaN or infinity")
        if self.inputs.ndim != 2 or not bool(torch.isfinite(self.inputs).all()):
            raise ValueError("a path needs the mean input of each class as finite numbers (classes, features)")

    def __repr__(self) -> str:
        return f"TicketPath({self.kept[0]:,} to {self.kept[-1]:,} of {self.total:,} weights, {len(self.kept)} tickets)"

    @classmethod
    def of(
        cls,
        masks: Mapping[float, Mask],
        initial: Mapping[str, Tensor],
        inputs: Tensor,
        about: Mapping[str, Any] | None = None,
    ) -> TicketPath:
        """From the masks by density and the network's state.

        Raises:
            ValueError: masks that are not nested.
        """
        densities = tuple(sorted(masks, reverse=True))
        for above, below in itertools.pairwise(densities):
            if (masks[above] & masks[below]).kept != masks[below].kept:
                raise ValueError(f"the mask of density {below} does not lie within that of {above}")
        names = list(masks[densities[0]].tensors)
        levels = {
            name: torch.stack([masks[density].tensors[name].cpu() for density in densities]).sum(0).to(torch.uint8)
            for name in names
        }
        values = {name: torch.where(levels[name] > 0, initial[name].cpu().float(), 0.0) for name in names}
        return cls(densities, levels, values, inputs.cpu().float(), dict(about or {}))

    @property
    def total(self) -> int:
        """Number of prunable weights of the network that was searched."""
        return count(self.levels)

    def signs(self, density: float, total: int | None = None) -> dict[str, Tensor]:
        """int8 by weight name: the signs of the smallest ticket that holds `density` of `total` weights, else 0.

        Args:
            density: share of `total`.
            total: prunable weights of the network that it is for; by default those of the searched one.

        Raises:
            ValueError: more weights are asked for than the path holds.
        """
        wanted = round(density * (self.total if total is None else total))
        fitting = [level for level, number in enumerate(self.kept, start=1) if number >= wanted]
        if not fitting:
            raise ValueError(f"{wanted:,} weights are asked for, the path begins with {self.kept[0]:,}")
        return {
            name: torch.where(self.levels[name] >= fitting[-1], value.sign(), 0.0).to(torch.int8)
            for name, value in self.values.items()
        }

    def reaches(self, density: float, total: int | None = None) -> bool:
        """Whether `density` of `total` weights lies between the path's largest ticket and half of its smallest."""
        wanted = round(density * (self.total if total is None else total))
        return self.kept[-1] / 2 <= wanted <= self.kept[0]

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Number of kept weights at each density."""
        levels = range(1, len(self.densities) + 1)
        return tuple(sum(int((tensor >= level).sum()) for tensor in self.levels.values()) for level in levels)

    def save(self, path: str | Path) -> Path:
        """Write the kept weights alone, as safetensors with JSON metadata; written beside and renamed."""
        tensors = {"inputs": self.inputs.half()}
        for name, level in self.levels.items():
            places = level.reshape(-1).nonzero()[:, 0]
            tensors[f"places/{name}"] = places.to(torch.int32)
            tensors[f"levels/{name}"] = level.reshape(-1)[places]
            tensors[f"values/{name}"] = self.values[name].reshape(-1)[places].half()
        texts = {
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "densities": json.dumps(self.densities),
            "shapes": json.dumps({name: list(level.shape) for name, level in self.levels.items()}),
            "about": json.dumps(dict(self.about), sort_keys=True, allow_nan=False),
        }
        return write_tensors(path, tensors, texts)

    @classmethod
    def load(cls, path: str | Path) -> TicketPath:
        """Read a path that `save` wrote; values were rounded to half precision.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged or no ticket path, in one sentence.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no ticket path at {path}: expected a .safetensors file that TicketPath.save wrote"
            )
        try:
            tensors, texts = read_tensors(path)
            if texts.get("format") != FORMAT or texts.get("version") not in VERSIONS:
                raise ValueError(f"no {FORMAT!r} of version {FORMAT_VERSION} in its metadata")
            shapes = json.loads(texts["shapes"])
            levels, values = {}, {}
            claimed = sum(math.prod(int(side) for side in shape) for shape in shapes.values())
            stored = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("places/"))
            if claimed > min(MOST_WEIGHTS, MOST_TIMES * max(1, stored)):
                raise ValueError(f"it claims {claimed:,} weights and stores {stored:,} of them")
            for name, shape in shapes.items():
                places = tensors[f"places/{name}"].long()
                levels[name] = torch.zeros(shape, dtype=torch.uint8)
                values[name] = torch.zeros(shape)
                levels[name].view(-1)[places] = tensors[f"levels/{name}"]
                values[name].view(-1)[places] = tensors[f"values/{name}"].float()
            densities = tuple(float(density) for density in json.loads(texts["densities"]))
            about = json.loads(texts["about"])
            if not isinstance(about, dict):
                raise ValueError("what is said about it is no JSON object")
            return cls(densities, levels, values, tensors["inputs"].float(), about)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            RuntimeError,
            IndexError,
            RecursionError,
        ) as error:
            raise ValueError(f"{path} is no usable ticket path: {shortened(str(error))}") from error
