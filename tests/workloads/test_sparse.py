"""SparseLinear: the same values and derivatives as a masked dense layer; where the engine uses it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scratchcard.pruning.mask import Mask
from scratchcard.workloads.engines.sparse import SparseEngine, SparseLinear, sparse_layers
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.recipe import Recipe
from tests.workloads.training_toys import random_mask, toy_task


def layer_and_mask(out: int, entering: int, density: float, bias: bool = True) -> tuple[nn.Linear, Tensor]:
    layer = nn.Linear(entering, out, bias=bias).double()
    kept = torch.rand(out, entering) < density
    with torch.no_grad():
        layer.weight.masked_fill_(~kept, 0)
    return layer, kept


@settings(max_examples=25, deadline=None)
@given(
    out=st.integers(1, 8), entering=st.integers(1, 8), rows=st.integers(1, 5), density=st.floats(0, 1),
    bias=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_equals_the_dense_layer(out: int, entering: int, rows: int, density: float, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer, kept = layer_and_mask(out, entering, density, bias)
    sparse = SparseLinear(layer, kept)
    x = torch.randn(rows, entering, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(rows, out, dtype=torch.float64)
    wanted = torch.autograd.grad((layer(x) * direction).sum(), [x, layer.weight])
    found = torch.autograd.grad((sparse(x) * direction).sum(), [x, sparse.values])
    torch.testing.assert_close(sparse(x), layer(x))
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1][kept])


def test_passes_gradcheck() -> None:
    layer, kept = layer_and_mask(5, 6, 0.4)
    sparse = SparseLinear(layer, kept)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)

    def product(x: Tensor, values: Tensor) -> Tensor:
        return torch.func.functional_call(sparse, {"values": values}, (x,))

    assert torch.autograd.gradcheck(product, (x, sparse.values.detach().requires_grad_()))


def test_takes_inputs_of_more_dimensions() -> None:
    layer, kept = layer_and_mask(5, 6, 0.4)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(SparseLinear(layer, kept)(x), layer(x))


class Foreign(nn.Module):
    """No chain: a residual block around a large linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(36, 40)
        self.block = nn.Sequential(nn.Linear(40, 40), nn.ReLU())
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x.flatten(1)))
        return self.head(x + self.block(x))


def test_replaces_only_sparse_layers_and_writes_back() -> None:
    recipe = Recipe(batch_size=32, max_steps=30, evaluation_interval=10, momentum=0.9)
    records, networks = [], []
    for engine in ("autograd", "auto"):
        torch.manual_seed(0)
        network = Foreign().double()
        mask = random_mask(network, 0.015, 0.01, 0.5)
        assert sparse_layers(network, mask) == ("stem.weight", "block.0.weight")
        records.append(train(network, toy_task(), recipe, mask=mask, engine=engine))
        networks.append(network)
    assert [record.engine for record in records] == ["autograd", "sparse"]
    assert type(networks[1].stem) is nn.Linear
    torch.testing.assert_close(networks[1].state_dict(), networks[0].state_dict(), rtol=1e-9, atol=1e-12)


def test_a_state_shares_no_memory_with_the_engine() -> None:
    task, network = toy_task(), Foreign()
    mask = random_mask(network, 0.01)
    mask.apply_to(network)
    engine = SparseEngine(network, mask, task.objective, Recipe(batch_size=10), task.train)
    before = engine.state()
    copies = {name: tensor.clone() for name, tensor in before.items()}
    engine.run(torch.arange(100).view(1, 10, 10))
    assert all(torch.equal(before[name], copies[name]) for name in copies)
    assert not torch.equal(engine.state()["head.bias"], before["head.bias"])


def test_refuses_where_nothing_is_sparse() -> None:
    task, network = toy_task(), Foreign()
    with pytest.raises(ValueError, match=r"at most 0\.02 density"):
        SparseEngine(network, Mask.dense(network), task.objective, Recipe(), task.train)


class Transformer(nn.Module):
    """In evaluation mode, nn.TransformerEncoder reads its linear layers' weights past their forward pass."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 48, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.flatten(1, 2)).mean(1))


class ReadsWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(36, 40)
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(nn.functional.linear(x.flatten(1), self.stem.weight)))


@pytest.mark.parametrize("build", [Transformer, ReadsWeight])
def test_auto_leaves_networks_that_do_not_run_with_sparse_layers(build: type[nn.Module]) -> None:
    recipe, task = Recipe(batch_size=32, max_steps=4, evaluation_interval=2), toy_task()
    network = build()
    mask = random_mask(network, 0.015)
    assert sparse_layers(network, mask)
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"cannot run this network, .*AttributeError: .*weight"):
        train(network, task, recipe, mask=mask, engine="sparse")
    assert torch.equal(torch.get_rng_state(), state)
    record = train(network, task, recipe, mask=mask)
    assert record.engine == "autograd"
    assert [entry.step for entry in record.history] == [2, 4]
