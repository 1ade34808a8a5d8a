"""Large linear layers, of which nothing of the weight's size is made: the same scores as of small ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from scratchcard.pruning import linear_image, row_blocks
from scratchcard.scorers import GraSP, SynFlow, SynFlowL2Data, gradient_sums, large_linear
from scratchcard.scorers import shelf as shelf_module
from scratchcard.scorers.gradient_sums import summed_up
from scratchcard.scorers.pieces import scoring_memory
from scratchcard.scorers.scorer import Batch, Scorer
from scratchcard.scorers.shelf import Shelf
from tests.scorers.toys import CASES, case, cross_entropy, filled, mlp, random_mask

SCORERS: dict[str, Scorer] = {"grasp": GraSP(temperature=2.0), "synflow": SynFlow(), "l2": SynFlowL2Data()}


class Sequences(nn.Module):
    """A linear layer over the positions of a sequence, used twice, and one without bias whose weight is also read."""

    def __init__(self, reads: bool) -> None:
        super().__init__()
        self.first, self.second, self.reads = nn.Linear(5, 5), nn.Linear(5, 3, bias=False), reads

    def forward(self, x: Tensor) -> Tensor:
        """`(n, 5)` to `(n, 3)`."""
        hidden = torch.stack([x, 2 * x], dim=1)
        hidden = torch.relu(self.first(F.softplus(self.first(hidden)))).mean(1)
        found = F.linear(input=hidden, weight=self.second.weight) + self.second(hidden.flip(0).flip(0))
        return found + hidden @ self.second.weight.T if self.reads else found


class Tied(nn.Module):
    """Tokens' table, which is the weight of the last layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """`(n, length)` to `(n, 5)`."""
        return self.head(F.softplus(self.table(tokens).mean(1)))


def made(name: str) -> tuple[nn.Module, Batch]:
    if name in CASES:
        return case(name)
    torch.manual_seed(0)
    targets = torch.arange(8) % 3
    if name == "tied":
        return filled(Tied().double()), (torch.randint(0, 5, (8, 4)), targets)
    return filled(Sequences(name == "read").double()), (torch.randn(8, 5, dtype=torch.float64), targets)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it lets every matrix be a large one, in blocks of a row or two."""

    def let() -> None:
        monkeypatch.setattr(linear_image, "LARGE", 1)
        monkeypatch.setattr(row_blocks, "_NUMBERS", 10)
        monkeypatch.setattr(shelf_module, "LARGE", 1)
        monkeypatch.setattr(large_linear, "LARGE", 1)
        monkeypatch.setattr(large_linear, "NUMBERS", 10)
        monkeypatch.setattr(gradient_sums, "NUMBERS", 10)

    return let


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [*CASES, "sequences", "read", "tied"])
@pytest.mark.parametrize("criterion", SCORERS)
def test_scores_are_those_of_small_layers(criterion: str, name: str, masked: bool, small: Callable[[], None]) -> None:
    network, batch = made(name)
    network.eval()
    mask = random_mask(network) if masked else None
    expected = SCORERS[criterion](network, batch, cross_entropy, mask=mask)
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    small()
    for memory in (None, 3000):
        with scoring_memory(memory):
            found = SCORERS[criterion](network, batch, cross_entropy, mask=mask)
        for key, tensor in expected.tensors.items():
            scale = float(tensor.abs().max())
            torch.testing.assert_close(found.tensors[key], tensor, rtol=1e-9, atol=1e-12 * scale)
    assert all(tensor.equal(state[key]) for key, tensor in network.state_dict().items())


def test_the_blocks_are_what_is_used(small: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would hold of code that is never reached."""
    small()
    network, batch = case("mlp")
    seen: list[str] = []
    for kind in (row_blocks._Linear, large_linear._Linear, large_linear._Slopes):
        backward = kind.backward

        def noted(ctx: Any, *slopes: Any, backward: Any = backward, name: str = kind.__qualname__) -> Any:
            seen.append(name)
            return backward(ctx, *slopes)

        monkeypatch.setattr(kind, "backward", staticmethod(noted))
    for scorer in SCORERS.values():
        scorer(network, batch, cross_entropy)
    # Of each of 3 layers: GraSP's gradient, and both parts of the product; the path scores of the others.
    assert (seen.count("_Slopes"), seen.count("_Linear")) == (3, 9 + 6)


def test_no_image_of_a_large_matrix_is_made(small: Callable[[], None]) -> None:
    small()
    network, batch = case("mlp")
    paths = SynFlow()._paths(network, batch)
    paths.scores(None)
    assert [leaf.untyped_storage().nbytes() for leaf in paths.image.leaves.values()] == [0, 0, 0]
    assert [len(rows.uses) for rows in paths.image.rows.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("scorer", "factor"), [(SynFlow(), 1e-165), (SynFlow(), 1e155), (SynFlowL2Data(), 1e-82), (SynFlowL2Data(), 3e77)]
)
def test_flows_out_of_range_are_scaled_likewise(
    scorer: SynFlow | SynFlowL2Data, factor: float, small: Callable[[], None]
) -> None:
    network, batch = mlp(), case("mlp")[1]
    with torch.no_grad():
        for layer in (0, 2):
            network[layer].weight.mul_(factor)
    expected = scorer(network, batch, cross_entropy)
    small()
    found = scorer(network, batch, cross_entropy)
    for key, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[key], tensor, rtol=1e-9, atol=0.0)


def test_a_layer_of_zeros_leaves_no_path(small: Callable[[], None]) -> None:
    small()
    network, batch = mlp(), case("mlp")[1]
    with torch.no_grad():
        network[0].weight.mul_(1e300)
        network[2].weight.zero_()
    paths = SynFlow()._paths(network, batch)
    assert not any(tensor.any() for tensor in paths.scores(None).values())


def test_weights_of_the_moment_are_scored_in_every_round(small: Callable[[], None]) -> None:
    small()
    network, batch = case("mlp")
    prepared = SynFlow().prepare(network, batch, cross_entropy)
    for seed in (1, 2):
        filled(network, seed)
        mask = random_mask(network, seed)
        found, fresh = (s(network, batch, cross_entropy, mask=mask) for s in (prepared, SynFlow()))
        assert all(found.tensors[key].equal(tensor) for key, tensor in fresh.tensors.items())


def test_a_gradient_that_is_one_number_is_summed_up() -> None:
    """Torch hands it on as an expanded scalar, which must not be taken for an empty one."""
    leaf, total = torch.zeros(2, 3, requires_grad=True), list[Tensor]()
    for factor in (1.0, 3.0):
        with summed_up([leaf], total, Shelf(6)):
            torch.autograd.grad(factor * leaf.sum(), leaf)
    assert total[0].tolist() == [[4.0] * 3] * 2


def test_masks_stay_out_of_large_products(small: Callable[[], None]) -> None:
    """`H g` has numbers at pruned places too, where the score is zero."""
    small()
    network, batch = case("mlp")
    mask = random_mask(network, density=0.5)
    found = GraSP()(network, batch, cross_entropy, mask=mask)
    assert all(not tensor[~mask.tensors[key]].any() for key, tensor in found.tensors.items())


def force(network: nn.Sequential, x: Tensor) -> Tensor:
    """A network that takes a gradient in its inputs."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(torch.tanh(network(x)).square().sum(), x, create_graph=True)[0][:, :3]


def stepped(network: nn.Sequential, x: Tensor) -> Tensor:
    """One that takes a step in a weight of its own."""
    first = network[0].weight
    (slope,) = torch.autograd.grad(torch.tanh(network(x)).square().mean(), first, create_graph=True)
    return network[1:](F.linear(x, first - 0.5 * slope))


def read_off(network: nn.Sequential, x: Tensor) -> Tensor:
    """One that scales its outputs by the size of a gradient, without a graph."""
    (slope,) = torch.autograd.grad(network(x).square().mean(), network[0].weight)
    return torch.tanh(network(x)) * slope.detach().norm()


def recomputed(network: nn.Sequential, x: Tensor) -> Tensor:
    return checkpoint(lambda z: torch.tanh(network(z)), torch.tanh(x), use_reentrant=False)


def by_example(network: nn.Sequential, x: Tensor) -> Tensor:
    return torch.vmap(lambda row: torch.tanh(network(row)))(x)


def in_half(network: nn.Sequential, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.tanh(network(x.float())).to(x.dtype)


def compiled(network: nn.Sequential, x: Tensor) -> Tensor:
    return torch.tanh(torch.compile(network[:3], backend="eager")(x) @ network[4].weight.T)


def with_none(network: nn.Sequential, x: Tensor) -> Tensor:
    return torch.tanh(network(x)) + network(x[:0]).sum(0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("form", [force, stepped, read_off, recomputed, by_example, in_half, compiled, with_none])
def test_unusual_forward_passes(form: Callable[..., Tensor], pieces: bool, small: Callable[[], None]) -> None:
    class Unusual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp()
            if form is in_half:
                self.layers.float()

        def forward(self, x: Tensor) -> Tensor:
            return form(self.layers, x)

    network, batch = Unusual(), case("mlp")[1]
    sums = form not in (stepped, read_off)  # of these the examples depend on each other
    expected = GraSP(2.0)(network, batch, cross_entropy)
    small()
    with scoring_memory(3000 if pieces and sums else None):
        found = GraSP(2.0)(network, batch, cross_entropy)
    for key, tensor in expected.tensors.items():
        rough = 1e-2 if form is in_half else 1e-9
        torch.testing.assert_close(found.tensors[key], tensor, rtol=rough, atol=rough * float(tensor.abs().max()))


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_weight_without_numbers(small: Callable[[], None]) -> None:
    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.none = nn.Linear(5, 3).double(), nn.Linear(5, 0).double()

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.layer(x)) + self.none.weight.sum()

    with scoring_memory(400):
        assert GraSP()(Empty(), case("mlp")[1], cross_entropy).tensors["layer.weight"].any()


@pytest.mark.parametrize("form", [with_none])
def test_path_scores_of_no_positions(form: Callable[..., Tensor], small: Callable[[], None]) -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp()

        def forward(self, x: Tensor) -> Tensor:
            return form(self.layers, x)

    network, batch = Parts(), case("mlp")[1]
    expected = SynFlow()(network, batch, cross_entropy)
    small()
    for key, tensor in SynFlow()(network, batch, cross_entropy).tensors.items():
        torch.testing.assert_close(tensor, expected.tensors[key])
