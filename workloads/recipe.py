"""Recipe: how a network is trained, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from scratchcard.setting import SettingError, setting
from scratchcard.settings import Settings, make

_LARGEST = 3e38

if TYPE_CHECKING:
    from scratchcard.workloads.task import Task


@dataclass(frozen=True)
class Recipe(Settings):
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

    Examples:
        >>> recipe = Recipe(optimizer="adam", learning_rate=0.001, max_steps=500)
        >>> Recipe.from_json({"optimizer": "adam", "learning_rate": 0.001, "max_steps": 500}) == recipe
        True
        >>> Recipe(learning_rate=-1)
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: the recipe's learning_rate is -1, expected a positive number
    """

    called: ClassVar[str] = "the recipe"

    optimizer: Literal["sgd", "adam"] = setting("sgd", help="How steps are made", example="adam")
    learning_rate: float = setting(0.1, help="Constant over the training", example=0.05, above=0)
    momentum: float = setting(0.0, help="Of SGD", example=0.9, low=0, below=1)
    weight_decay: float = setting(0.0, help="L2, biases included", example=0.0005, low=0)
    betas: tuple[float, float] = setting((0.9, 0.999), help="Of Adam", example=(0.8, 0.9), low=0, below=1)
    epsilon: float = setting(1e-8, help="Of Adam", example=1e-6, above=0)
    batch_size: int = setting(64, help="Examples a step", example=128, low=1)
    max_steps: int = setting(
        12_885, help="Longest training, in steps", example=2000, low=1, unset="12885, 15 epochs of MNIST"
    )
    evaluation_interval: int = setting(430, help="Steps between looks at the validation loss", example=100, low=1)
    patience: int = setting(10, help="Looks without a lower validation loss before stopping", example=5, low=1)
    scoring_examples: int = setting(
        2560, help="Size of the scoring batch; all of a smaller training split", example=1000, low=1
    )
    scoring_balanced: bool = setting(False, help="As many scoring examples of each class", example=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rate", "weight_decay"):
            value = getattr(self, name)
            if value > _LARGEST:
                raise SettingError(f"{name} is {value!r}, expected a number that float32 can hold", name, self.called)

    @classmethod
    def from_json(cls, described: object) -> Recipe:
        """The recipe that `dataclasses.asdict` described; settings that are not named get their default.

        Raises:
            ValueError: not an object, unknown settings, or values that no recipe has.
        """
        if not isinstance(described, Mapping):
            raise ValueError(f"expected a recipe as an object of settings, got {type(described).__name__}")
        return make(cls, "a recipe", {str(name): value for name, value in described.items()})


def check_batch_size(task: Task, recipe: Recipe) -> None:
    """Refuse a batch larger than the training split.

    Raises:
        ValueError: there is no whole batch.

    Examples:
        >>> check_batch_size(sc.Task.of(torch.rand(50, 4), torch.arange(50) % 2), Recipe(batch_size=64))
        Traceback (most recent call last):
            ...
        ValueError: the batch size 64 exceeds the 35 training examples of own; set the recipe's batch_size lower
    """
    if recipe.batch_size > len(task.train):
        raise ValueError(
            f"the batch size {recipe.batch_size} exceeds the {len(task.train)} training examples of {task.name}; "
            "set the recipe's batch_size lower"
        )
