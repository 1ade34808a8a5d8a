"""What is exported computes what the ticket's network computes, read back by the tools that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune as torch_prune

from scratchcard.pruning.export import FORMATS, compacted, to_torch_prune
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from tests.pruning.unit_networks import thinned, unit_network


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4))


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )


CASES = {"perceptron": (perceptron, (3, 2, 2)), "convolutional": (convolutional, (3, 5, 5))}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Mask, torch.Tensor, torch.Tensor]:
    """Network, sparse mask, inputs, outputs of the masked network in evaluation mode."""
    make, shape = CASES[request.param]
    network = make().eval()
    mask = Mask({name: torch.rand(w.shape) < 0.3 for name, w in prunable(network).items()})
    inputs = torch.randn(6, *shape)
    reference = make().eval()
    reference.load_state_dict(network.state_dict())
    mask.apply_to(reference)
    with torch.no_grad():
        return network, mask, inputs, reference(inputs)


def test_plain_states_load_into_the_network(
    case: tuple[nn.Module, Mask, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    network, mask, inputs, expected = case
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, read in (("safetensors", load_file), ("pt", lambda path: torch.load(path, weights_only=True))):
        path = tmp_path / f"state{FORMATS[name][0]}"
        FORMATS[name][1](network, mask, inputs, path)
        state = read(path)
        assert all(torch.equal(network.state_dict()[n], t) for n, t in before.items())
        assert sorted(state) == sorted(before)
        network.load_state_dict(state)
        assert torch.equal(network(inputs), expected)
        network.load_state_dict(before)


def test_torchs_own_pruning_computes_the_same_and_can_be_made_permanent(
    case: tuple[nn.Module, Mask, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    network, mask, inputs, expected = case
    pruned = to_torch_prune(network, mask)
    assert torch.equal(pruned(inputs), expected)
    FORMATS["torch-prune"][1](network, mask, inputs, tmp_path / "pruned.pt")
    again = to_torch_prune(network, Mask({n: torch.ones_like(k) for n, k in mask.tensors.items()}))
    again.load_state_dict(torch.load(tmp_path / "pruned.pt", weights_only=True))
    assert torch.equal(again(inputs), expected)
    for module in again.modules():
        if torch_prune.is_pruned(module) and hasattr(module, "weight_mask"):
            torch_prune.remove(module, "weight")
    assert sorted(again.state_dict()) == sorted(network.state_dict())
    assert torch.equal(again(inputs), expected)


def test_the_compacted_program_takes_any_batch(
    case: tuple[nn.Module, Mask, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    network, mask, inputs, expected = case
    small, _ = compacted(network, mask)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
    FORMATS["torch-export"][1](network, mask, inputs, tmp_path / "small.pt2")
    program = torch.export.load(tmp_path / "small.pt2").module()
    for rows in (1, 6):
        assert torch.allclose(program(inputs[:rows]), expected[:rows], atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_computes_the_same_in_another_runtime(
    case: tuple[nn.Module, Mask, torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network, mask, inputs, expected = case
    FORMATS["onnx"][1](network, mask, inputs, tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    for rows in (1, 6):
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs[:rows].numpy()})
        assert torch.allclose(torch.from_numpy(found), expected[:rows], atol=1e-5)


def test_shared_weights_are_refused_where_torch_cannot_say_them() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    with pytest.raises(ValueError, match=r"'0\.weight' is shared by several modules"):
        to_torch_prune(network, Mask.dense(network))


@pytest.mark.parametrize("name", ["residual", "dense", "separable", "grouped", "option a"])
def test_networks_of_every_kind_become_programs(name: str, tmp_path: Path) -> None:
    network = unit_network(name).float().eval()
    mask = thinned(network, 0.2)
    inputs = torch.randn(5, 1, 6, 6)
    FORMATS["torch-export"].write(network, mask, inputs[:1], tmp_path / "small.pt2")
    program = torch.export.load(tmp_path / "small.pt2").module()
    mask.apply_to(network)
    for rows in (1, 5):
        assert torch.allclose(program(inputs[:rows]), network(inputs[:rows]), atol=1e-5)
