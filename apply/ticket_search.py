"""Find ticket paths, and judge them by what they are worth in other initialisations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from scratchcard.apply.ticket_library import TicketLibrary, class_means
from scratchcard.artefacts.store import Store
from scratchcard.artefacts.version import versions
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.ticket_path import TicketPath
from scratchcard.regimes import ISS
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.session import Session
from scratchcard.workloads.workload import Workload


def find_path(
    workload: Workload,
    seed: int,
    densities: Sequence[float],
    *,
    rounds: int = 12,
    store: Store | None = None,
    device: torch.device | str = "cpu",
) -> TicketPath:
    """The nested tickets of iterative magnitude pruning at several densities.

    One path of `rounds` rounds leads to the lowest density; every other leaves it at its place (`ISS.towards`).

    Args:
        workload: where.
        seed: of the initial weights and the data order.
        densities: of the tickets.
        rounds: down to the lowest density.
        store: keeps finished trainings, which the densities share and from which an interrupted search goes on; without
            one each density searches anew.
        device: where to train.

    Examples:
        >>> workload = Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=20))
        >>> path = find_path(workload, seed=0, densities=[0.5, 0.2], rounds=2)
        >>> path.densities
        (0.5, 0.2)
    """
    last = min(densities)
    regime, scorer, session = ISS(rounds=rounds, towards=last), make_scorer("magnitude"), Session(device, store=store)
    found = {density: regime.find(workload, scorer, density, seed, session) for density in densities}
    split = workload.task.train
    means = class_means((split.tensor.cpu(), split.targets.cpu()), workload.task.classes)
    about = workload.describe() | {"regime": "ISS", "rounds": rounds, "seed": seed, "versions": versions()}
    return TicketPath.of({density: f.mask for density, f in found.items()}, found[last].start, means, about)


def accuracy_elsewhere(
    path: TicketPath, workload: Workload, seeds: Sequence[int], density: float, *, device: torch.device | str = "cpu"
) -> float:
    """Mean validation accuracy where the path is laid into other initialisations and trained.

    Raises:
        ValueError: it does not fit one of them.

    Examples:
        >>> recipe = sc.Recipe(max_steps=60, evaluation_interval=60)
        >>> workload = Workload("lenet_300_100", sc.load_task("digits"), recipe)
        >>> path = find_path(workload, seed=0, densities=[0.2], rounds=1)
        >>> accuracy_elsewhere(path, workload, seeds=[1], density=0.2) > 0.5
        True
    """
    accuracies = []
    for seed in seeds:
        network = workload.build(seed, device=device)
        batch = workload.scoring_batch(seed, device=device)
        laid = TicketLibrary({"": path}).lay(network, batch, density)
        if laid is None:
            raise ValueError(f"the ticket of seed {path.about.get('seed')} does not fit the initialisation {seed}")
        mask = keep_top(laid(network, batch, workload.task.loss), density, seed=seed)
        record = train(network, workload.task, workload.recipe, mask=mask, seed=seed, device=device)
        accuracies.append(record.best_validation_metric)
    return sum(accuracies) / len(accuracies)
