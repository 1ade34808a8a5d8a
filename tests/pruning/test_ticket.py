"""Tickets: what is saved is loaded; what is damaged is refused in one sentence."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from scratchcard.artefacts.tensor_file import UncheckedWarning, write_tensors
from scratchcard.pruning.hold import verify
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.state import copy_state
from scratchcard.pruning.ticket import FORMAT, Ticket, nonzero_pruned
from tests.artefacts.rewritten import rewritten


def network_from(seed: int = 0, width: int = 4) -> nn.Sequential:
    """Two linear layers with normalisation (and so buffers) between them."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2)).double()


def ticket_from(seed: int = 0, *, trained: bool = False) -> Ticket:
    """A ticket that keeps about half of the weights."""
    network = network_from(seed)
    generator = torch.Generator().manual_seed(seed)
    mask = Mask({name: torch.rand(w.shape, generator=generator) < 0.5 for name, w in prunable(network).items()})
    ticket = Ticket.of(network, mask, {"scorer": "SNIP()", "seed": seed, "rounds": [1, 2]})
    if not trained:
        return ticket
    network = network_from(seed + 1)
    mask.apply_to(network)
    return Ticket(ticket.initial, mask, ticket.provenance, copy_state(network))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether names, order, dtypes and bits agree."""
    return list(first) == list(second) and all(
        tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def one_sentence(error: pytest.ExceptionInfo[ValueError], path: Path) -> None:
    """The message names the file and is one line."""
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("trained", [False, True])
def test_round_trip(tmp_path: Path, trained: bool) -> None:
    ticket = ticket_from(trained=trained)
    path = ticket.save(tmp_path / "deep" / "a.safetensors")
    loaded = Ticket.load(path)
    assert same(dict(loaded.initial), dict(ticket.initial))
    assert loaded.mask == ticket.mask
    assert loaded.provenance == ticket.provenance
    assert (loaded.trained is None) == (not trained)
    if trained:
        assert same(dict(loaded.trained), dict(ticket.trained))
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_round_trip_of_odd_tensors(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight  # shared
    network[0].bias = nn.Parameter(torch.randn(6)[::2])  # not contiguous
    ticket = Ticket.of(network, Mask.dense(network))
    loaded = Ticket.load(ticket.save(tmp_path / "a"))
    assert same(dict(loaded.initial), dict(ticket.initial))


def test_apply_loads_the_weights_and_zeroes_pruned_ones() -> None:
    ticket, network = ticket_from(trained=True), network_from(7)
    ticket.apply_to(network)
    verify(network, ticket.mask)
    for name, weight in prunable(network).items():
        assert torch.equal(weight, ticket.initial[name] * ticket.mask.tensors[name])
    assert torch.equal(network[1].running_var, ticket.initial["1.running_var"])
    ticket.apply_to(network, trained=True)
    for name, weight in prunable(network).items():
        assert torch.equal(weight, ticket.trained[name] * ticket.mask.tensors[name])


def test_trap_the_ticket_aliases_neither_the_network_it_came_from_nor_the_one_it_is_applied_to() -> None:
    network = network_from()
    ticket = Ticket.of(network, Mask.dense(network))
    expected = {name: tensor.clone() for name, tensor in ticket.initial.items()}
    for touched in (network, network_from(3)):
        ticket.apply_to(touched)
        with torch.no_grad():
            for tensor in touched.state_dict().values():
                tensor.zero_()
        assert same(dict(ticket.initial), expected)


@pytest.mark.parametrize("wrapped", [nn.DataParallel, torch.compile, lambda made: nn.DataParallel(torch.compile(made))])
def test_a_network_in_a_wrapper_is_meant_inside_of_it(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    ticket, network = ticket_from(), network_from(7)
    with ticket.hold(wrapped(network)):
        verify(wrapped(network), ticket.mask)
    assert torch.equal(network[0].weight, ticket.initial["0.weight"] * ticket.mask.tensors["0.weight"])
    made = Ticket.of(wrapped(network), ticket.mask)
    assert same(dict(made.initial), copy_state(network))


def test_refuses_to_apply_trained_weights_that_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="holds no trained weights"):
        ticket_from().apply_to(network_from(), trained=True)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (network_from(width=5), r"the ticket: '0\.weight' has shape \(4, 3\), expected \(5, 3\)"),
        (nn.Sequential(nn.Linear(3, 4)).double(), "the ticket: expected the weights"),
        (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double(), "the ticket: expected the weights"),
        (nn.Sequential(*network_from(), nn.Linear(2, 2)).double(), "the ticket: expected the weights"),
    ],
)
def test_refuses_another_network_and_leaves_it_alone(network: nn.Module, message: str) -> None:
    before = copy_state(network)
    with pytest.raises(ValueError, match=message):
        ticket_from().apply_to(network)
    assert same(copy_state(network), before)


def test_refuses_a_mask_of_another_network() -> None:
    with pytest.raises(ValueError, match="the mask"):
        Ticket.of(network_from(), Mask.dense(network_from(width=5)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no ticket at .*gone"):
        Ticket.load(tmp_path / "gone")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_truncated_anywhere_is_refused(tmp_path: Path, share: float) -> None:
    path = ticket_from(trained=True).save(tmp_path / "a")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError) as caught:
        Ticket.load(path)
    one_sentence(caught, path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_in_the_header_is_refused_or_harmless(tmp_path: Path, place: int, byte: int) -> None:
    path = ticket_from().save(tmp_path / "a")
    content = bytearray(path.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    content[place % header] = byte
    path.write_bytes(content)
    try:
        Ticket.load(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "a safetensors file but not a ticket"),
        ({"format": None}, "a safetensors file but not a ticket"),
        ({"version": "3"}, "has ticket version 3, this release reads 1, 2"),
        ({"version": None}, "has ticket version None, this release reads 1, 2"),
        ({"weights": None}, "damaged"),
        ({"weights": "[]"}, "it names no weights"),
        ({"weights": "null"}, "weights is no list of names"),
        ({"weights": "[1]"}, "weights is no list of names"),
        ({"weights": '["0.weight"]', "excluded": '["3.weight"]'}, "damaged"),
        ({"excluded": '["0.weight"]'}, "does not keep the whole weight"),
        ({"provenance": '{"kept": 3}'}, "but it says 3"),
        ({"version": "1"}, "damaged"),
        ({"weights": "["}, "damaged"),
        ({"weights": "3"}, "damaged"),
        ({"weights": '["gone.weight"]'}, "damaged"),
        ({"state": '["gone.weight"]'}, "damaged"),
        ({"state": "null"}, "damaged"),
        ({"provenance": "{"}, "damaged"),
        ({"provenance": None}, "damaged"),
        ({"provenance": "[]"}, "no JSON object but list"),
        ({"provenance": "null"}, "no JSON object but NoneType"),
        ({"provenance": '"text"'}, "no JSON object but str"),
        ({"provenance": "[" * 200_000}, "damaged"),
    ],
)
def test_changed_metadata_is_refused(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    path = rewritten(ticket_from().save(tmp_path / "a"), changes)
    with pytest.raises(ValueError, match=message) as caught:
        Ticket.load(path)
    one_sentence(caught, path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04pickle", b"\xff" * 64, b"{}" * 50])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or truncated") as caught:
        Ticket.load(path)
    one_sentence(caught, path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_tensors(path, {"weight": torch.ones(2)}, {})
    with pytest.raises(ValueError, match="a safetensors file but not a ticket") as caught:
        Ticket.load(path)
    one_sentence(caught, path)


FIRST = {"format": FORMAT, "version": "1", "weights": '["w"]', "state": '["w"]', "provenance": "{}"}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"initial/w": torch.ones(2), "mask/w": torch.ones(2)}, "expected bool"),
        ({"initial/w": torch.ones(2), "mask/w": torch.ones(3).bool()}, r"'w' has shape \(3,\), expected \(2,\)"),
        ({"initial/w": torch.ones(2).int(), "mask/w": torch.ones(2).bool()}, "expected floating numbers"),
        (
            {"initial/w": torch.ones(2), "trained/w": torch.ones(2), "mask/w": torch.tensor([True, False])},
            "1 trained weights of 'w' that the ticket prunes are not zero",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    path = write_tensors(tmp_path / "a", tensors, FIRST)
    with pytest.raises(ValueError, match=message):
        Ticket.load(path)


def test_a_ticket_of_the_first_version_is_read_and_said_to_be_unchecked(tmp_path: Path) -> None:
    path, kept = tmp_path / "a", torch.tensor([[True, False]])
    tensors = {"initial/w": torch.ones(1, 2), "mask/w": kept, "trained/w": torch.tensor([[0.5, 0.0]])}
    save_file(tensors, path, FIRST)
    with pytest.warns(UncheckedWarning, match="has no checksum"):
        ticket = Ticket.load(path)
    assert ticket.mask == Mask({"w": kept})
    assert ticket.trained is not None
    assert torch.equal(ticket.trained["w"], tensors["trained/w"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(tmp_path: Path, place: float, bit: int) -> None:
    path = ticket_from(trained=True).save(tmp_path / "a")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        Ticket.load(path)
    one_sentence(caught, path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"kept/0.weight": torch.zeros(1, dtype=torch.uint8)}, r"the mask of '0.weight' is not of the shape \(4, 3\)"),
        ({"kept/0.weight": torch.zeros(2)}, "is not of the shape"),
        ({"kept/0.weight": None}, "damaged"),
        ({"trained/0.weight": torch.zeros(1).double()}, "are not as many as are kept"),
        ({"trained/1.bias": None}, "trained weights"),
        ({"initial/0.weight": torch.zeros(4, 3).int()}, "expected floating numbers"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor | None], message: str
) -> None:
    path = rewritten(ticket_from(trained=True).save(tmp_path / "a"), tensors=tensors)
    with pytest.raises(ValueError, match=message) as caught:
        Ticket.load(path)
    one_sentence(caught, path)


def test_a_trained_ticket_takes_little_more_than_the_dense_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Linear(300, 300, bias=False)
    mask = Mask({"weight": torch.rand(300, 300) < 0.01})
    ticket = Ticket.of(network, mask)
    mask.apply_to(network)
    trained = Ticket(ticket.initial, mask, {}, copy_state(network))
    dense = 4 * mask.total
    assert dense < trained.save(tmp_path / "a").stat().st_size < dense + mask.total // 8 + 4 * mask.kept + 1000


def test_an_excluded_weight_comes_back_as_excluded(tmp_path: Path) -> None:
    network = network_from()
    whole, some = torch.ones(4, 3, dtype=torch.bool), torch.rand(2, 4) < 0.5
    ticket = Ticket.of(network, Mask({"0.weight": whole, "3.weight": some}, frozenset({"0.weight"})))
    loaded = Ticket.load(ticket.save(tmp_path / "a"))
    assert loaded.mask == ticket.mask
    assert (loaded.mask.total, loaded.mask.kept) == (8, int(some.sum()))


def test_a_held_ticket_stays_a_ticket_in_any_loop() -> None:
    ticket, network = ticket_from(), network_from(5)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    with ticket.hold(network, optimizer):
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.randn(8, 3).double()).square().sum().backward()
            optimizer.step()
    verify(network, ticket.mask)


def test_a_state_that_is_no_tensor_is_refused() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"version": 3}

    with pytest.raises(ValueError, match="'_extra_state' in its state, which is dict; expected tensors only"):
        copy_state(Extra(2, 2))


def test_a_network_whose_state_has_versions_is_applied_to() -> None:
    class Versioned(nn.Linear):
        _version = 2

        def _load_from_state_dict(self, state: object, prefix: str, local: dict[str, int], *rest: object) -> None:
            assert local.get("version") == 2
            super()._load_from_state_dict(state, prefix, local, *rest)  # type: ignore[arg-type]

    network = nn.Sequential(Versioned(3, 2))
    Ticket.of(network, Mask.dense(network)).apply_to(network)


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path) -> None:
    ticket = ticket_from()
    target = tmp_path / "a"
    target.mkdir()
    (target / "file").write_text("in the way")
    with pytest.raises(OSError):
        ticket.save(target)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_place_that_safetensors_cannot_write_to_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SafetensorError("I/O error: no space left")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match=r"cannot write .*no space left"):
        ticket_from().save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_the_file_gets_the_mode_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = ticket_from().save(tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_provenance_that_is_not_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    network = network_from()
    ticket = Ticket.of(network, Mask.dense(network), {"scorer": object()})
    with pytest.raises(TypeError):
        ticket.save(tmp_path / "a")
    with pytest.raises(ValueError, match="JSON"):
        Ticket.of(network, Mask.dense(network), {"loss": float("nan")}).save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("initial", "trained", "message"),
    [
        ({"bias": 2}, None, r"the ticket: .* missing \['weight'\]"),
        ({"weight": 3}, None, "the ticket: 'weight' has shape"),
        ({"weight": 2, "bias": 2}, {"bias": 2}, r"trained state: .* missing \['weight'\]"),
        ({"weight": 2, "bias": 2}, {"weight": 3, "bias": 2}, "trained state: 'weight' has shape"),
        ({"weight": 2}, {"weight": 2, "bias": 2}, r"trained state: .* unknown \['bias'\]"),
    ],
)
def test_states_that_do_not_fit_the_mask_are_refused(
    initial: dict[str, int], trained: dict[str, int] | None, message: str
) -> None:
    """Such a ticket could be saved, and not be read again, or would lose what only one state has."""
    mask = Mask({"weight": torch.ones(2, dtype=torch.bool)})
    states = [None if s is None else {name: torch.ones(size) for name, size in s.items()} for s in (initial, trained)]
    with pytest.raises(ValueError, match=message):
        Ticket(states[0] or {}, mask, {}, states[1])


def test_a_state_that_no_file_holds_is_refused() -> None:
    network = nn.Linear(2, 1)
    network.register_buffer("places", torch.eye(2).to_sparse())
    with pytest.raises(ValueError, match=r"keeps 'places' in its state as a torch\.sparse_coo tensor"):
        copy_state(network)


@pytest.mark.parametrize("checks", [{"by_lot": "x"}, {"frozen": 3}, {"not_prunable": [1]}, {"missing_classes": [[]]}])
def test_checks_of_another_kind_are_refused(tmp_path: Path, checks: dict[str, object]) -> None:
    mask = Mask({"weight": torch.ones(1, 2, dtype=torch.bool)})
    path = Ticket.of(nn.Linear(2, 1), mask, {"checks": checks}).save(tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=f"odd.safetensors is damaged .*checks, {next(iter(checks))}"):
        Ticket.load(path)


def test_pruned_weights_that_came_back_are_counted() -> None:
    ticket, network = ticket_from(), network_from()
    ticket.apply_to(network)
    assert nonzero_pruned(network, ticket.mask) == 0
    place = tuple((~ticket.mask.tensors["0.weight"]).nonzero()[0])
    with torch.no_grad():
        network[0].weight[place] = 1e-30
    assert nonzero_pruned(network, ticket.mask) == 1
