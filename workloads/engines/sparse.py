"""Sparse linear layers: CSR forward, gathered gradient values; for very sparse layers of any network."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.inputs import rows
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable_layers
from scratchcard.pruning.state import copied_module
from scratchcard.workloads.engines.autograd import AutogradEngine
from scratchcard.workloads.engines.engine import State, check_runs
from scratchcard.workloads.objective import Objective
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

# Below this density of its kept weights a linear layer is faster sparse than dense.
SPARSE_DENSITY = 0.02


class SparsePattern:
    """Where the kept weights of a matrix `(out, in)` lie: CSR, and CSR of the transposed matrix.

    Attributes:
        places: `(kept,)` indices in the flattened matrix, ascending.
        rows, columns: `(kept,)`.
        shape: `(out, in)`.

    Examples:
        >>> pattern = SparsePattern(torch.tensor([[True, False, True], [False, True, False]]))
        >>> pattern.places
        tensor([0, 2, 4])
        >>> pattern.matrix(torch.tensor([1.0, 2.0, 3.0])).to_dense()
        tensor([[1., 0., 2.],
                [0., 3., 0.]])
    """

    def __init__(self, kept: Tensor) -> None:
        self.shape = (kept.shape[0], kept.shape[1])
        self.places = kept.reshape(-1).nonzero().reshape(-1)
        self.rows, self.columns = self.places // kept.shape[1], self.places % kept.shape[1]
        self._starts = _starts(self.rows, self.shape[0])
        # Stable, so that within a column the rows stay ascending.
        self._by_column = torch.sort(self.columns, stable=True).indices
        self._column_starts = _starts(self.columns, self.shape[1])

    def matrix(self, values: Tensor) -> Tensor:
        """The matrix `(out, in)` as a CSR tensor."""
        return _csr(self._starts, self.columns, values, self.shape)

    def transposed(self, values: Tensor) -> Tensor:
        """The matrix `(in, out)` as a CSR tensor."""
        order = self._by_column
        return _csr(self._column_starts, self.rows[order], values[order], self.shape[::-1])


def _starts(rows: Tensor, count: int) -> Tensor:
    return F.pad(torch.bincount(rows, minlength=count).cumsum(0), (1, 0))


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        # torch calls its CSR tensors beta; what is used here is the product with a dense matrix.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


class _SparseProduct(torch.autograd.Function):
    r"""`y = x W'` with `W` sparse: `(batch, in)` to `(batch, out)`.

    dx = dy W is another sparse product; the gradient of a kept weight is the dot product of two columns,
    `dW[o, i] = sum_n dy[n, o] x[n, i]`, gathered for the kept weights only.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, pattern: SparsePattern) -> Tensor:
        across = x.t().contiguous()
        ctx.save_for_backward(across, values)
        ctx.pattern = pattern
        return (pattern.matrix(values) @ across).t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        across, values = ctx.saved_tensors
        pattern: SparsePattern = ctx.pattern
        downward = gradients[0].t().contiguous()
        by_input, by_value = None, None
        if ctx.needs_input_grad[0]:
            by_input = (pattern.transposed(values) @ downward).t()
        if ctx.needs_input_grad[1]:
            by_value = (downward[pattern.rows] * across[pattern.columns]).sum(1)
        return by_input, by_value, None


class SparseLinear(nn.Module):
    """A linear layer that holds its kept weights only, `values` `(kept,)`, in the order of the matrix.

    Examples:
        >>> layer, kept = nn.Linear(3, 2), torch.tensor([[True, False, True], [False, True, False]])
        >>> sparse = SparseLinear(layer, kept)
        >>> layer.weight.data *= kept
        >>> sparse.values.numel(), torch.allclose(sparse(torch.ones(4, 3)), layer(torch.ones(4, 3)))
        (3, True)
    """

    def __init__(self, layer: nn.Linear, kept: Tensor) -> None:
        super().__init__()
        self.pattern = SparsePattern(kept)
        weight = layer.weight
        self.values = nn.Parameter(
            weight.detach().reshape(-1)[self.pattern.places].clone(), requires_grad=weight.requires_grad
        )
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """`(..., in)` to `(..., out)`."""
        flat = x.reshape(-1, x.shape[-1])
        product: Tensor = _SparseProduct.apply(flat, self.values, self.pattern)
        product = product.reshape(*x.shape[:-1], self.pattern.shape[0])
        return product if self.bias is None else product + self.bias


class SparseEngine(AutogradEngine):
    """Any network: linear layers up to `SPARSE_DENSITY` become `SparseLinear`, the rest is masked and dense.

    The engine trains a copy of the network; `state` has the keys and shapes of the network itself.

    Raises:
        ValueError: no linear layer is that sparse, or the network does not run with such layers, as it asks them for
            more than their outputs.

    Examples:
        >>> network = nn.Sequential(nn.Linear(100, 2), nn.Tanh())
        >>> mask = Mask({"0.weight": torch.arange(200).reshape(2, 100) % 101 == 0})
        >>> mask.apply_to(network)
        >>> split = Split(torch.eye(100), torch.arange(100) % 2)
        >>> engine = SparseEngine(network, mask, sc.Classification(), Recipe(), split)
        >>> _ = engine.run(torch.arange(64).reshape(1, 1, 64))
        >>> int((engine.state()["0.weight"] != 0).sum())
        2
    """

    name = "sparse"

    def __init__(
        self, network: nn.Module, mask: Mask | None, objective: Objective, recipe: Recipe, train: Split
    ) -> None:
        if recipe.precision != "full":
            raise ValueError("the sparse engine does not know precision; use engine='auto' or 'autograd'")
        replaced = () if mask is None else sparse_layers(network, mask)
        if mask is None or not replaced:
            raise ValueError(
                f"the sparse engine needs a mask with a linear layer of at most {SPARSE_DENSITY:g} density; "
                "use engine='auto' or 'autograd'"
            )
        worked, self._replaced = _with_sparse_layers(network, mask, replaced)
        trial, batch = copied_module(worked), rows(train.inputs, slice(0, recipe.batch_size))
        for mode in (True, False):  # in evaluation some networks read a layer's weight past its forward pass
            check_runs(
                trial.train(mode), batch, "the sparse engine cannot run this network, engine='auto' and 'autograd' can"
            )
        self._full = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        super().__init__(worked, mask, objective, recipe, train)

    def state(self, place: int = 0) -> State:
        """A copy of the full state: the values put to their places in the matrices."""
        state = super().state()
        for name, layer in self._replaced.items():
            full = torch.zeros_like(self._full[name])
            full.view(-1)[layer.pattern.places] = layer.values.detach()
            state[name] = full
        return {name: state[name] for name in self._full}


def _with_sparse_layers(
    network: nn.Module, mask: Mask, replaced: Collection[str]
) -> tuple[nn.Module, dict[str, SparseLinear]]:
    """A copy of the network, and its layers that are sparse now, by the name of their weight."""
    worked, layers = copied_module(network), dict[str, SparseLinear]()
    for name in replaced:
        path = name.removesuffix(".weight")
        owner, _, attribute = path.rpartition(".")
        layer = worked.get_submodule(path)
        if isinstance(layer, nn.Linear):
            layers[name] = SparseLinear(layer, mask.tensors[name])
            setattr(worked.get_submodule(owner), attribute, layers[name])
    return worked, layers


def sparse_layers(network: nn.Module, mask: Mask) -> tuple[str, ...]:
    """The weights of plain linear layers (not the network itself) of which at most `density` is kept.

    Examples:
        >>> network = nn.Sequential(nn.Linear(100, 2), nn.Linear(2, 2))
        >>> mask = Mask.dense(network)
        >>> mask.tensors["0.weight"][:, 1:] = False  # 2 of 200 weights are left
        >>> sparse_layers(network, mask)
        ('0.weight',)
    """
    layers = prunable_layers(network)
    uses = [id(parameter) for _, parameter in network.named_parameters(remove_duplicate=False)]
    return tuple(
        name
        for name, kept in mask.tensors.items()
        if type(layers[name]) is nn.Linear
        and layers[name] is not network
        and uses.count(id(layers[name].weight)) == 1
        and int(kept.sum()) <= SPARSE_DENSITY * kept.numel()
    )
