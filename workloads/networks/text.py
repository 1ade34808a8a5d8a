"""Networks for texts: Kim's convolutional one, one of many widths with pooling over time, a bag of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.workloads.named_options import with_options
from scratchcard.workloads.networks.mlp import initialise
from scratchcard.workloads.networks.takes import Shape, takes
from scratchcard.workloads.networks.text_options import (
    EmbeddingOptions,
    TextBagOptions,
    TextCnnOptions,
    TextWidthsOptions,
)
from scratchcard.workloads.networks.word_vectors import word_vectors
from scratchcard.workloads.text_encoding import PADDING

WIDTH, SPREAD = 300, 0.25
"""Of embeddings where no file gives them: their width, and the bound of the uniform numbers that they begin as."""


class Words(nn.Module):
    """Embeddings of tokens `(n, length)` as `(n, width, length)`; padding is zero, whatever its row holds.

    Examples:
        >>> words = Words(5, 2)
        >>> words.embedding.weight.data.fill_(1.0)
        tensor([[1., 1.],
        ...
        >>> words(torch.tensor([[3, 0]])).data
        tensor([[[1., 0.],
                 [1., 0.]]])
    """

    padding_token: ClassVar[int] = PADDING
    """Paths are those of texts without padding: see `pruning.linear_image.padding_token`."""

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, width, padding_idx=PADDING)

    def forward(self, tokens: Tensor) -> Tensor:
        """The embeddings."""
        embedded: Tensor = self.embedding(tokens)
        return (embedded * (tokens != PADDING).unsqueeze(2)).transpose(1, 2)


class Windows(nn.Module):
    """A convolution over all windows that hold a word: `relu(W * x + b)`, `(n, filters, length + width - 1)`.

    Windows of padding alone are 0, which no maximum takes before a window of words: a text has the same features
    whatever it is padded to.

    Examples:
        >>> windows = Windows(2, 3, width=2)
        >>> windows(torch.ones(1, 2, 4), torch.tensor([[5, 6, 0, 0]]))[0, 0, 3:].data
        tensor([0., 0.])
    """

    def __init__(self, channels: int, filters: int, *, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, filters, width, padding=width - 1)

    def forward(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """The windows' values."""
        width = self.convolution.kernel_size[0]
        real = F.pad(tokens != PADDING, (width - 1, width - 1)).unfold(1, width, 1).any(2)
        return F.relu(self.convolution(embedded)) * real.unsqueeze(1)


class TextCnn(nn.Module):
    """Kim's network; see `text_cnn`.

    Examples:
        >>> TextCnn(9, 4, 2, filters=5, dropout=0.5)(torch.tensor([[2, 3, 0, 0]])).shape
        torch.Size([1, 2])
    """

    def __init__(self, entries: int, width: int, outputs: int, *, filters: int, dropout: float) -> None:
        super().__init__()
        self.words = Words(entries, width)
        self.windows = nn.ModuleList(Windows(width, filters, width=size) for size in (3, 4, 5))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(3 * filters, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `(n, outputs)` of tokens `(n, length)`."""
        embedded = self.words(tokens)
        largest = [windows(embedded, tokens).amax(2) for windows in self.windows]
        logits: Tensor = self.output(self.dropout(torch.cat(largest, 1)))
        return logits


class TextWidths(nn.Module):
    """Modules of many widths; see `text_widths`.

    Examples:
        >>> TextWidths(9, 4, 2, TextWidthsOptions(widths=3))(torch.tensor([[2, 3, 0, 0]])).shape
        torch.Size([1, 2])
    """

    def __init__(self, entries: int, width: int, outputs: int, options: TextWidthsOptions) -> None:
        super().__init__()
        self.words = Words(entries, width)
        sizes = range(1, options.widths + 1)
        self.windows = nn.ModuleList(Windows(width, options.channels, width=size) for size in sizes)
        self.pool = nn.MaxPool1d(options.pool, ceil_mode=True)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.widths * options.channels, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `(n, outputs)` of tokens `(n, length)`."""
        embedded = self.words(tokens)
        largest = [self.dropout(self.pool(windows(embedded, tokens))).amax(2) for windows in self.windows]
        logits: Tensor = self.output(torch.cat(largest, 1))
        return logits


class TextBag(nn.Module):
    """The mean embedding of a text's words, and one linear layer; see `text_bag`.

    Examples:
        >>> TextBag(9, 4, 2)(torch.tensor([[2, 3, 0, 0]])).shape
        torch.Size([1, 2])
    """

    def __init__(self, entries: int, width: int, outputs: int) -> None:
        super().__init__()
        self.words = Words(entries, width)
        self.output = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `(n, outputs)` of tokens `(n, length)`."""
        words = (tokens != PADDING).sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.output(self.words(tokens).sum(2) / words)
        return logits


@with_options(TextCnnOptions)
@takes((7,), (40,), sizes=(None,), tokens=True)
def text_cnn(
    input_shape: Shape,
    outputs: int,
    *,
    generator: torch.Generator,
    vocabulary: Sequence[str],
    options: TextCnnOptions | None = None,
) -> nn.Module:
    """Kim 2014 (arXiv 1408.5882): embeddings, 3 x 100 convolutions of 3, 4 and 5 words, the largest of each, dropout.

        logits = W dropout(max_t relu(conv_3(e)_t), max_t relu(conv_4(e)_t), max_t relu(conv_5(e)_t)) + b

    Embeddings are uniform in [-0.25, 0.25], as there, or read from a file; the other weights Kaiming-normal. Kim bounds
    the norm of the last layer's rows by 3, which is not done here.

    Examples:
        >>> words = ("<padding>", "<unknown>", "a", "film")
        >>> network = sc.NETWORKS["text_cnn"]((9,), 2, generator=torch.Generator(), vocabulary=words)
        >>> {name: tuple(weight.shape) for name, weight in sc.prunable(network).items()}
        {'words.embedding.weight': (4, 300), 'windows.0.convolution.weight': (100, 300, 3), ...
    """
    options = options or TextCnnOptions()
    width, vectors = _vectors(options, vocabulary)
    network = TextCnn(len(vocabulary), width, outputs, filters=options.filters, dropout=options.dropout)
    return _initialised(network, network.words, vectors, generator)


@with_options(TextWidthsOptions)
@takes((7,), (40,), sizes=(None,), tokens=True)
def text_widths(
    input_shape: Shape,
    outputs: int,
    *,
    generator: torch.Generator,
    vocabulary: Sequence[str],
    options: TextWidthsOptions | None = None,
) -> nn.Module:
    """An ensemble of 22 modules over embeddings of 300: module k is a convolution of k words in 3 channels, pooled.

        module_k = max_t dropout(max_pool_2(relu(conv_k(e))))_t,      logits = W (module_1, ..., module_22) + b

    Each module pools over time, drops out and takes the largest value of each channel; one linear layer joins them.

    Examples:
        >>> words = ("<padding>", "<unknown>", "a", "film")
        >>> network = sc.NETWORKS["text_widths"]((9,), 2, generator=torch.Generator(), vocabulary=words)
        >>> len(network.windows), network.output
        (22, Linear(in_features=66, out_features=2, bias=True))
    """
    options = options or TextWidthsOptions()
    width, vectors = _vectors(options, vocabulary)
    network = TextWidths(len(vocabulary), width, outputs, options)
    return _initialised(network, network.words, vectors, generator)


@with_options(TextBagOptions)
@takes((7,), (40,), sizes=(None,), tokens=True)
def text_bag(
    input_shape: Shape,
    outputs: int,
    *,
    generator: torch.Generator,
    vocabulary: Sequence[str],
    options: TextBagOptions | None = None,
) -> nn.Module:
    """A baseline: `W mean(e) + b`, the mean over a text's words without padding (Joulin et al. 2016, arXiv 1607.01759).

    Examples:
        >>> words = ("<padding>", "<unknown>", "a", "film")
        >>> network = sc.NETWORKS["text_bag"]((9,), 2, generator=torch.Generator(), vocabulary=words)
        >>> sum(weight.numel() for weight in sc.prunable(network).values())
        1800
    """
    options = options or TextBagOptions()
    width, vectors = _vectors(options, vocabulary)
    network = TextBag(len(vocabulary), width, outputs)
    return _initialised(network, network.words, vectors, generator)


def _vectors(options: EmbeddingOptions, vocabulary: Sequence[str]) -> tuple[int, dict[int, Tensor]]:
    """The width of the embeddings, and those that a file gives, by their places."""
    if options.vectors is None:
        return options.width or WIDTH, {}
    found = word_vectors(options.vectors, tuple(vocabulary))
    width = len(next(iter(found.values())))
    if options.width not in (None, width):
        raise ValueError(f"the width is {options.width}, and {options.vectors} has vectors of {width}; leave it out")
    return width, found


def _initialised(network: nn.Module, words: Words, vectors: dict[int, Tensor], generator: torch.Generator) -> nn.Module:
    initialise(network, generator)
    with torch.no_grad():
        table = words.embedding.weight
        table.uniform_(-SPREAD, SPREAD, generator=generator)
        for place, vector in vectors.items():
            table[place] = vector
        table[PADDING] = 0
    return network
