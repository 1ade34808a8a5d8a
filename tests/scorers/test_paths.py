"""Path scores: what is refused because it is not linear, and scorers prepared for many rounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.linear_operations import OPERATIONS
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.schedules import exponential
from scratchcard.pruning.scores import Scores
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers import NoEffectWarning, SynFlow, SynFlowL2Data
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from tests.scorers.toys import CASES, Text, case, cross_entropy, filled, mlp, random_mask

BOTH = pytest.mark.parametrize("scorer", [SynFlow(), SynFlowL2Data()], ids=["synflow", "synflow_l2_data"])
Function = Callable[[Tensor], Tensor]

PASSING: dict[str, Function] = {
    "log_softmax": lambda x: F.log_softmax(x, dim=1),
    "softmax": lambda x: F.softmax(x, dim=1),
    "normalize": lambda x: F.normalize(x, dim=1),
    "layer_norm": lambda x: F.layer_norm(x, (x.shape[1],)),
    "rms_norm_by_hand": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "softmax_by_hand": lambda x: x.exp() / x.exp().sum(1, keepdim=True),
    "relu": torch.relu,
    "in_place": lambda x: x.relu_().mul_(3.0).add_(1.0),
    "gelu": F.gelu,
    "gelu_by_hand": lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))),
    "swish_by_hand": lambda x: x * torch.sigmoid(x),
    "hard_swish_by_hand": lambda x: x * F.relu6(x + 3) / 6,
    "tanh": torch.tanh,
    "clamp": lambda x: x.clamp(0, 6).to(torch.float32).double(),
    "no_grad": lambda x: x + torch.zeros_like(x),
}


class Ending(nn.Module):
    """The toy perceptron, and a function behind it or between its layers."""

    def __init__(self, end: Function | None = None, between: Function = torch.relu) -> None:
        super().__init__()
        self.layers = mlp()
        self.end = end
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.between(self.layers[:3](x))
        logits = self.layers[4](hidden)
        return logits if self.end is None else self.end(logits)


@BOTH
@pytest.mark.parametrize("place", ["end", "between"])
@pytest.mark.parametrize("function", PASSING)
def test_what_a_function_does_passes_as_what_a_layer_does(
    scorer: SynFlow | SynFlowL2Data, function: str, place: str
) -> None:
    plain, (_, batch) = Ending(), case("mlp")
    network = Ending(**{place: PASSING[function]})
    for mask in (None, random_mask(plain)):
        expected = scorer(plain, batch, cross_entropy, mask=mask).flat()
        assert torch.equal(scorer(network, batch, cross_entropy, mask=mask).flat(), expected)
        assert bool(expected.any())


class Straight(torch.autograd.Function):
    """Doubles what passes, but not its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@BOTH
def test_trap_an_image_that_is_not_linear_is_refused(
    scorer: SynFlow | SynFlowL2Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, batch = case("mlp")
    paths = scorer.prepare(network, batch, cross_entropy)
    scorer(network, batch, cross_entropy)
    for rule in (lambda f, x, *a, **k: x.like(x.now**2), lambda f, x, *a, **k: x.like(Straight.apply(x.now))):
        rules = {**OPERATIONS, "relu": rule}
        monkeypatch.setattr(paths.paths.image._run, "rules", rules)
        paths.paths.image._run.known.clear()
        with pytest.raises(ValueError, match=r"of the flow passes the (inputs|layer '0\.weight')"):
            paths(network, batch, cross_entropy)


class Sorting(nn.Module):
    """An operation of which nobody knows the linear image, in a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(5, 5), nn.Sequential(nn.Linear(5, 5), Sorter())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


class Sorter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=1).values


@BOTH
def test_unknown_operations_are_refused_by_name_and_layer(scorer: SynFlow | SynFlowL2Data) -> None:
    with pytest.raises(ValueError, match=r"Sorting has no linear image, .* no rule for 'sort' in the layer 'inner\.1'"):
        scorer(Sorting().double(), case("mlp")[1], cross_entropy)


@BOTH
@pytest.mark.parametrize("last", [nn.LogSoftmax(dim=1), nn.Softmax(dim=1), nn.LayerNorm(3)], ids=repr)
def test_layers_of_that_kind_are_taken_out(scorer: SynFlow | SynFlowL2Data, last: nn.Module) -> None:
    network, batch = case("mlp")
    expected = scorer(network, batch, cross_entropy).flat()
    ended = nn.Sequential(*network, last.double())
    assert torch.equal(scorer(ended, batch, cross_entropy).flat(), expected)


@BOTH
@pytest.mark.parametrize("stack", [False, True], ids=["layer", "stack"])
def test_a_transformer_that_asks_its_normalisation_for_its_eps_is_scored(
    scorer: SynFlow | SynFlowL2Data, stack: bool
) -> None:
    layer: nn.Module = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 1) if stack else layer
    network = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 4)), encoder, nn.Flatten(), nn.Linear(12, 3))
    batch = torch.randn(6, 5), torch.arange(6) % 3
    scores = scorer(network, batch, cross_entropy)
    assert all(bool((tensor > 0).any()) for tensor in scores.tensors.values())


@BOTH
def test_trap_a_layer_that_is_used_twice_is_taken_out_twice(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("mlp")
    expected = scorer(network, batch, cross_entropy).flat()
    tanh = nn.Tanh()
    network[1] = network[3] = tanh
    assert torch.equal(scorer(network, batch, cross_entropy).flat(), expected)


@BOTH
@pytest.mark.parametrize("kind", CASES)
def test_a_collapsed_layer_is_no_error_but_zero_with_a_warning(scorer: SynFlow | SynFlowL2Data, kind: str) -> None:
    network, batch = case(kind)
    *_, last = prunable(network)
    mask = Mask({name: kept & (name != last) for name, kept in Mask.dense(network).tensors.items()})
    with pytest.warns(NoEffectWarning):
        scores = scorer(network, batch, cross_entropy, mask=mask)
    assert bool((scores.flat() == 0).all())


class Bypass(nn.Module):
    """A shortcut from the inputs to the outputs, on which no weight lies."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


@BOTH
def test_flow_that_passes_no_weight_is_no_error(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = Bypass().double(), (torch.randn(4, 3, dtype=torch.float64), torch.zeros(4).long())
    mask = Mask({"layer.weight": torch.zeros(3, 3, dtype=torch.bool)})
    with pytest.warns(NoEffectWarning):
        assert bool((scorer(network, batch, cross_entropy, mask=mask).flat() == 0).all())


class Shifted(Text):
    """Looks up other entries than its input names, so that it is fed with those and not with all."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens + 1)


@BOTH
def test_flow_that_begins_in_a_table_is_no_error(scorer: SynFlow | SynFlowL2Data) -> None:
    network, (_, batch) = filled(Shifted(entries=6).double()), case("text")
    scores = scorer(network, batch, cross_entropy).tensors
    looked_up = (batch[0][0] + 1).unique()
    assert bool((scores["embedding.weight"][looked_up] > 0).all())
    assert bool((scores["head.weight"] > 0).all())


@BOTH
@pytest.mark.parametrize("kind", CASES)
def test_prepared_scores_are_bit_equal(scorer: SynFlow | SynFlowL2Data, kind: str) -> None:
    network, batch = case(kind)
    with torch.inference_mode():
        prepared = scorer.prepare(network, batch, cross_entropy)
    assert repr(prepared) == repr(scorer)
    for mask in (None, random_mask(network), random_mask(network, 1, 0.8), Mask.dense(network), None):
        with torch.no_grad():
            found = prepared(network, batch, cross_entropy, mask=mask)
        expected = scorer(network, batch, cross_entropy, mask=mask)
        assert torch.equal(found.flat(), expected.flat())
        assert list(found.tensors) == list(expected.tensors)
        assert found.criterion == expected.criterion
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.mul_(1.5)  # the weights are read in every round
    assert torch.equal(prepared(network, batch, cross_entropy).flat(), scorer(network, batch, cross_entropy).flat())


@BOTH
def test_prepared_scores_share_nothing_and_leave_the_network_alone(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("everything")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    prepared = scorer.prepare(network, batch, cross_entropy)
    first = prepared(network, batch, cross_entropy)
    kept = first.flat()
    prepared(network, batch, cross_entropy, mask=random_mask(network))
    assert torch.equal(first.flat(), kept)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@BOTH
def test_prepared_refuses_another_network_and_another_mask(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("mlp")
    prepared = scorer.prepare(network, batch, cross_entropy)
    with pytest.raises(ValueError, match="prepared for another network"):
        prepared(mlp(), batch, cross_entropy)
    with pytest.raises(ValueError, match=r"the mask: '0\.weight' has shape"):
        prepared(network, batch, cross_entropy, mask=Mask.dense(mlp(sizes=(5, 4, 6, 3))))


@dataclass(frozen=True)
class Unprepared(Scorer):
    """A scorer without its `prepare`."""

    scorer: SynFlow | SynFlowL2Data

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        return self.scorer(network, batch, loss, mask=mask)


@BOTH
def test_a_sequence_prunes_the_same_prepared_or_not(scorer: SynFlow | SynFlowL2Data) -> None:
    network, batch = case("everything")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, scores, *_ = prune_upfront(network, batch, cross_entropy, scorer, 0.1, rounds=8)
        plain, last, *_ = prune_upfront(network, batch, cross_entropy, Unprepared(scorer), 0.1, rounds=8)
    assert found == plain
    assert torch.equal(scores.flat(), last.flat())
    mask = Mask.dense(network)
    for density in exponential(0.1, 8):
        mask = keep_top(scorer(network, batch, cross_entropy, mask=mask), density, within=mask)
    assert found == mask


@BOTH
def test_trap_numbers_out_of_range_on_the_way_are_no_fault_of_the_network(scorer: SynFlow | SynFlowL2Data) -> None:
    # Forward the numbers grow to 2^1200 and shrink again (backward the reverse), while R is about 1.
    network, batch = mlp(sizes=(3, *[4] * 12, 2)), (torch.randn(6, 3, dtype=torch.float64), torch.zeros(6).long())
    expected = scorer(network, batch, cross_entropy).flat()
    power = 2 if isinstance(scorer, SynFlowL2Data) else 1
    with torch.no_grad():
        weights = list(prunable(network).values())
        for k, weight in enumerate(weights[:-1]):
            weight.mul_(2.0 ** ((120 if k < len(weights) // 2 else -120) / power))
    found = scorer(network, batch, cross_entropy).flat()
    torch.testing.assert_close(found / found.max(), expected / expected.max(), rtol=1e-12, atol=0)
