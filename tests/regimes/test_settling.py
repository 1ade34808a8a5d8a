"""ESS that ends once its mask has settled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scratchcard.apply.bill import STEP
from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.recording import Recording
from scratchcard.pruning.emergence import MASKS_BEFORE, mask_distance
from scratchcard.regimes import EMS, ESS
from scratchcard.scorers import make_scorer
from scratchcard.workloads import stored_training
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.session import Session
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

RECIPE = Recipe(max_steps=60, evaluation_interval=60, learning_rate=0.1)
ADAM = Recipe(max_steps=60, evaluation_interval=60, optimizer="adam", learning_rate=0.003)
NEVER = 1e-9


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload("lenet_300_100", load_task("digits"), RECIPE)


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, momentum=0.9), ADAM], ids=["sgd", "momentum", "adam"])
def test_looking_changes_nothing(workload: Workload, recipe: Recipe) -> None:
    """What never settles is the search without looks, whatever goes on in the optimiser from look to look."""
    own = Workload("lenet_300_100", workload.task, recipe)
    for scorer in ("magnitude", "snip"):
        plain = ESS(search_steps=33).find(own, make_scorer(scorer), 0.05, seed=1)
        looked = ESS(search_steps=33, settle=NEVER, look_every=10).find(own, make_scorer(scorer), 0.05, seed=1)
        assert looked.mask == plain.mask
        assert [entry["step"] for entry in looked.training] == [10, 20, 30, 33]
        assert [entry["density"] for entry in looked.training] == [1, 1, 1, plain.mask.density]
        assert not any(entry["settled"] for entry in looked.training)
        assert (looked.densities, looked.rounds) == (plain.densities, 1)
        assert all(torch.equal(tensor, looked.survived[name]) for name, tensor in plain.survived.items())
        for name, tensor in own.build(1).state_dict().items():
            assert torch.equal(looked.start[name], tensor)


def test_it_ends_at_the_first_look_whose_mask_is_near_the_five_before(workload: Workload) -> None:
    scorer, threshold = make_scorer("magnitude"), 0.012
    found = ESS(settle=threshold, look_every=4).find(workload, scorer, 0.1, seed=0)
    masks = [ESS(search_steps=entry["step"]).find(workload, scorer, 0.1, seed=0).mask for entry in found.training]
    assert found.mask == masks[-1]
    largest = [
        max((mask_distance(mask, earlier) for earlier in masks[max(0, place - MASKS_BEFORE) : place]), default=None)
        for place, mask in enumerate(masks)
    ]
    assert [entry["distance"] for entry in found.training] == pytest.approx(largest)
    settled = [distance is not None and distance < threshold for distance in largest]
    assert settled.index(True, MASKS_BEFORE) == len(masks) - 1 > MASKS_BEFORE  # neither at once nor at the last step
    assert [entry["settled"] for entry in found.training] == [False] * (len(masks) - 1) + [True]
    assert sum(entry["steps"] for entry in found.training) == found.training[-1]["step"] < 2000


def test_the_bill_counts_every_look(workload: Workload) -> None:
    short = {"regime": "ESS", "search_steps": 30}
    one = find_ticket(workload, Method.of("snip", **short), 0.1).provenance
    five = find_ticket(workload, Method.of("snip", **short, settle=NEVER, look_every=6), 0.1).provenance
    examples, train = 30 * RECIPE.batch_size * STEP, len(workload.task.train)
    scoring = one["passes"] * train - examples
    assert five["passes"] * train == pytest.approx(examples + 5 * scoring)
    assert scoring > 0
    assert [look["step"] for look in five["rounds"]] == [6, 12, 18, 24, 30]
    assert five["rounds"][0]["distance"] is None


def test_it_may_start_from_an_early_step_or_from_the_end(workload: Workload) -> None:
    scorer = make_scorer("magnitude")
    early = ESS(settle=0.1, look_every=4, rewind_step=6).find(workload, scorer, 0.1, seed=0)
    plain = ESS(search_steps=10, rewind_step=6).find(workload, scorer, 0.1, seed=0)
    for name, tensor in plain.start.items():
        torch.testing.assert_close(early.start[name], tensor, rtol=0, atol=1e-6)
    end = ESS(settle=0.1, look_every=4, rewind_step=2000).find(workload, scorer, 0.1, seed=0)
    for name, kept in end.mask.tensors.items():
        assert not bool(end.start[name][~kept].any())
    with pytest.raises(ValueError, match=r"cannot rewind to step 24: the search may have settled after 24 steps"):
        ESS(settle=0.1, look_every=4, rewind_step=24).find(workload, scorer, 0.1, seed=0)


def test_what_does_not_apply_is_refused_by_name(workload: Workload) -> None:
    with pytest.raises(ValueError, match="look_every is 20, but the search looks once"):
        ESS(look_every=20).find(workload, make_scorer("magnitude"), 0.1, seed=0)
    with pytest.raises(ValueError, match="has no setting settle"):
        EMS(settle=0.1)
    with pytest.raises(ValueError, match="settle ends a search when nobody knows"):
        Recording.of("ESS", "magnitude", 0.1, settle=0.1)


def test_a_search_without_the_rule_is_known_as_it_was() -> None:
    assert not {"settle", "look_every"} & set(ESS().describe())
    assert ESS().identity == (
        "Early(rounds=1, shots=1, schedule='exponential', scope='global', search_steps=2000, search_learning_rate=None,"
        " pace=1.0, rewind_step=0)"
    )
    assert ESS(settle=0.2, look_every=20).label == "ESS, until settled at 0.2, looking every 20 steps"


@pytest.mark.parametrize("recipe", [RECIPE, ADAM], ids=["sgd", "adam"])
def test_it_is_found_again_with_a_store(
    workload: Workload, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stretches of plain SGD are kept; under Adam, whose moments are not stored, all is trained again."""
    monkeypatch.setattr(stored_training, "WORTH_KEEPING", 0.0)
    own, regime = Workload("lenet_300_100", workload.task, recipe), ESS(settle=0.05, look_every=3)
    session = Session(store=Store(tmp_path / "rounds"))
    first, again = (regime.find(own, make_scorer("magnitude"), 0.1, seed=0, session=session) for _ in range(2))
    alone = regime.find(own, make_scorer("magnitude"), 0.1, seed=0)
    assert first.mask == again.mask == alone.mask
    assert bool(list(tmp_path.rglob("*.safetensors"))) is (recipe is RECIPE)
