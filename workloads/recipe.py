"""Recipe: how a network is trained, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

INTEGERS = ("batch_size", "max_steps", "evaluation_interval", "patience", "scoring_examples")
NUMBERS = ("learning_rate", "momentum", "weight_decay", "epsilon")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the default is SGD as in the source thesis, 15 epochs of MNIST.

    Updates, with the gradient `g` of the mean loss plus `weight_decay * w`, step `t` from 1:

        sgd    v = momentum * v + g;                          w -= learning_rate * v
        adam   m = b1 m + (1 - b1) g; s = b2 s + (1 - b2) g^2;
               w -= learning_rate * (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + epsilon)

    as `torch.optim.SGD` and `torch.optim.Adam` have it. Pruned weights take no part in either.

    Attributes:
        optimizer: `"sgd"` or `"adam"`.
        learning_rate: constant over the training.
        momentum: of SGD; Adam does not read it.
        weight_decay: added to the gradient (L2), biases included.
        betas, epsilon: of Adam; SGD does not read them.
        batch_size: examples a step; the incomplete last batch of an epoch is dropped.
        max_steps: training ends here at the latest; 12,885 are 15 epochs of MNIST's 55,000 examples at 64.
        evaluation_interval: steps between two looks at the validation split.
        patience: training stops after this many evaluations without a lower validation loss.
        scoring_examples: of the batch that scorers see, at most so many: all of a smaller training split (see
            `Workload.scoring_examples`); `train` does not read it.
        scoring_balanced: as many scoring examples of each class.

    Raises:
        ValueError: a value of another type, or a number out of its range.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    batch_size: int = 64
    max_steps: int = 12_885
    evaluation_interval: int = 430
    patience: int = 10
    scoring_examples: int = 2560
    scoring_balanced: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"unknown optimizer {self.optimizer!r}, expected 'sgd' or 'adam'")
        for name in INTEGERS:
            if getattr(self, name) < 1:
                raise ValueError(f"the recipe's {name} is {getattr(self, name)}, expected at least 1")
        for name in ("learning_rate", "epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"the recipe's {name} is {getattr(self, name)}, expected a positive number")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"the recipe's momentum is {self.momentum}, expected a number in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"the recipe's weight_decay is {self.weight_decay}, expected zero or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"the recipe's betas are {self.betas}, expected two numbers in [0, 1)")

    def _check_types(self) -> None:
        """Values can come from files, where a number may be a text, a list or null; bool is no number here."""
        for name in INTEGERS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"the recipe's {name} is {value!r}, expected a whole number")
        for name in NUMBERS:
            if not _is_number(getattr(self, name)):
                raise ValueError(f"the recipe's {name} is {getattr(self, name)!r}, expected a number")
        betas: object = self.betas
        if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(map(_is_number, betas)):
            raise ValueError(f"the recipe's betas are {betas!r}, expected two numbers in [0, 1)")
        if not isinstance(self.scoring_balanced, bool):
            raise ValueError(f"the recipe's scoring_balanced is {self.scoring_balanced!r}, expected true or false")

    @classmethod
    def from_json(cls, described: object) -> Recipe:
        """The recipe that `dataclasses.asdict` described; settings that are not named get their default.

        Raises:
            ValueError: not an object, unknown settings, or values that no recipe has.
        """
        if not isinstance(described, Mapping):
            raise ValueError(f"expected a recipe as an object of settings, got {type(described).__name__}")
        unknown = sorted(set(map(str, described)) - set(cls.names()))
        if unknown:
            raise ValueError(f"a recipe has no setting {', '.join(unknown)}; it has {', '.join(cls.names())}")
        given = {str(name): value for name, value in described.items()}
        # `momentum = 0` in a file is the recipe that `momentum = 0.0` is, and the same run.
        given |= {name: float(given[name]) for name in NUMBERS if _is_number(given.get(name))}
        betas = given.get("betas")
        if isinstance(betas, list | tuple):
            given["betas"] = tuple(float(beta) if _is_number(beta) else beta for beta in betas)
        return cls(**given)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all settings, in order."""
        return tuple(field.name for field in fields(cls))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
