"""Recipe: how a network is trained, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scratchcard.setting import SettingError, setting, shown
from scratchcard.settings import Settings, described, make, settings_of

_LARGEST = 3e38

if TYPE_CHECKING:
    from scratchcard.workloads.task import Task


@dataclass(frozen=True)
class Recipe(Settings):
    """How a network is trained; the default is SGD as in the source thesis, 15 epochs of MNIST.

    Updates, with the gradient `g` of the mean loss plus `weight_decay * w`, step `t` from 1:

        sgd    v = momentum * v + g;                          w -= learning_rate * v
               with nesterov                                  w -= learning_rate * (g + momentum * v)
        adam   m = b1 m + (1 - b1) g; s = b2 s + (1 - b2) g^2;
               w -= learning_rate * (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + epsilon)
        adamw  w *= 1 - learning_rate * weight_decay first, and adam with the gradient of the loss alone

    as `torch.optim` has them. Pruned weights take no part in any. The learning rate of a step is that of
    `workloads.learning_rates`.

    Attributes:
        optimizer: `"sgd"`, `"adam"` or `"adamw"` (Loshchilov & Hutter 2019, arXiv 1711.05101).
        learning_rate: the highest of the training; of all its steps under the constant schedule without warm-up.
        learning_rate_schedule: `"constant"`, `"step"` (times `milestone_factor` at each milestone) or `"cosine"` (half
            a cosine, from the learning rate to zero at `max_steps`; Loshchilov & Hutter 2017, arXiv 1608.03983).
        warmup_steps: so many steps at first, over which the learning rate rises in a straight line; below 1 a share of
            `max_steps`.
        milestones: of the step schedule, ascending: below 1 a share of `max_steps`, else a step.
        milestone_factor: of the step schedule.
        momentum: of SGD; Adam does not read it.
        nesterov: Nesterov's momentum, of SGD.
        weight_decay: added to the gradient (L2), biases included; under AdamW it shrinks the weights themselves.
        betas, epsilon: of Adam; SGD does not read them.
        label_smoothing: share of a target that is spread over all classes, in training only: the validation loss has
            none (Szegedy et al. 2016, arXiv 1512.00567). Of classification.
        augmentation: how the images of each step are changed at random, see `workloads.augmentations`; never while
            scoring or evaluating. `"crop_flip"`, or `"crop_flip_cutout"`, which changes more.
        precision: mixed precision of a step's products and convolutions by `torch.autocast`, while weights, moments and
            the evaluation are as they are. `"float16"` scales the loss (Micikevicius et al. 2018, arXiv 1710.03740) and
            needs a GPU.
        channels_last: images lie with their channels last in memory while they train, which is faster for most
            convolutions and changes nothing but rounding; so it is asked for, not taken by itself.
        batch_size: examples a step; the incomplete last batch of an epoch is dropped.
        max_steps: training ends here at the latest; 12,885 are 15 epochs of MNIST's 55,000 examples at 64.
        evaluation_interval: steps between two looks at the validation split.
        patience: training stops after this many evaluations without a lower validation loss.
        scoring_examples: of the batch that scorers see, at most so many: all of a smaller training split (see
            `Workload.scoring_examples`); `train` does not read it.
        scoring_balanced: as many scoring examples of each class.

    Raises:
        ValueError: a value of another type, a number out of its range, or a setting that does not apply, such as
            milestones of the cosine schedule.

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

    optimizer: Literal["sgd", "adam", "adamw"] = setting("sgd", help="How steps are made", example="adam")
    learning_rate: float = setting(0.1, help="Of a step, the highest where it is scheduled", example=0.05, above=0)
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
    learning_rate_schedule: Literal["constant", "step", "cosine"] = setting(
        "constant", help="How the learning rate goes on", example="cosine"
    )
    warmup_steps: float = setting(
        0,
        help="Over how much the learning rate rises at first, in steps or in a share of max_steps",
        example=500,
        low=0,
    )
    milestones: tuple[float, ...] = setting(
        (0.5, 0.75),
        help="Of the step schedule: where the learning rate falls, in shares of max_steps or in steps",
        example=(0.3, 0.6, 0.8),
        above=0,
    )
    milestone_factor: float = setting(
        0.1, help="Of the step schedule: times what it falls", example=0.2, above=0, below=1
    )
    nesterov: bool = setting(False, help="Momentum as Nesterov has it, of SGD", example=True)
    label_smoothing: float = setting(
        0.0, help="Share of a target that is spread over all classes, in training", example=0.1, low=0, below=1
    )
    augmentation: Literal["none", "crop_flip", "crop_flip_cutout"] = setting(
        "none", help="How images are changed at random, in training only", example="crop_flip"
    )
    precision: Literal["full", "bfloat16", "float16"] = setting(
        "full", help="Of a step's products, the weights stay as they are", example="bfloat16"
    )
    channels_last: bool = setting(False, help="Images with their channels last in memory, in training", example=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_applies()
        self._check_schedule()
        for name in ("learning_rate", "weight_decay"):
            value = getattr(self, name)
            if value > _LARGEST:
                raise SettingError(f"{name} is {value!r}, expected a number that float32 can hold", name, self.called)

    def _check_applies(self) -> None:
        for name, (applies, of, do) in _ONLY.items():
            value = getattr(self, name)
            if value != settings_of(Recipe)[name].default and not applies(self):
                told = f"{name} is {shown(value)}, which is for {of} only; leave it out, or {do}"
                raise SettingError(told, name, self.called)

    def _check_schedule(self) -> None:
        if self.warmup >= self.max_steps or (self.warmup_steps > 1 and self.warmup_steps % 1):
            told = (
                f"warmup_steps is {self.warmup_steps:.12g}, expected fewer than the {self.max_steps} of max_steps, or "
                "a share of them below 1"
            )
            raise SettingError(told, "warmup_steps", self.called)
        if self.learning_rate_schedule != "step":  # of a training of three steps the usual ones fall together
            return
        steps = self.milestone_steps
        if any(place >= 1 and place % 1 for place in self.milestones) or any(a >= b for a, b in pairwise(steps)):
            told = (
                f"milestones are {shown(self.milestones)}, which are the steps {shown(steps)} of {self.max_steps}; "
                "expected ascending steps, or shares of max_steps below 1, such as [0.5, 0.75]"
            )
            raise SettingError(told, "milestones", self.called)

    @property
    def warmup(self) -> int:
        """The warm-up in steps.

        >>> Recipe(warmup_steps=0.1, max_steps=200).warmup, Recipe(warmup_steps=50).warmup
        (20, 50)
        """
        share = self.warmup_steps
        return round(share * self.max_steps) if share < 1 else int(share)

    @property
    def milestone_steps(self) -> tuple[int, ...]:
        """The milestones in steps.

        >>> Recipe(learning_rate_schedule="step", milestones=(0.5, 150), max_steps=200).milestone_steps
        (100, 150)
        """
        return tuple(round(place * self.max_steps) if place < 1 else int(place) for place in self.milestones)

    def describe(self) -> dict[str, Any]:
        """Plain JSON for digests and records; settings that came later only where not at their default.

        >>> list(Recipe().describe())[-1], Recipe(warmup_steps=5).describe()["warmup_steps"]
        ('scoring_balanced', 5.0)
        """
        return described(self, dict.fromkeys(_FIRST.split()))

    def changed(self, **words: Any) -> Recipe:
        """This recipe with other settings; what it has that no longer applies then gets its default.

        Raises:
            ValueError: as for a recipe.

        >>> recipe = Recipe(momentum=0.9, nesterov=True, learning_rate_schedule="step", milestone_factor=0.2)
        >>> recipe.changed(optimizer="adam").nesterov
        False
        >>> recipe.changed(optimizer="adam", nesterov=True)
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: the recipe's nesterov is true, which is for SGD with momentum only; ...
        """
        known = settings_of(Recipe)
        # Of a recipe whose other settings are at their default, so that they are not refused yet.
        asked = replace(self, **{name: known[name].default for name in _ONLY} | _deciding(words))
        usual = {n: known[n].default for n, (applies, _, _) in _ONLY.items() if not applies(asked)}
        return replace(self, **usual | words)

    @classmethod
    def from_json(cls, described: object) -> Recipe:
        """The recipe that `dataclasses.asdict` described; settings that are not named get their default.

        Raises:
            ValueError: not an object, unknown settings, or values that no recipe has.
        """
        if not isinstance(described, Mapping):
            raise ValueError(f"expected a recipe as an object of settings, got {type(described).__name__}")
        return make(cls, "a recipe", {str(name): value for name, value in described.items()})


_FIRST = (
    "optimizer learning_rate momentum weight_decay betas epsilon batch_size max_steps evaluation_interval patience "
    "scoring_examples scoring_balanced"
)
"""The settings that every digest holds."""
_ONLY: dict[str, tuple[Callable[[Recipe], bool], str, str]] = {
    "milestones": (lambda r: r.learning_rate_schedule == "step", "the step schedule", "set learning_rate_schedule"),
    "milestone_factor": (
        lambda r: r.learning_rate_schedule == "step",
        "the step schedule",
        "set learning_rate_schedule",
    ),
    "nesterov": (
        lambda r: r.optimizer == "sgd" and r.momentum > 0,
        "SGD with momentum",
        "set the optimizer sgd and a momentum",
    ),
}
"""The settings that apply only to some recipes: to which, in words, and what to do."""


def _deciding(words: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in words.items() if name not in _ONLY}


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
