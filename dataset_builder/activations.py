"""What one forward and backward pass of a batch shows at the units of every prunable layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scratchcard.dataset_builder.units import Units
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable_layers
from scratchcard.scorers.gradients import loss_gradients
from scratchcard.scorers.scorer import Batch, Loss


@dataclass(frozen=True, eq=False)
class UnitStatistics:
    """Moments of one number a unit over examples (and positions), float64, `(units,)` each.

    Attributes:
        count: examples x positions.
        mean: `E x`.
        deviation: `sum (x - E x)^2`.
        maximum: the largest x.
        zeros: how often x is exactly 0.

    Examples:
        >>> found = UnitStatistics.of(torch.tensor([[0.0, 1.0], [4.0, 1.0]]), spatial=0)
        >>> found.mean, found.spread, found.maximum, found.zero_rate
        (array([2., 1.]), array([2., 0.]), array([4., 1.]), array([0.5, 0. ]))
    """

    count: int
    mean: np.ndarray
    deviation: np.ndarray
    maximum: np.ndarray
    zeros: np.ndarray

    @classmethod
    def of(cls, values: Tensor, spatial: int) -> UnitStatistics:
        """Of a tensor `(..., units, *positions)` with `spatial` axes of positions."""
        axis = values.ndim - 1 - spatial
        rest = [place for place in range(values.ndim) if place != axis]
        values = values.detach()
        if not rest:
            values, rest, axis = values.unsqueeze(0), [0], 1
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        count = values.numel() // values.shape[axis]
        # Welford's form: exactly 0 for a constant, where E x^2 - (E x)^2 would leave rounding noise.
        variance, mean = torch.var_mean(values, rest, correction=0)
        return cls(
            count,
            _double(mean),
            _double(variance) * count,
            _double(values.amax(rest)),
            _double((values == 0).sum(rest)),
        )

    @classmethod
    def of_tokens(cls, tokens: Tensor, entries: int) -> UnitStatistics:
        """Of the one-hot vectors of integer tokens, over examples and positions."""
        flat = tokens.detach().reshape(-1)
        found = _double(torch.bincount(flat, minlength=entries))
        count = flat.numel()
        share = found / count
        return cls(count, share, count * share * (1 - share), (found > 0).astype(np.float64), count - found)

    @classmethod
    def none(cls, units: int) -> UnitStatistics:
        """Of units that nothing is known about: zeros."""
        zeros = np.zeros(units)
        return cls(0, zeros, zeros, zeros, zeros)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation (of the population)."""
        variance: np.ndarray = np.maximum(self.deviation, 0.0) / max(self.count, 1)
        return np.asarray(np.sqrt(variance))

    @property
    def zero_rate(self) -> np.ndarray:
        """Share of exact zeros."""
        return self.zeros / max(self.count, 1)

    def joined(self, other: UnitStatistics) -> UnitStatistics:
        """Of the examples of both (a layer that is called twice)."""
        if not self.count or not other.count:
            return other if other.count else self
        count = self.count + other.count
        step = other.mean - self.mean
        return UnitStatistics(
            count,
            self.mean + step * (other.count / count),
            self.deviation + other.deviation + step**2 * (self.count * other.count / count),
            np.maximum(self.maximum, other.maximum),
            self.zeros + other.zeros,
        )

    def pooled(self, units: Units, block: int) -> UnitStatistics:
        """Of the output units of `units`, from those of a follower's input units (`Units.block_to`)."""
        if block == 1:
            return self
        means = units.gather(self.mean, block)
        mean = means.mean(axis=0)
        within = units.gather(self.deviation, block).sum(axis=0)
        return UnitStatistics(
            self.count * block,
            mean,
            within + self.count * ((means - mean) ** 2).sum(axis=0),
            units.gather(self.maximum, block).max(axis=0),
            units.gather(self.zeros, block).sum(axis=0),
        )


@dataclass(eq=False)
class LayerActivity:
    """What was seen at one layer.

    Attributes:
        inputs: activation of the input units, as the layer receives it.
        raw_outputs: what the layer returns, before any activation function.
        gradients: of one example's loss with respect to `raw_outputs`.
        followers: prunable layers that the output reaches without passing through another one, in call order.
        sources: the reverse of `followers`.

    Examples:
        >>> two = UnitStatistics.none(2)
        >>> seen = LayerActivity(UnitStatistics.none(4), two, two, followers=["2.weight"])
        >>> seen.inputs.mean, seen.followers
        (array([0., 0., 0., 0.]), ['2.weight'])
    """

    inputs: UnitStatistics
    raw_outputs: UnitStatistics
    gradients: UnitStatistics
    followers: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    @classmethod
    def none(cls, units: Units) -> LayerActivity:
        """Of a layer that nothing was seen of."""
        outputs = UnitStatistics.none(units.outputs)
        return cls(UnitStatistics.none(units.inputs), outputs, outputs)


@dataclass(frozen=True, eq=False)
class Activity:
    """One pass over a batch: the gradient by weight name, and what was seen at each layer.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2))
        >>> _ = nn.init.eye_(network[0].weight)
        >>> units = {name: Units.of(layer) for name, layer in prunable_layers(network).items()}
        >>> batch = torch.tensor([[1.0, -1.0], [3.0, -1.0]]), torch.tensor([0, 1])
        >>> activity = observe(network, batch, nn.functional.cross_entropy, None, units)
        >>> activity.layers["0.weight"].raw_outputs.mean  # before ReLU
        array([ 2., -1.])
        >>> activity.outputs("0.weight", units).mean  # after it
        array([2., 0.])
    """

    gradients: dict[str, Tensor]
    layers: Mapping[str, LayerActivity]

    def outputs(self, name: str, units: Mapping[str, Units]) -> UnitStatistics:
        """Activation of the output units of a layer: what the next layer receives from them.

        The next layer is the first follower whose input units are these units, or a flattened block of
        them (pooled over the block). So it is the activation after normalisation, activation function,
        pooling and shortcut. A layer without such a follower, such as the last, has its own output instead.
        """
        for follower in self.layers[name].followers:
            block = units[name].block_to(units[follower])
            if block is not None:
                return self.layers[follower].inputs.pooled(units[name], block)
        return self.layers[name].raw_outputs


def observe(network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None, units: Mapping[str, Units]) -> Activity:
    """One forward and backward pass at `w * mask`, watched by hooks that are gone afterwards.

    A batch that does not fit goes through the network in pieces (`scoring_memory`), whose moments are joined.

    The gradient at an output unit is that of one example's loss: `loss` is a mean, so it is multiplied by
    the number of examples. A layer that is called several times is seen over all calls; one that is never
    called as a module has zeros, and so has one whose units are not its own inputs and outputs (attention, recurrence).

    Raises:
        ValueError: an empty batch, or what `loss_gradients` raises.

    Examples:
        >>> network, batch = nn.Linear(2, 2), (torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1]))
        >>> units = {"weight": Units.of(network)}
        >>> activity = observe(network, batch, nn.functional.cross_entropy, None, units)
        >>> activity.layers["weight"].inputs.mean, activity.layers["weight"].inputs.zero_rate
        (array([2., 0.]), array([0., 1.]))
    """
    examples = len(batch[1])
    if not examples:
        raise ValueError("the scoring batch is empty: features need at least one example")
    layers: dict[str, LayerActivity] = {}

    @contextmanager
    def watched() -> Iterator[None]:
        layers.update((name, LayerActivity.none(unit)) for name, unit in units.items())
        # Graph nodes by the layer that made them; kept alive, as they are compared by identity.
        nodes: dict[Any, str] = {}
        with ExitStack() as watching:
            watching.callback(nodes.clear)
            for name, module in prunable_layers(network).items():
                if units[name].observed:
                    hook = _hook(name, layers, units, nodes, examples)
                    watching.enter_context(module.register_forward_hook(hook, with_kwargs=True))
            yield

    gradients = loss_gradients(network, batch, loss, mask, watched=watched).gradients
    return Activity(gradients, layers)


def _hook(
    name: str, layers: Mapping[str, LayerActivity], units: Mapping[str, Units], nodes: dict[Any, str], examples: int
) -> Callable[..., None]:
    own, seen = units[name], layers[name]

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        given: Tensor = args[0] if args else kwargs["input"]
        statistics = (
            UnitStatistics.of_tokens(given, own.inputs) if own.one_hot else UnitStatistics.of(given, own.spatial)
        )
        seen.inputs = seen.inputs.joined(statistics)
        seen.raw_outputs = seen.raw_outputs.joined(UnitStatistics.of(output, own.spatial))
        for source in _sources(given.grad_fn, nodes):
            if source not in seen.sources:
                seen.sources.append(source)
                layers[source].followers.append(name)
        if output.requires_grad:
            nodes[output.grad_fn] = name
            output.register_hook(backward)  # type: ignore[no-untyped-call]

    def backward(gradient: Tensor) -> None:
        seen.gradients = seen.gradients.joined(UnitStatistics.of(gradient * examples, own.spatial))

    return hook


def _sources(node: Any, nodes: Mapping[Any, str]) -> list[str]:
    """The layers whose outputs a graph node descends from without another prunable layer between."""
    found: list[str] = []
    visited, waiting = {None}, [node]
    while waiting:
        node = waiting.pop()
        if node in visited:
            continue
        visited.add(node)
        if node in nodes:
            found.append(nodes[node])
        else:
            waiting.extend(parent for parent, _ in node.next_functions)
    return sorted(found, key=list(nodes.values()).index)


def _double(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().double().cpu().numpy())
