"""LeNet-300-100: the fully connected network of LeCun et al. 1998, usual testbed of pruning at initialisation."""

from __future__ import annotations

from scratchcard.workloads.networks.mlp import mlp

lenet_300_100 = mlp(300, 100)
lenet_300_100.__name__ = "lenet_300_100"
lenet_300_100.__doc__ = """`Flatten -> Linear(d, 300) -> ReLU -> Linear(300, 100) -> ReLU -> Linear(100, outputs)`.

For `(1, 28, 28)` and 10 classes it has 266,200 prunable weights.

Examples:
    >>> network = sc.NETWORKS["lenet_300_100"]((1, 28, 28), 10, generator=torch.Generator().manual_seed(0))
    >>> sum(weight.numel() for weight in sc.prunable(network).values())
    266200
"""
