"""Workload: network + task + training recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scratchcard.artefacts.code_digest import code_digest, code_files, foreign_code
from scratchcard.artefacts.digest import sha256, tensor_bytes
from scratchcard.pruning.inputs import (
    Inputs,
    check_tensor,
    each,
    in_layer,
    placed,
    rows,
    shapes_of,
    tensors,
    told,
)
from scratchcard.pruning.known_layers import register_again, registered_for, registrations
from scratchcard.pruning.network_code import network_code
from scratchcard.pruning.parameters import inside, prunable
from scratchcard.registry import members
from scratchcard.workloads.augmentations import check_images
from scratchcard.workloads.factory import from_factory
from scratchcard.workloads.module_copy import module_copy
from scratchcard.workloads.named_options import plain_name
from scratchcard.workloads.networks import NETWORKS, build_network, network_files, plainly
from scratchcard.workloads.networks.of_package import is_of_package
from scratchcard.workloads.networks.takes import takes_tokens
from scratchcard.workloads.objective import training_loss
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.weights_file import load_weights, weights_at


@dataclass(frozen=True, eq=False)
class Workload:
    """What is pruned, on which data, and how it is trained.

    Attributes:
        network: a registered name (`lenet_300_100`), or one of torchvision's or timm's (`torchvision:resnet18`,
            `timm:resnet10t`); `package.module:factory`, where the factory takes no argument or `task`, uses torch's
            global random state and returns a `torch.nn.Module`; or such a module as it is, which is copied and never
            changed: its weights are the initial weights.
        task: the data and the objective.
        recipe: the training recipe.
        weights: a file of the network's state, safetensors or torch's plain tensors (.pt, .pth), loaded after it was
            built; see `load_weights`.

    With a module or with weights, the seed changes only the scoring batch and the data order.

    >>> from scratchcard.workloads.tasks import load_task
    >>> workload = Workload(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), load_task("digits"))
    >>> workload
    Workload(Sequential on digits)
    """

    network: str | nn.Module
    task: Task
    recipe: Recipe = field(default_factory=Recipe)
    weights: Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.network, nn.Module):  # a ticket's names are those inside of wrappers
            object.__setattr__(self, "network", inside(self.network))
        elif isinstance(self.network, str) and "," in self.network:
            object.__setattr__(self, "network", plainly(self.network))
        if self.weights is not None:
            object.__setattr__(self, "weights", Path(self.weights))
        if not isinstance(self.recipe, Recipe):
            raise ValueError(
                f"the recipe is {type(self.recipe).__name__}, expected a Recipe, such as Recipe(max_steps=500)"
            )
        training_loss(self.task.objective, self.recipe.label_smoothing)  # refuses it where it does not apply
        check_images(self.recipe, self.task.train.inputs, f"the inputs of {self.task.name}")

    def __repr__(self) -> str:
        return f"Workload({self.network_name} on {self.task.name})"

    @property
    def network_name(self) -> str:
        """The network's name; of a module `package.module:Class`, or `Sequential` and the like of torch's own."""
        if isinstance(self.network, str):
            return self.network
        kind = type(self.network)
        return kind.__qualname__ if _is_torchs(kind) else f"{kind.__module__}:{kind.__qualname__}"

    @property
    def name(self) -> str:
        """`network-task`, for file names and tables."""
        network = self.network_name.rpartition(":")[2].replace("/", "_")  # an option may be a path
        return f"{network}-{Path(self.task.name.rpartition(':')[2]).stem}"

    @property
    def has_fixed_weights(self) -> bool:
        """Whether all seeds give the same network."""
        return self.weights is not None or not isinstance(self.network, str)

    def build(self, seed: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> nn.Module:
        """The network with the initial weights of `seed`; the global random state stays as it was.

        Raises:
            ValueError: unknown network, a factory that cannot be imported or returns no module, weights that do not
                fit, nothing to prune, or outputs that do not fit the task's objective.
            FileNotFoundError: the weights file does not exist.
        """
        if not isinstance(self.network, str):
            prunable(self.network)  # a computed weight cannot be copied
            with told(lambda: f"{self.network_name} cannot be copied; give a factory of it, package.module:factory"):
                network = module_copy(self.network)
        elif ":" in self.network and not is_of_package(self.network):
            network = from_factory(self.network, seed, self.task)
        else:
            text = self.task.encoding.text
            vocabulary = None if text is None else text.vocabulary
            network = build_network(self.network, self.task.input_shape, self.task.outputs, seed, vocabulary)
        if self.weights is not None:
            load_weights(network, self.weights)
        prunable(network)
        network = network.to(device=device, dtype=dtype)
        self._check_outputs(network)
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
        return self.task.outputs * min(self.task.class_sizes()) or len(self.task.train)

    def scoring_batch(
        self, seed: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> tuple[Inputs, Tensor]:
        """The recipe's scoring batch (`scoring_examples` of them), drawn from the training split with `seed`."""
        balanced = self.recipe.scoring_balanced
        inputs, targets = self.task.scoring_batch(self.scoring_examples, seed=seed, balanced=balanced)
        return placed(inputs, device, dtype), targets.to(device)

    def scoring(self, seed: int) -> dict[str, Any]:
        """What decides the scoring batch beside the data, as plain JSON."""
        return {"examples": self.scoring_examples, "seed": seed, "balanced": self.recipe.scoring_balanced}

    def describe(self) -> dict[str, Any]:
        """Plain JSON that identifies the workload: network, task, data digest, recipe; the weights' file and sha256.

        A network or task of the user's own has its code's digest too: edited, it is another one. So has a network that
        another package registered, and what `register_prunable` added counts for both where that code does not do it. A
        module also has the digest of its structure and state, and an objective other than classification is named. Of a
        network of texts the vocabulary counts, and the file of vectors that its embeddings begin as.

        Raises:
            FileNotFoundError: the weights file does not exist.
        """
        if not isinstance(self.network, str):
            prunable(self.network)  # weights that are not there yet have no digest
        described: dict[str, Any] = {
            "network": self.network_name,
            "task": self.task.name,
            "data_digest": self.task.digest,
            "recipe": self.recipe.describe(),
        }
        objective = self.task.objective.describe()
        if objective != {"name": "classification"}:
            described["objective"] = objective
        if self.task.code is not None:
            described["task_code"] = self.task.code
        if not isinstance(self.network, str):
            described["network_code"] = self.__dict__.get("_network_code") or _code_of(self.network)
            described["network_state"] = _state_of(self.network)
        elif ":" in self.network:
            code = code_digest(self.network)
            if code is not None:
                described["network_code"] = code
        else:
            described |= network_files(self.network)
            text = self.task.encoding.text
            if text is not None and takes_tokens(members(NETWORKS, "networks").get(plain_name(self.network))):
                described["vocabulary_sha256"] = sha256(["\n".join(text.vocabulary)])
            if plain_name(self.network) not in NETWORKS:  # of another package
                for code in foreign_code([members(NETWORKS, "networks").get(plain_name(self.network))]).values():
                    described["network_code"] = code
        of = code_files(self.network) if isinstance(self.network, str) else self.network
        added = registered_for(of)
        if "network_code" not in described:  # made of torch's layers
            added = {kind: names for kind, names in added.items() if kind.startswith("torch.")}
        if added:
            described["prunable"] = added
        if self.weights is not None:
            described["weights"] = str(self.weights)
            described["weights_sha256"] = sha256([weights_at(self.weights).read_bytes()])
        return described

    def __getstate__(self) -> dict[str, Any]:
        """With what a process that it is sent to needs: registrations, and the digest of classes of a script.

        There their code cannot be read: `__main__` is another file.
        """
        state = self.__dict__ | {"registrations": registrations()}
        network = self.network
        if isinstance(network, nn.Module) and "__main__" in {type(module).__module__ for module in network.modules()}:
            state["_network_code"] = self.__dict__.get("_network_code") or _code_of(network)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        register_again(state.pop("registrations"))
        self.__dict__.update(state)

    def _check_outputs(self, network: nn.Module) -> None:
        """Call the network once on two examples; the objective says whether its outputs fit."""
        parameter = next(network.parameters())
        split = self.task.train
        probe = placed(rows(split.inputs, slice(0, 2)), parameter.device, parameter.dtype)
        targets = split.targets[:2].to(parameter.device)
        before, probe = probe, each(probe, torch.clone)
        training = network.training
        network.eval()
        taken = f"{self.network_name} cannot take a batch of {self.task.name} of {shapes_of(probe)}"
        try:
            with torch.enable_grad(), told(lambda: f"{taken}{in_layer(network)}"):
                outputs: object = network(**probe) if isinstance(probe, dict) else network(probe)
        finally:
            network.train(training)
        what = f"{self.network_name} on {self.task.name}"
        outputs = check_tensor(outputs, what)
        if any(not tensor.equal(tensors(before)[name]) for name, tensor in tensors(probe).items()):
            raise ValueError(
                f"{what} changes its inputs in place, and with them the task; change a copy in its `forward`"
            )
        if outputs.layout is not torch.strided or not outputs.is_floating_point():
            raise ValueError(f"{what} returns {outputs.layout} {outputs.dtype}, expected a dense tensor of floats")
        if not outputs.requires_grad:
            raise ValueError(
                f"{what} gives outputs without a gradient, so that it cannot be trained: all its weights are frozen, "
                "or its `forward` detaches them"
            )
        outputs = outputs.detach()
        self.task.objective.check_outputs(outputs, targets, outputs_expected=self.task.outputs, what=what)


def _is_torchs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("torch", "torchvision")


def _code_of(network: nn.Module) -> str:
    """sha256 of what a module computes, and of the files of all classes in it that are not torch's own."""
    kinds = {type(module) for module in network.modules()}
    own = sorted({f"{kind.__module__}:" for kind in kinds if not _is_torchs(kind)})
    return sha256(
        [
            "\n".join(
                [repr(network), network_code(network, learning=True), *(f"{path} {code_digest(path)}" for path in own)]
            )
        ]
    )


def _state_of(network: nn.Module) -> str:
    """sha256 of a module's parameters and buffers."""
    state = network.state_dict().items()
    return sha256(part for name, t in state for part in (f"{name} {t.dtype} {tuple(t.shape)}\n", tensor_bytes(t)))
