"""Selection: which engine trains a network."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn
from torch.nn import functional as F

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.engines.engine import AutogradEngine, Engine, Loss
from scratchcard.workloads.engines.perceptron import PerceptronEngine, relu_perceptron
from scratchcard.workloads.engines.sparse import SparseEngine, sparse_layers
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

EngineName = Literal["auto", "dense", "sparse", "fused", "autograd"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
# A perceptron that keeps fewer of its (compacted) weights than this is faster as a list of edges than as
# matrices.
FUSED_DENSITY = 0.25


def make_engine(
    name: EngineName, network: nn.Module, mask: Mask | None, loss: Loss, recipe: Recipe, train: Split
) -> Engine:
    """The engine called `name` for `network`, or under `"auto"` the one that measured fastest.

    Args:
        name: see `workloads.engines.training.train`.
        network: as it will be trained (compacted or not), in training mode.
        mask: of that network; None keeps all.
        loss: the written-out engines know `F.cross_entropy` only.
        train: in the network's dtype and on its device.

    Raises:
        ValueError: the engine asked for does not fit the network.
    """
    perceptron = loss is F.cross_entropy and bool(relu_perceptron(network))
    on_cpu = train.inputs.device.type == "cpu"
    if name == "fused" or (
        name == "auto" and perceptron and on_cpu and mask is not None and mask.density <= FUSED_DENSITY
    ):
        if loss is not F.cross_entropy:
            raise ValueError("the fused engine knows cross-entropy only; use engine='auto' or 'autograd'")
        # numba takes a second to import: only where it is used.
        from scratchcard.workloads.engines.fused import FusedEngine

        return FusedEngine(network, mask, recipe, train)
    if name == "sparse" or (name == "auto" and mask is not None and not perceptron and sparse_layers(network, mask)):
        return SparseEngine(network, mask, loss, recipe, train)
    masks = {}
    if mask is not None:
        weights = prunable(network)
        masks = {
            key: kept.to(weights[key].device, weights[key].dtype)
            for key, kept in mask.tensors.items()
            if not bool(kept.all())
        }
    if perceptron and name in ("auto", "dense"):
        return PerceptronEngine(network, masks, recipe, train)
    return AutogradEngine(network, masks, loss, recipe, train)
