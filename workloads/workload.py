"""Workload: network + task + training recipe."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from scratchcard.pruning.parameters import prunable
from scratchcard.workloads.engines.training import Recipe
from scratchcard.workloads.factory import code_digest, from_factory, said
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.task import Task


@dataclass(frozen=True, eq=False)
class Workload:
    """What is pruned, on which data, and how it is trained.

    Attributes:
        network: a registered name (`lenet_300_100`) or `package.module:factory`; the factory takes no argument,
            uses torch's global random state and returns a `torch.nn.Module` from inputs to logits.
        task: the data, the loss and the metric.
        recipe: the training recipe.
        weights: a safetensors file with the network's state, loaded after it was built; then the seed changes only
            the scoring batch and the data order.
    """

    network: str
    task: Task
    recipe: Recipe = field(default_factory=Recipe)
    weights: Path | None = None

    def __repr__(self) -> str:
        weights = f", weights={str(self.weights)!r}" if self.weights else ""
        return f"Workload({self.network!r} on {self.task.name!r}{weights})"

    @property
    def name(self) -> str:
        """`network-task`, for file names and tables."""
        return f"{self.network.rpartition(':')[2]}-{self.task.name}"

    def build(self, seed: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> nn.Module:
        """The network with the initial weights of `seed`; the global random state stays as it was.

        Raises:
            ValueError: unknown network, a factory that cannot be imported or returns no module, weights that do not
                fit, nothing to prune, or logits of the wrong shape.
            FileNotFoundError: the weights file does not exist.
        """
        if ":" in self.network:
            network = from_factory(self.network, seed)
        else:
            network = build_network(self.network, self.task.input_shape, self.task.classes, seed)
        if self.weights is not None:
            _load_weights(network, self.weights)
        prunable(network)
        network = network.to(device=device, dtype=dtype)
        self._check_logits(network)
        return network

    @property
    def scoring_examples(self) -> int:
        """The size of the scoring batch: the recipe's, but at most what the training split gives.

        That is the whole split, or, balanced, as many of each class as the smallest class has.
        """
        asked = self.recipe.scoring_examples
        if asked <= len(self.task.train):
            return asked
        if not self.recipe.scoring_balanced:
            return len(self.task.train)
        smallest = int(self.task.train.targets.bincount(minlength=self.task.classes).min())
        return self.task.classes * smallest or len(self.task.train)

    def scoring_batch(
        self, seed: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """The recipe's scoring batch (`scoring_examples` of them), drawn from the training split with `seed`."""
        balanced = self.recipe.scoring_balanced
        inputs, targets = self.task.scoring_batch(self.scoring_examples, seed=seed, balanced=balanced)
        return inputs.to(device=device, dtype=dtype), targets.to(device)

    def describe(self) -> dict[str, Any]:
        """Plain JSON that identifies the workload: network, task, data digest, recipe; the weights' file and sha256.

        A network of the user's own has its code's digest too: edited, it is another network.

        Raises:
            FileNotFoundError: the weights file does not exist.
        """
        described: dict[str, Any] = {
            "network": self.network,
            "task": self.task.name,
            "data_digest": self.task.digest,
            "recipe": dataclasses.asdict(self.recipe),
        }
        code = code_digest(self.network) if ":" in self.network else None
        if code is not None:
            described["network_code"] = code
        if self.weights is not None:
            described["weights"] = str(self.weights)
            described["weights_sha256"] = hashlib.sha256(_read(self.weights)).hexdigest()
        return described

    def _check_logits(self, network: nn.Module) -> None:
        parameter = next(network.parameters())
        probe = self.task.train.inputs[:2].to(parameter.device, parameter.dtype)
        training = network.training
        network.eval()
        try:
            with torch.no_grad():
                logits = network(probe)
        except Exception as error:  # a foreign network can raise anything
            raise ValueError(
                f"{self.network} cannot take a batch of {self.task.name} of shape {tuple(probe.shape)}: {said(error)}"
            ) from error
        finally:
            network.train(training)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (len(probe), self.task.classes):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{self.network} returns {shape} for {len(probe)} inputs of {self.task.name}, expected logits of shape "
                f"{(len(probe), self.task.classes)}"
            )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: expected a safetensors file of the network's state")
    return path.read_bytes()


def _load_weights(network: nn.Module, path: Path) -> None:
    content = _read(path)
    try:
        network.load_state_dict(load(content))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit the network: {' '.join(str(error).split())}") from error
