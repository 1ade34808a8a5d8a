"""The plain engine, for any network: torch's autograd and optimisers, the gradients of masked weights masked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scratchcard.pruning.inputs import forward, loss_of, rows, told
from scratchcard.pruning.mask import Mask
from scratchcard.workloads.augmentations import augment_by, check_images
from scratchcard.workloads.engines.engine import (
    Engine,
    State,
    load_optimizer_state,
    make_optimizer,
    optimizer_state,
    set_learning_rate,
)
from scratchcard.workloads.engines.evaluator import Evaluated, evaluate_network
from scratchcard.workloads.engines.mixed_precision import Mixed
from scratchcard.workloads.learning_rates import learning_rates
from scratchcard.workloads.objective import Objective, training_loss
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split


class AutogradEngine(Engine):
    """Trains one network in place.

    Pruned weights must be zero at the start. They stay exactly zero because their gradient and with it every optimiser
    moment is zero, and weight decay of zero is zero.

    Args:
        network: on the device of `train`.
        mask: the kept weights; None trains all, as it does parameters that are not in it.
        train: in the network's dtype.

    Examples:
        >>> network, mask = nn.Linear(2, 2), Mask({"weight": torch.eye(2, dtype=torch.bool)})
        >>> mask.apply_to(network)
        >>> split = Split(torch.eye(2), torch.tensor([0, 1]))
        >>> engine = AutogradEngine(network, mask, sc.Classification(), Recipe(batch_size=2), split)
        >>> _ = engine.run(torch.tensor([[[0, 1]] * 200]))
        >>> engine.evaluate(split)[0].accuracy, engine.state()["weight"] != 0
        (1.0, tensor([[ True, False],
                [False,  True]]))
    """

    name = "autograd"

    def __init__(
        self, network: nn.Module, mask: Mask | None, objective: Objective, recipe: Recipe, train: Split
    ) -> None:
        self._network, self._objective, self._train = network, objective, train
        self.device = train.targets.device
        self._recipe, self._steps = recipe, 0
        check_images(recipe, train.inputs, "the inputs")
        self._augment = augment_by(recipe.augmentation)
        self._mixed = Mixed(recipe.precision, self.device)
        if recipe.channels_last:
            network.to(memory_format=torch.channels_last)
        self._loss = training_loss(objective, recipe.label_smoothing)
        parameters = {key: p for key, p in network.named_parameters() if p.requires_grad}
        kept = {} if mask is None else {name: tensor for name, tensor in mask.tensors.items() if not bool(tensor.all())}
        self._masked = [(p, kept[name].to(p.device, p.dtype)) for name, p in parameters.items() if name in kept]
        if recipe.channels_last:  # as its gradient lies
            self._masked = [(p, torch.empty_like(p).copy_(kept)) for p, kept in self._masked]
        self._optimizer = make_optimizer(list(parameters.values()), recipe)

    def run(self, order: Tensor) -> Tensor:
        """Train on the batches `order` `(1, steps, batch)`; see `Engine.run`."""
        targets, kind = self._train.targets, type(self._network).__name__
        order = order.to(targets.device)
        total = torch.zeros(1, dtype=torch.float64, device=targets.device)
        self._network.train()
        rates = learning_rates(self._recipe, self._steps, len(order[0]))
        for index, rate in zip(order[0], rates, strict=True):
            inputs = self._augment(rows(self._train.inputs, index))
            if self._recipe.channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with self._mixed.products():
                outputs = forward(self._network, inputs)
                if not outputs.requires_grad:
                    raise ValueError(f"{kind} gives outputs without a gradient in training: it cannot be trained")
                loss = loss_of(self._loss, outputs, targets[index])
            self._optimizer.zero_grad()
            with told(lambda: f"the gradient of {kind} cannot be computed"):
                self._mixed.backward(loss)
            for weight, mask in self._masked:
                if weight.grad is not None:
                    weight.grad.mul_(mask)
            set_learning_rate(self._optimizer, rate)
            self._mixed.step(self._optimizer)
            total += loss.detach()
        self._steps += len(rates)
        return total.cpu()

    def evaluate(self, split: Split) -> list[Evaluated]:
        """Loss and metrics on `split`; see `Engine.evaluate`."""
        return [evaluate_network(self._network, split, self._objective)]

    def state(self, place: int = 0) -> State:
        """A copy of the network's state."""
        return {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}

    def standing(self) -> State:
        """See `Engine.standing`."""
        held = {f"network/{name}": tensor.detach().clone() for name, tensor in self._held().items()}
        return held | optimizer_state(self._optimizer) | self._mixed.standing()

    def restore(self, standing: State, steps: int) -> None:
        """See `Engine.restore`."""
        with torch.no_grad():
            for name, tensor in self._held().items():
                tensor.copy_(standing[f"network/{name}"])
        load_optimizer_state(self._optimizer, standing)
        self._mixed.restore(standing)
        self._steps = steps

    def _held(self) -> State:
        return dict([*self._network.named_parameters(), *self._network.named_buffers()])
