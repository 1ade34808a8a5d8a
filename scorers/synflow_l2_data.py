"""SynFlow's L2 form, fed with the data's own variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruning.mask import Mask
from pruning.scores import Scores
from scorers.scorer import Batch, Loss, hand_over
from scorers.synflow import path_scores


@dataclass(frozen=True)
class SynFlowL2Data:
    r"""`s = w^2 * dR/dw^2` with `R = 1^T (prod_l w_l^2 * mask_l) v`, `v` the variance of each input feature.

    SynFlow with squared weights scores the trace of the path kernel (Gebhart et al., "A Unified Paths
    Perspective for Pruning at Initialization", 2021, arXiv 2101.10552). There the input is all ones; here it
    is the population variance, over the scoring batch, of each feature, so that inputs which never vary, such
    as the border of MNIST's images, draw no paths. Of the targets nothing is used.

    Conserved as in SynFlow: the scores of a layer that all paths cross sum to `R`. (`w * dR/dw` would be
    twice as much.) An embedding of the network's own input is a linear layer on one-hot vectors: the feature
    of the entry `t` at a position has the variance `p (1 - p)`, `p` being its frequency there.

    Raises:
        ValueError: a batch of fewer than two examples, which has no variance.
    """

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        inputs = batch[0]
        if inputs.shape[0] < 2:
            raise ValueError(
                f"SynFlowL2Data needs the variance of the inputs, so a scoring batch of at least 2 examples, "
                f"got {inputs.shape[0]}"
            )
        if inputs.is_floating_point():
            variance = inputs.detach().double().var(dim=0, correction=0, keepdim=True)
            return hand_over(path_scores(network, mask, variance, power=2), mask, self)
        entries = max((m.num_embeddings for m in network.modules() if isinstance(m, nn.Embedding)), default=0)
        variance = one_hot_variance(inputs, entries)
        return hand_over(path_scores(network, mask, variance, inputs[:1], power=2), mask, self)


def one_hot_variance(tokens: Tensor, entries: int) -> Tensor:
    """Variance `(positions, entries)` of the one-hot vectors of `tokens` `(n, *positions)`; float64."""
    flat = tokens.detach().reshape(tokens.shape[0], -1).long()
    counts = flat.new_zeros((flat.shape[1], entries), dtype=torch.float64)
    counts.scatter_add_(1, flat.T, counts.new_ones(()).expand(flat.T.shape))
    share = counts / flat.shape[0]
    return share * (1.0 - share)
