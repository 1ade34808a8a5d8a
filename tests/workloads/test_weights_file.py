"""Weights files: states that other code saved, wrapped or in checkpoints, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models import mnasnet0_5

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.state import load_state
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.weights_file import load_weights
from tests.frontends.calls import as_json, run


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


class Runs:
    """What would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth", "PT"])
def test_a_plain_state_is_loaded(ending: str, tmp_path: Path) -> None:
    source, target, path = network(), network(), tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(source.state_dict(), path)
    load_weights(target, path)
    assert same(source, target)


WRAPPED: dict[str, tuple[Any, str]] = {
    "DataParallel": (nn.DataParallel, "'module.' before"),
    "compiled": (torch.compile, "'_orig_mod.' before"),
    "both": (lambda inner: torch.compile(nn.DataParallel(inner)), "'_orig_mod.module.' before"),
    "averaged": (AveragedModel, "'module.' before"),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_the_prefix_of_a_wrapper_is_left_away_and_that_is_said(wrapper: str, ending: str, tmp_path: Path) -> None:
    wrap, said = WRAPPED[wrapper]
    source, target, path = network(), network(), tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(wrap(source).state_dict(), path)
    with pytest.warns(UserWarning, match=said):
        load_weights(target, path)
    assert same(source, target)


def test_a_network_whose_own_names_begin_like_a_wrappers_keeps_them(tmp_path: Path) -> None:
    source, target = (nn.ModuleDict({"module": network()}) for _ in range(2))
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    load_weights(target, tmp_path / "weights.pt")
    assert same(source, target)


@pytest.mark.parametrize("name", ["state_dict", "model", "anything"])
def test_the_one_state_of_a_checkpoint_is_taken_and_that_is_said(name: str, tmp_path: Path) -> None:
    source, target, path = network(), network(), tmp_path / "checkpoint.pth"
    optimizer = torch.optim.Adam(source.parameters())
    source(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    torch.save({"epoch": 3, name: source.state_dict(), "optimizer": optimizer.state_dict(), "best": 0.5}, path)
    with pytest.warns(UserWarning, match=f"is a checkpoint: the weights are its '{name}'"):
        load_weights(target, path)
    assert same(source, target)


def test_of_several_states_none_is_guessed_and_the_line_that_saves_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, target = network(), network()
    torch.save({"model": source.state_dict(), "ema": network().state_dict()}, "checkpoint.pt")
    with pytest.raises(ValueError, match=r"several states \(model, ema\); save the one to take: ") as refused:
        load_weights(target, Path("checkpoint.pt"))
    exec(str(refused.value).partition("to take: ")[2], {"torch": torch})  # noqa: S102
    load_weights(target, Path("weights.pt"))
    assert same(source, target)


def state_of(change: dict[str, Tensor | None]) -> dict[str, Tensor]:
    state = dict(network().state_dict()) | change
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (network(), r"holds more than plain tensors \(torch\.nn\.\S+\), which could run code .* torch\.save\(network"),
        ({"weight": Runs()}, r"holds more than plain tensors \(\S+\), which could run code"),
        ([torch.zeros(2)], "holds list, expected the state of a network: torch.save"),
        (torch.zeros(2), "holds Tensor, expected the state"),
        ({}, "no state of plain tensors but nothing; save one"),
        ({"epoch": 3, "lr": 0.1}, "no state of plain tensors but 'epoch': int, 'lr': float; save one"),
        (
            state_of({"1.bias": None, "3.weight": torch.zeros(2, 9), "more": torch.zeros(1)}),
            r"do not fit the network: missing are 1\.bias; unknown are more; of another shape are 3\.weight \(2, 9\), "
            r"expected \(2, 3\)$",
        ),
        ({"a": torch.zeros(1)}, r"missing are 1\.weight, 1\.bias, 2\.weight and 6 more; unknown are a$"),
    ],
)
def test_what_is_no_state_of_the_network_is_refused_in_one_sentence(
    content: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "weights.pt")
    with pytest.raises(ValueError, match=message) as refused:
        load_weights(network(), Path("weights.pt"))
    assert "\n" not in str(refused.value)
    assert not Path("ran").exists()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.pt", tmp_path / "damaged.pt"
    torch.save(network().state_dict(), whole)
    content = whole.read_bytes()
    for part in (b"", b"hello", content[:9], content[: len(content) // 2], content[:-5]):
        damaged.write_bytes(part)
        with pytest.raises(ValueError, match=r"damaged\.pt (is damaged|holds more than plain tensors)"):
            load_weights(network(), damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), damaged)
    with pytest.raises(ValueError, match="holds more than plain tensors"):
        load_weights(network(), damaged)
    (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"torch's own files must end in \.pt or \.pth"):
        load_weights(network(), tmp_path / "weights.bin")


def test_layers_that_ask_for_the_version_of_their_state_get_it(tmp_path: Path) -> None:
    source, target = mnasnet0_5(num_classes=3), mnasnet0_5(num_classes=3)
    plain = dict(source.state_dict())
    with pytest.raises(ValueError, match="version should be set"):
        target.load_state_dict(plain)  # else this test shows nothing
    load_state(target, plain)
    assert same(source, target)
    for ending, write in (("safetensors", save_file), ("pt", torch.save)):
        write({f"module.{name}": tensor for name, tensor in plain.items()}, tmp_path / f"weights.{ending}")
        target = mnasnet0_5(num_classes=3)
        with pytest.warns(UserWarning, match="saved from a wrapper"):
            load_weights(target, tmp_path / f"weights.{ending}")
        assert same(source, target)


def test_an_old_state_without_the_counters_of_batch_norm_is_loaded(tmp_path: Path) -> None:
    source, target = network(), network()
    state = {name: tensor for name, tensor in source.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "old.safetensors")
    load_weights(target, tmp_path / "old.safetensors")
    assert same(source, target)


@pytest.mark.filterwarnings("default")
def test_the_command_line_prunes_from_a_checkpoint_and_says_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["prune", "--scorer", "magnitude", "--density", 0.1, "--weights"]
    first = as_json("prune", "--scorer", "magnitude", "--density", 0.1, "--out", "first.safetensors")
    ticket = Ticket.load("first.safetensors")
    state = {f"module.{name}": tensor for name, tensor in ticket.initial.items()}
    torch.save({"model": state, "epoch": 3}, "checkpoint.pt")
    result = run(*call, "checkpoint.pt", "--seed", 5, "--out", "second.safetensors", "--json")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines == [
        "scratchcard: warning: checkpoint.pt is a checkpoint: the weights are its 'model'",
        "scratchcard: warning: checkpoint.pt was saved from a wrapper: the 'module.' before its names was left away",
    ]
    assert json.loads(result.stdout)["kept"] == first["kept"]
    assert Ticket.load("second.safetensors").mask == ticket.mask


def test_a_ticket_of_a_network_with_versions_is_saved_loaded_and_applied(tmp_path: Path) -> None:
    source, target = mnasnet0_5(num_classes=3), mnasnet0_5(num_classes=3)
    Ticket.of(source, Mask.dense(source)).save(tmp_path / "ticket.safetensors")
    Ticket.load(tmp_path / "ticket.safetensors").apply_to(target)
    assert same(source, target)
