"""Numbers: squared error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scratchcard.pruning.parameters import all_finite
from scratchcard.workloads.objective import Function, Objective, check_shape

# A spread below this share of the mean square is rounding: all targets are the same number.
_CONSTANT = 1e-13


@dataclass(frozen=True)
class Regression(Objective):
    """Numbers `(n, k)` as they are: mean squared error; R² = 1 - residual / total sum of squares, the mean over the k.

    As in scikit-learn, R² of targets that are all the same is 1 where they are met and 0 where not. The total is
    computed as `sum y² - (sum y)² / n` in float64, so targets far from zero lose digits: standardise them.

    >>> y = torch.tensor([[1.0], [2.0], [3.0]])
    >>> Regression().metrics(Regression().statistics(y + 0.5, y))
    {'r2': 0.625}
    """

    name: str = "regression"
    metric_names: tuple[str, ...] = ("r2",)

    @property
    def loss(self) -> Function:
        """Mean squared error over examples and numbers."""
        return squared_error

    def statistics(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of each number `sum y`, `sum y²` and `sum (y - output)²`, then the examples: `(3k + 1,)`."""
        wanted = targets.double()
        sums = [wanted.sum(0), wanted.square().sum(0), (wanted - outputs.double()).square().sum(0)]
        return torch.cat([*sums, torch.full_like(sums[0][:1], len(targets))])

    def metrics(self, statistics: Tensor) -> dict[str, float]:
        """`r2`."""
        (first, second, residual), examples = statistics[:-1].reshape(3, -1), statistics[-1]
        total = second - first.square() / examples
        constant = total <= _CONSTANT * second
        found = torch.where(constant, (residual == 0).double(), 1 - residual / total)
        return {"r2": float(found.mean())}

    def check_targets(self, targets: Tensor, *, outputs: int, what: str) -> None:
        """See `Objective`: finite floats of shape `(n, k)`."""
        if not targets.is_floating_point() or targets.ndim != 2:
            raise ValueError(
                f"{what} are {targets.dtype} of shape {tuple(targets.shape)}; regression takes floats of shape "
                "(examples, numbers), (examples, 1) for one number"
            )
        if targets.shape[1] != outputs:
            raise ValueError(f"{what} have {targets.shape[1]} numbers an example, expected {outputs}")
        if not all_finite(targets):
            raise ValueError(f"{what} hold NaN or infinity; drop these examples")

    def check_outputs(self, outputs: Tensor, targets: Tensor, *, outputs_expected: int, what: str) -> None:
        """See `Objective`: numbers of shape `(n, k)`."""
        check_shape(outputs, targets, (len(targets), outputs_expected), "numbers", what)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, in the outputs' precision.

    Examples:
        >>> float(squared_error(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)))
        5.0
    """
    return (outputs - targets.to(outputs.dtype)).square().mean()
