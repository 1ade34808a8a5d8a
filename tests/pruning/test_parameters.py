"""Which weights are prunable, and the vectors that they make."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scratchcard.pruning.known_layers import register_prunable
from scratchcard.pruning.parameters import (
    NotPrunableWarning,
    check_same_layout,
    count,
    flatten,
    matching,
    prunable,
    prunable_layers,
    unflatten,
)


class Mixed(nn.Module):
    """One of each kind of layer, in a known order."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.convolution = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.linear = nn.Linear(3, 3)
        self.inner = nn.Sequential(nn.Conv1d(1, 1, 2), nn.LayerNorm(3), nn.ConvTranspose2d(2, 1, 2))
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.linear.weight
        self.loose = nn.Parameter(torch.ones(2))


def test_names_are_in_registration_order_without_biases_and_normalisation() -> None:
    network = Mixed()
    names = ["embedding.weight", "convolution.weight", "linear.weight", "inner.0.weight", "inner.2.weight"]
    assert list(prunable(network)) == names
    assert list(prunable_layers(network)) == names
    assert all(weight is dict(network.named_parameters())[name] for name, weight in prunable(network).items())


class Conv1D(nn.Module):
    """Has the name and the layout of the one in the library transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.zeros(4))


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.EmbeddingBag(4, 3), ["weight"]),
        (nn.Bilinear(2, 3, 4), ["weight"]),
        (nn.ConvTranspose1d(2, 3, 4), ["weight"]),
        (nn.MultiheadAttention(4, 2), ["in_proj_weight", "out_proj.weight"]),
        (
            nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
            ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
        ),
        (nn.RNN(2, 3), ["weight_ih_l0", "weight_hh_l0"]),
        (
            nn.GRU(2, 3, 2, bidirectional=True),
            [f"weight_{kind}_l{layer}{way}" for layer in (0, 1) for way in ("", "_reverse") for kind in ("ih", "hh")],
        ),
        (nn.LSTM(2, 3, proj_size=2), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
        (nn.LSTMCell(2, 3), ["weight_ih", "weight_hh"]),
        (Conv1D(), ["weight"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_matrices_of_known_layers_are_prunable(layer: nn.Module, names: list[str]) -> None:
    assert list(prunable(layer)) == list(prunable_layers(layer)) == names
    assert count(prunable(layer)) == sum(p.numel() for p in layer.parameters() if p.dim() > 1)


class Private(nn.Module):
    """A linear layer and a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.LayerNorm((2, 2))
        self.token = nn.Parameter(torch.ones(1, 1, 5))
        self.matrix = nn.Parameter(torch.ones(2, 3))


def test_matrices_of_unknown_layers_are_said_once() -> None:
    with pytest.warns(NotPrunableWarning, match=r"^6 weights of Private in matrices of unknown .*: matrix \(2, 3\);"):
        prunable(Private())
    prunable(Private())
    network = Private()
    prunable(network)


def test_a_user_registers_parameters() -> None:
    class Registered(Private):
        pass

    register_prunable(Registered, ["matrix"])
    assert list(prunable(Registered())) == ["matrix", "layer.weight"]
    with pytest.raises(ValueError, match="expected a class of torch"):
        register_prunable(Registered(), ["matrix"])
    with pytest.raises(ValueError, match="and names of its parameters"):
        register_prunable(Registered, [])


def test_registered_names_that_a_layer_does_not_have_are_refused() -> None:
    class Misspelt(Private):
        pass

    register_prunable(Misspelt, ["matrx"])
    with pytest.raises(ValueError, match=r"named matrx of Misspelt, .* no such parameter; its own are token, matrix"):
        prunable(nn.DataParallel(nn.Sequential(nn.Linear(2, 2), Misspelt())))
    register_prunable(Misspelt, ["matrx", "matr*"])
    assert list(prunable(Misspelt())) == ["matrix", "layer.weight"]


def test_a_shared_weight_is_listed_once_under_its_first_layer() -> None:
    layers = prunable_layers(Mixed())
    assert "tied.weight" not in layers
    assert "linear.weight" in layers


def test_a_layer_on_its_own_has_the_bare_name() -> None:
    assert list(prunable(nn.Linear(2, 2))) == ["weight"]


@pytest.mark.parametrize("network", [nn.ReLU(), nn.Sequential(), nn.BatchNorm1d(3)])
def test_refuses_a_network_with_nothing_to_prune(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"{type(network).__name__} has nothing to prune"):
        prunable(network)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_refuses_weights_that_are_not_finite(bad: float) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight[1, 0] = bad
    with pytest.raises(ValueError, match=r"'1\.weight' holds NaN or infinity"):
        prunable(network)


def test_large_finite_weights_are_no_error() -> None:
    network = nn.Linear(4, 4)
    nn.init.constant_(network.weight, torch.finfo(torch.float32).max)
    assert list(prunable(network)) == ["weight"]


def test_refuses_a_computed_weight() -> None:
    network = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="not a parameter of its layer but computed"):
        prunable(network)


def test_flatten_and_unflatten_are_inverse() -> None:
    tensors = {"a": torch.randn(2, 3), "b": torch.randn(4, 1, 2, 2).transpose(0, 1), "c": torch.randn(())}
    vector = flatten(tensors)
    assert vector.shape == (count(tensors),) == (23,)
    back = unflatten(vector, tensors)
    assert list(back) == list(tensors)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_unflatten_refuses_another_length() -> None:
    with pytest.raises(ValueError, match="expected a vector of 6 entries, got 5"):
        unflatten(torch.zeros(5), {"a": torch.zeros(2, 3)})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": torch.zeros(2)}, r"it: expected the weights \['a', 'b'\], missing \['b'\], unknown \[\]"),
        ({"a": torch.zeros(2), "c": torch.zeros(3)}, r"missing \['b'\], unknown \['c'\]"),
        ({"b": torch.zeros(3), "a": torch.zeros(2)}, r"in the order \['a', 'b'\], got \['b', 'a'\]"),
        ({"a": torch.zeros(2), "b": torch.zeros(4)}, r"'b' has shape \(4,\), expected \(3,\)"),
    ],
)
def test_another_layout_is_refused_by_its_first_difference(found: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_same_layout({"a": torch.zeros(2), "b": torch.zeros(3)}, found, "it")


def test_a_name_is_no_glob() -> None:
    names = ["a[0].weight", "a0.weight", "b*.weight", "bc.weight"]
    assert matching(names, ["a[0]"]) == matching(names, ["a[0].weight"]) == {"a[0].weight"}
    assert matching(names, ["b*"]) == {"b*.weight"}
    assert matching(names, ["a*"]) == {"a[0].weight", "a0.weight"}


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(dtype: torch.dtype) -> None:
    network = nn.Linear(2, 2, bias=False)
    network.weight = nn.Parameter(network.weight.detach().to(dtype), requires_grad=False)
    with pytest.raises(ValueError, match=f"the weight 'weight' is {dtype}; .* before it is quantised"):
        prunable(network)


def test_to_refuse_a_computed_weight_changes_nothing() -> None:
    """Spectral normalisation takes a step whenever it is asked for its weight."""
    network = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="computed"):
        prunable(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
