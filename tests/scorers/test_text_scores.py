"""Scores of networks of texts, against explicit sums over embeddings, windows and places; rows that no text has."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.connectivity import effective_mask
from scratchcard.pruning.findings import TicketWarning
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import SCORERS
from scratchcard.scorers.synflow import SynFlow
from scratchcard.scorers.synflow_l2_data import SynFlowL2Data
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.task import Task
from scratchcard.workloads.text_encoding import TextEncoding

WORDS = ("<padding>", "<unknown>", "a", "film", "cat")
TOKENS = torch.tensor([[2, 3, 0, 0, 0], [3, 2, 2, 4, 0], [2, 2, 3, 3, 1], [4, 0, 0, 0, 0], [3, 3, 0, 0, 0]])
TARGETS = torch.tensor([0, 1, 0, 1, 0])
NAMES = (
    "text_cnn,width=3,filters=2,dropout=0",
    "text_widths,width=3,widths=3,channels=2,dropout=0",
    "text_bag,width=3",
)


def network_of(name: str, seed: int = 0) -> nn.Module:
    return build_network(name, (5,), 2, seed, WORDS).double()


def flow(name: str, weights: dict[str, np.ndarray], fed: np.ndarray) -> float:
    """The sum over all paths, by loops: `fed` is what each entry of the table gets at each place, `(5, entries)`."""
    table = weights["words.embedding.weight"]
    embedded = np.array([[sum(fed[t, e] * table[e, j] for e in range(5)) for j in range(3)] for t in range(5)])
    if name.startswith("text_bag"):
        features = [embedded[:, j].sum() for j in range(3)]  # that it is a mean changes all by one factor
    else:
        features = []
        for key in (key for key in weights if key.startswith("windows")):
            filters = weights[key]
            width = filters.shape[2]
            for own in filters:
                places = []
                for start in range(1 - width, 5):
                    inside = [(start + k, k) for k in range(width) if 0 <= start + k < 5]
                    places.append(sum(own[j, k] * embedded[t, j] for t, k in inside for j in range(3)))
                features.append(max(places))
    return float(sum(row @ np.array(features) for row in weights["output.weight"]))


def reference(name: str, network: nn.Module, fed: np.ndarray, power: int) -> dict[str, np.ndarray]:
    """`w * dR/dw` by differences, exact as R is linear in each entry between changes of the largest place."""
    weights = {key: weight.detach().abs().pow(power).numpy().copy() for key, weight in prunable(network).items()}
    scores = {key: np.zeros_like(weight) for key, weight in weights.items()}
    for key, weight in weights.items():
        for place in np.ndindex(weight.shape):
            old, sums = weight[place], []
            for sign in (1, -1):
                weight[place] = old * (1 + sign * 1e-6)
                sums.append(flow(name, weights, fed))
            weight[place] = old
            scores[key][place] = (sums[0] - sums[1]) / 2e-6
    return scores


@pytest.mark.parametrize("name", NAMES)
def test_synflow_is_the_explicit_sum_over_paths_whatever_the_texts(name: str) -> None:
    network = network_of(name)
    found = SynFlow()(network, (TOKENS, TARGETS), F.cross_entropy).tensors
    for key, wanted in reference(name, network, np.ones((5, 5)), 1).items():
        np.testing.assert_allclose(found[key].numpy(), wanted, rtol=1e-6, atol=1e-9)
    for texts in (torch.zeros_like(TOKENS), TOKENS.flip(0)):
        again = SynFlow()(network, (texts, TARGETS), F.cross_entropy).tensors
        assert all(torch.equal(again[key], found[key]) for key in found)
    total = found["output.weight"].sum()
    torch.testing.assert_close(found["words.embedding.weight"].sum(), total)


@pytest.mark.parametrize("name", NAMES)
def test_l2_with_data_is_fed_with_the_variance_of_each_word_at_each_place(name: str) -> None:
    network = network_of(name)
    found = SynFlowL2Data()(network, (TOKENS, TARGETS), F.cross_entropy).tensors
    shares = np.array([[(TOKENS[:, t] == e).float().mean().item() for e in range(5)] for t in range(5)], np.float64)
    for key, wanted in reference(name, network, shares * (1 - shares), 2).items():
        np.testing.assert_allclose(found[key].numpy(), wanted, rtol=1e-4, atol=1e-9)
    one_word = TOKENS.clone()
    one_word[:] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        none = SynFlowL2Data()(network, (one_word, TARGETS), F.cross_entropy).tensors
    assert not any(bool(score.any()) for score in none.values())  # what never varies draws no paths


@pytest.mark.parametrize("name", NAMES)
def test_snip_is_what_a_gate_at_each_weight_changes(name: str) -> None:
    network = network_of(name)
    found = SCORERS["snip"]()(network, (TOKENS, TARGETS), F.cross_entropy).tensors
    for key, weight in prunable(network).items():
        wanted = torch.zeros_like(weight)
        for place in np.ndindex(tuple(weight.shape)):
            old = weight[place].detach().item()
            losses = []
            for sign in (1, -1):
                with torch.no_grad():
                    weight[place] = old * (1 + sign * 1e-5)
                losses.append(F.cross_entropy(network(TOKENS), TARGETS).detach().item())
            with torch.no_grad():
                weight[place] = old
            wanted[place] = abs(losses[0] - losses[1]) / 2e-5
        torch.testing.assert_close(found[key], wanted.detach(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("scorer", ["snip", "grasp", "grasp_abs", "prospr", "synflow_l2_data"])
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_words_that_no_scoring_text_has_score_zero(scorer: str, name: str) -> None:
    tokens, targets = TOKENS[[0, 4, 0, 4]], TARGETS[[0, 1, 0, 1]]  # words 2 and 3
    scores = SCORERS[scorer]()(network_of(name), (tokens, targets), F.cross_entropy).tensors["words.embedding.weight"]
    assert not bool(scores[[0, 1, 4]].any())
    assert bool(scores[[2, 3]].any())


@pytest.mark.parametrize("scorer", ["magnitude", "gauss_newton", "synflow"])
def test_criteria_of_the_weights_themselves_score_those_rows_too(scorer: str) -> None:
    network = network_of("text_cnn,width=3,filters=2,dropout=0")
    scores = SCORERS[scorer]()(network, (TOKENS[[0, 4]], TARGETS[[0, 1]]), F.cross_entropy).tensors
    rows = scores["words.embedding.weight"]
    assert bool((rows[[1, 4]] > 0).all())
    if scorer == "gauss_newton":
        torch.testing.assert_close(rows[4], prunable(network)["words.embedding.weight"].detach()[4].abs())
    assert not bool(rows[0].any())  # the row of padding is zero


def text_task(examples: int) -> Task:
    texts = ["a film", "a cat", "film film a", "cat cat"] * (examples // 4)
    text = TextEncoding(WORDS, 5)
    return Task.of(text.tokens(texts), torch.arange(examples) % 2, encoding={"text": text.to_json()})


def test_rows_that_are_kept_by_lot_are_told() -> None:
    import scratchcard as sc

    task = text_task(80)
    recipe = sc.Recipe(scoring_examples=1)
    with pytest.warns(TicketWarning, match="by lot"):
        sc.prune("text_bag,width=3", task, density=0.9, method="snip", recipe=recipe)


@pytest.mark.parametrize("name", NAMES)
def test_scores_know_no_padding(name: str) -> None:
    """A text that is filled up further has the same SNIP scores; paths are those of texts without padding."""
    network = network_of(name)
    longer = F.pad(TOKENS, (0, 4))
    for make in (SCORERS["snip"], SCORERS["grasp"]):
        one, other = (make()(network, (tokens, TARGETS), F.cross_entropy).tensors for tokens in (TOKENS, longer))
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("example", [lambda: (5,), lambda: torch.zeros(1, 5, dtype=torch.int64), lambda: TOKENS])
def test_connectivity_counts_paths_of_words(name: str, example: Callable[[], tuple[int, ...] | Tensor]) -> None:
    network = network_of(name)
    mask = Mask.dense(network)
    kept = {key: tensor.clone() for key, tensor in mask.tensors.items()}
    kept["output.weight"][:, 0] = False
    found = effective_mask(network, Mask(kept), example())
    if name.startswith("text_bag"):
        assert not bool(found.tensors["words.embedding.weight"][:, 0].any())  # its dimension leads nowhere
        assert bool(found.tensors["words.embedding.weight"][:, 1:].all())
    else:
        assert not bool(found.tensors["windows.0.convolution.weight"][0].any())
        assert bool(found.tensors["windows.0.convolution.weight"][1].all())
        assert bool(found.tensors["words.embedding.weight"].all())
