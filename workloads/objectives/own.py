"""A loss and a metric of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratchcard.artefacts.code_digest import code_digest
from scratchcard.pruning.parameters import all_finite
from scratchcard.words import said
from scratchcard.workloads.objective import Function


@dataclass(frozen=True)
class OwnObjective:
    """A loss and a metric that are functions of outputs and targets, both averaged over a batch's examples.

    Their identity, by which stored work and results are told apart, is their name and the code of the file that they
    are written in; of a function without a file, such as one of a notebook, it is the name alone.

    Attributes:
        loss: `(outputs, targets) -> ()`, the mean over the examples; differentiable.
        metric: `(outputs, targets) -> ()`, the mean over the examples, higher = better; None takes minus the loss.
        outputs: how many outputs a registered network gets; None takes the size of the targets' second dimension,
            and 1 where they have none.
        metric_name: in records.

    >>> objective = OwnObjective(torch.nn.functional.l1_loss, metric_name="minus_l1")
    >>> objective.metrics(objective.statistics(torch.zeros(2, 1), torch.ones(2, 1)))
    {'minus_l1': -1.0}
    """

    loss: Function
    metric: Function | None = None
    outputs: int | None = None
    metric_name: str = "metric"
    name: str = "own"

    def __post_init__(self) -> None:
        for what, function in (("loss", self.loss), ("metric", self.metric)):
            if function is not None and not callable(function):
                raise ValueError(f"the {what} is {type(function).__name__}, expected a function of outputs and targets")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metric's name."""
        return (self.metric_name,)

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The metric times the examples, and the examples."""
        value = (-self.loss(outputs, targets) if self.metric is None else self.metric(outputs, targets)).double()
        return torch.stack([value * len(targets), torch.full_like(value, len(targets))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """The metric's mean over the examples."""
        total, examples = statistics.tolist()
        return {self.metric_name: total / examples}

    def check_targets(self, targets: Tensor, *, outputs: int, what: str) -> None:
        """See `Objective`: only NaN and infinity are refused, the rest is the loss's own affair."""
        if targets.is_floating_point() and not all_finite(targets):
            raise ValueError(f"{what} hold NaN or infinity; drop these examples")

    def check_outputs(self, outputs: Tensor, targets: Tensor, *, outputs_expected: int, what: str) -> None:
        """See `Objective`: outputs of which loss and metric are one number each."""
        for kind, function in (("loss", self.loss), ("metric", self.metric)):
            if function is None:
                continue
            try:
                value = function(outputs, targets)
            except Exception as error:  # a function of the user's own can raise anything
                raise ValueError(
                    f"{what} gives outputs of shape {tuple(outputs.shape)}, of which the {kind} {_named(function)} "
                    f"raised {said(error)}"
                ) from error
            if not isinstance(value, Tensor) or value.ndim:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"the {kind} {_named(function)} returns {shape} for outputs of {what}, expected a tensor of one "
                    "number, the mean over the examples"
                )

    def outputs_of(self, targets: Tensor) -> int:
        """As given, or from the targets' shape."""
        if self.outputs is not None:
            return self.outputs
        return targets.shape[1] if targets.ndim > 1 else 1

    def describe(self) -> dict[str, Any]:
        """Name of loss and metric, and the digests of their code."""
        described: dict[str, Any] = {"name": self.name, "metric": self.metric_name}
        for what, function in (("loss", self.loss), ("metric_function", self.metric)):
            if function is not None:
                described[what] = named = _named(function)
                code = None if named.startswith("torch.") else code_digest(named)
                if code is not None:
                    described[f"{what}_code"] = code
        return described


def _named(function: Callable[..., Any]) -> str:
    """`package.module:name` of a function, or of a callable's class with its settings."""
    named = function if hasattr(function, "__qualname__") else type(function)
    settings = "" if named is function else f" {function!r}"
    return f"{named.__module__}:{named.__qualname__}" + ("" if " at 0x" in settings else settings)
