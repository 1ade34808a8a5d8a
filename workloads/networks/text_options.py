"""What the names of networks of texts may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scratchcard.setting import setting
from scratchcard.settings import Settings


@dataclass(frozen=True)
class EmbeddingOptions(Settings):
    """Options of networks with embeddings; part of a network's name, as in `text_bag,width=50`.

    Examples:
        >>> EmbeddingOptions(width=50)
        EmbeddingOptions(width=50, vectors=None)
    """

    width: int | None = setting(
        None, help="Of the embeddings", example=50, low=1, high=100_000, unset="300, or the file's"
    )
    vectors: str | None = setting(
        None, help="A .vec or .txt of words' vectors, which the embeddings begin as", example="glove.txt"
    )


@dataclass(frozen=True)
class TextCnnOptions(EmbeddingOptions):
    """Options of `text_cnn`.

    Examples:
        >>> TextCnnOptions().filters
        100
    """

    filters: int = setting(100, help="Of each width", example=20, low=1, high=100_000)
    dropout: float = setting(0.5, help="Share of the features dropped in training", example=0.2, low=0, below=1)
    called: ClassVar[str] = "text_cnn"


@dataclass(frozen=True)
class TextWidthsOptions(EmbeddingOptions):
    """Options of `text_widths`.

    Examples:
        >>> TextWidthsOptions(widths=4).channels
        3
    """

    widths: int = setting(22, help="Modules, of the widths from 1 to this", example=8, low=1, high=1000)
    channels: int = setting(3, help="Of each module's convolution", example=6, low=1, high=100_000)
    pool: int = setting(2, help="Places that pooling over time joins", example=4, low=1, high=1000)
    dropout: float = setting(0.5, help="Share of each module's values dropped in training", example=0.2, low=0, below=1)
    called: ClassVar[str] = "text_widths"


@dataclass(frozen=True)
class TextBagOptions(EmbeddingOptions):
    """Options of `text_bag`.

    Examples:
        >>> TextBagOptions(width=50).width
        50
    """

    called: ClassVar[str] = "text_bag"
