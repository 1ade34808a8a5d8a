"""Engine: what does the training steps between two evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import Inputs, each, forward, placed, tensors
from scratchcard.workloads.engines.evaluator import Evaluated
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split

State = dict[str, Tensor]


class Engine(Protocol):
    """Does training steps on tensors that it holds, of one network or of K networks at once.

    Attributes:
        name: recorded as the engine that ran.
        device: of its tensors.

    Examples:
        >>> from scratchcard.workloads.engines.autograd import AutogradEngine
        >>> split = Split(torch.eye(2), torch.tensor([0, 1]))
        >>> engine: Engine = AutogradEngine(nn.Linear(2, 2), None, sc.Classification(), Recipe(batch_size=2), split)
        >>> engine.name, engine.run(torch.tensor([[[0, 1], [1, 0]]])).shape
        ('autograd', torch.Size([1]))
    """

    name: str
    device: torch.device = torch.device("cpu")

    def run(self, order: Tensor) -> Tensor:
        """Train network k on the batches `order[k]`; `order` is `(K, steps, batch)`, int64 on the CPU.

        Returns:
            Each network's losses, each before its step, summed over the steps: `(K,)`, float64, on the CPU.
        """

    def evaluate(self, split: Split) -> list[Evaluated]:
        """Loss and metrics of each network on `split`, in evaluation mode."""

    def state(self, place: int = 0) -> State:
        """A copy of the state of the network at `place`, sharing no memory with the engine."""

    def select(self, places: Sequence[int]) -> None:
        """Keep only the networks at these places, in this order: the others cost nothing from here on.

        It is never called for an engine of one network.
        """
        raise ValueError(f"the {self.name} engine trains one network and cannot select {list(places)}")

    def standing(self) -> State:
        """Copies of all tensors that decide how it goes on: weights, buffers, the optimiser's moments."""
        raise ValueError(f"a training by the {self.name} engine cannot be kept while it goes on")

    def restore(self, standing: State, steps: int) -> None:
        """Go on from what `standing` gave after so many steps."""
        raise ValueError(f"a training by the {self.name} engine cannot be resumed")


def place_split(split: Split, network: nn.Module, device: torch.device) -> Split:
    """The split on the device, floating inputs in the network's dtype; nothing is copied that is so already.

    Examples:
        >>> split = Split(torch.eye(2), torch.tensor([0, 1]))
        >>> place_split(split, nn.Linear(2, 2).double(), torch.device("cpu")).tensor.dtype
        torch.float64
    """
    dtype = next((parameter.dtype for parameter in network.parameters()), torch.get_default_dtype())
    inputs: Any = each(placed(split.inputs, device, dtype), Tensor.contiguous)
    return dataclasses.replace(split, inputs=inputs, targets=split.targets.to(device))


def check_runs(network: nn.Module, inputs: Inputs, what: str) -> None:
    """Try a forward pass; the random state is put back.

    Raises:
        ValueError: it fails; one sentence that begins with `what`.

    Examples:
        >>> check_runs(nn.Linear(2, 1), torch.zeros(1, 2), "the network runs")
        >>> check_runs(nn.Linear(2, 1), torch.zeros(1, 3), "the network does not run")
        Traceback (most recent call last):
            ...
        ValueError: the network does not run: Linear cannot be called with torch.float32 of shape (1, 3): ...
    """
    try:
        with seeded(0, next(iter(tensors(inputs).values())).device), torch.no_grad():
            forward(network, inputs)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from the seed; the random state of the caller is put back.

    Examples:
        >>> with seeded(0, torch.device("cpu")):
        ...     first = torch.rand(3)
        >>> with seeded(0, torch.device("cpu")):
        ...     torch.equal(torch.rand(3), first)
        True
    """
    devices = []
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for index in devices:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield


def make_optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """torch's fused optimiser with the settings of `recipe`.

    Examples:
        >>> optimizer = make_optimizer([nn.Parameter(torch.zeros(2))], Recipe(learning_rate=0.05, momentum=0.9))
        >>> type(optimizer).__name__, optimizer.defaults["lr"], optimizer.defaults["momentum"]
        ('SGD', 0.05, 0.9)
    """
    settings: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, betas=recipe.betas, eps=recipe.epsilon, **settings)


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """Copies of the optimiser's tensors by `optimizer/PLACE/NAME`, with the places of its parameters.

    Examples:
        >>> weight = nn.Parameter(torch.ones(2))
        >>> optimizer = make_optimizer([weight], Recipe(momentum=0.9))
        >>> weight.grad = torch.tensor([1.0, 2.0])
        >>> optimizer.step()
        >>> optimizer_state(optimizer)
        {'optimizer/0/momentum_buffer': tensor([1., 2.])}
    """
    return {
        f"optimizer/{place}/{name}": value.detach().clone()
        for place, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Give an optimiser the tensors that `optimizer_state` gave; names of other things are passed over.

    Examples:
        >>> optimizer = make_optimizer([nn.Parameter(torch.ones(2))], Recipe(momentum=0.9))
        >>> load_optimizer_state(optimizer, {"optimizer/0/momentum_buffer": torch.tensor([1.0, 2.0])})
        >>> optimizer_state(optimizer)
        {'optimizer/0/momentum_buffer': tensor([1., 2.])}
    """
    parameters = _parameters(optimizer)
    for place, tensor in state.items():
        kind, _, rest = place.partition("/")
        if kind == "optimizer":
            number, _, name = rest.partition("/")
            parameter = parameters[int(number)]
            optimizer.state[parameter][name] = tensor.to(parameter.device, copy=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def random_states(device: torch.device) -> State:
    """torch's random states that a training on the device draws from, by kind of device.

    Examples:
        >>> list(random_states(torch.device("cpu")))
        ['cpu']
    """
    found = {"cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(device: torch.device, states: State) -> None:
    """Set what `random_states` gave.

    Examples:
        >>> states = random_states(torch.device("cpu"))
        >>> first = torch.rand(2)
        >>> set_random_states(torch.device("cpu"), states)
        >>> torch.equal(torch.rand(2), first)
        True
    """
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the optimiser's next steps.

    Examples:
        >>> optimizer = make_optimizer([nn.Parameter(torch.zeros(2))], Recipe())
        >>> set_learning_rate(optimizer, 0.01)
        >>> optimizer.param_groups[0]["lr"]
        0.01
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
