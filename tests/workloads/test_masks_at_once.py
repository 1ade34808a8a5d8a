"""Many masks of one network at once: the same losses and metrics as one by one, for less."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scratchcard.clock import counted_reads
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from scratchcard.workloads.engines import masks_at_once
from scratchcard.workloads.engines.evaluator import Evaluated
from scratchcard.workloads.engines.masks_at_once import MasksAtOnce
from scratchcard.workloads.objective import Classification
from scratchcard.workloads.task import Split
from tests.scorers.toys import Everything, filled

OBJECTIVE = Classification()


class Branches(nn.Module):
    """A perceptron whose inputs are used past its first layer, with normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.past = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(12, 8, bias=False)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`(n, 3, 4)` to `(n, 3)`."""
        flat = images.flatten(1)
        return self.last(self.drop(torch.relu(self.norm(self.first(flat))) + self.past(flat)))  # type: ignore[no-any-return]


class Looks(nn.Module):
    """A perceptron that reads its first layer's weight itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`(n, 3, 4)` to `(n, 3)`."""
        return self.last(torch.relu(self.first(images.flatten(1)))) + self.first.weight.mean()  # type: ignore[no-any-return]


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...], bool]]:
    """Each with the shape of its inputs, and whether it can reuse products."""
    norm = nn.Sequential(nn.Flatten(), nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    shared = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    shared[2].weight = shared[0].weight
    return {
        "perceptron": (nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), (3, 4), True),
        "normalised": (norm, (3, 4), True),
        "one layer": (nn.Linear(12, 3), (12,), False),
        "shared": (shared, (12,), False),
        "looks": (Looks(), (3, 4), False),
        "branches": (Branches(), (3, 4), False),
        "convolutions": (Everything(), (1, 6, 6), False),
    }


def nested(network: nn.Module, number: int = 9) -> list[Mask]:
    """Masks of growing density by random scores, and one that is not nested."""
    generator = torch.Generator().manual_seed(1)
    scores = Scores({n: torch.rand(w.shape, generator=generator) for n, w in prunable(network).items()}, "by lot")
    masks = [keep_top(scores, density / number) for density in range(1, number + 1)]
    return [*masks, Mask({name: ~kept for name, kept in masks[2].tensors.items()})]


def one_by_one(network: nn.Module, split: Split, masks: list[Mask], statistics: str) -> list[Evaluated]:
    """The slow reference: a masked copy, called."""
    found = []
    for mask in masks:
        masked = copy.deepcopy(network)
        mask.apply_to(masked)
        masked.eval()
        for module in masked.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and statistics == "batch":
                module.train()
        with torch.no_grad():
            outputs = masked(split.inputs)
        accuracy = float((outputs.argmax(1) == split.targets).double().mean())
        found.append(Evaluated(float(OBJECTIVE.loss(outputs, split.targets)), {"accuracy": accuracy}, len(split)))
    return found


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("name", networks())
def test_as_one_by_one(name: str, statistics: str) -> None:
    network, shape, reuses = networks()[name]
    filled(network.double())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.constant_(module.running_mean, 0.3)  # type: ignore[arg-type]
    split = Split(torch.randn(50, *shape, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3)
    state, masks = copy.deepcopy(network.state_dict()), nested(network)
    evaluator = MasksAtOnce(network, split, OBJECTIVE, statistics=statistics)  # type: ignore[arg-type]
    assert evaluator.reuses == reuses
    found = evaluator(masks)
    doubled = Split(split.inputs.double(), split.targets)  # type: ignore[union-attr]
    for one, wanted in zip(found, one_by_one(network, doubled, masks, statistics), strict=True):
        assert one.loss == pytest.approx(wanted.loss, rel=1e-9)
        assert one.metrics == wanted.metrics
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.state_dict().items())
    assert network.training
    again = evaluator(masks)
    assert [one.metrics for one in again] == [one.metrics for one in found]


def test_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape, _ = networks()["perceptron"]
    filled(network.double())
    split = Split(torch.randn(50, *shape), torch.arange(50) % 3)
    whole = MasksAtOnce(network, split, OBJECTIVE)(nested(network))
    monkeypatch.setattr(masks_at_once, "EXAMPLES", 16)
    parts = MasksAtOnce(network, split, OBJECTIVE)(nested(network))
    assert [one.loss for one in parts] == pytest.approx([one.loss for one in whole])


@pytest.mark.parametrize("share", [0.0, 2.0])
def test_dense_and_sparse_differences_are_the_same(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape, _ = networks()["perceptron"]
    filled(network.double())
    split = Split(torch.randn(50, *shape, dtype=torch.float64), torch.arange(50) % 3)
    monkeypatch.setattr(masks_at_once, "SPARSE", share)
    found = MasksAtOnce(network, split, OBJECTIVE)(nested(network))
    expected = one_by_one(network, split, nested(network), "batch")
    assert [one.loss for one in found] == pytest.approx([one.loss for one in expected])


def test_hundreds_of_masks_cost_less_than_an_epoch() -> None:
    """784-200-30-10: 200 masks on 5,000 examples, where an epoch of 55,000 is three passes. Only counts are taken."""
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 30), nn.ReLU(), nn.Linear(30, 10)
    )
    split = Split(torch.rand(50, 784), torch.arange(50) % 10)
    evaluator, plain = (MasksAtOnce(network, split, OBJECTIVE, reuse=reuse) for reuse in (True, False))
    masks = nested(network, 200)[:-1]
    with counted_reads() as reads:
        evaluator(masks)
    assert reads.examples == evaluator.reads
    share = evaluator.reads / len(split)  # of a pass for each validation example
    assert share * 5_000 < 3 * 55_000
    assert share == pytest.approx(1 + 200 * 6_300 / 163_100, rel=0.02)  # the first layer once, the others each time
    plain(masks[:3])
    assert plain.reads == 3 * len(split)


def test_a_mask_of_another_network_is_refused() -> None:
    network = nn.Linear(4, 2)
    with pytest.raises(ValueError, match="the mask"):
        MasksAtOnce(network, Split(torch.rand(5, 4), torch.arange(5) % 2), OBJECTIVE)([Mask.dense(nn.Linear(3, 2))])
