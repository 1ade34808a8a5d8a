"""What a predictor can be, by name. Adding one = one file and one line here."""

from __future__ import annotations

from meta.predictors.family import Family, Progress
from meta.predictors.forest import Forest
from meta.predictors.gbm import GBM
from meta.predictors.linear import Linear
from meta.predictors.mlp import MLP
from meta.predictors.multishot import Multishot
from meta.predictors.sgd import SGD
from meta.predictors.tree import Tree

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
