"""One network of the zoo: what is done with it, a cell each, and what came of it."""

from __future__ import annotations

import copy
import json
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from scratchcard.apply.method import Method
from scratchcard.apply.pipeline import find_ticket, train_ticket
from scratchcard.apply.predicted import OutsideWarning, PredictedScorer
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.pruning.compaction import compact
from scratchcard.pruning.connectivity import effective_mask
from scratchcard.pruning.findings import findings, observe, zeros
from scratchcard.pruning.inputs import tensors
from scratchcard.pruning.linear_image import LinearImage
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.modes import scored_by
from scratchcard.pruning.parameters import NotPrunableWarning, prunable
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket import Ticket
from scratchcard.scorers import SCORERS, NoEffectWarning, SynFlow, make_scorer
from scratchcard.scorers.since_start import SinceStart
from scratchcard.workloads.recipe import Recipe
from scratchcard.workloads.task import Task
from scratchcard.workloads.workload import Workload

WORKS, REFUSED, FAULT = "works", "refused", "fault"
CLASSES, EXAMPLES, DENSITY, STEPS = 10, 24, 0.1, 10
RECIPE = Recipe(batch_size=4, max_steps=STEPS, evaluation_interval=STEPS, scoring_examples=4, learning_rate=0.001)
_ROUNDING, _CLOSE = 1e-6, 1e-3


@dataclass(frozen=True)
class Cell:
    """What came of one thing done with one network.

    Attributes:
        network: its name.
        cell: what was done.
        outcome: it works; the product refused it in a sentence; or it is at fault.
        said: the sentence, or the end of the traceback.
        value: what was measured, where something was.
        seconds: of processor time.
        weights: prunable ones.
    """

    network: str
    cell: str
    outcome: str
    said: str = ""
    value: float | None = None
    seconds: float = 0.0
    weights: int = 0

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(asdict(self)) + "\n"


class Wrong(Exception):
    """A result that is not right, said in a sentence."""


class Said(Exception):
    """What the product says of a result, in its own words."""


@dataclass(frozen=True)
class Case:
    """A network and data of its kind, all of it noise.

    Attributes:
        network: as a workload names it.
        shape: of one input; one number is a length of tokens.
    """

    network: str
    shape: tuple[int, ...]

    @cached_property
    def workload(self) -> Workload:
        """With a task of 24 examples."""
        generator = torch.Generator().manual_seed(0)
        pixels = self.network.endswith(":unet")
        if len(self.shape) == 1:
            inputs = torch.randint(0, 60, (EXAMPLES, *self.shape), generator=generator)
        else:
            inputs = torch.randn(EXAMPLES, *self.shape, generator=generator)
        classes = 60 if self.network.endswith((":gpt_2", ":llama")) else 5 if pixels else CLASSES
        targets = torch.arange(EXAMPLES) % classes
        if pixels:
            targets = targets[:, None, None].expand(EXAMPLES, *self.shape[1:]).contiguous()
        task = Task.of(inputs, targets, outputs=classes, **({"objective": "per_position"} if pixels else {}))
        return Workload(self.network, task, RECIPE)

    @cached_property
    def built(self) -> nn.Module:
        """The network."""
        return self.workload.build(0)

    @cached_property
    def ticket(self) -> Ticket:
        """Of SNIP."""
        return find_ticket(self.workload, Method("snip"), DENSITY)

    def prunable(self) -> float:
        """Prunable weights / weights of all matrices."""
        matrices = sum(parameter.numel() for parameter in self.built.parameters() if parameter.ndim > 1)
        return self.weights() / matrices

    def weights(self) -> int:
        """How many are prunable."""
        return sum(weight.numel() for weight in prunable(self.built).values())

    def scored(self, name: str) -> None:
        """By a scorer: finite, not negative where paths are counted, no layer without a score."""
        with scored_by(self.built, "batch"):
            scores = make_scorer(name)(self.built, self.workload.scoring_batch(0), self.workload.task.loss)
        if name.startswith("synflow"):
            negative = [layer for layer, tensor in scores.tensors.items() if float(tensor.min()) < 0]
            if negative:
                raise Wrong(f"negative scores in {len(negative)} layers, the first {negative[0]}")
            self.check_zeros(scores)

    def check_zeros(self, scores: Scores, off: Collection[str] = ()) -> None:
        """That the product says of which layers a criterion gives only zeros, and that no other is off all paths.

        Raises:
            Said: the product's sentence.
            Wrong: it says nothing of one.
        """
        weights = prunable(self.built)
        zero = [name for name, tensor in scores.tensors.items() if not bool(tensor.any()) and bool(weights[name].any())]
        dense = Mask.dense(self.built)
        found = observe(self.built, dense, self.workload.task.example, only_zeros=zeros(scores, dense)) if zero else {}
        told = [odd.text for odd in findings(dense, found) if odd.kind == "only_zeros"] if zero else []
        silent = [name for name in {*zero, *off} if name not in zero or not told]
        if silent:
            raise Wrong(f"{len(silent)} layers are on no path, the first {silent[0]}")
        if told:
            raise Said(told[0])

    def features(self) -> float:
        """How many, of all weights."""
        batch, loss = self.workload.scoring_batch(0), self.workload.task.loss
        rows = sum(len(block.values) for block in compute_features(self.built, batch, loss, density=DENSITY))
        if rows != self.weights():
            raise Wrong(f"features of {rows:,} weights of {self.weights():,}")
        return len(FEATURES)

    def predictor(self) -> None:
        """The shipped default, once."""
        scorer = PredictedScorer.from_bundle("default", DENSITY)
        scorer(self.built, self.workload.scoring_batch(0), self.workload.task.loss)

    def connectivity(self) -> float:
        """The dense network's effective density."""
        dense = Mask.dense(self.built)
        effective = effective_mask(self.built, dense, self.workload.task.example)
        off = [name for name, on_path in effective.tensors.items() if not bool(on_path.all())]
        if off:
            self.check_zeros(self.flow(), off)
        return effective.kept / dense.total

    def flow(self) -> Scores:
        """SynFlow's scores."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoEffectWarning)
            return SynFlow()(self.built, self.workload.scoring_batch(0), self.workload.task.loss)

    def euler(self) -> float:
        """SynFlow's flow through every layer that all paths cross, against the linear image's own output.

        Where there is no such layer: that the image of twice the inputs is twice the image.
        """
        batch = self.workload.scoring_batch(0)
        scores = self.flow().tensors
        image = LinearImage(self.built)
        image.put({name: weight.detach() for name, weight in prunable(self.built).items()}, power=1)
        tokens = {name: tensor[:1] for name, tensor in tensors(batch[0]).items() if not tensor.is_floating_point()}
        ones = {
            name: torch.ones((1, *tensor.shape[1:]) if tensor.is_floating_point() else 1, dtype=torch.float64)
            for name, tensor in tensors(batch[0]).items()
        }
        flow = float(image(ones, tokens).detach().sum())
        worst = max((abs(float(scores[name].sum()) - flow) for name in image.cuts), default=0.0)
        if not image.cuts:
            with torch.no_grad():
                image.begin.fill_(2.0)
            worst = abs(float(image({n: 2 * one for n, one in ones.items()}, tokens).detach().sum()) / 2 - flow)
        if not worst <= _ROUNDING * abs(flow):
            raise Wrong(f"the flow {flow:.6g} is off by {worst:.2g}")
        return flow

    def trained(self) -> float:
        """A ticket, saved, loaded, trained ten steps; its density."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ticket.safetensors"
            self.ticket.save(path)
            ticket, record = train_ticket(Ticket.load(path), self.workload, seed=0)
        if record.steps != STEPS or ticket.trained is None:
            raise Wrong(f"{record.steps} of {STEPS} steps were trained")
        alive = [name for name, kept in ticket.mask.tensors.items() if bool(ticket.trained[name][~kept].any())]
        if alive:
            raise Wrong(f"pruned weights of {alive[0]} are not zero after training")
        return ticket.mask.density

    def compaction(self) -> float:
        """Weights that are left when what the ticket's mask makes useless is removed / prunable weights."""
        inputs, mask = self.workload.scoring_batch(0)[0], self.ticket.mask
        small = compact(self.built, mask, inputs)
        whole = copy.deepcopy(self.built).eval()
        mask.apply_to(whole)
        with torch.no_grad():
            wanted, found = whole(inputs), small.network.eval()(small.gather(inputs))
        if not torch.allclose(found, wanted, rtol=_CLOSE, atol=_CLOSE * float(wanted.abs().max())):
            raise Wrong(f"the small network's outputs are off by {float((found - wanted).abs().max()):.2g}")
        return sum(weight.numel() for weight in prunable(small.network).values()) / self.weights()

    @property
    def cells(self) -> dict[str, Callable[[], float | None]]:
        """What is done, in this order."""

        def by(scorer: str) -> Callable[[], None]:
            return lambda: self.scored(scorer)

        return {
            "prunable": self.prunable,
            **{name: by(name) for name in SCORERS if not isinstance(make_scorer(name), SinceStart)},
            "features": self.features,
            "default predictor": self.predictor,
            "connectivity": self.connectivity,
            "Euler's identity": self.euler,
            "ticket": self.trained,
            "compaction": self.compaction,
        }


def measured(case: Case, name: str) -> Cell:
    """Do one thing with a network; whatever it raises becomes the cell's words."""
    begin = time.process_time()
    value, outcome, said = None, WORKS, ""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = case.cells[name]()
        told = [str(warning.message) for warning in caught if issubclass(warning.category, NoEffectWarning)]
        if told:
            outcome, said = REFUSED, told[0]
    except ValueError as error:
        ours = _module_of(error).startswith("scratchcard.")
        outcome, said = (REFUSED, " ".join(str(error).split())) if ours else (FAULT, _end(error))
    except Said as error:
        outcome, said = REFUSED, str(error)
    except Wrong as error:
        outcome, said = FAULT, str(error)
    except Exception as error:  # what the zoo is for
        outcome, said = FAULT, _end(error)
    weights = 0
    if name == "prunable" and outcome == WORKS:
        weights = case.weights()
    return Cell(case.network, name, outcome, said, value, time.process_time() - begin, weights)


def cells_of(case: Case, names: list[str]) -> Iterator[Cell]:
    """The cells as they come."""
    warnings.filterwarnings("ignore", category=NotPrunableWarning)
    warnings.filterwarnings("ignore", category=OutsideWarning)
    for name in names:
        yield measured(case, name)


def _module_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))


def _end(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({places})"
