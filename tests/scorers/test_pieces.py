"""A batch in pieces: the scores of the whole batch, within the memory that was given."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import scratchcard as sc
from scratchcard.artefacts.store import Store
from scratchcard.dataset_builder.features import compute_features
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers.detached_state import detached_state
from scratchcard.scorers.few_examples import kept_bytes
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.pieces import FIRST_ORDER, SECOND_ORDER, OwnBatchesWarning, default_memory, scoring_memory
from scratchcard.scorers.stored_scores import Shared

SCORERS = ("snip", "grasp", "grasp_abs", "gauss_newton")
WEIGHTS = torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64)


def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    """Its pieces' means are not the batch's: the sum of weights differs by piece."""
    return F.cross_entropy(outputs, targets, weight=WEIGHTS)


def ignoring(outputs: Tensor, targets: Tensor) -> Tensor:
    """Torch's own mean, over the targets that are not -100."""
    return F.cross_entropy(outputs, torch.where(targets == 1, -100, targets))


def squared_mean(outputs: Tensor, targets: Tensor) -> Tensor:
    """No mean over examples at all."""
    return F.cross_entropy(outputs, targets).square()


def network(norm: type[nn.Module] = nn.Identity, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        norm(4) if norm is not nn.Identity else norm(),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(64, 3),
    ).double()


def batch(examples: int = 41) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    inputs = torch.randn(examples, 1, 6, 6, generator=random, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (examples,), generator=random)


@contextmanager
def calls(watched: nn.Module) -> Iterator[list[int]]:
    """The numbers of examples that a network is called with."""
    found: list[int] = []
    handle = watched.register_forward_hook(lambda _, args, __: found.append(len(args[0])))
    yield found
    handle.remove()


@pytest.mark.parametrize("loss", [F.cross_entropy, weighted, ignoring])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_those_of_the_whole_batch(name: str, masked: bool, loss: Callable[..., Tensor]) -> None:
    made, scorer = network(), sc.make_scorer(name)
    mask = None
    if masked:
        random = torch.Generator().manual_seed(3)
        mask = Mask({k: torch.rand(w.shape, generator=random) < 0.6 for k, w in prunable(made).items()})
    whole = scorer(made, batch(), loss, mask=mask).tensors
    with scoring_memory(12_000), calls(made) as found:
        pieces = scorer(made, batch(), loss, mask=mask).tensors
    assert max(found) < 41
    for key, tensor in whole.items():
        torch.testing.assert_close(pieces[key], tensor, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", SCORERS)
def test_by_default_a_large_batch_goes_in_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, scorer = network(), sc.make_scorer(name)
    with calls(made) as found:
        whole = scorer(made, batch(), F.cross_entropy).tensors
    assert found == [41]
    monkeypatch.setattr("scratchcard.scorers.pieces.MEMORY", 12_000)
    with calls(made) as found:
        pieces = scorer(made, batch(), F.cross_entropy).tensors
    assert max(found) < 41
    for key, tensor in whole.items():
        torch.testing.assert_close(pieces[key], tensor, rtol=1e-10, atol=1e-14)


def test_little_free_memory_makes_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchcard.scorers.pieces._available", lambda: 2**20)
    assert default_memory(torch.device("cpu")) == 2**19
    monkeypatch.setattr("scratchcard.scorers.pieces._available", lambda: 2**40)
    assert default_memory(torch.device("cpu")) == 2**29


def test_a_tensor_that_is_changed_in_place_is_still_refused() -> None:
    class Changing(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            grown = super().forward(inputs).exp()
            grown.add_(1)  # and exp needs its result for the backward pass
            return grown

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sc.make_scorer("snip")(Changing(*network()), batch(), F.cross_entropy)


def test_the_first_derivative_of_any_loss_is_exact() -> None:
    made = network()
    whole = loss_gradients(made, batch(), squared_mean)
    with scoring_memory(12_000):
        pieces = loss_gradients(made, batch(), squared_mean)
    for key, tensor in whole.gradients.items():
        torch.testing.assert_close(pieces.gradients[key], tensor, rtol=1e-10, atol=1e-14)


def test_ignored_targets_weigh_nothing() -> None:
    made, (inputs, targets) = network(), batch()
    targets[:20] = -100  # all of the first pieces
    whole = loss_gradients(made, (inputs, targets), F.cross_entropy).gradients
    with scoring_memory(12_000):
        pieces = loss_gradients(made, (inputs, targets), F.cross_entropy).gradients
    for key, tensor in whole.items():
        torch.testing.assert_close(pieces[key], tensor, rtol=1e-10, atol=1e-14)


def test_torchs_own_means_need_no_pass_beforehand() -> None:
    made, found = network(), {}
    for loss in (F.cross_entropy, weighted):
        with scoring_memory(12_000), calls(made) as found[loss]:
            sc.make_scorer("snip")(made, batch(), loss)
    assert sum(found[F.cross_entropy]) == 4 + 2 + 41
    assert sum(found[weighted]) == 4 + 2 + 2 * 41


def test_pieces_are_as_large_as_the_memory_allows() -> None:
    """An example keeps its 10 inputs and what comes out of Tanh, 20 numbers that the last layer keeps too."""
    made = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 3)).double()
    inputs, targets = torch.rand(100, 10).double(), torch.arange(100) % 3
    with torch.enable_grad():
        state = detached_state(made)
        assert kept_bytes(made, inputs, state)[0] == 100 * 30 * 8
    for name, passes in (("snip", FIRST_ORDER), ("grasp", SECOND_ORDER), ("gauss_newton", FIRST_ORDER)):
        pieces = math.ceil(passes.piece * 100 * 30 * 8 / 10_000)
        with scoring_memory(10_000), calls(made) as found:
            sc.make_scorer(name)(made, (inputs, targets), F.cross_entropy)
        assert found[0] == 4  # the probe
        assert found[-1] == 100 - 100 * (pieces - 1) // pieces


class ByBatch(nn.Sequential):
    """Normalises by a function, which no list of layers tells."""

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(F.batch_norm(inputs, None, None, training=True))
        return found


class Centred(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(inputs - inputs.mean(0, keepdim=True))
        return found


class Skipping(nn.Sequential):
    """Draws once for all examples."""

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(inputs * (0.5 + torch.rand(1)))
        return found


class Pooled(nn.Sequential):
    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(inputs)
        return found.mean(0, keepdim=True).expand(41, -1)


def headless() -> nn.Sequential:
    """Its outputs are all zero, and tell nothing; its second derivatives depend on the batch."""
    made = network(nn.BatchNorm2d)
    nn.init.zeros_(made.get_parameter("5.weight"))
    return made


DEPENDENT = {
    "a layer": (lambda: network(nn.BatchNorm2d), "batch normalisation"),
    "a function": (lambda: ByBatch(*network()), "batch normalisation"),
    "zero outputs": (headless, "batch normalisation"),
    "a little dropout": (lambda: network(dropout=0.01), "random numbers"),
    "one draw": (lambda: Skipping(*network()), "random numbers"),
    "a mean": (lambda: Centred(*network()), "depend on the others"),
}


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize(("build", "why"), DEPENDENT.values(), ids=list(DEPENDENT))
def test_what_depends_on_its_batch_is_split_only_when_told_to_and_warns(
    build: Callable[[], nn.Module], why: str, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, scorer = build(), sc.make_scorer("grasp")
    inputs, targets = batch()
    if alike:
        inputs[:10] = inputs[0].clone()  # blank images, say
    with calls(made) as found:
        whole = scorer(made, (inputs, targets), F.cross_entropy).tensors
    assert found == [41]  # what fits is computed once
    with monkeypatch.context() as short, calls(made) as found:
        short.setattr("scratchcard.scorers.pieces.MEMORY", 1000)
        again = scorer(made, (inputs, targets), F.cross_entropy).tensors
    assert found == [4, 2, 41]
    assert all(torch.equal(again[key], tensor) for key, tensor in whole.items())
    told = r"^41 examples were scored in \d+ pieces, whose scores are not those of the whole batch: .*" + why
    with scoring_memory(20_000), pytest.warns(OwnBatchesWarning, match=told) as caught:
        scorer(made, (inputs, targets), F.cross_entropy)
    assert len(caught) == 1
    with scoring_memory(100), pytest.warns(OwnBatchesWarning), calls(made) as found:
        scorer(made, (inputs, targets), F.cross_entropy)
    assert min(found) == 2  # one example has no variance


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_batch_too_small_to_tell_is_one_piece(number: int) -> None:
    made = network(nn.BatchNorm2d)
    inputs, targets = batch()
    given = (inputs[:number], targets[:number])
    if number == 1:
        made.eval()
    with scoring_memory(1), calls(made) as found:
        sc.make_scorer("snip")(made, given, F.cross_entropy)
    assert found == [number]


def test_a_loss_that_is_no_sum_is_warned_of_by_second_derivatives() -> None:
    for name in ("grasp", "gauss_newton"):
        with scoring_memory(12_000), pytest.warns(OwnBatchesWarning, match="the loss is no sum over the examples"):
            sc.make_scorer(name)(network(), batch(), squared_mean)


def test_targets_that_are_spread_over_all_outputs_are_no_mean() -> None:
    """Torch broadcasts (n, 1) and (n,) to n x n, and warns."""
    made = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    given = (torch.rand(12, 5).double(), torch.rand(12).double())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = loss_gradients(made, given, F.mse_loss).gradients
        with scoring_memory(500):
            pieces = loss_gradients(made, given, F.mse_loss).gradients
    for key, tensor in whole.items():
        torch.testing.assert_close(pieces[key], tensor, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("given", ["for all", "of one row", "flattened", "fixed"])
def test_what_cannot_be_cut_is_one_piece(given: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3).double()

        def forward(self, x: Tensor, pos: Tensor | None = None) -> Tensor:
            if given == "fixed":
                x = x + torch.ones(12, 5, dtype=torch.float64)
            found: Tensor = self.layer(x if pos is None else x + pos)
            return found.flatten(0, -2) if given == "flattened" else found

    x, targets = torch.rand(12, 5).double(), torch.arange(12) % 3
    inputs: Any = {
        "for all": {"x": x, "pos": torch.ones(5).double()},
        "of one row": {"x": x, "pos": torch.ones(1, 5).double()},
        "flattened": torch.rand(12, 2, 5).double(),
        "fixed": x,
    }[given]
    targets = targets.repeat_interleave(2) if given == "flattened" else targets
    made = Net()
    whole = loss_gradients(made, (inputs, targets), F.cross_entropy, in_one_piece=True).gradients
    with scoring_memory(1):
        found = loss_gradients(made, (inputs, targets), F.cross_entropy).gradients
    assert torch.equal(found["layer.weight"], whole["layer.weight"])


def test_batch_normalisation_by_running_statistics_is_split() -> None:
    made, scorer = network(nn.BatchNorm2d).eval(), sc.make_scorer("snip")
    whole = scorer(made, batch(), F.cross_entropy).tensors
    with scoring_memory(12_000), calls(made) as found:
        pieces = scorer(made, batch(), F.cross_entropy).tensors
    assert max(found) < 41
    for key, tensor in whole.items():
        torch.testing.assert_close(pieces[key], tensor, rtol=1e-10, atol=1e-14)


def test_pieces_draw_the_same_each_time() -> None:
    made, scorer = network(dropout=0.5), sc.make_scorer("grasp")
    with scoring_memory(12_000), pytest.warns(OwnBatchesWarning):
        first, second = (scorer(made, batch(), F.cross_entropy).tensors for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_features_of_pieces_are_those_of_the_whole_batch() -> None:
    made = network().float()
    inputs, targets = batch()
    needed: dict[str, Any] = {"mask": None, "density": 0.1}
    whole = list(compute_features(made, (inputs.float(), targets), F.cross_entropy, **needed))
    with scoring_memory(12_000):
        pieces = list(compute_features(made, (inputs.float(), targets), F.cross_entropy, **needed))
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(torch.tensor(other.values), torch.tensor(one.values), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "2GiB"])
def test_no_size(size: Any) -> None:
    with pytest.raises(ValueError, match="expected a number of bytes"), scoring_memory(size):
        pass


def test_a_session_has_the_memory_for_all_that_is_scored() -> None:
    task = sc.Task.of(torch.rand(90, 1, 6, 6), torch.arange(90) % 3)
    made = network().float()
    workload = sc.Workload(made, task, sc.Recipe(max_steps=5, scoring_examples=40))
    whole = sc.prune(workload, density=0.2, method="snip")
    again = sc.prune(workload, density=0.2, method="snip", memory=12_000)
    assert again.mask == whole.mask
    assert again.provenance["scoring_memory"] == 12_000
    assert "scoring_memory" not in whole.provenance
    with pytest.raises(ValueError, match="the memory for scoring"):
        sc.prune(workload, density=0.2, method="snip", memory=0)


def test_what_is_compared_is_scored_alike(tmp_path: Path) -> None:
    task = sc.Task.of(torch.rand(90, 1, 6, 6), torch.arange(90) % 3)
    workload = sc.Workload(network().float(), task, sc.Recipe(max_steps=5, scoring_examples=40))
    run = sc.Experiment(workload, sc.Method("snip"), 0.2, 0)
    for call in (
        lambda: run.run(sc.Session(memory=2**30)),
        lambda: sc.sweep([run], tmp_path / "runs", memory=2**30),
        lambda: sc.build(workload, [0], tmp_path / "table", memory=2**30),
    ):
        with pytest.raises(ValueError, match="scored like all that it is compared with"):
            call()
    assert not list(tmp_path.iterdir())


def test_stored_scores_know_the_memory(tmp_path: Path) -> None:
    made = network(nn.BatchNorm2d)
    scorer = Shared(Store(tmp_path)).of(sc.make_scorer("snip"))
    whole = scorer(made, batch(), F.cross_entropy).tensors
    with scoring_memory(20_000), pytest.warns(OwnBatchesWarning):
        pieces = scorer(made, batch(), F.cross_entropy).tensors
    assert not torch.equal(whole["0.weight"], pieces["0.weight"])
    assert torch.equal(scorer(made, batch(), F.cross_entropy).tensors["0.weight"], whole["0.weight"])
