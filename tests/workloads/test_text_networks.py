"""Networks of texts: explicit references of their forward passes, padding, vectors from files, identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import scratchcard as sc
from scratchcard.pruning.compaction import compact
from scratchcard.setting import SettingError
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.networks.text import TextWidths
from scratchcard.workloads.networks.word_vectors import word_vectors
from scratchcard.workloads.task import Task
from scratchcard.workloads.text_encoding import TextEncoding
from scratchcard.workloads.workload import Workload

WORDS = ("<padding>", "<unknown>", "a", "film", "cat")
pytestmark = pytest.mark.filterwarnings("ignore::scratchcard.pruning.findings.TicketWarning")  # of such small texts
NAMES = ("text_cnn,width=4,filters=3", "text_widths,width=4,widths=4", "text_bag,width=4")
TEXTS = ["a film", "a cat", "film film a", "cat cat cat cat cat cat cat", "", "dog"]


def text_task(examples: int = 60) -> Task:
    text = TextEncoding(WORDS, 6)
    return Task.of(
        text.tokens([TEXTS[n % 6] for n in range(examples)]),
        torch.arange(examples) % 2,
        encoding={"text": text.to_json(), "classes": ["no", "yes"]},
    )


def reference(network: nn.Module, words: list[int]) -> np.ndarray:
    """The logits of one text by loops over its words alone, which knows of no padding."""
    weights = {name: parameter.detach().double().numpy() for name, parameter in network.named_parameters()}
    embedded = weights["words.embedding.weight"][words]
    if "windows.0.convolution.weight" not in weights:
        features = embedded.mean(0) if words else np.zeros(embedded.shape[1])
    else:
        features = np.zeros(0)
        count = sum(name.endswith("convolution.weight") for name in weights)
        for n in range(count):
            filters, bias = (weights[f"windows.{n}.convolution.{part}"] for part in ("weight", "bias"))
            width = filters.shape[2]
            best = np.zeros(len(filters))
            for start in range(1 - width, len(words)):
                inside = [k for k in range(width) if 0 <= start + k < len(words)]
                if not inside:
                    continue
                value = bias + sum(filters[:, :, k] @ embedded[start + k] for k in inside)
                best = np.maximum(best, value)
            features = np.append(features, best)
    return weights["output.weight"] @ features + weights["output.bias"]


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_words_alone_however_far_a_text_is_filled_up(name: str) -> None:
    network = build_network(name, (6,), 2, 0, WORDS).double().eval()
    with torch.no_grad():  # biases above zero would count windows of padding
        for parameter in network.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.5)
    assert bool(network.get_parameter("words.embedding.weight")[0].any())  # not even the row of padding is zero
    for words in ([2], [2, 3, 4], [4, 4, 3, 2, 1, 3], []):
        wanted = reference(network, words)
        for length in (6, 9):
            tokens = torch.tensor([words + [0] * (length - len(words))])
            with torch.no_grad():
                np.testing.assert_allclose(network(tokens)[0].numpy(), wanted, rtol=1e-9)


@pytest.mark.parametrize(("name", "same"), [("text_cnn", True), ("text_widths", False), ("text_bag", True)])
def test_dropout_before_the_maximum_draws_for_padding_too(name: str, same: bool) -> None:
    """What `docs/text.md` says of texts that are filled up further, with dropout on."""
    network, words = build_network(name, (6,), 2, 0, WORDS).double().train(), [[2, 3, 4, 1], [4, 4, 2, 3]]
    outputs = []
    for length in (6, 9):
        torch.manual_seed(0)
        outputs.append(network(torch.tensor([text + [0] * (length - 4) for text in words])))
    assert torch.allclose(*outputs) is same


def test_published_networks_have_their_weights() -> None:
    words = tuple(str(n) for n in range(1000))
    counts = {}
    for name in ("text_cnn", "text_widths", "text_bag"):
        network = build_network(name, (40,), 2, 0, words)
        counts[name] = sum(weight.numel() for weight in sc.prunable(network).values()) - 300_000
    # Kim: 3 x 100 filters over 300; widths 1 to 22, of which 253 is the sum, in 3 channels.
    assert counts == {
        "text_cnn": 300 * 100 * (3 + 4 + 5) + 300 * 2,
        "text_widths": 300 * 3 * 253 + 66 * 2,
        "text_bag": 300 * 2,
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_row_of_padding_stays_as_it_is_in_training(name: str) -> None:
    task = text_task()
    recipe = sc.Recipe(max_steps=5, evaluation_interval=5, batch_size=20)
    ticket = sc.prune(name, task, density=0.5, method="magnitude", recipe=recipe)
    trained, _ = sc.train(ticket, name, task, recipe=recipe)
    assert trained.trained is not None
    table = trained.trained["words.embedding.weight"]
    assert not bool(table[0].any())
    pruned = ~ticket.mask.tensors["words.embedding.weight"]
    assert not bool(table[pruned].any())
    assert not torch.equal(table, ticket.initial["words.embedding.weight"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("passes", [0, 1, 4])
def test_every_budget_finds_a_ticket(name: str, passes: int) -> None:
    ticket = sc.prune(name, text_task(120), density=0.3, passes=passes)
    assert ticket.mask.kept == round(0.3 * ticket.mask.total)
    assert bool(ticket.mask.tensors["output.weight"].any())


def test_what_the_default_predictor_cannot_score_it_refuses_and_names_another() -> None:
    with pytest.raises(ValueError, match=r"embedding.weight belongs to Embedding; .* such as synflow_l2_data"):
        sc.prune("text_bag,width=4", text_task(), density=0.3, method="default")


@pytest.mark.parametrize("name", NAMES)
def test_compacted_networks_of_texts_compute_the_same(name: str) -> None:
    task = text_task()
    network = Workload(name, task).build(0).eval()
    mask = sc.keep_top(
        sc.make_scorer("magnitude")(network, Workload(name, task).scoring_batch(0), F.cross_entropy), 0.2
    )
    mask.apply_to(network)
    small = compact(network, mask).network.eval()
    with torch.no_grad():
        torch.testing.assert_close(small(task.train.tensor), network(task.train.tensor))


def test_embeddings_can_stay_whole_and_that_is_told_in_the_run() -> None:
    method = sc.Method.of("magnitude", exclude=("words",))
    ticket = sc.prune("text_cnn,width=4,filters=3", text_task(), density=0.5, method=method)
    assert bool(ticket.mask.tensors["words.embedding.weight"].all())
    assert ticket.mask.total == 4 * 3 * 12 + 9 * 2  # of the others alone
    assert ticket.provenance["method"]["exclude"] == ("words",)


VECTORS = "3 4\nfilm 1 2 3 4\ncat -1 0 0.5 2e-1\nthe 9 9 9 9\n"


@pytest.mark.parametrize("header", [True, False])
def test_embeddings_begin_as_a_files_vectors(header: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("words.vec").write_text(VECTORS if header else VECTORS.partition("\n")[2])
    networks = [build_network("text_bag,vectors=words.vec", (6,), 2, seed, WORDS) for seed in (0, 1)]
    for network in networks:
        table = network.get_parameter("words.embedding.weight")
        assert table[3].tolist() == [1, 2, 3, 4]
        torch.testing.assert_close(table[4].data, torch.tensor([-1, 0, 0.5, 0.2]))
        assert table[0].tolist() == [0, 0, 0, 0]
        assert float(table[2].detach().abs().max()) <= 0.25
    assert not torch.equal(*(network.get_parameter("words.embedding.weight")[2] for network in networks))


def test_the_file_of_vectors_is_part_of_the_workloads_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task, names = text_task(), ("text_bag", "text_bag,width=300,vectors=words.vec", "text_bag,vectors=words.vec")
    Path("words.vec").write_text("film " + "1 " * 300)
    plain, wide, found = (Workload(name, task).describe() for name in names)
    assert "vectors_sha256" not in plain
    assert len(found["vectors_sha256"]) == 64
    assert wide["vectors_sha256"] == found["vectors_sha256"]
    text = TextEncoding((*WORDS[:4], "cats"), 6).to_json()
    other = Task.of(task.train.tensor, task.train.targets, encoding={"text": text})
    same = Task.of(task.train.tensor, task.train.targets, encoding={"text": TextEncoding(WORDS, 6).to_json()})
    assert other.digest == same.digest  # the same tokens of other words
    assert Workload("text_bag", other).describe() != Workload("text_bag", same).describe()
    Path("words.vec").write_text("film " + "2 " * 300)
    assert Workload(names[2], task).describe()["vectors_sha256"] != found["vectors_sha256"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("film 1 2\ncat 1 2 3\n", "line 2 of .* gives 'cat' no 2 finite numbers"),
        ("film 1 two\n", "line 1 of .* gives 'film' no 2 finite numbers"),
        ("film 1 nan\n", "no 2 finite numbers"),
        ("film\n", "gives 'film' no 0 finite numbers"),
        ("dog 1 2\n", "has none of the 5 words"),
        ("\x00\x01", "has none of the 5 words"),
        ("", "has none of the 5 words"),
    ],
)
def test_odd_files_of_vectors_get_a_sentence(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text(content)
    with pytest.raises(ValueError, match=said):
        word_vectors(str(tmp_path / "odd.txt"), WORDS)


def test_names_of_networks_hold_their_options_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = text_task()
    assert Workload("text_cnn,filters=100,width=50", task).network_name == "text_cnn,width=50"
    assert Workload("text_cnn,filters=100", task).describe() == Workload("text_cnn", task).describe()
    for name, kind, said in (
        ("text_cnn,size=3", SettingError, "text_cnn has no setting size; it has width, vectors, filters, dropout"),
        ("lenet_5,width=3", SettingError, "lenet_5 has no options"),
        ("text_cn,width=3", ValueError, "did you mean 'text_cnn'"),
        ("text_bag,vectors=no.vec", FileNotFoundError, "no file no.vec of words' vectors"),
    ):
        with pytest.raises(kind, match=said):
            Workload(name, task).build(0)
    Path("small.vec").write_text(VECTORS)
    with pytest.raises(ValueError, match=r"the width is 5, and small\.vec has vectors of 4"):
        Workload("text_bag,vectors=small.vec,width=5", task).build(0)
    with pytest.raises(ValueError, match="'text_bag' takes texts, and the task has none"):
        Workload("text_bag", sc.load_task("digits")).build(0)


def test_a_ticket_says_how_texts_become_tokens(tmp_path: Path) -> None:
    task = text_task()
    ticket = sc.prune("text_bag,width=4", task, density=0.5, method="magnitude")
    loaded = sc.Ticket.load(ticket.save(tmp_path / "t.safetensors"))
    text = TextEncoding.from_json(loaded.provenance["encoding"]["text"])
    assert text == task.encoding.text
    assert text.tokens(["a film"]).tolist() == [[2, 3, 0, 0, 0, 0]]


def test_dropout_lies_between_pooling_over_time_and_the_largest_value() -> None:
    network = build_network("text_widths,width=4,widths=2,dropout=0.9", (6,), 2, 0, WORDS)
    assert isinstance(network, TextWidths)
    torch.manual_seed(0)
    tokens = torch.tensor([[2, 3, 4, 2, 3, 4]])
    assert not torch.equal(network(tokens), network(tokens))
    network.eval()
    assert torch.equal(network(tokens), network(tokens))


def test_a_grid_takes_plain_names_alone(tmp_path: Path) -> None:
    from scratchcard.sweeps.grid import read_grid

    for n in range(40):
        (tmp_path / "pets" / str(n % 2)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / str(n % 2) / f"{n}.txt").write_text(f"a word {n % 4}")
    text = f"""
name = "pets"
title = "Pets"
densities = 0.5
seeds = 0
methods = [{{ scorer = "magnitude" }}]
[workload]
task = "text_folder:{tmp_path / "pets"},length=4"
"""
    (tmp_path / "plain.toml").write_text(text + 'network = "text_bag,width=4"\n')
    (run,) = read_grid(tmp_path / "plain.toml", tmp_path).experiments
    assert run.workload.network_name == "text_bag,width=4"
    for network, said in (
        ("text_bag,width=none", "'text_bag,width=none' is 'text_bag', as some of its options are at their default"),
        ("text_bag,size=4", "text_bag has no setting size"),
        ("text_bog,size=4", "did you mean 'text_bag'"),
    ):
        (tmp_path / "other.toml").write_text(text + f'network = "{network}"\n')
        with pytest.raises(ValueError, match=said):
            read_grid(tmp_path / "other.toml", tmp_path)
