"""SynFlow's L2 form, fed with the data's own variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import examples, tensors
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.scorers.paths import Paths, PathScorer
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over
from scratchcard.settings import Settings


@dataclass(frozen=True)
class SynFlowL2Data(Settings, Scorer):
    r"""`s = w^2 * dR/dw^2` with `R = 1^T (prod_l w_l^2 * mask_l) v`, `v` the variance of each input feature.

    SynFlow with squared weights scores the trace of the path kernel (Gebhart et al., "A Unified Paths
    Perspective for Pruning at Initialization", 2021, arXiv 2101.10552). There the input is all ones; here it
    is the population variance, over the scoring batch, of each feature, so that inputs which never vary, such
    as the border of MNIST's images, draw no paths. Of the targets nothing is used.

    Conserved as in SynFlow: the scores of a layer that all paths cross sum to `R`. (`w * dR/dw` would be
    twice as much.) An embedding of the network's own input is a linear layer on one-hot vectors: the feature
    of the entry `t` at a position has the variance `p (1 - p)`, `p` being its frequency there.

    Raises:
        ValueError: (when called) a batch of fewer than two examples, which has no variance, or what SynFlow refuses.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> network[0].weight.data = torch.tensor([[1.0, -1.0], [0.0, 2.0]])
        >>> network[2].weight.data = torch.tensor([[3.0, 0.5]])
        >>> batch = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2, 1)  # the second input never varies
        >>> SynFlowL2Data()(network, batch, nn.functional.mse_loss).tensors["0.weight"]
        tensor([[9., 0.],
                [0., 0.]], dtype=torch.float64)
    """

    regime: ClassVar[str] = "UMS"

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        return hand_over(self._paths(network, batch).scores(mask), mask, self)

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> PathScorer:
        """The scorer of one multi-shot sequence on `network`: same scores, less work."""
        return PathScorer(self, self._paths(network, batch))

    def _paths(self, network: nn.Module, batch: Batch) -> Paths:
        inputs = tensors(batch[0])
        if examples(inputs) < 2:
            raise ValueError(
                f"SynFlowL2Data needs the variance of the inputs, so a scoring batch of at least 2 examples, "
                f"got {examples(inputs)}"
            )
        tables = (m for m in network.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag))
        entries = max((table.num_embeddings for table in tables), default=0)
        features = {}
        for name, tensor in inputs.items():
            if tensor.is_floating_point():
                features[name] = tensor.detach().double().var(dim=0, correction=0, keepdim=True)
            elif int(tensor.min()) >= 0 and int(tensor.max()) < entries:  # else no tokens of these tables
                features[name] = one_hot_variance(tensor, entries)
        return Paths.of(network, features, inputs, power=2)


def one_hot_variance(tokens: Tensor, entries: int) -> Tensor:
    """Variance `(positions, entries)` of the one-hot vectors of `tokens` `(n, *positions)`; float64.

    Examples:
        >>> one_hot_variance(torch.tensor([[0], [1], [1], [1]]), entries=3)
        tensor([[0.1875, 0.1875, 0.0000]], dtype=torch.float64)
    """
    flat = tokens.detach().reshape(tokens.shape[0], -1).long()
    counts = flat.new_zeros((flat.shape[1], entries), dtype=torch.float64)
    counts.scatter_add_(1, flat.T, counts.new_ones(()).expand(flat.T.shape))
    share = counts / flat.shape[0]
    return share * (1.0 - share)
