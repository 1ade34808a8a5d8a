"""What batch normalisation normalises by in scoring is a choice, and never the mode that a factory left."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scratchcard as sc
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.recording import Recording
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import scored_by
from scratchcard.pruning.scores import Scores
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers.scorer import Batch, Loss, Scorer, hand_over
from scratchcard.sweeps.grid import read_grid
from tests.frontends.calls import as_json, refused

INPUTS = torch.randn(60, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
TASK = sc.Task.of(INPUTS, torch.arange(60) % 3)
SHORT = sc.Recipe(max_steps=3, batch_size=8, evaluation_interval=3)


def network() -> nn.Module:
    """With batch normalisation and dropout, in training mode."""
    torch.manual_seed(0)
    body = (nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    return nn.Sequential(*body, nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))


def norms_frozen() -> nn.Module:
    made = network()
    made.get_submodule("1").eval()
    return made


def asked(statistics: str, **words: Any) -> sc.Method:
    return sc.Method.of("snip", statistics=statistics, **words)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_the_mode_that_a_factory_left_decides_nothing(statistics: str) -> None:
    made = [network(), network().eval(), norms_frozen()]
    masks = [sc.prune(each, TASK, 0.2, method=asked(statistics)).mask for each in made]
    assert masks[0] == masks[1] == masks[2]
    assert [each.training for each in made] == [True, False, True]


def test_they_are_the_batchs_own_unless_asked_for_others() -> None:
    workload = sc.Workload(network(), TASK)
    built, batch, snip = network(), workload.scoring_batch(0), sc.make_scorer("snip")
    by_batch = sc.keep_top(snip(built, batch, TASK.loss), 0.2)
    for index in ("1", "5"):
        built.get_submodule(index).eval()
    by_running = sc.keep_top(snip(built, batch, TASK.loss), 0.2)
    assert by_batch != by_running
    assert sc.prune(workload, method="snip", density=0.2).mask == by_batch
    assert sc.prune(workload, method=asked("running"), density=0.2).mask == by_running
    assert prune_upfront(built.eval(), batch, TASK.loss, snip, 0.2).mask == by_batch


def test_the_choice_is_recorded_where_it_is_not_the_default() -> None:
    usual, other = asked("batch"), asked("running")
    assert usual.describe() == sc.Method.of("snip").describe()
    assert other.describe() == usual.describe() | {"statistics": "running"}
    assert (usual.label, other.label) == ("snip", "snip, running statistics")
    assert sc.prune(network(), TASK, 0.2, method=other).provenance["method"]["statistics"] == "running"
    assert "statistics" not in Recording("USS").make_regime().identity
    assert Recording.of("USS", statistics="running").make_regime().identity.endswith("statistics='running')")
    with pytest.raises(ValueError, match="statistics is 'moving', expected"):
        asked("moving")


def test_stored_scores_of_both_have_keys_of_their_own(tmp_path: Path) -> None:
    def pruned(statistics: str, made: nn.Module) -> Mask:
        return sc.prune(made, TASK, 0.2, method=asked(statistics), store=Store(tmp_path)).mask

    first = pruned("batch", network())
    assert pruned("running", network()) != first
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    pruned("batch", network().eval())
    pruned("running", norms_frozen())
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


@dataclass(frozen=True)
class Watching(Scorer):
    """Notes the mode of the network's modules; scores are magnitudes."""

    seen: list[str] = field(default_factory=list)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        self.seen.append("".join("T" if module.training else "E" for module in network.children()))
        weights = {name: weight.detach().abs() for name, weight in sc.prunable(network).items()}
        return hand_over(weights, mask, self)


@pytest.mark.parametrize("regime", [sc.UMS, sc.ISS, sc.IMS])
def test_every_round_of_every_regime_follows_it(regime: Any) -> None:
    workload = sc.Workload(network().eval(), TASK, SHORT)
    for statistics, modes in (("batch", "TTTTTTTTT"), ("running", "TETTTETTT")):
        watching = Watching()
        regime(rounds=2, statistics=statistics).find(workload, watching, 0.2, seed=0)
        assert set(watching.seen) == {modes}
        assert len(watching.seen) >= 2


def test_initial_weights_made_from_scores_follow_it() -> None:
    weights: list[Tensor] = []
    for statistics in ("batch", "running"):
        method = sc.Method.of("magnitude", statistics=statistics, initial="saw", initial_scorer="snip")
        weights += [
            sc.prune(each, TASK, 0.2, method=method).initial["0.weight"] for each in (network(), norms_frozen())
        ]
    assert weights[0].equal(weights[1])
    assert weights[2].equal(weights[3])
    assert not weights[0].equal(weights[2])


def test_features_of_a_table_follow_it(tmp_path: Path) -> None:
    def snip(made: nn.Module, statistics: str, name: str) -> Any:
        recording = Recording.of("USS", "magnitude", 0.2, statistics=statistics)
        table = sc.build(sc.Workload(made, TASK, SHORT), [0], tmp_path / name, recording)
        return [block.columns["snip"].tolist() for block in table.blocks()]

    usual = snip(network(), "batch", "usual")
    assert snip(network().eval(), "batch", "evaluating") == usual
    assert snip(network(), "running", "running") != usual


def test_it_is_said_on_the_command_line_and_in_grids(tmp_path: Path) -> None:
    told = ("prune", "--network", "resnet_20", "--density", 0.1, "--scoring-examples", 20, "--scorer", "snip")
    found = as_json(*told, "--statistics", "running", "--out", tmp_path / "ticket.safetensors")
    assert found["method"] == "snip, running statistics"
    assert "'batch', 'running'" in refused(*told, "--statistics", "moving")
    grid = tmp_path / "both.toml"
    grid.write_text(
        'name = "both"\ntitle = "Both"\ndensities = 0.1\nseeds = "0"\nworkload = { task = "digits" }\n'
        'methods = [{ scorer = "snip", statistics = ["batch", "running"] }]\n'
    )
    runs = read_grid(grid, tmp_path).experiments
    assert [run.label for run in runs] == ["snip", "snip, running statistics"]
    assert runs[0].digest != runs[1].digest


def test_only_layers_with_running_statistics_are_in_evaluation_mode() -> None:
    made = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), nn.LayerNorm(2)).eval()
    with scored_by(made, "running"):
        assert [module.training for module in made] == [False, True, True]
    assert not any(module.training for module in made)
