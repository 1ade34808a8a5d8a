"""Which input unit and which output unit of its layer a weight joins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from scratchcard.pruning.known_layers import CONVOLUTIONS, input_first


@dataclass(frozen=True)
class Units:
    """The units of one layer. A *row* is all weights of one output unit, a *column* all of one input unit.

    | layer | weight | output unit | input unit |
    |---|---|---|---|
    | linear | `(out, in)` | neuron | neuron or input feature |
    | convolution | `(out, in/groups, k...)` | output channel | input channel |
    | transposed convolution | `(in, out/groups, k...)` | output channel | input channel |
    | embedding | `(entries, width)` | dimension of the vector | entry |
    | others: attention, recurrent, bilinear | `(out, in, ...)` | first axis | second axis |

    An embedding is thus read as a linear layer on one-hot vectors, whose weight is stored transposed.

    Attributes:
        outputs, inputs: how many units.
        groups: groups of a convolution, else 1.
        kernel: weights that join the same two units.
        input_first: whether the weight's first axis is the input's (transposed convolutions, embeddings).
        spatial: axes behind the channel axis of inputs and outputs; 0 where units are the last axis.
        one_hot: an embedding, whose inputs are tokens.
        flat_input: a linear layer, which may follow a flattened block of units.
        observed: whether the layer's own inputs and outputs are those of the units, as they are for the four above.

    Examples:
        >>> units = Units.of(nn.Linear(4, 3))
        >>> units.outputs, units.inputs
        (3, 4)
        >>> units.of_weights(np.array([0, 5]))
        (array([0, 1]), array([0, 1]))
    """

    outputs: int
    inputs: int
    groups: int
    kernel: int
    input_first: bool
    spatial: int
    one_hot: bool = False
    flat_input: bool = False
    observed: bool = True

    @classmethod
    def of(cls, layer: nn.Module, name: str = "weight") -> Units:
        """The units of a prunable layer's weight, which may have a qualified name."""
        if isinstance(layer, nn.Linear):
            return cls(layer.out_features, layer.in_features, 1, 1, False, 0, flat_input=True)
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            return cls(layer.embedding_dim, layer.num_embeddings, 1, 1, True, 0, one_hot=True)
        if isinstance(layer, CONVOLUTIONS):
            return cls(
                layer.out_channels,
                layer.in_channels,
                layer.groups,
                math.prod(layer.kernel_size),
                layer.transposed,
                len(layer.kernel_size),
            )
        weight = getattr(layer, name.rpartition(".")[2], None)
        shape = weight.shape if isinstance(weight, Tensor) else ()
        if len(shape) < 2:
            raise ValueError(
                f"features are defined for weights of two axes or more, not for {name!r} of {type(layer).__name__}"
            )
        first, second = shape[:2]
        outputs, inputs = (second, first) if input_first(layer) else (first, second)
        return cls(outputs, inputs, 1, math.prod(shape[2:]), input_first(layer), 0, observed=False)

    @property
    def _first(self) -> int:
        return self.inputs if self.input_first else self.outputs

    @property
    def _second(self) -> int:
        """Length of the weight's second axis."""
        return (self.outputs if self.input_first else self.inputs) // self.groups

    def of_weights(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(output units, input units)` of the weights with these flat indices."""
        first, within = np.divmod(indices, self._second * self.kernel)
        second = within // self.kernel if self.kernel > 1 else within
        if self.groups > 1:
            second = second + first // (self._first // self.groups) * self._second
        return (second, first) if self.input_first else (first, second)

    def block(self, values: np.ndarray) -> np.ndarray | None:
        """All of a layer's numbers, `(n,)`, as `(first axis, second axis, kernel)`; None of a grouped convolution."""
        return None if self.groups > 1 else values.reshape(self._first, self._second, self.kernel)

    def sums(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of one number a weight, `(n,)`, over rows `(outputs,)` and columns `(inputs,)`, in float64."""
        block = values.reshape(self.groups, self._first // self.groups, self._second, self.kernel)
        first = np.add.reduce(block, axis=(2, 3), dtype=np.float64).reshape(-1)
        second = np.add.reduce(block, axis=(1, 3), dtype=np.float64).reshape(-1)
        return (second, first) if self.input_first else (first, second)

    def block_to(self, follower: Units) -> int | None:
        """How many of the follower's input units each output unit becomes; None if the counts do not fit.

        1 where they are the same units; P where a linear layer takes the flattened units x P positions.
        """
        if follower.one_hot or follower.inputs % self.outputs:
            return None
        block = follower.inputs // self.outputs
        return block if block == 1 or follower.flat_input else None

    def gather(self, values: np.ndarray, block: int) -> np.ndarray:
        """A follower's numbers `(outputs * block,)` as `(block, outputs)`, by this layer's output units.

        `Flatten` puts the positions of a channel side by side; where units are the last axis, whole vectors.
        """
        return values.reshape(self.outputs, block).T if self.spatial else values.reshape(block, self.outputs)

    def spread(self, values: np.ndarray, block: int) -> np.ndarray:
        """This layer's numbers `(outputs,)` for each input unit of a follower, `(outputs * block,)`."""
        return np.repeat(values, block) if self.spatial else np.tile(values, block)
