"""Selection: which engine trains a network, or several networks of one architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.engine import Engine, State
from scratchcard.workloads.engines.loop import batches
from scratchcard.workloads.engines.perceptron import PerceptronEngine, fused_lacks, perceptron_layers, plain_only
from scratchcard.workloads.engines.sparse import SparseEngine, sparse_layers
from scratchcard.workloads.engines.trial import differs, first_examples
from scratchcard.workloads.engines.vmap import Masks, NotStackableError, StackedEngine
from scratchcard.workloads.objective import Objective
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

EngineName = Literal["auto", "dense", "sparse", "fused", "autograd"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
# A perceptron that keeps fewer of its (compacted) weights than this is faster as a list of edges than as
# matrices.
FUSED_DENSITY = 0.25


def make_engine(
    name: EngineName, network: nn.Module, mask: Mask | None, objective: Objective, recipe: Recipe, train: Split
) -> Engine:
    """The engine called `name` for `network`, or under `"auto"` the one that measured fastest of those that can run it.

    Args:
        name: see `workloads.engines.training.train`.
        network: as it will be trained (compacted or not), in training mode.
        mask: of that network; None keeps all.
        objective: the written-out engines know plain classification only.
        train: in the network's dtype and on its device.

    Raises:
        ValueError: the engine asked for does not fit the network.

    Examples:
        >>> rest = sc.Classification(), Recipe(), Split(torch.rand(64, 8), torch.arange(64) % 2)
        >>> network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> few = Mask({"0.weight": torch.eye(4, 8) > 0, "2.weight": torch.eye(2, 4) > 0})
        >>> make_engine("auto", network, None, *rest).name
        'dense'
        >>> make_engine("auto", network, few, *rest).name
        'fused'
        >>> network[1] = nn.Tanh()
        >>> make_engine("auto", network, few, *rest).name
        'autograd'
    """
    special = plain_only(recipe)
    perceptron = not special and bool(perceptron_layers(network, objective, train))
    few = mask is not None and mask.density <= FUSED_DENSITY
    if name == "fused" or (name == "auto" and perceptron and few and not fused_lacks(recipe)):
        # numba takes a second to import: only where it is used.
        from scratchcard.workloads.engines.fused import FusedEngine, on_fused_device

        if name == "fused" or on_fused_device(train):
            return FusedEngine(network, mask, objective, recipe, train)
    if perceptron and name in ("auto", "dense"):
        return PerceptronEngine([network], [mask], objective, recipe, train)
    if name == "sparse":
        return SparseEngine(network, mask, objective, recipe, train)
    if name == "auto" and mask is not None and recipe.precision == "full" and sparse_layers(network, mask):
        try:
            return SparseEngine(network, mask, objective, recipe, train)
        except ValueError:
            pass  # the network does not run with sparse layers
    return AutogradEngine(network, mask, objective, recipe, train)


def make_stacked_engine(
    networks: Sequence[nn.Module], masks: Masks, objective: Objective, recipe: Recipe, train: Split, seed: int
) -> StackedEngine:
    """The engine that trains all `networks` in step; the first batch of the data order `seed` serves as a check.

    Raises:
        NotStackableError: no engine can.

    Examples:
        >>> split = Split(torch.rand(64, 4), torch.arange(64) % 2)
        >>> networks = [nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)) for _ in range(3)]
        >>> engine = make_stacked_engine(networks, [None] * 3, sc.Classification(), Recipe(), split, seed=0)
        >>> engine.name, engine.size
        ('together', 3)
    """
    for name in plain_only(recipe):
        raise NotStackableError(f"networks with the recipe's {name} cannot be trained together")
    # A perceptron is all in the shapes of its layers, and they are the same; a trial says whether it is one.
    if all(perceptron_layers(network, objective, train) for network in networks):
        few = first_examples(train)

        def make(tried: Recipe) -> tuple[PerceptronEngine, Split, Callable[[State], State]]:
            return PerceptronEngine(networks[:1], masks[:1], objective, tried, few), few, lambda state: state

        if not differs(networks[0], masks[0], objective, few, make):
            return PerceptronEngine(networks, masks, objective, recipe, train)
    engine = StackedEngine(networks, masks, objective, recipe, train)
    engine.check(networks, next(batches(len(train), recipe.batch_size, seed)))
    return engine
