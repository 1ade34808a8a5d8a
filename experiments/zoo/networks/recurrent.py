"""Recurrent networks that read a sequence of vectors and name its class."""

from __future__ import annotations

from torch import Tensor, nn

FEATURES, WIDTH, CLASSES = 8, 32, 10


class Reader(nn.Module):
    """A recurrent layer over `(n, length, features)`, and a linear one of what it says at the end."""

    def __init__(self, layer: nn.RNNBase, classes: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, classes)

    def forward(self, sequences: Tensor) -> Tensor:
        """`(n, classes)`."""
        found: Tensor = self.head(self.layer(sequences)[0][:, -1])
        return found


def lstm() -> Reader:
    """Two LSTM layers of 32 units over eight features."""
    return Reader(nn.LSTM(FEATURES, WIDTH, num_layers=2, batch_first=True), CLASSES)


def gru() -> Reader:
    """Two GRU layers of 32 units over eight features."""
    return Reader(nn.GRU(FEATURES, WIDTH, num_layers=2, batch_first=True), CLASSES)
