"""TicketLibrary: tickets of other initialisations, and what they say of a new network of a task that they know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from scratchcard.artefacts.digest import sha256, tensor_bytes
from scratchcard.pruning.alignment import Alignment, align
from scratchcard.pruning.chain import NotAChainError
from scratchcard.pruning.inputs import one_tensor
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import count, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.scorers.scorer import Batch, Loss, Scorer, without_pruned

NEAR = 0.8
"""Least similarity of two tasks' class means; see `similarity`. MNIST's own batches reach 0.99, other tasks about 0."""


@dataclass(frozen=True, eq=False)
class LaidTicket(Scorer):
    """A stored path, laid into one network: a scorer whose scores are the levels of the matched weights.

    Attributes:
        scores_: by weight name: the number of the path's densities at which the weight is kept; half a level more where
            the network's weight has the ticket's sign; 0 for weights that the ticket does not hold.
        signs: by weight name: the ticket's sign at the matched place, else 0; int8.
        agreement: share of the ticket's weights whose sign the network's weight has.
        source: the path's name.

    Examples:
        >>> level, sign = torch.tensor([[2.0, 0.0]]), torch.tensor([[1, 0]], dtype=torch.int8)
        >>> laid = LaidTicket({"weight": level}, {"weight": sign}, agreement=1.0, source="by hand")
        >>> laid(nn.Linear(2, 1), (torch.ones(1, 2), torch.ones(1, 1)), nn.functional.mse_loss).flat()
        tensor([2., 0.])
    """

    scores_: dict[str, Tensor] = field(repr=False)
    signs: dict[str, Tensor] = field(repr=False)
    agreement: float
    source: str

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """The same scores in every round; see `scorers.Scorer`."""
        own = prunable(network)
        placed = {name: self.scores_[name].to(weight.device) for name, weight in own.items()}
        return Scores(without_pruned(placed, mask), repr(self))


@dataclass(frozen=True, eq=False)
class TicketLibrary:
    """Ticket paths by name.

    Attributes:
        paths: by name.

    Examples:
        >>> from scratchcard.apply.shipped import load_tickets, shipped
        >>> library = load_tickets(shipped("default")[0])
        >>> batch = torch.rand(20, 64), torch.arange(20) % 10
        >>> library.lay(nn.Linear(64, 10), batch, density=0.05) is None  # no stored ticket is of this task
        True
    """

    paths: dict[str, TicketPath]

    @classmethod
    def load(cls, folder: str | Path) -> TicketLibrary:
        """All paths of a folder.

        Raises:
            ValueError: a file is damaged.
            FileNotFoundError: there is none.
        """
        files = sorted(Path(folder).glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(
                f"no ticket path in {folder}: expected .safetensors files that TicketPath.save wrote"
            )
        return cls({file.stem: TicketPath.load(file) for file in files})

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides what is laid where."""
        parts: list[str | memoryview] = []
        for name, path in self.paths.items():
            parts.append(f"\n{name} {path.densities}")
            for tensors in (path.levels, path.values, {"inputs": path.inputs}):
                for key, tensor in tensors.items():
                    parts += [f"\n{key} {tuple(tensor.shape)}", tensor_bytes(tensor)]
        return sha256(parts)

    def alike(self, network: nn.Module, density: float) -> TicketPath:
        """The first path that was found in a network of the same layout and that reaches the density.

        Raises:
            ValueError: there is none.
        """
        own = {name: weight.shape for name, weight in prunable(network).items()}
        for path in self.paths.values():
            if {name: level.shape for name, level in path.levels.items()} == own and path.reaches(density):
                return path
        raise ValueError(
            f"none of the tickets {', '.join(self.paths)} is of {type(network).__name__}'s layout and reaches density "
            f"{density:g}, so that none can be transplanted"
        )

    def lay(self, network: nn.Module, batch: Batch, density: float) -> LaidTicket | None:
        """The path of this task that agrees best with the network's signs, or None where there is none.

        A path is of this task if its class means are similar (`similarity` of at least 0.8), and fits if the network is
        a chain of as many layers, with the same inputs and outputs and enough units, and if the density lies within the
        path's.
        """
        found: LaidTicket | None = None
        total = count(prunable(network))
        for name, path in self.paths.items():
            if similarity(path.inputs, batch) < NEAR or not path.reaches(density, total):
                continue
            template = path.signs(density, total)
            try:
                laid = align(template, network)
            except (NotAChainError, ValueError):
                continue
            if found is None or laid.agreement > found.agreement:
                found = _laid(name, path, template, laid, network)
        return found


@dataclass(frozen=True, eq=False)
class Transplanted(Scorer):
    """A rival: another initialisation's ticket, as it lies. Scores are the path's levels.

    Attributes:
        library: whose first path of the network's layout is taken, whatever its task.
        density: asked for.
        layers_only: keep as many weights of each layer as the ticket, but random ones.
        seed: of the random ones.

    Examples:
        >>> from scratchcard.apply.shipped import load_tickets, shipped
        >>> Transplanted(load_tickets(shipped("default")[0]), density=0.005).layers_only
        False
    """

    library: TicketLibrary = field(repr=False)
    density: float
    layers_only: bool = False
    seed: int = 0

    def __repr__(self) -> str:
        what = "layers" if self.layers_only else "mask"
        return f"Transplanted({self.library.digest[:16]}, {what}, density={self.density}, seed={self.seed})"

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`.

        Raises:
            ValueError: no path is of the network's layout.
        """
        path = self.library.alike(network, self.density)
        scores = {name: level.float() for name, level in path.levels.items()}
        if self.layers_only:
            kept = {name: int((signs != 0).sum()) for name, signs in path.signs(self.density).items()}
            generator = torch.Generator().manual_seed(self.seed)
            for name, level in scores.items():
                order = torch.randperm(level.numel(), generator=generator).argsort().reshape(level.shape)
                scores[name] = (order < kept[name]).float()
        own = prunable(network)
        placed = {name: scores[name].to(weight.device, weight.dtype) for name, weight in own.items()}
        return Scores(without_pruned(placed, mask), repr(self))


def put_values(network: nn.Module, path: TicketPath) -> None:
    """Set the weights that the path holds to their values in the network where it was found, in place.

    Examples:
        >>> from scratchcard.pruning.mask import Mask
        >>> network = nn.Linear(2, 1)
        >>> mask = Mask({"weight": torch.tensor([[True, False]])})
        >>> path = TicketPath.of({0.5: mask}, {"weight": torch.tensor([[0.25, 9.0]])}, torch.zeros(1, 2))
        >>> put_values(network, path)
        >>> network.weight.data[0, 0].item()
        0.25
    """
    with torch.no_grad():
        for name, weight in prunable(network).items():
            held = (path.levels[name] > 0).to(weight.device)
            weight.copy_(torch.where(held, path.values[name].to(weight.device, weight.dtype), weight))


def put_signs(network: nn.Module, signs: Mapping[str, Tensor]) -> None:
    """Give weights the signs that are asked for, in place; 0 leaves a weight as it is, sizes stay.

    Examples:
        >>> network = nn.Linear(2, 1)
        >>> network.weight.data = torch.tensor([[-0.5, 0.3]])
        >>> put_signs(network, {"weight": torch.tensor([[1, 0]])})
        >>> network.weight.data
        tensor([[0.5000, 0.3000]])
    """
    with torch.no_grad():
        for name, weight in prunable(network).items():
            sign = signs[name].to(weight.device, weight.dtype)
            weight.copy_(torch.where(sign != 0, weight.abs() * sign, weight))


def _laid(
    name: str, path: TicketPath, template: Mapping[str, Tensor], laid: Alignment, network: nn.Module
) -> LaidTicket:
    levels = laid.placed({key: (template[key] != 0) * level.float() for key, level in path.levels.items()})
    weights = prunable(network)
    scores = {
        key: level + 0.5 * ((level > 0) & (weights[key].detach().cpu().sign() == laid.signs[key]))
        for key, level in levels.items()
    }
    return LaidTicket(scores, dict(laid.signs), laid.agreement, name)


def similarity(means: Tensor, batch: Batch) -> float:
    """Pearson correlation of how the classes' mean inputs differ from their common mean: here and in the batch.

    0 where there are several inputs by name, where classes or features are not as many, where a class has no example
    or nothing differs. Both are averaged over classes; entries are classes x features.

    Examples:
        >>> means = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> round(similarity(means, (torch.tensor([[0.1, 0.9], [0.8, 0.1]]), torch.tensor([0, 1]))), 3)
        0.998
    """
    if isinstance(batch[0], Mapping):
        return 0.0
    inputs, targets = batch[0].detach().cpu(), batch[1].detach().cpu()
    if not inputs.is_floating_point() or targets.is_floating_point() or targets.ndim != 1:
        return 0.0
    if inputs[0].numel() != means.shape[1] or not torch.equal(torch.unique(targets), torch.arange(len(means))):
        return 0.0
    own = class_means((inputs, targets), len(means))
    one, two = (x - x.mean(dim=0) for x in (means, own))
    size = float(one.norm() * two.norm())
    return float((one * two).sum()) / size if size > 0 else 0.0


def class_means(batch: Batch, classes: int) -> Tensor:
    """Mean input of each class, `(classes, features)`.

    Raises:
        ValueError: a class without an example.

    Examples:
        >>> class_means((torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])), classes=2)
        tensor([[2.],
                [5.]])
    """
    inputs, targets = one_tensor(batch[0], "the class mean").reshape(len(batch[1]), -1).float(), batch[1]
    counts = torch.bincount(targets, minlength=classes)
    if not bool(counts.all()):
        raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no example, so that it has no mean")
    return inputs.new_zeros((classes, inputs.shape[1])).index_add(0, targets, inputs) / counts[:, None]
