"""Networks: every registered one keeps the family's contract, at the input shapes that it says it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.parameters import prunable
from scratchcard.registry import members
from scratchcard.workloads.networks import NETWORKS, build_network
from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.networks.takes import example_shapes, takes
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

KNOWN = members(NETWORKS, "networks")
CASES = [(name, shape) for name, factory in KNOWN.items() for shape in example_shapes(factory)]


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("outputs", [2, 7])
def test_a_registered_network_is_built_at_its_shapes_from_the_seed_alone(
    name: str, shape: tuple[int, ...], outputs: int
) -> None:
    state = torch.get_rng_state()
    network, same, other = (build_network(name, shape, outputs, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert network(torch.randn(3, *shape)).shape == (3, outputs)
    assert network.training
    for weight, one, two in zip(*(prunable(n).values() for n in (network, same, other)), strict=True):
        assert torch.equal(weight, one)
        assert not torch.equal(weight, two)
    assert (NETWORKS[name].__doc__ or "").strip()


@takes((1, 8, 8), (3, 16, 16), sizes=(None, None, None))
def small_convolution(input_shape: tuple[int, ...], outputs: int, *, generator: torch.Generator) -> nn.Module:
    """Convolution -> ReLU -> mean -> linear."""
    network = nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)
    )
    initialise(network, generator)
    return network


def test_a_convolutional_network_says_its_shapes_and_refuses_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "small_convolution", small_convolution)
    assert example_shapes(small_convolution) == ((1, 8, 8), (3, 16, 16))
    for shape in example_shapes(small_convolution):
        test_a_registered_network_is_built_at_its_shapes_from_the_seed_alone("small_convolution", shape, 3)
    assert Workload("small_convolution", load_task("digits")).build(0)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    flat = Task.of(torch.randn(50, 64), torch.arange(50) % 2)
    with pytest.raises(
        ValueError, match=r"'small_convolution' takes inputs of shape \(any, any, any\), and these are of shape \(64,\)"
    ):
        Workload("small_convolution", flat).build(0)


def test_registered_networks_refuse_several_inputs() -> None:
    task = Task.of({"a": torch.randn(50, 2), "b": torch.randn(50, 2)}, torch.arange(50) % 2)
    with pytest.raises(ValueError, match=r"'lenet_300_100' takes one input, and these are called a, b"):
        Workload("lenet_300_100", task).build(0)


class Scaled(nn.Module):
    """A network of one's own, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 12), nn.Linear(12, 10)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.scale * self.last(torch.relu(self.first(x.flatten(1))))


def test_a_module_as_it_is_is_copied_and_identified_by_its_state_and_code() -> None:
    network, task = Scaled(), load_task("digits")
    workload = Workload(network, task)
    one, two = workload.build(1), workload.build(2)
    assert torch.equal(one.first.weight, two.first.weight)
    with torch.no_grad():
        one.first.weight.zero_()
    assert network.first.weight.abs().sum() > 0
    described = workload.describe()
    assert described["network"].endswith("test_networks:Scaled")
    assert workload.name == "Scaled-digits"
    assert workload.has_fixed_weights
    assert len(described["network_code"]) == len(described["network_state"]) == 64
    assert Workload(network, task).describe() == described
    network.scale.fill_(3.0)
    changed = workload.describe()
    assert {key for key in described if described[key] != changed[key]} == {"network_state"}
    plain = Workload(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), task)
    wide = Workload(nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(64, 10)), task)
    assert plain.describe()["network"] == "Sequential"
    assert plain.describe()["network_code"] != wide.describe()["network_code"]


def test_a_factory_may_take_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sized_networks.py").write_text(
        "import math\nfrom torch import nn\n"
        "def of_task(task, width=5):\n"
        "    first = nn.Linear(math.prod(task.input_shape), width)\n"
        "    return nn.Sequential(nn.Flatten(), first, nn.Linear(width, task.outputs))\n"
        "class Plain(nn.Linear):\n"
        "    def __init__(self): super().__init__(4, 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for task in (load_task("digits"), Task.of(torch.randn(50, 4), torch.randn(50, 3))):
        network = Workload("sized_networks:of_task", task).build(0)
        assert network[-1].out_features == task.outputs
    assert isinstance(Workload("sized_networks:Plain", task).build(0), nn.Linear)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(4, 2), r"Linear on own returns \(2, 2\) for 2 examples, expected numbers of shape \(2, 3\)"),
        (nn.Linear(5, 3), "Linear cannot take a batch of own of torch.float32 of shape"),
        (nn.LayerNorm(4), "nothing to prune"),
        (nn.LSTM(4, 3), "LSTM on own returns tuple, expected one tensor"),
    ],
)
def test_modules_that_do_not_fit_the_objective(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Workload(network, Task.of(torch.randn(50, 4), torch.randn(50, 3))).build(0)


def test_too_few_outputs_are_told_the_classes() -> None:
    with pytest.raises(ValueError, match=r"returns \(2, 3\) .* logits for the classes 0 to 3 of shape \(2, 4\)"):
        Workload(nn.Linear(4, 3), Task.of(torch.randn(60, 4), 1 + torch.arange(60) % 3)).build(0)


def test_a_module_without_its_factory_is_told_how_networks_of_ones_own_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'my\.nets', known are .*; a network of your own is package"):
        Workload("my.nets", load_task("digits")).build(0)


def test_outputs_that_are_no_tensor_are_refused() -> None:
    class Named(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            return {"logits": super().forward(x)}  # type: ignore[return-value]

    with pytest.raises(ValueError, match=r"Named on digits returns dict, expected one tensor"):
        Workload(Named(), load_task("digits")).build(0)
