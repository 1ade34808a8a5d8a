"""The linear image of whole networks: nothing negative, no layer without a score, dense networks fully connected."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.connectivity import effective_density
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import NotPrunableWarning, prunable
from scratchcard.scorers import GraSP, SynFlow, SynFlowL2Data


class Conv1D(nn.Module):
    """A linear layer with its weight stored transposed, as in the library transformers."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.1)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = Conv1D(3 * width, width), Conv1D(width, width)
        self.c_fc, self.c_out = Conv1D(4 * width, width), Conv1D(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.view(*part.shape[:-1], self.heads, -1).permute(0, 2, 1, 3)
            for part in self.c_attn(self.ln_1(x)).split(x.size(-1), dim=2)
        )
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(v.size(-1))
        causal = torch.tril(torch.ones(x.size(1), x.size(1), dtype=torch.bool))
        scores = torch.where(causal, scores, torch.finfo(scores.dtype).min)
        mixed = F.softmax(scores, dim=-1).type(v.dtype) @ v
        x = x + self.c_proj(mixed.transpose(1, 2).contiguous().view(x.shape))
        h = self.c_fc(self.ln_2(x))
        return x + self.c_out(0.5 * h * (1.0 + torch.tanh(0.8 * (h + 0.044715 * torch.pow(h, 3.0)))))


class Generative(nn.Module):
    """A GPT-2 in small: tied tables, positions, causal attention, gates of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, 8), nn.Embedding(5, 8)
        self.blocks = nn.ModuleList([Block(8, 2) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return {"logits": self.head(self.norm(x))}


class Logits(nn.Module):
    """What criteria of the loss ask for: one tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        return self.network(tokens)["logits"].mean(1)


class Read(nn.Module):
    """A layer over `(n, length, 6)`, all of whose positions are read."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return self.head((out[0] if isinstance(out, tuple) else out).mean(1))


class Bags(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(11, 4, mode=mode), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.bag(tokens))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return Read(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), 6)


def translator() -> nn.Module:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Transformer(6, 2, 1, 1, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.inner(x, x, tgt_mask=mask, tgt_is_causal=True)

    return Read(Both(), 6)


SMALL: dict[str, Any] = {
    "lstm": lambda: Read(nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, proj_size=3), 6),
    "gru": lambda: Read(nn.GRU(6, 5, 2, batch_first=True, bidirectional=True, bias=False), 10),
    "rnn": lambda: Read(nn.RNN(6, 5, batch_first=True, nonlinearity="relu"), 5),
    "transformer": transformer,
    "translator": translator,
    "gpt": Generative,
    "bag_mean": lambda: Bags("mean"),
    "bag_max": lambda: Bags("max"),
}


def data(network: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in network.modules()):
        return torch.randint(0, 11, (3, 5), generator=generator), torch.arange(3)
    return torch.randn(3, *shape, generator=generator), torch.arange(3)


def loss(outputs: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs["logits"].mean(1) if isinstance(outputs, dict) else outputs, targets)


def sound(network: nn.Module, shape: tuple[int, ...]) -> None:
    """No refusal (the identity holds), nothing negative, no layer without a score, dense density 1."""
    batch = data(network, shape)
    for scorer in (SynFlow(), SynFlowL2Data()):
        scores = scorer(network, batch, loss)
        for name, tensor in scores.tensors.items():
            assert float(tensor.min()) >= 0, name
            assert float(tensor.max()) > 0, name
    assert effective_density(network, Mask.dense(network), tuple(batch[0].shape[1:])) == 1.0


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_of_all_kinds(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name]()
    sound(network, (4, 6))
    assert sum(w.numel() for w in prunable(network).values()) == sum(
        p.numel() for p in network.parameters() if p.dim() > 1
    )


@pytest.mark.parametrize("name", [name for name in SMALL if name != "bag_max"])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_second_order_criteria_score_them_too(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name]()
    if name == "gpt":
        with pytest.raises(ValueError, match="Generative returns dict, expected one tensor of outputs; wrap it in a"):
            GraSP(1.0)(network, data(network, (4, 6)), loss)
        network = Logits(network)
    scores = GraSP(1.0)(network, data(network, (4, 6)), loss)
    assert all(bool(tensor.any()) for tensor in scores.tensors.values())


def test_an_operation_without_second_derivative_is_refused_by_name() -> None:
    network = Bags("max")
    with pytest.raises(ValueError, match=r"Bags cannot be scored by second derivatives, .* '_embedding_bag_backward'"):
        GraSP()(network, data(network, ()), loss)


def test_a_table_that_is_also_the_head_is_scored_for_both() -> None:
    network = Generative()
    assert "head.weight" not in prunable(network)
    untied = Generative()
    untied.load_state_dict(network.state_dict())
    untied.head.weight = nn.Parameter(network.wte.weight.detach().clone())
    batch = data(network, ())
    tied, apart = (SynFlow()(n, batch, loss).tensors for n in (network, untied))
    both = apart["wte.weight"] + apart["head.weight"]
    torch.testing.assert_close(tied["wte.weight"], both, rtol=1e-12, atol=0)


def small_vision_transformer() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    network = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=10)
    nn.init.normal_(network.heads.head.weight)  # torchvision sets it to zero, and then no path carries anything
    return network


TORCHVISION = {  # large enough that every place of every kernel meets more than padding
    "resnet18": 64,
    "mobilenet_v2": 96,
    "mobilenet_v3_small": 96,
    "efficientnet_b0": 96,
    "regnet_y_400mf": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vit_small": 32,
    "convnext_tiny": 128,
    "shufflenet_v2_x0_5": 64,
    "densenet121": 64,
    "googlenet": 64,
    "inception_v3": 299,
    "squeezenet1_0": 64,
    "vgg11": 32,
    "mnasnet0_5": 96,
    "maxvit_t": 224,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_networks_of_torchvision(name: str) -> None:
    from torchvision.models import get_model

    torch.manual_seed(0)
    other = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    network = small_vision_transformer() if name == "vit_small" else get_model(name, weights=None, **other)
    size = TORCHVISION[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotPrunableWarning)
        sound(network, (3, size, size))
