"""Stacked scoring, scores as weights, predicted scores."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.apply.predicted import PredictedScorer
from scratchcard.apply.saw import bimodal, scores_as_weights
from scratchcard.apply.stacked import StackedScorer
from scratchcard.dataset_builder.build import Recording, build
from scratchcard.dataset_builder.features import compute_features
from scratchcard.meta.bundle import save_bundle
from scratchcard.meta.fit import fit
from scratchcard.meta.predictor import Predictor
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.score_tables.schema import Column
from scratchcard.scorers import GraSP, GraSPAbs, Magnitude, NoEffectWarning, SynFlow, make_scorer
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.workloads.engines.training import Recipe
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload
from tests.scorers.toys import UPFRONT

RECIPE = Recipe(max_steps=40, evaluation_interval=20, scoring_examples=200)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


@pytest.fixture(scope="module")
def bundle(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictor")
    table = build(workload, [0, 1], folder / "table", Recording.of("ISS", "magnitude", 0.05, rounds=2))
    predictor = fit(table, "tree", objective="classification", train_seeds=[0], held_out_seeds=[1])
    save_bundle(predictor, folder / "bundle")
    return folder / "bundle"


@dataclass(frozen=True)
class Given:
    """Always the same scores; counts its calls."""

    tensors: dict[str, torch.Tensor]
    calls: list[Mask | None] = field(default_factory=list)

    def __call__(self, network: nn.Module, batch: object, loss: object, *, mask: Mask | None = None) -> Scores:
        self.calls.append(mask)
        return Scores(self.tensors, "Given")


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()


def test_synflow_on_given_scores_by_hand() -> None:
    network = chain()
    scores = {
        "0.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64),
        "2.weight": torch.tensor([[5.0, 6.0]], dtype=torch.float64),
    }
    batch = (torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, 1))
    found = StackedScorer(Given(scores), SynFlow())(network, batch, nn.functional.mse_loss)
    expected = {"0.weight": torch.tensor([[5.0, 10.0], [18.0, 24.0]]), "2.weight": torch.tensor([[15.0, 42.0]])}
    scale = float(found.tensors["2.weight"][0, 0]) / 15.0  # SynFlow may scale all scores by one factor
    for name, tensor in expected.items():
        torch.testing.assert_close(found.tensors[name], scale * tensor.double())


def test_negative_scores_stand_in_as_they_are_or_as_zero() -> None:
    network = chain()
    scores = {
        "0.weight": torch.tensor([[-3.0, 1.0], [2.0, -1.0]], dtype=torch.float64),
        "2.weight": torch.tensor([[0.5, -4.0]], dtype=torch.float64),
    }
    batch = (torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, 1))
    kept = StackedScorer(Given(scores), Magnitude())(network, batch, nn.functional.mse_loss)
    zero = StackedScorer(Given(scores), Magnitude(), "zero")(network, batch, nn.functional.mse_loss)
    for name, tensor in scores.items():
        assert torch.equal(kept.tensors[name], tensor.abs())
        assert torch.equal(zero.tensors[name], tensor.clamp_min(0))
    with pytest.raises(ValueError, match="'keep' or 'zero'"):
        StackedScorer(Magnitude(), Magnitude(), "absolute")  # type: ignore[arg-type]


def test_the_first_scorer_scores_once_for_a_whole_multi_shot_sequence(workload: Workload) -> None:
    network, batch = workload.build(0), workload.scoring_batch(0)
    first = Given({n: w.detach().square() for n, w in prunable(network).items()})
    scorer = StackedScorer(first, SynFlow())
    mask, *_ = prune_upfront(network, batch, workload.task.loss, scorer, 0.05, rounds=6)
    assert first.calls == [None]
    # The same as SynFlow on a network that has those weights.
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.copy_(weight.square())
    by_hand, *_ = prune_upfront(network, batch, workload.task.loss, SynFlow(), 0.05, rounds=6)
    assert mask == by_hand


def test_both_scorers_can_score_in_every_round(workload: Workload) -> None:
    network, batch, loss = workload.build(0), workload.scoring_batch(0), workload.task.loss
    first = Given({n: w.detach().square() for n, w in prunable(network).items()})

    def found(scorer: Scorer) -> Mask:
        return prune_upfront(network, batch, loss, scorer, 0.05, rounds=6)[0]

    found(StackedScorer(first, SynFlow(), every_round=True))
    seen = [None if mask is None else mask.density for mask in first.calls]
    assert seen[0] is None
    assert seen[1:] == sorted((d for d in seen[1:] if d is not None), reverse=True)
    assert len(seen) == 6
    # Then magnitude makes nothing of what it is stacked on: scores stand in, and it takes their absolute values.
    assert found(StackedScorer(SynFlow(), Magnitude(), every_round=True)) == found(SynFlow())
    assert found(StackedScorer(GraSP(), Magnitude(), every_round=True)) == found(GraSPAbs())
    # SynFlow looks at absolute weights alone.
    assert found(StackedScorer(Magnitude(), SynFlow(), every_round=True)) == found(SynFlow())
    assert found(StackedScorer(SynFlow(), Magnitude())) != found(SynFlow())


def test_restacking_needs_a_stack_and_rounds(workload: Workload) -> None:
    method = Method.of("magnitude", on="synflow", regime="UMS", rounds=6, restack=True)
    assert method.label == "magnitude on synflow every round, UMS 6"
    assert method.describe()["restack"] is True
    assert "restack" not in Method("magnitude", on="synflow", regime="UMS").describe()
    ticket = find_ticket(workload, method, 0.05, seed=0)
    assert ticket.mask == find_ticket(workload, Method.of("synflow", regime="UMS", rounds=6), 0.05, seed=0).mask
    for settings in ({"regime": "UMS"}, {"on": "synflow"}):
        with pytest.raises(ValueError, match="several rounds"):
            Method.of("magnitude", restack=True, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [*UPFRONT, "predicted"])
@pytest.mark.parametrize("second", [*UPFRONT, "predicted"])
def test_every_pair_can_be_stacked(workload: Workload, bundle: Path, first: str, second: str) -> None:
    predictor = str(bundle) if "predicted" in (first, second) else None
    method = Method(second, on=first, predictor=predictor)
    network, batch = workload.build(5), workload.scoring_batch(5)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    # 0.2 is not the density of the predictor's table.
    scores = method.make_scorer(0.2, 5)(network, batch, workload.task.loss)
    assert list(scores.tensors) == list(prunable(network))
    assert keep_top(scores, 0.2).kept == round(0.2 * scores.total)
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def deep(layers: int = 40, width: int = 50) -> nn.Sequential:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Linear(8, width)]
    for _ in range(layers - 2):
        parts += [nn.ReLU(), nn.Linear(width, width)]
    network = nn.Sequential(*parts, nn.ReLU(), nn.Linear(width, 3))
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


@dataclass(frozen=True)
class Scaled:
    """A scorer's scores times one factor, in float64."""

    scorer: Scorer
    factor: float

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        scores = self.scorer(network, batch, loss, mask=mask)
        return Scores({n: t.double() * self.factor for n, t in scores.tensors.items()}, repr(self))


@pytest.mark.parametrize("factor", [1.0, 1e80, 1e-90])
@pytest.mark.parametrize("second", [n for n in UPFRONT if n != "random"])
def test_trap_scores_beyond_float32_stand_in(second: str, factor: float) -> None:
    network, batch = deep(), (torch.randn(16, 8), torch.arange(16) % 3)
    first = Scaled(SynFlow(), factor)
    largest = float(first(network, batch, nn.functional.cross_entropy).flat().max())
    assert not 1e-30 < largest < 1e30
    scores = StackedScorer(first, make_scorer(second))(network, batch, nn.functional.cross_entropy)
    assert float(scores.flat().abs().max()) > 0
    if second in ("magnitude", "synflow", "synflow_l2_data"):
        # The same ranking as in float64, where nothing need be scaled.
        wide = copy.deepcopy(network).double()
        weights = first(network, batch, nn.functional.cross_entropy).tensors
        with torch.no_grad():
            for name, weight in prunable(wide).items():
                weight.copy_(weights[name] / largest)
        expected = make_scorer(second)(wide, batch, nn.functional.cross_entropy)
        ratio = scores.flat().double() / expected.flat()
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)


def test_scores_within_range_stand_in_unscaled(workload: Workload) -> None:
    network, batch = workload.build(0), workload.scoring_batch(0)
    for first in UPFRONT:
        scores = make_scorer(first)(network, batch, workload.task.loss)
        stacked = StackedScorer(make_scorer(first), Magnitude())(network, batch, workload.task.loss)
        for name, tensor in scores.tensors.items():
            assert torch.equal(stacked.tensors[name], tensor.abs().float())


def test_scores_that_are_all_zero_warn(network: nn.Sequential) -> None:
    batch = (torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, 1))
    zeros = {n: -torch.ones_like(w) for n, w in prunable(network).items()}
    scorer = StackedScorer(Given(zeros), SynFlow(), "zero")
    with pytest.warns(NoEffectWarning, match="all scores of Given are zero"):
        prepared = scorer.prepare(network, batch, nn.functional.mse_loss)
    with pytest.warns(NoEffectWarning, match="same score"):
        assert bool((prepared(network, batch, nn.functional.mse_loss).flat() == 0).all())
    with pytest.raises(ValueError, match="made for another network"):
        prepared(chain(), batch, nn.functional.mse_loss)


def test_scores_of_another_network_are_refused(network: nn.Sequential) -> None:
    batch = (torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="the scores that stand in"):
        StackedScorer(Given({"other": torch.ones(2)}), SynFlow())(network, batch, nn.functional.mse_loss)


def test_predictions_that_are_all_alike_warn(workload: Workload) -> None:
    column = Column("magnitude", "feature", "raw", "")
    arrays = {"coefficients": np.zeros(1), "intercept": np.array([0.25])}
    scorer = PredictedScorer(Predictor("linear", "regression", "score", (column,), arrays), 0.05)
    network, batch = workload.build(0), workload.scoring_batch(0)
    for mask in (None, keep_top(Magnitude()(network, batch, workload.task.loss), 0.3)):
        with pytest.warns(NoEffectWarning, match=r"PredictedScorer\(linear.* same score"):
            scores = scorer(network, batch, workload.task.loss, mask=mask)
        assert scores.criterion == repr(scorer)
        assert set(scores.flat().unique().tolist()) == ({0.25} if mask is None else {0.0, 0.25})


def test_predicted_scores_are_the_predictions_of_the_features(workload: Workload, bundle: Path) -> None:
    scorer = PredictedScorer.from_bundle(bundle, 0.05)
    network, batch = workload.build(7), workload.scoring_batch(7)
    scores = scorer(network, batch, workload.task.loss)
    for block in compute_features(network, batch, workload.task.loss, density=0.05, rows=999):
        predicted = scorer.predictor.predict(block).astype(np.float32)
        assert np.array_equal(scores.tensors[block.parameter].reshape(-1).numpy()[block.indices], predicted)
    mask = keep_top(scores, 0.3)
    masked = scorer(network, batch, workload.task.loss, mask=mask)
    assert all(bool((masked.tensors[n][~kept] == 0).all()) for n, kept in mask.tensors.items())
    assert str(bundle) not in repr(scorer)
    assert scorer.predictor.digest[:16] in repr(scorer)


@pytest.fixture
def network() -> nn.Sequential:
    net = chain()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.5, -2.0]]))
        net[2].weight.copy_(torch.tensor([[-3.0, 1.0]]))
    return net


def given() -> Scores:
    return Scores(
        {
            "0.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64),
            "2.weight": torch.tensor([[8.0, 0.0]], dtype=torch.float64),
        },
        "given",
    )


def test_scores_as_weights_by_hand(network: nn.Sequential) -> None:
    scores_as_weights(network, given())
    assert torch.equal(network[0].weight, torch.tensor([[0.125, -0.25], [0.375, -0.5]], dtype=torch.float64))
    assert torch.equal(network[2].weight, torch.tensor([[-1.0, 0.0]], dtype=torch.float64))


def test_scores_as_weights_keep_each_layers_variance(network: nn.Sequential) -> None:
    before = {n: (w.detach().square().mean(), w.detach().sign()) for n, w in prunable(network).items()}
    scores_as_weights(network, given(), scale="variance")
    for name, weight in prunable(network).items():
        torch.testing.assert_close(weight.detach().square().mean(), before[name][0])
        nonzero = weight.detach() != 0
        assert torch.equal(weight.detach().sign()[nonzero], before[name][1][nonzero])


def test_tiny_scores_survive_the_cast_to_float32() -> None:
    net = chain().float()
    tiny = Scores({n: torch.full(w.shape, 1e-60, dtype=torch.float64) for n, w in prunable(net).items()}, "tiny")
    scores_as_weights(net, tiny)
    assert all(bool((w.detach().abs() == 1).all()) for w in prunable(net).values())


def test_scores_that_cannot_be_weights_are_refused(network: nn.Sequential) -> None:
    zero = Scores({n: torch.zeros_like(w) for n, w in prunable(network).items()}, "zero")
    with pytest.raises(ValueError, match="all scores of zero are zero"):
        scores_as_weights(network, zero)
    with pytest.raises(ValueError, match="unknown scale"):
        scores_as_weights(network, given(), scale="both")  # type: ignore[arg-type]


def test_bimodal_has_kaimings_variance_and_two_modes(workload: Workload) -> None:
    net = workload.build(0)
    bimodal(net, generator=torch.Generator().manual_seed(1))
    weight = next(iter(prunable(net).values())).detach().double()
    expected = (2 / weight.shape[1]) ** 0.5
    assert float(weight.std()) == pytest.approx(expected, rel=0.02)
    assert float(weight.mean()) == pytest.approx(0, abs=0.02 * expected)
    # Between the modes there is nearly nothing: a normal would have 16 % within a fifth of its deviation.
    assert float((weight.abs() < 0.2 * expected).double().mean()) < 0.02
    with pytest.raises(ValueError, match="share must lie"):
        bimodal(net, generator=torch.Generator(), share=2.0)
