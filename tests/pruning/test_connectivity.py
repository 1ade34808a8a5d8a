"""Connectivity and the linearised network, against explicit path searches."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from scratchcard.pruning.connectivity import (
    Connectivity,
    collapsed_layers,
    dead_units,
    effective_density,
    effective_mask,
)
from scratchcard.pruning.linear_image import LinearImage
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable


def mask_of(network: nn.Module, density: float, seed: int = 0) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask({k: torch.rand(w.shape, generator=generator) < density for k, w in prunable(network).items()})


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for entering, out in itertools.pairwise(sizes):
        layers += [nn.Linear(entering, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def searched(mask: Mask) -> dict[str, Tensor]:
    """Weights on a path, by a search forward and backward over the units of a perceptron."""
    kept = list(mask.tensors.values())
    forward = [torch.ones(kept[0].shape[1], dtype=torch.bool)]
    for m in kept:
        forward.append((m & forward[-1][None, :]).any(1))
    backward = [torch.ones(kept[-1].shape[0], dtype=torch.bool)]
    for m in reversed(kept):
        backward.insert(0, (m & backward[0][:, None]).any(0))
    return {
        name: m & forward[k][None, :] & backward[k + 1][:, None] for k, (name, m) in enumerate(mask.tensors.items())
    }


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=6),
    density=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_equals_a_search_over_units(sizes: list[int], density: float, seed: int) -> None:
    network = perceptron(*sizes)
    mask = mask_of(network, density, seed)
    found = effective_mask(network, mask, (sizes[0],))
    assert found == Mask(searched(mask))
    assert mask.contains(found)


@pytest.mark.parametrize("density", [1.0, 0.2])
def test_exact_at_any_depth_where_counting_paths_overflows(density: float) -> None:
    network = perceptron(*[60] * 400)
    mask = mask_of(network, density)
    assert effective_mask(network, mask, (60,)) == Mask(searched(mask))


def test_mental_arithmetic() -> None:
    network = perceptron(3, 2, 1)
    mask = Mask({"0.weight": torch.tensor([[1, 1, 0], [0, 0, 1]]).bool(), "2.weight": torch.tensor([[1, 0]]).bool()})
    assert effective_mask(network, mask, (3,)).tensors["0.weight"].tolist() == [
        [True, True, False],
        [False] * 3,
    ]
    assert effective_density(network, mask, (3,)) == 3 / 8
    summary = Connectivity.of(network, mask, (3,))
    assert summary.density == {"0.weight": 0.5, "2.weight": 0.5}
    assert summary.units == {"0.weight": 2, "2.weight": 1}
    assert summary.live_units == {"0.weight": 1, "2.weight": 1}
    assert summary.effective_density == 3 / 8
    assert summary.collapsed == ()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.norm(self.stem(x))))
        return self.head((x + torch.relu(self.branch(x))).mean((2, 3)))


def test_a_skip_connection_is_a_path() -> None:
    network = Residual().double()
    mask = Mask.dense(network)
    mask.tensors["branch.weight"][:] = False
    found = Connectivity.of(network, mask, (1, 6, 6))
    assert found.collapsed == ("branch.weight",)
    assert found.live_units == {"stem.weight": 4, "branch.weight": 0, "head.weight": 2}
    assert effective_mask(network, mask, (1, 6, 6)) == mask


def test_max_pooling_hides_no_path() -> None:
    # Each kernel place alone reaches one place of the map; a maximum over ties would pass one of them only.
    network = nn.Sequential(nn.Conv2d(1, 1, 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 1)).double()
    mask = Mask.dense(network)
    assert effective_mask(network, mask, (1, 3, 3)) == mask


def test_a_table_is_an_input() -> None:
    network = nn.Sequential(nn.Embedding(5, 3, padding_idx=0), nn.Flatten(), nn.Linear(6, 2))
    mask = Mask.dense(network)
    mask.tensors["2.weight"][:, [1, 4]] = False  # nothing reads column 1 at either position
    mask.tensors["0.weight"][0] = False
    found = effective_mask(network, mask, (2,))
    wanted = mask.tensors["0.weight"].clone()
    wanted[:, 1] = False
    assert torch.equal(found.tensors["0.weight"], wanted)
    assert Connectivity.of(network, mask, (2,)).live_units["0.weight"] == 2


def test_dead_units_and_collapsed_layers() -> None:
    mask = Mask({"a": torch.tensor([[1, 0], [0, 0]]).bool(), "b": torch.zeros(3, 2, 1, 1).bool()})
    assert {name: dead.tolist() for name, dead in dead_units(mask).items()} == {
        "a": [False, True],
        "b": [True] * 3,
    }
    assert collapsed_layers(mask) == ("b",)


def test_the_network_is_left_alone_and_wrong_shapes_are_refused() -> None:
    network = Residual().double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    effective_mask(network, Mask.dense(network), (1, 6, 6))
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(ValueError, match=r"does not take an input of shape \(3, 6, 6\)"):
        effective_mask(network, Mask.dense(network), (3, 6, 6))
    with pytest.raises(ValueError, match="the mask"):
        effective_mask(network, Mask({}), (1, 6, 6))


class Ending(nn.Module):
    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = perceptron(5, 4, 3)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.layers(x))


@pytest.mark.parametrize(
    "end",
    [
        lambda x: functional.log_softmax(x, dim=1),
        lambda x: functional.softmax(x, dim=1),
        lambda x: functional.normalize(x, dim=1),
        lambda x: functional.layer_norm(x, (3,)),
    ],
    ids=["log_softmax", "softmax", "normalize", "layer_norm"],
)
def test_softmax_and_normalisation_by_a_function_hide_no_path(end: Callable[[Tensor], Tensor]) -> None:
    network = Ending(end)
    mask = mask_of(network, 0.5)
    plain = Mask({name.removeprefix("layers."): kept for name, kept in mask.tensors.items()})
    expected = effective_mask(network.layers, plain, (5,))
    assert expected.kept > 0
    assert torch.equal(effective_mask(network, mask, (5,)).flat(), expected.flat())


class Severed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * torch.zeros(3)


def test_a_network_without_any_path_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no path leads .* even if all weights are kept; look for"):
        effective_density(Severed(), Mask.dense(Severed()), (3,))


@pytest.mark.parametrize("last", [nn.LogSoftmax(dim=1), nn.Softmax(dim=1), nn.LayerNorm(3)], ids=repr)
def test_softmax_and_normalisation_layers_hide_no_path(last: nn.Module) -> None:
    network = perceptron(5, 4, 3)
    mask = mask_of(network, 0.5)
    expected = effective_mask(network, mask, (5,))
    assert expected.kept > 0
    assert effective_mask(network.append(last), mask, (5,)) == expected


def test_a_collapsed_mask_has_effective_density_zero() -> None:
    network = perceptron(5, 4, 3)
    mask = Mask.dense(network)
    mask.tensors["2.weight"][:] = False
    assert effective_density(network, mask, (5,)) == 0
    assert effective_density(network, Mask({n: torch.zeros_like(m) for n, m in mask.tensors.items()}), (5,)) == 0


def test_the_linear_image_is_the_product_of_absolute_weights() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.9), nn.Linear(3, 2)).double()
    mask = mask_of(network, 0.6)
    image = LinearImage(network)
    image.put(prunable(network), mask, 2)
    first, second = (w.detach() ** 2 * mask.tensors[name] for name, w in prunable(network).items())
    x = torch.rand(5, 4, dtype=torch.float64)
    torch.testing.assert_close(image(x), x @ first.T @ second.T)
    assert image.cuts == ("0.weight", "4.weight")
    assert all(leaf.requires_grad for leaf in image.leaves.values())
    assert network.training
    assert isinstance(network[1], nn.BatchNorm1d)


def test_the_linear_image_shares_no_weight_and_takes_given_ones() -> None:
    network = perceptron(4, 3, 2).float()
    given = {name: torch.rand_like(w) for name, w in prunable(network).items()}
    image = LinearImage(network)
    image.put(given)
    assert image.leaves["0.weight"].dtype is torch.float64
    assert torch.equal(image.leaves["0.weight"].detach(), given["0.weight"].double())
    with torch.no_grad():
        image.leaves["0.weight"].zero_()
    assert bool(network[0].weight.any())
    assert bool(given["0.weight"].any())
