"""Inputs: one tensor or several by name, floats or tokens."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scratchcard.pruning.connectivity import effective_mask
from scratchcard.pruning.inputs import check_finite, forward, placed, rows
from scratchcard.pruning.mask import Mask


class TwoInputs(nn.Module):
    """Tokens through an embedding, numbers beside them; the layer of numbers has one dead input."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Linear(3, 4)
        self.table = nn.Embedding(5, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, *, ids: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits `(n, 2)`."""
        return self.last(torch.relu(self.numbers(x) + self.table(ids).sum(1)))


def test_a_mapping_becomes_keyword_arguments_and_integers_stay() -> None:
    inputs = {"x": torch.ones(4, 3), "ids": torch.tensor([[0, 1]] * 4)}
    put = placed(inputs, "cpu", torch.float64)
    assert isinstance(put, dict)
    assert (put["x"].dtype, put["ids"].dtype) == (torch.float64, torch.int64)
    network = TwoInputs().double()
    assert torch.equal(forward(network, put), network(**put))
    assert torch.equal(forward(network, rows(put, torch.tensor([2]))), network(**put)[2:3])
    doubled = {name: 2 * tensor for name, tensor in network.named_parameters()}
    assert not torch.equal(forward(network, put, doubled), network(**put))


@pytest.mark.parametrize("wrong", [{"logits": torch.zeros(1)}, (torch.zeros(1), 1), None])
def test_outputs_that_are_no_tensor_are_refused(wrong: object) -> None:
    class Wrong(nn.Module):
        def forward(self, _: torch.Tensor) -> object:
            return wrong

    with pytest.raises(ValueError, match=rf"^Wrong returns {type(wrong).__name__}, expected one tensor"):
        forward(Wrong(), torch.zeros(1))


def test_nan_is_named_by_the_input_that_holds_it() -> None:
    check_finite({"ids": torch.tensor([1])}, "the inputs")
    with pytest.raises(ValueError, match=r"^the inputs 'x' hold NaN or infinity"):
        check_finite({"ids": torch.tensor([1]), "x": torch.tensor([torch.nan])}, "the inputs")


def test_connectivity_of_several_inputs_finds_the_weights_on_no_path() -> None:
    network = TwoInputs()
    mask = Mask.dense(network)
    mask.tensors["last.weight"][:, 0] = False  # unit 0 leads nowhere
    found = effective_mask(network, mask, {"x": torch.randn(1, 3), "ids": torch.tensor([[3, 4]])})
    assert not found.tensors["numbers.weight"][0].any()
    assert not found.tensors["table.weight"][:, 0].any()
    assert found.kept == 3 * 3 + 5 * 3 + 2 * 3


def test_trap_a_module_of_two_names_keeps_its_parameters() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2)
            self.again, self.bound = self.first, nn.Linear(2, 2)
            self.bound.weight = self.head.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bound(self.head(self.again(torch.tanh(self.first(x)))))

    torch.manual_seed(0)
    network, inputs = Twice().eval(), torch.randn(3, 2)
    before = {name: (id(own), own.clone()) for name, own in network.state_dict(keep_vars=True).items()}
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data += 1.0
    other.first[1].running_mean += 1.0
    state = dict(other.named_parameters()), dict(other.named_buffers())
    torch.testing.assert_close(forward(network, inputs, state), other(inputs), rtol=0, atol=0)
    after = network.state_dict(keep_vars=True)
    assert all(id(own) == before[name][0] and torch.equal(own, before[name][1]) for name, own in after.items())
    assert [*dict(network.named_parameters())] == [*dict(other.named_parameters())]
