"""What `benchmarks.gpu` measures on a device and on the CPU of the same machine, a row at a time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.features import make_predictor
from scratchcard.apply.method import Method
from scratchcard.dataset_builder.features import compute_features
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import count, prunable
from scratchcard.regimes.upfront import prune_upfront
from scratchcard.scorers import make_scorer
from scratchcard.workloads.engines.stacked_training import train_stacked
from scratchcard.workloads.engines.training import train
from scratchcard.workloads.networks import build_network
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Split, Task, task_digest

FLOAT = 4
PASSES = {"magnitude": 2, "snip": 6, "grasp": 12, "synflow": 12, "synflow_l2_data": 12, "gauss_newton": 60}
"""How often 4 bytes a weight cross the memory at least, whatever the batch: weights read forward and backward,
gradients written and read, scores written; SynFlow in float64. Gauss-Newton has ten products of twice a gradient's."""
COPIED = 2**30
"""Bytes of the copy whose rate stands for the device's."""


@dataclass(frozen=True)
class Row:
    """One measurement; `bytes` is what must cross the memory at least, None where that says nothing."""

    what: str
    size: str
    seconds: float
    cpu_seconds: float | None = None
    bytes: float | None = None
    peak_mib: float | None = None


@dataclass(frozen=True)
class Place:
    """The device, and how large everything is."""

    device: torch.device
    tiny: bool = False

    def pick(self, usual: Any, tiny: Any) -> Any:
        """One of two sizes."""
        return tiny if self.tiny else usual

    def seconds(self, call: Callable[[], Any], device: torch.device | None = None, most: float = 2.0) -> float:
        """The shortest of up to five calls, after one that warms up (and is the only one where it took long)."""
        where, best = device or self.device, self._once(call, device or self.device)
        if best > 4 * most:
            return best
        best, begun = float("inf"), time.perf_counter()
        for _ in range(5):
            best = min(best, self._once(call, where))
            if time.perf_counter() - begun > most:
                break
        return best

    @staticmethod
    def _once(call: Callable[[], Any], where: torch.device) -> float:
        _wait(where)
        before = time.perf_counter()
        call()
        _wait(where)
        return time.perf_counter() - before

    def both(self, make: Callable[[torch.device], Callable[[], Any]]) -> tuple[float, float, float | None]:
        """Seconds on the device, on the CPU, and the device's peak memory in MiB."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = self.seconds(make(self.device))
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else None
        cpu = torch.device("cpu")
        return seconds, self.seconds(make(cpu), cpu), peak


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _perceptron(width: int, layers: int, inputs: int = 784) -> nn.Sequential:
    torch.manual_seed(0)
    modules: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise((inputs, *[width] * layers, 10)):
        modules += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def _images(number: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, *shape, generator=generator), torch.randint(0, 10, (number,), generator=generator)


def _task(number: int, shape: tuple[int, ...]) -> Task:
    splits = tuple(Split(*_images(size, shape)) for size in (number, number // 10, 10))
    return Task("noise", *splits, outputs=10, digest=task_digest(*splits))


def _networks(place: Place) -> Iterator[tuple[str, nn.Module, tuple[Tensor, Tensor]]]:
    examples = place.pick(256, 16)
    wide = _perceptron(*place.pick((4096, 4), (64, 2)))
    yield "perceptron", wide, _images(examples, (1, 28, 28))
    yield "ResNet-20", build_network("resnet_20", (3, 32, 32), 10, 0).eval(), _images(examples, (3, 32, 32))


def memory(place: Place) -> Iterator[Row]:
    """The rate of a copy on the device: the measure of all shares."""
    size = place.pick(COPIED, 2**20)
    both = place.both(lambda device: _copy(size, device))
    yield Row("copy", f"{size / 2**20:,.0f} MiB", *both[:2], 2 * size, both[2])


def _copy(size: int, device: torch.device) -> Callable[[], Any]:
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def scorers(place: Place) -> Iterator[Row]:
    """One scoring of a batch by each criterion; and the choice of the best weights."""
    for name, network, batch in _networks(place):
        weights = count(prunable(network))
        for scorer, passes in PASSES.items():

            def make(device: torch.device, scorer: str = scorer, network: Any = network, batch: Any = batch) -> Any:
                network.to(device)
                there = tuple(tensor.to(device) for tensor in batch)
                return lambda: make_scorer(scorer)(network, there, F.cross_entropy)

            seconds, cpu, peak = place.both(make)
            yield Row(f"{scorer}, {name}", f"{weights:,} weights", seconds, cpu, passes * FLOAT * weights, peak)

        def cut(device: torch.device, network: Any = network, batch: Any = batch) -> Any:
            scores = make_scorer("random")(network.to(device), batch, F.cross_entropy)
            return lambda: keep_top(scores, 0.05)

        yield Row(f"the best 5 %, {name}", f"{weights:,} weights", *place.both(cut)[:2])


def features(place: Place) -> Iterator[Row]:
    """All features of a network; they are ranked and written on the CPU."""
    for width, layers in place.pick(((300, 2), (2048, 3)), ((32, 2),)):
        network, batch = _perceptron(width, layers), _images(place.pick(2560, 32), (1, 28, 28))

        def make(device: torch.device, network: Any = network, batch: Any = batch) -> Any:
            network.to(device)
            there = tuple(tensor.to(device) for tensor in batch)
            return lambda: sum(block.rows for block in compute_features(network, there, F.cross_entropy, density=0.05))

        seconds, cpu, peak = place.both(make)
        yield Row("all features", f"{count(prunable(network)):,} weights", seconds, cpu, None, peak)


def prediction(place: Place) -> Iterator[Row]:
    """Pruning with the shipped predictor in its sixteen rounds; and trees, which are on the CPU alone."""
    network, batch = _perceptron(*place.pick((300, 2), (32, 2))), _images(place.pick(2560, 64), (1, 28, 28))

    def make(device: torch.device) -> Any:
        network.to(device)
        there = tuple(tensor.to(device) for tensor in batch)
        scorer = Method("predicted", predictor="policy").make_scorer(0.05, 0)
        rounds = place.pick(16, 2)
        return lambda: prune_upfront(network, there, F.cross_entropy, scorer, 0.05, rounds=rounds)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was fitted on trained data sets, this is noise
        seconds, cpu, peak = place.both(make)
    yield Row("pruned by the shipped predictor", f"{count(prunable(network)):,} weights", seconds, cpu, None, peak)
    predictor, cpu_device = make_predictor(), torch.device("cpu")
    blocks = list(compute_features(network.to("cpu"), batch, F.cross_entropy, density=0.05))
    seconds = place.seconds(lambda: [predictor.predict(block) for block in blocks], cpu_device)
    yield Row("200 trees (on the CPU)", f"{sum(block.rows for block in blocks):,} weights", seconds)


def _mask(network: nn.Module, density: float) -> Mask:
    return keep_top(make_scorer("magnitude")(network, _images(1, (1,)), F.cross_entropy), density)


def _trainings(place: Place, density: float | None) -> Iterator[Row]:
    steps = place.pick(200, 3)
    for name, shape in (("lenet_300_100", (1, 28, 28)), ("resnet_20", (3, 32, 32))):
        task, recipe = _task(place.pick(6400, 640), shape), Recipe(max_steps=steps, evaluation_interval=steps)
        fresh = build_network(name, shape, 10, 0)
        mask = None if density is None else _mask(fresh, density)

        seconds, cpu, peak = place.both(partial(_training, name, shape, task, recipe, mask))
        yield Row(name, f"{steps:,} steps of {recipe.batch_size}", seconds, cpu, None, peak)


def _training(
    name: str, shape: tuple[int, ...], task: Task, recipe: Recipe, mask: Mask | None, device: torch.device
) -> Callable[[], Any]:
    there = task.to(device)

    def run() -> None:
        network = build_network(name, shape, 10, 0)
        if mask is not None:
            mask.apply_to(network)
        train(network, there, recipe, mask=mask, device=device)

    return run


def dense(place: Place) -> Iterator[Row]:
    """Training whole networks."""
    return _trainings(place, None)


def tickets(place: Place) -> Iterator[Row]:
    """Training tickets of density 0.02, by the engine that `auto` takes."""
    return _trainings(place, 0.02)


def together(place: Place) -> Iterator[Row]:
    """Many tickets at once on stacked parameters; on the CPU one after the other by its fastest engine."""
    steps, shape = place.pick(100, 3), (1, 28, 28)
    task, recipe = _task(place.pick(6400, 640), shape), Recipe(max_steps=steps, evaluation_interval=steps)
    warm = False
    for number in (1, *place.pick((1, 8, 32, 128), (1, 2))):  # the first warms up
        networks = [build_network("lenet_300_100", shape, 10, seed) for seed in range(number)]
        masks = [_mask(network, 0.02) for network in networks]
        for mask, network in zip(masks, networks, strict=True):
            mask.apply_to(network)
        begin = time.perf_counter()
        how: dict[str, Any] = {"masks": masks, "seeds": range(number), "device": place.device}
        train_stacked(networks, task, recipe, **how)
        _wait(place.device)
        seconds = time.perf_counter() - begin
        cpu = place.seconds(
            lambda networks=networks, masks=masks: train(networks[0].to("cpu"), task, recipe, mask=masks[0]),
            torch.device("cpu"),
        )
        if warm:
            yield Row(f"{number} at once", f"{steps} steps of {recipe.batch_size}", seconds, number * cpu)
        warm = True


STEPS: dict[str, Callable[[Place], Iterator[Row]]] = {
    "memory": memory,
    "scorers": scorers,
    "features": features,
    "prediction": prediction,
    "dense": dense,
    "tickets": tickets,
    "together": together,
}


def rows(name: str, place: Place) -> Iterator[dict[str, Any]]:
    """The rows of a step as plain JSON."""
    torch.manual_seed(0)
    for row in STEPS[name](place):
        yield asdict(row)
