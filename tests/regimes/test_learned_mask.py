"""Learned masks: their gradients against autograd through straight-through masks, and what they leave alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scopes import Scope
from scratchcard.regimes import BernoulliMask, EdgePopup, GemMiner, LearnedMask
from scratchcard.regimes.regime import Search
from scratchcard.scorers import make_scorer
from scratchcard.setting import SettingError
from scratchcard.workloads.engines.loop import batches
from scratchcard.workloads.engines.training import evaluate
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

STEPS, BATCH = 7, 16


def perceptron() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double()


def small() -> Workload:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(80, 6, generator=generator, dtype=torch.float64)
    return Workload(perceptron(), Task.of(inputs, torch.arange(80) % 3), Recipe(batch_size=BATCH))


def by_autograd(
    workload: Workload, learned: Mapping[str, Tensor], regime: LearnedMask, density: float
) -> dict[str, Tensor]:
    """The same steps by torch's SGD, with the gradient through masks that equal a differentiable number in value."""
    network, train = perceptron(), workload.task.train
    scores = {name: values.clone().requires_grad_() for name, values in learned.items()}
    weights = {name: weight.detach() for name, weight in prunable(network).items()}
    optimizer = torch.optim.SGD(list(scores.values()), lr=regime.rate, momentum=0.9)
    order, luck = batches(len(train), BATCH, 4), torch.Generator().manual_seed(4)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = regime.rate * (1 + math.cos(math.pi * step / STEPS)) / 2
        masked = {}
        for name, values in scores.items():
            if isinstance(regime, EdgePopup):
                soft = values
                cut = values.detach().reshape(-1).sort(descending=True).values[round(density * values.numel()) - 1]
                hard = (values >= cut).double()
            else:
                soft = values.sigmoid()
                hard = (torch.rand(values.shape, generator=luck) < soft).double()
            masked[name] = weights[name] * (hard.detach() + soft - soft.detach())
        places = next(order)
        outputs = torch.func.functional_call(network, masked, (train.inputs[places].double(),))  # type: ignore[index,union-attr]
        optimizer.zero_grad()
        nn.functional.cross_entropy(outputs, train.targets[places]).backward()
        optimizer.step()
    return {name: values.detach() for name, values in scores.items()}


@pytest.mark.parametrize(
    ("regime", "density"),
    [(EdgePopup(search_steps=STEPS, mask_rate=2.0), 0.5), (BernoulliMask(search_steps=STEPS), 1.0)],
)
def test_the_steps_are_those_of_straight_through_gradients(regime: LearnedMask, density: float) -> None:
    workload, scorer = small(), make_scorer("random", seed=3)
    found = regime.find(workload, scorer, density, seed=4, session=Session(dtype=torch.float64))
    network = perceptron()
    batch = workload.scoring_batch(4, dtype=torch.float64)
    weights = prunable(network)
    scores = scorer(network, batch, nn.functional.cross_entropy).tensors
    begun = {name: regime.begin(scores[name], weight) for name, weight in weights.items()}
    expected = by_autograd(workload, begun, regime, density)
    for name, values in expected.items():
        torch.testing.assert_close(found.scores.tensors[name], values, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(values, begun[name], rtol=1e-3)  # it has learned something
    for name, kept in found.mask.tensors.items():
        values = expected[name]
        if isinstance(regime, EdgePopup):
            assert int(kept.sum()) == round(density * kept.numel())
            assert float(values[kept].min()) > float(values[~kept].max())
        else:
            assert torch.equal(kept, values > 0)


def test_the_gradient_of_a_linear_loss_is_that_of_its_expectation() -> None:
    """For a loss that is linear in the mask, Bernoulli's gradient is exactly d/ds of the mean over all masks."""
    logits, weight, slope = (
        torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in range(3)
    )
    logits.requires_grad_()
    (slope * weight * logits.sigmoid()).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(BernoulliMask().slope(logits.detach(), weight, slope), logits.grad)


class Normed(nn.Module):
    """With batch norm, a bias and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(64, 24), nn.BatchNorm1d(24)
        self.second, self.third, self.head = nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 10)
        self.third.weight = self.second.weight

    def forward(self, images: Tensor) -> Tensor:
        """`(n, 1, 8, 8)` to `(n, 10)`."""
        hidden = torch.relu(self.norm(self.first(images.flatten(1))))
        return self.head(torch.relu(self.third(torch.relu(self.second(hidden)))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [EdgePopup, BernoulliMask, GemMiner])
def test_only_the_mask_is_learned(kind: type[LearnedMask]) -> None:
    torch.manual_seed(0)
    network = Normed()
    workload = Workload(network, load_task("digits"), Recipe())
    regime = kind(search_steps=20, exclude=("head",), floor=5)
    state = torch.get_rng_state()
    found = regime.find(workload, make_scorer("random"), 0.6, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(found.start[name], tensor) for name, tensor in network.state_dict().items())
    assert bool(found.mask.tensors["head.weight"].all())
    assert list(found.mask.tensors) == list(prunable(network))
    assert 0 < found.mask.density <= 0.601
    again = regime.find(workload, make_scorer("random"), 0.6, seed=0)
    assert again.mask == found.mask
    assert all(torch.equal(again.scores.tensors[name], tensor) for name, tensor in found.scores.tensors.items())


@pytest.mark.parametrize("kind", [EdgePopup, BernoulliMask, GemMiner])
def test_the_untrained_network_learns_by_its_mask_alone(kind: type[LearnedMask]) -> None:
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(batch_size=32))
    found = kind(search_steps=150).find(workload, make_scorer("random"), 0.5, seed=0)
    network = workload.build(0)
    before = evaluate(network, workload.task, "validation").accuracy
    found.mask.apply_to(network)
    assert before < 0.3
    assert evaluate(network, workload.task, "validation").accuracy > 0.7
    assert found.training[0]["steps"] == 150


def test_a_bernoulli_mask_keeps_no_more_than_was_asked_for() -> None:
    workload = Workload("lenet_300_100", load_task("digits"), Recipe(batch_size=32))
    for density in (0.2, 0.9):
        found = BernoulliMask(search_steps=3).find(workload, make_scorer("random"), density, seed=0)
        likely = int((found.scores.flat() > 0).sum())
        assert found.mask.kept == min(likely, round(density * found.mask.total))


@pytest.mark.parametrize(
    ("density", "floor", "a", "b"),
    [(0.9, 4, 5, 4), (0.9, 2, 5, 2), (0.9, 0, 5, 1), (0.6, 2, 5, 2), (0.5, 2, 4, 2), (0.4, 2, 2, 2), (0.1, 0, 1, 0)],
)
def test_a_floor_adds_to_what_is_more_probable_than_not(density: float, floor: int, a: int, b: int) -> None:
    learned = {"a": torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, -9.0]), "b": torch.tensor([0.2, -1.0, -2.0, -3.0, -4.0])}
    workload = small()
    batch = workload.scoring_batch(0, dtype=torch.float64)
    asked = Search(workload, perceptron(), batch, make_scorer("random"), density, 0, 0, Session())
    mask, lots = BernoulliMask(floor=floor).final(learned, asked, None)
    assert {name: kept.int().tolist() for name, kept in mask.tensors.items()} == {
        "a": [1] * a + [0] * (6 - a),
        "b": [1] * b + [0] * (5 - b),
    }
    assert lots == 0


@pytest.mark.parametrize("scope", ["layer", "erk", "expected"])
def test_bernoulli_masks_have_no_scope(scope: Scope) -> None:
    with pytest.raises(SettingError, match=f"leave the scope {scope} out"):
        BernoulliMask(scope=scope)


def test_a_rate_at_which_it_diverges_says_so() -> None:
    with pytest.raises(ValueError, match="diverged at a rate of 1e\\+308"):
        EdgePopup(search_steps=4, mask_rate=1e308).find(
            small(), make_scorer("random"), 0.5, 0, Session(dtype=torch.float64)
        )
