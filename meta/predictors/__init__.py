"""What a predictor can be, by name. Adding one = one file, its import and its line here."""

from __future__ import annotations

from scratchcard.meta.predictors.family import Family, Progress
from scratchcard.meta.predictors.forest import Forest
from scratchcard.meta.predictors.gbm import GBM
from scratchcard.meta.predictors.linear import Linear
from scratchcard.meta.predictors.mlp import MLP
from scratchcard.meta.predictors.multishot import Multishot
from scratchcard.meta.predictors.sgd import SGD
from scratchcard.meta.predictors.tree import Tree

PREDICTORS: dict[str, type[Family]] = {
    "linear": Linear,
    "sgd": SGD,
    "tree": Tree,
    "forest": Forest,
    "gbm": GBM,
    "mlp": MLP,
    "multishot": Multishot,
}

__all__ = ["PREDICTORS", "Family", "Progress"]
