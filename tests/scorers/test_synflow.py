"""SynFlow and its L2 form: closed forms, explicit products, conservation, invariances, deep networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.schedules import exponential
from scratchcard.pruning.scores import Scores
from scratchcard.scorers import SynFlow, SynFlowL2Data
from scratchcard.scorers.synflow_l2_data import one_hot_variance
from tests.scorers.toys import Everything, Text, case, cross_entropy, filled, mlp, random_mask, two_layers
from tests.scorers.transformations import permuted, permuted_back, rescaled

BOTH = pytest.mark.parametrize("scorer", [SynFlow(), SynFlowL2Data()], ids=["synflow", "synflow_l2_data"])
# Variance (1, 4) over the two examples.
TWO = (torch.tensor([[0.0, 0.0], [2.0, 4.0]]), torch.zeros(2).long())


def by_products(weights: list[np.ndarray], source: np.ndarray) -> list[np.ndarray]:
    """`w * (forward x backward)` for a chain of non-negative matrices `(out, in)` fed with `source`."""
    forward = [source]
    for weight in weights:
        forward.append(weight @ forward[-1])
    backward = [np.ones(len(weights[-1]))]
    for weight in reversed(weights):
        backward.append(backward[-1] @ weight)
    return [w * np.outer(backward[len(weights) - 1 - i], forward[i]) for i, w in enumerate(weights)]


def flow_through(layer: nn.Module, scores: Tensor, inputs: bool) -> Tensor:
    """Sum of a layer's scores for each input (or output) unit or channel."""
    if isinstance(layer, nn.Conv2d) and layer.groups > 1 and inputs:
        return scores.reshape(layer.groups, -1, *scores.shape[1:]).sum(dim=(1, 3, 4)).reshape(-1)
    return scores.transpose(0, int(inputs)).flatten(1).sum(dim=1)


def test_closed_form() -> None:
    # R = 5 (1 + 2) + 6 (3 + 4) = 57; each score is the part of R that runs through the weight.
    scores = SynFlow()(two_layers(), TWO, cross_entropy)
    assert scores.tensors["0.weight"].tolist() == [[5.0, 10.0], [18.0, 24.0]]
    assert scores.tensors["2.weight"].tolist() == [[15.0, 42.0]]


def test_closed_form_masked() -> None:
    # Without the 4: R = 5 * 3 + 6 * 3.
    mask = Mask({"0.weight": torch.tensor([[True, True], [True, False]]), "2.weight": torch.tensor([[True, True]])})
    scores = SynFlow()(two_layers(), TWO, cross_entropy, mask=mask)
    assert scores.tensors["0.weight"].tolist() == [[5.0, 10.0], [18.0, 0.0]]
    assert scores.tensors["2.weight"].tolist() == [[15.0, 18.0]]


def test_closed_form_of_the_l2_form() -> None:
    # Squares [[1, 4], [9, 16]] and [[25, 36]], input (1, 4): R = 25 (1 + 16) + 36 (9 + 64) = 3053.
    scores = SynFlowL2Data()(two_layers(), TWO, cross_entropy)
    assert scores.tensors["0.weight"].tolist() == [[25.0, 400.0], [324.0, 2304.0]]
    assert scores.tensors["2.weight"].tolist() == [[425.0, 2628.0]]


@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_explicit_products(masked: bool) -> None:
    network, batch = case("mlp")
    mask = random_mask(network) if masked else Mask.dense(network)
    absolute = [
        weight.detach().abs().numpy() * mask.tensors[name].numpy() for name, weight in prunable(network).items()
    ]
    expected = by_products(absolute, np.ones(5))
    for found, product in zip(SynFlow()(network, batch, cross_entropy, mask=mask).tensors.values(), expected):  # noqa: B905
        np.testing.assert_allclose(found.numpy(), product, rtol=1e-13)
    expected = by_products([weight**2 for weight in absolute], batch[0].numpy().var(axis=0))
    found_l2 = SynFlowL2Data()(network, batch, cross_entropy, mask=mask)
    for found, product in zip(found_l2.tensors.values(), expected):  # noqa: B905
        np.testing.assert_allclose(found.numpy(), product, rtol=1e-12)


def test_agrees_with_a_sum_over_all_paths() -> None:
    network, batch = mlp(sizes=(2, 3, 2, 2)), (torch.zeros(4, 2), torch.zeros(4).long())
    weights = [weight.detach().abs() for weight in prunable(network).values()]
    expected = [torch.zeros_like(weight) for weight in weights]
    for path in itertools.product(range(2), range(3), range(2), range(2)):
        steps = list(itertools.pairwise(path))
        product = float(torch.stack([w[b, a] for w, (a, b) in zip(weights, steps, strict=True)]).prod())
        for score, (a, b) in zip(expected, steps, strict=True):
            score[b, a] += product
    for found, score in zip(SynFlow()(network, batch, cross_entropy).tensors.values(), expected, strict=True):
        torch.testing.assert_close(found, score, rtol=1e-12, atol=0)


@BOTH
def test_is_conserved_by_layers_and_by_hidden_units(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("mlp")
    for mask in (None, random_mask(network)):
        first, second, third = scorer(network, batch, cross_entropy, mask=mask).tensors.values()
        totals = torch.stack([first.sum(), second.sum(), third.sum()])
        torch.testing.assert_close(totals, totals[0].expand(3), rtol=1e-13, atol=0)
        torch.testing.assert_close(first.sum(1), second.sum(0), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(second.sum(1), third.sum(0), rtol=1e-12, atol=1e-15)


def test_layer_sums_are_the_output_of_the_absolute_network() -> None:
    network, batch = case("mlp")
    hidden = torch.ones(5, dtype=torch.float64)
    for weight in prunable(network).values():
        hidden = weight.detach().abs() @ hidden
    scores = SynFlow()(network, batch, cross_entropy)
    for tensor in scores.tensors.values():
        torch.testing.assert_close(tensor.sum(), hidden.sum(), rtol=1e-13, atol=0)


@BOTH
def test_is_conserved_in_a_network_with_a_shortcut(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("everything")
    scores = scorer(network, batch, cross_entropy).tensors
    layers = dict(network.named_modules())
    flows = {name: scores[f"{name}.weight"] for name in ("stem", "shortcut", "body", "head")}
    total = flows["head"].sum()
    torch.testing.assert_close(flows["stem"].sum(), total, rtol=1e-12, atol=0)
    torch.testing.assert_close(flows["shortcut"].sum() + flows["body"].sum(), total, rtol=1e-12, atol=0)
    # The stem's channels flow into body and shortcut together.
    body = flows["body"].reshape(2, 3, 2, 3, 3).sum(dim=(1, 3, 4)).reshape(-1)
    into = body + flow_through(layers["shortcut"], flows["shortcut"], inputs=True)
    torch.testing.assert_close(flow_through(layers["stem"], flows["stem"], inputs=False), into, rtol=1e-12, atol=0)
    # A weight that two layers share is crossed twice.
    torch.testing.assert_close(scores["first.weight"].sum(), 2 * total, rtol=1e-12, atol=0)


@BOTH
def test_equivariant_under_permutation_of_hidden_units(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("mlp")
    expected = scorer(network, batch, cross_entropy)
    found = permuted_back(scorer(permuted(network), batch, cross_entropy).tensors)
    for name in prunable(network):
        torch.testing.assert_close(found[name], expected.tensors[name], rtol=1e-12, atol=0)


@BOTH
def test_invariant_under_rescaling_of_hidden_units(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("mlp")
    expected, found = (scorer(net, batch, cross_entropy).flat() for net in (network, rescaled(network)))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_ignores_data_and_signs() -> None:
    network, batch = case("mlp")
    expected = SynFlow()(network, batch, cross_entropy).flat()
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.neg_()
    other = (torch.full((3, 5), 9.0), torch.zeros(3).long())
    assert torch.equal(SynFlow()(network, other, cross_entropy).flat(), expected)


def test_l2_form_gives_nothing_to_inputs_that_never_vary() -> None:
    network, (inputs, targets) = case("mlp")
    inputs = inputs.clone()
    inputs[:, 2] = 4.0
    scores = SynFlowL2Data()(network, (inputs, targets), cross_entropy).tensors["0.weight"]
    assert bool((scores[:, 2] == 0).all())
    assert bool((scores[:, [0, 1, 3, 4]] > 0).all())


def test_l2_form_needs_two_examples() -> None:
    network, (inputs, targets) = case("mlp")
    with pytest.raises(ValueError, match="at least 2 examples, got 1"):
        SynFlowL2Data()(network, (inputs[:1], targets[:1]), cross_entropy)


@BOTH
def test_trap_biases_and_normalisation_stay_out_of_the_product(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("everything")
    expected = scorer(network, batch, cross_entropy).flat()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
                module.bias.normal_()
        network.norm.weight.uniform_(5, 9)
        network.norm.running_var.uniform_(5, 9)
        network.norm.running_mean.normal_()
    assert torch.equal(scorer(network, batch, cross_entropy).flat(), expected)


@BOTH
def test_trap_the_shortcut_is_scored(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("everything")
    assert bool((scorer(network, batch, cross_entropy).tensors["shortcut.weight"] > 0).all())


@BOTH
def test_trap_float32_networks_are_scored_in_float64_and_stay_float32(
    scorer: SynFlow | SynFlowL2Data,
) -> None:
    network = mlp(sizes=(4, *[50] * 40, 3)).float()  # R is about 30^40, far beyond float32
    batch = (torch.randn(4, 4), torch.zeros(4).long())
    scores = scorer(network, batch, cross_entropy)
    assert all(tensor.dtype == torch.float64 for tensor in scores.tensors.values())
    assert float(scores.flat().max()) > torch.finfo(torch.float32).max
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert any(bool((parameter < 0).any()) for parameter in network.parameters())


@BOTH
@pytest.mark.parametrize("exponent", [40, -40])
def test_trap_beyond_float64_the_scores_keep_their_proportions(scorer: SynFlow | SynFlowL2Data, exponent: int) -> None:
    power = 2 if isinstance(scorer, SynFlowL2Data) else 1
    network = mlp(sizes=(3, *[4] * 30, 2))
    batch = (torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(6).long())
    expected = scorer(network, batch, cross_entropy).flat()
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.mul_(2.0 ** (exponent / power))  # 31 layers: R changes by 2^1240, float64 ends at 2^1024
    found = scorer(network, batch, cross_entropy).flat()
    torch.testing.assert_close(found / found.max(), expected / expected.max(), rtol=1e-12, atol=0)


def test_trap_beyond_all_range_the_error_says_so() -> None:
    network = mlp(sizes=(3, *[4] * 30, 2))
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.mul_(1e30)
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        SynFlow()(network, (torch.ones(2, 3), torch.zeros(2).long()), cross_entropy)


def test_many_rounds_keep_every_layer_where_one_round_empties_one() -> None:
    network = mlp(sizes=(60, 60, 60, 4))
    batch = (torch.ones(2, 60), torch.zeros(2).long())
    mask = Mask.dense(network)
    for density in exponential(0.01, 60):
        mask = keep_top(SynFlow()(network, batch, cross_entropy, mask=mask), density, within=mask)
    assert all(bool(tensor.any()) for tensor in mask.tensors.values())
    assert float(SynFlow()(network, batch, cross_entropy, mask=mask).flat().sum()) > 0
    at_once = keep_top(SynFlow()(network, batch, cross_entropy), 0.01)
    assert not all(bool(tensor.any()) for tensor in at_once.tensors.values())


def test_an_embedding_of_the_input_is_fed_with_every_entry() -> None:
    network, batch = case("text")
    scores = SynFlow()(network, batch, cross_entropy).tensors
    table, head = (network.embedding.weight.detach().abs(), network.head.weight.detach().abs())
    torch.testing.assert_close(scores["embedding.weight"], table * head.sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(scores["head.weight"], head * table.sum(0), rtol=1e-12, atol=0)


def test_an_embedding_of_the_input_is_fed_with_the_variance_of_its_entries() -> None:
    network, (tokens, targets) = case("text")
    scores = SynFlowL2Data()(network, (tokens, targets), cross_entropy).tensors
    variance = F.one_hot(tokens, 5).double().var(dim=0, correction=0)  # (positions, entries)
    table, head = (network.embedding.weight.detach() ** 2, network.head.weight.detach() ** 2)
    share = variance.mean(0)[:, None]  # of the mean over positions
    torch.testing.assert_close(scores["embedding.weight"], share * table * head.sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(scores["head.weight"], head * (share * table).sum(0), rtol=1e-12, atol=0)


def test_variance_of_one_hot_vectors() -> None:
    tokens = torch.randint(0, 4, (9, 2, 3), generator=torch.Generator().manual_seed(0))
    expected = F.one_hot(tokens, 6).double().var(dim=0, correction=0).reshape(6, 6)
    torch.testing.assert_close(one_hot_variance(tokens, 6), expected)


class WithPositions(Text):
    """Adds an embedding of the position, which the input does not choose."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Embedding(7, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(n, length)` to `(n, classes)`."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head((self.embedding(tokens) + self.position(places)).mean(dim=1))


@BOTH
def test_an_embedding_of_positions_is_looked_up(scorer: SynFlow | SynFlowL2Data) -> None:
    network = filled(WithPositions().double())
    batch = case("text")[1]
    scores = scorer(network, batch, cross_entropy).tensors["position.weight"]
    assert bool((scores[:4] > 0).all())
    assert bool((scores[4:] == 0).all())  # the texts have four positions


def test_a_layer_that_forward_never_calls_scores_zero() -> None:
    network = filled(Everything().double())
    network.unused = nn.Linear(3, 3).double()
    _, batch = case("everything")
    scores: Scores = SynFlow()(network, batch, cross_entropy)
    assert bool((scores.tensors["unused.weight"] == 0).all())


@pytest.mark.slow
@BOTH
def test_trap_resnet_50_is_finite(scorer: SynFlow | SynFlowL2Data) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50(weights=None)
    batch = (torch.randn(2, 3, 64, 64), torch.zeros(2).long())
    scores = scorer(network, batch, cross_entropy)
    assert scores.total == sum(weight.numel() for weight in prunable(network).values())
    assert all(float(tensor.sum()) > 0 for tensor in scores.tensors.values())
    assert "layer1.0.downsample.0.weight" in scores.tensors
    if isinstance(scorer, SynFlow):
        assert float(scores.flat().max()) > torch.finfo(torch.float32).max
