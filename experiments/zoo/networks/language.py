"""Tiny language networks of the package transformers, with random weights: they name a class, or the next token."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

TOKENS, LENGTH, WIDTH, LAYERS, HEADS = 60, 12, 32, 2, 2


class Logits(nn.Module):
    """A network of transformers that returns its logits alone; of one that says something at each token, the last's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        """`(n, classes)`."""
        found: Tensor = self.network(input_ids=tokens, use_cache=False).logits
        return found if found.ndim == 2 else found[:, -1]


class Classified(Logits):
    """The same, of a network that keeps no cache."""

    def forward(self, tokens: Tensor) -> Tensor:
        """`(n, classes)`."""
        found: Tensor = self.network(input_ids=tokens).logits
        return found


def bert() -> Logits:
    """A BERT (Devlin et al. 2018, arXiv 1810.04805) of two layers that names one of ten classes."""
    from transformers import BertConfig, BertForSequenceClassification

    return Classified(
        BertForSequenceClassification(
            BertConfig(
                **_sizes("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
                max_position_embeddings=LENGTH,
                type_vocab_size=1,
                num_labels=10,
            )
        )
    )


def gpt_2() -> Logits:
    """A GPT-2 (Radford et al. 2019) of two layers, its head tied to its table of tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = _sizes("n_embd", "n_layer", "n_head", "n_inner")
    return Logits(GPT2LMHeadModel(GPT2Config(**sizes, n_positions=LENGTH, bos_token_id=0, eos_token_id=0)))


def llama() -> Logits:
    """A Llama (Touvron et al. 2023, arXiv 2302.13971) of two layers: rotary positions, gated layers, no biases."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = _sizes("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return Logits(LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=LENGTH)))


def _sizes(width: str, layers: str, heads: str, hidden: str) -> dict[str, Any]:
    return {"vocab_size": TOKENS, width: WIDTH, layers: LAYERS, heads: HEADS, hidden: 2 * WIDTH}
