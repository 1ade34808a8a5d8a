"""The rows of a trajectory: the weights at each look of an early search, with what slow tickets made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from scratchcard.dataset_builder.features import FEATURES, MOVEMENT_FEATURES, compute_features
from scratchcard.dataset_builder.looks import Looks
from scratchcard.dataset_builder.recording import Recording
from scratchcard.dataset_builder.targets import REPEAT_OFFSET, LookTargets
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.scores import Scores
from scratchcard.regimes import Early
from scratchcard.score_tables.schema import TableBlock
from scratchcard.score_tables.writer import TableWriter
from scratchcard.scorers import make_scorer
from scratchcard.scorers.scorer import Batch, Loss, Scorer
from scratchcard.workloads.session import Session
from scratchcard.workloads.workload import Workload

NAMES = [column.name for column in (*FEATURES, *MOVEMENT_FEATURES)]
Show = Callable[[nn.Module, Batch, Loss, Mask | None, Looks], None]
"""Called at each look with what a scorer is called with, and the looks of the search."""


def record_trajectory(
    workload: Workload,
    seed: int,
    recording: Recording,
    session: Session,
    open_writer: Callable[[dict[str, Any]], TableWriter],
) -> dict[str, Any]:
    """Find the slow tickets of a seed, then write the rows of its search's looks; returns what took how long.

    Args:
        workload: network, task, recipe.
        seed: of the initial weights, the scoring batch, and the data order of the search and the first slow ticket.
        recording: of an early regime.
        session: where and how; the trainings of slow tickets and long stretches of the search are kept in its store.
        open_writer: is called with what is to be noted of the rows' origin.

    Examples:
        >>> from scratchcard.dataset_builder.table_folder import schema_of
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"), sc.Recipe(max_steps=10))
        >>> recording = Recording.of("EMS", "magnitude", 0.1, rounds=2, search_steps=10, slow_rounds=1)
        >>> schema = schema_of(recording)
        >>> _ = record_trajectory(
        ...     workload, 0, recording, sc.Session(), lambda about: TableWriter(schema, "t.parquet", "toy", 0, about)
        ... )
        >>> from scratchcard.score_tables.table_file import TableFile
        >>> from pathlib import Path
        >>> TableFile.open(Path("t.parquet")).rows  # all weights at the first look, and those it kept at the second
        66075
    """
    slow, search = recording.make_slow(), recording.make_regime()
    assert isinstance(search, Early)  # noqa: S101  (what this is called for)
    count = recording.tickets + recording.repeat
    parts = [session.part(number, count + 1) for number in range(count + 1)]
    find = partial(slow.find, workload, make_scorer(recording.slow_scorer, seed), recording.density, seed)
    found = [find(parts[number], data_seed=seed + number * REPEAT_OFFSET) for number in range(count)]
    tickets, repeat = found[: recording.tickets], found[-1] if recording.repeat else None
    targets = LookTargets(tickets, repeat)
    about = {
        "kept": tickets[0].mask.kept,
        "kept_by_both": None if repeat is None else (tickets[0].mask & repeat.mask).kept,
        "training": [[{k: v for k, v in each.items() if k != "seconds"} for each in one.training] for one in tickets],
        "scoring_batch": workload.scoring(seed),
        "looks": [{"steps": steps, "density": density} for steps, density in search.looks(recording.density)],
    }
    with open_writer(about) as writer:

        def show(network: nn.Module, batch: Batch, loss: Loss, mask: Mask | None, looks: Looks) -> None:
            looks.see(network, batch, loss, mask)
            number = looks.number
            if recording.looks and number not in recording.looks:
                return
            how: dict[str, Any] = {"mask": mask, "density": recording.density, "names": NAMES, "looks": looks}
            for block in compute_features(network, batch, loss, **how):
                columns = {name: block.values[:, i] for i, name in enumerate(block.names)}
                columns |= targets.columns(block.parameter, block.indices)
                writer.write(TableBlock(writer.workload, seed, number, block.parameter, block.indices, columns))

        scorer = Shown(make_scorer(recording.scorer, seed), show)
        trajectory = search.find(workload, scorer, recording.density, seed, parts[-1])
    return {
        "slow_seconds": sum(one.seconds for one in found),
        "search_seconds": trajectory.seconds,
        "training_seconds": [[each["seconds"] for each in one.training] for one in found],
    }


@dataclass(frozen=True, eq=False)
class Shown(Scorer):
    """A scorer that shows what it is about to score, once at each look of a search.

    Attributes:
        scorer: who scores.
        show: is called before it does.
        looks: of the search; None before it has begun.

    Examples:
        >>> seen = []
        >>> scorer = Shown(sc.make_scorer("magnitude"), lambda network, batch, loss, mask, looks: seen.append(mask))
        >>> workload = sc.Workload("lenet_300_100", sc.load_task("digits"))
        >>> found = sc.EMS(rounds=2, search_steps=4).find(workload, scorer, density=0.25, seed=0)
        >>> seen
        [None, Mask(25,100 of 50,200 weights in 3 layers, density 0.5)]
    """

    scorer: Scorer
    show: Show
    looks: Looks | None = None

    def __repr__(self) -> str:
        return repr(self.scorer)

    def from_start(self, network: nn.Module, done: Callable[[], float]) -> Scorer:
        """With looks of this search."""
        return replace(self, scorer=self.scorer.from_start(network, done), looks=Looks(network, done))

    def prepare(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scorer:
        """Show this look; then it is the scorer's."""
        if self.looks is None:
            raise ValueError(f"{self} is shown at the looks of a search that trains, and this one has not begun")
        self.show(network, batch, loss, mask, self.looks)
        return self.scorer.prepare(network, batch, loss, mask=mask)

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss, *, mask: Mask | None = None) -> Scores:
        """See `scorers.Scorer`."""
        return self.scorer(network, batch, loss, mask=mask)
