"""SynFlow: how much of the flow from inputs to outputs passes through the weight; needs no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from scratchcard.pruning.inputs import tensors
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.paths import Paths, PathScorer
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over
from scratchcard.settings import Settings


@dataclass(frozen=True)
class SynFlow(Settings, Scorer):
    r"""`s = |w| * dR/d|w|`, `R` being the output sum of the network's linear image fed with ones.

    `R = 1^T (prod_l |w_l| * mask_l) 1` sums, over all paths from an input to an output, the product of the
    absolute weights on the path; `s` is the share of `R` that passes through the weight (Tanaka et al.,
    "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020, arXiv
    2006.05467). Hence the conservation law: the scores of a layer that all paths cross sum to `R`, and a
    hidden unit's incoming scores sum to its outgoing ones. Meant for many rounds (UMS, 100 in the paper); one
    round collapses layers.

    Of the batch only the inputs' shapes are used. Biases, normalisation and activations stay out of the product, and a
    product of two activations (a gate, attention) is on the paths through both: docs/linear_image.md. Scores are
    float64 whatever the network's dtype: in float32 R is infinite on ResNet-50. An embedding of the network's own input
    is a linear layer on one-hot vectors, so the all-ones input feeds every entry of it at every position. If R leaves
    float64's range, see `Paths.scores`. Several inputs by name are fed alike.

    Raises:
        ValueError: (when called) an operation that has no linear image, or an image that is no sum over paths.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> network[0].weight.data = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
        >>> network[2].weight.data = torch.tensor([[3.0, 0.5]])
        >>> batch = torch.zeros(1, 2), torch.zeros(1, 1)  # of the data only the shape is used
        >>> SynFlow()(network, batch, nn.functional.mse_loss).tensors["2.weight"]
        tensor([[6., 1.]], dtype=torch.float64)
    """

    regime: ClassVar[str] = "UMS"

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        return hand_over(self._paths(network, batch).scores(mask), mask, self)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> PathScorer:
        """The scorer of one multi-shot sequence on `network`: same scores, less work."""
        return PathScorer(self, self._paths(network, batch))

    def _paths(self, network: nn.Module, batch: Batch) -> Paths:
        inputs = tensors(batch[0])
        features = {
            name: torch.ones((1, *tensor.shape[1:]) if tensor.is_floating_point() else 1, dtype=torch.float64)
            for name, tensor in inputs.items()
        }
        return Paths.of(network, features, inputs)
