"""Networks: every registered one keeps the family's contract, at the input shapes that it says it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scratchcard.pruning.connectivity import effective_density
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.registry import members
from scratchcard.workloads.networks import NETWORKS, build_network
from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.networks.residual import Block
from scratchcard.workloads.networks.takes import example_shapes, takes, takes_tokens
from scratchcard.workloads.task import Task
from scratchcard.workloads.tasks import load_task
from scratchcard.workloads.workload import Workload

KNOWN = members(NETWORKS, "networks")
VOCABULARY = ("<padding>", "<unknown>", "a", "film", "cat")
CASES = [(name, shape) for name, factory in KNOWN.items() for shape in example_shapes(factory)]


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("outputs", [2, 7])
def test_a_registered_network_is_built_at_its_shapes_from_the_seed_alone(
    name: str, shape: tuple[int, ...], outputs: int
) -> None:
    state = torch.get_rng_state()
    tokens = takes_tokens((KNOWN | NETWORKS)[name])
    words = VOCABULARY if tokens else None
    network, same, other = (build_network(name, shape, outputs, seed=seed, vocabulary=words) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    inputs = torch.randint(len(VOCABULARY), (3, *shape)) if tokens else torch.randn(3, *shape)
    assert network(inputs).shape == (3, outputs)
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


COUNTS = {
    "lenet_5": ((1, 28, 28), 430_500),
    "conv_2": ((3, 32, 32), 4_300_992),
    "conv_4": ((3, 32, 32), 2_425_024),
    "conv_6": ((3, 32, 32), 2_261_184),
    "vgg_11": ((3, 32, 32), 9_222_848),
    "vgg_16_bn": ((3, 32, 32), 14_715_584),
    "vgg_19": ((3, 32, 32), 20_024_000),
    "resnet_18": ((3, 32, 32), 11_164_352),
    "resnet_20": ((3, 32, 32), 268_336),
    "resnet_56": ((3, 32, 32), 848_944),
    "resnet_110": ((3, 32, 32), 1_719_856),
    "wide_resnet_16_4": ((3, 32, 32), 2_745_264),
    "wide_resnet_28_10": ((3, 32, 32), 36_461_232),
    "vit_small": ((3, 32, 32), 1_187_072),
}
"""Weights of layers for ten classes, added up by hand from the papers' plans."""


@pytest.mark.parametrize("name", COUNTS)
def test_published_networks_have_their_weights(name: str) -> None:
    shape, wanted = COUNTS[name]
    network = NETWORKS[name](shape, 10, generator=torch.Generator())
    assert sum(weight.numel() for weight in prunable(network).values()) == wanted


@pytest.mark.parametrize(
    ("name", "shape"),
    [("lenet_5", (1, 15, 28)), ("conv_6", (3, 7, 32)), ("vgg_11", (3, 32, 31)), ("vit_small", (3, 32, 36))],
)
def test_images_that_are_too_small_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"the network '{name}' takes images .*, and these are \({shape[0]}, "):
        build_network(name, shape, 10, seed=0)


def test_a_residual_block_subsamples_and_pads_its_shortcut() -> None:
    block = Block(4, 10, stride=2).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()  # nothing but the shortcut is left
        inputs = torch.rand(2, 4, 6, 6)
        outputs = block(inputs)
    assert torch.equal(outputs[:, 3:7], inputs[:, :, ::2, ::2])
    assert not outputs[:, [0, 1, 2, 7, 8, 9]].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_outputs_are_left_out(name: str) -> None:
    task = Task.of(torch.randn(60, 3, 96, 96), torch.arange(60) % 7)
    network = Workload(f"torchvision:{name}", task).build(0).train()
    assert network(torch.randn(2, 3, 96, 96)).shape == (2, 7)


def test_networks_of_torchvision_by_name() -> None:
    task = Task.of(torch.randn(60, 3, 32, 32), torch.arange(60) % 7)
    one, same, other = (Workload("torchvision:shufflenet_v2_x0_5", task).build(seed) for seed in (1, 1, 2))
    assert one.get_parameter("fc.weight").shape == (7, 1024)
    assert torch.equal(one.get_parameter("fc.weight"), same.get_parameter("fc.weight"))
    assert not torch.equal(one.get_parameter("fc.weight"), other.get_parameter("fc.weight"))
    assert Workload("torchvision:resnet18", task).describe()["network"] == "torchvision:resnet18"
    with pytest.raises(ValueError, match=r"unknown torchvision network 'resnet81', .*; did you mean 'resnet18'"):
        Workload("torchvision:resnet81", task).build(0)
    with pytest.raises(
        ValueError, match=r"takes images, \(3, height, width\), and the inputs are of shape \(1, 8, 8\)"
    ):
        Workload("torchvision:resnet18", load_task("digits")).build(0)


def test_networks_of_timm_by_name() -> None:
    task = Task.of(torch.randn(60, 1, 32, 64), torch.arange(60) % 7)  # one channel, no square
    one, same, other = (Workload("timm:mobilenetv4_conv_small_035", task).build(seed) for seed in (1, 1, 2))
    weights = [network.get_parameter("classifier.weight") for network in (one, same, other)]
    assert weights[0].shape[0] == 7
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    described = Workload("timm:resnet10t", task).describe()
    assert (described["network"], len(described["network_code"])) == ("timm:resnet10t", 64)  # timm's version counts
    with pytest.raises(ValueError, match=r"unknown timm networks? 'resnet10', .*did you mean"):
        Workload("timm:resnet10", task).build(0)


def test_a_network_of_timm_for_one_size_is_built_for_the_tasks() -> None:
    network = build_network("timm:vit_tiny_patch16_224", (3, 32, 48), 5, seed=0)
    assert network(torch.zeros(2, 3, 32, 48)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"cannot build 'xcit_nano_12_p16_224' for images of shape \(3, 8, 8\): "):
        build_network("timm:xcit_nano_12_p16_224", (3, 8, 8), 5, seed=0)


def test_without_timm_one_sentence_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"^networks of timm need .*: pip install 'scratchcard\[timm\]'$"):
        build_network("timm:resnet10t", (3, 32, 32), 5, seed=0)


@pytest.mark.parametrize("name", ["conv_2", "vgg_11_bn", "resnet_20", "wide_resnet_16_4", "vit_small", "lenet_5"])
def test_all_weights_of_published_networks_lie_on_paths(name: str) -> None:
    shape = (1, 32, 32)
    network = build_network(name, shape, 4, seed=0)
    assert effective_density(network, Mask.dense(network), shape) == 1.0


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
