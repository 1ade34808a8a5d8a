"""ReLU perceptrons: recognising them, and the dense engine that trains them with written-out derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from scratchcard.pruning.chain import NotAChainError, chain
from scratchcard.workloads.engines.engine import State, evaluation_rows, make_optimizer
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split


def relu_perceptron(network: nn.Module) -> tuple[nn.Linear, ...]:
    """The linear layers of a network that is `[Flatten] Linear (ReLU Linear)*`, and () of any other.

    Dropout that drops nothing and Identity may stand anywhere; nested `nn.Sequential`s are taken apart.
    """
    try:
        layers = [link.layer for link in chain(network)]
    except NotAChainError:
        return ()
    layers = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    layers = [layer for layer in layers if not (isinstance(layer, nn.Dropout) and layer.p == 0)]
    if layers and isinstance(layers[0], nn.Flatten):
        layers = layers[1:]
    linear = tuple(layer for layer in layers[::2] if isinstance(layer, nn.Linear))
    gates = [layer for layer in layers[1::2] if type(layer) is nn.ReLU]
    trained = all(parameter.requires_grad for parameter in network.parameters())
    whole = len(linear) + len(gates) == len(layers) and len(linear) == len(gates) + 1
    return linear if trained and whole else ()


class PerceptronEngine:
    """ReLU perceptron with cross-entropy: written-out derivatives, into buffers that are made once.

    With activations `H_l` `(batch, units)`, `H_0` the inputs, and `D_l` the derivative of the mean loss by
    the layer's output before ReLU:

        D_L = (softmax(H_L) - onehot) / batch;    D_{l-1} = (D_l W_l) * [H_{l-1} > 0]
        dW_l = D_l' H_{l-1};    db_l = sum over the batch of D_l

    Plain SGD adds the product `D' H` straight into the weights and then zeroes the pruned ones again, which
    is the same as masking the gradient; with momentum and with Adam the gradient itself is masked.
    """

    name = "dense"

    def __init__(self, network: nn.Module, masks: Mapping[str, Tensor], recipe: Recipe, train: Split) -> None:
        layers = relu_perceptron(network)
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._network, self._recipe, self._train = network, recipe, train
        self._inputs = train.inputs.flatten(1)
        self._weights = [layer.weight.detach() for layer in layers]
        biases: list[Tensor | None] = [layer.bias for layer in layers]
        self._biases = [None if bias is None else bias.detach() for bias in biases]
        self._masks = [masks.get(names[id(layer.weight)]) for layer in layers]
        self._plain = recipe.optimizer == "sgd" and recipe.momentum == 0
        self._optimizer: torch.optim.Optimizer | None = None
        if not self._plain:
            parameters = list(network.parameters())
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
            self._optimizer = make_optimizer(parameters, recipe)
        gradients: dict[int, Tensor | None] = {id(parameter): parameter.grad for parameter in network.parameters()}
        self._gradients = [gradients.get(id(layer.weight)) for layer in layers]
        self._bias_gradients = [gradients.get(id(layer.bias)) for layer in layers]
        like = self._inputs
        batch = recipe.batch_size
        sizes = [self._inputs.shape[1], *(len(weight) for weight in self._weights)]
        self._units = [like.new_empty(batch, size) for size in sizes]
        self._deltas = [like.new_empty(batch, size) for size in sizes]
        self._minus_one = like.new_full((batch, 1), -1.0)

    def run(self, order: Tensor) -> float:
        """Train on the batches `order`; see `Engine.run`."""
        total = torch.zeros((), dtype=torch.float64, device=self._inputs.device)
        with torch.no_grad():
            order = order.to(self._inputs.device)
            for rows, wanted in zip(order, self._train.targets[order], strict=True):
                self._forward(rows)
                total += self._softmax(wanted)
                self._backward()
        return float(total) / len(order)

    def _forward(self, rows: Tensor) -> None:
        units = self._units
        torch.index_select(self._inputs, 0, rows, out=units[0])
        last = len(self._weights) - 1
        for level, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            if bias is None:
                torch.mm(units[level], weight.t(), out=units[level + 1])
            else:
                torch.addmm(bias, units[level], weight.t(), out=units[level + 1])
            if level < last:
                units[level + 1].relu_()

    def _softmax(self, wanted: Tensor) -> Tensor:
        """The mean loss; its derivative by the logits goes to the last delta."""
        delta = self._deltas[-1]
        torch.log_softmax(self._units[-1], 1, out=delta)
        loss = nn.functional.nll_loss(delta, wanted)
        delta.exp_().scatter_add_(1, wanted[:, None], self._minus_one).div_(len(wanted))
        return loss

    def _backward(self) -> None:
        units, deltas, recipe = self._units, self._deltas, self._recipe
        for level in range(len(self._weights) - 1, -1, -1):
            weight, bias, mask = self._weights[level], self._biases[level], self._masks[level]
            delta, entering = deltas[level + 1], units[level]
            if level:
                torch.mm(delta, weight, out=deltas[level])
                torch.ops.aten.threshold_backward.grad_input(deltas[level], entering, 0, grad_input=deltas[level])
            if self._plain:
                rate, shrink = recipe.learning_rate, 1 - recipe.learning_rate * recipe.weight_decay
                weight.addmm_(delta.t(), entering, beta=shrink, alpha=-rate)
                if mask is not None:
                    weight.mul_(mask)
                if bias is not None:
                    if shrink != 1:
                        bias.mul_(shrink)
                    bias.sub_(delta.sum(0), alpha=rate)
                continue
            gradient, bias_gradient = self._gradients[level], self._bias_gradients[level]
            if gradient is not None:
                torch.mm(delta.t(), entering, out=gradient)
                if mask is not None:
                    gradient.mul_(mask)
            if bias_gradient is not None:
                torch.sum(delta, 0, out=bias_gradient)
        if self._optimizer is not None:
            self._optimizer.step()

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy on `split`; see `Engine.evaluate`."""
        return evaluate_perceptron(self._weights, self._biases, split)

    def state(self) -> State:
        """A copy of the network's state."""
        return {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}


def evaluate_perceptron(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None], split: Split
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of a ReLU perceptron on `split`."""
    inputs, targets, rows = split.inputs.flatten(1), split.targets, evaluation_rows(split)
    total, correct = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(targets), rows):
            part, wanted = inputs[start : start + rows], targets[start : start + rows]
            for level, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                part = torch.nn.functional.linear(part.relu_() if level else part, weight, bias)
            total += float(torch.nn.functional.cross_entropy(part, wanted, reduction="sum"))
            correct += int((part.argmax(1) == wanted).sum())
    return total / len(split), correct / len(split)
