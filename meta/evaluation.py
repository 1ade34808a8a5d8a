"""How well a predictor finds a slow ticket: errors over all rows, ranking figures network by network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scratchcard.meta.parts import Key
from scratchcard.meta.predictor import Predictor
from scratchcard.meta.rows import networks_of
from scratchcard.score_tables.table import ScoreTable
from scratchcard.workers.cluster import Cluster
from scratchcard.workers.pool import ordered
from scratchcard.workers.worker import alone


def evaluate_predictor(
    predictor: Predictor,
    table: ScoreTable,
    *,
    networks: Sequence[Key] | None = None,
    rounds: Collection[int] | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """The predictor on some networks of a table (all by default), as plain JSON.

    The figures at the top are those of one round, the first that there is (0, the dense network, which is what a
    predictor is asked about): rows of masked networks are rows of other questions. `by_round` has the same figures
    for every round, `networks` those of each network.

    Over all rows of a round, in streamed sums, of the predictor's own target (not for ranking, which has no scale):
    `mse` = mean (y - p)² and `r2` = 1 - Σ (y - p)² / Σ (y - mean y)².

    For each network (workload, seed and round) and as means over a round's networks, of the slow ticket (`kept`, or the
    predictor's own target where that is 0 or 1 too; of several slow tickets what more than half of them keep):
    `average_precision` of the scores; `roc_auc`, the share of pairs of a kept and a pruned weight in which the kept one
    scores higher (ties half); `overlap`, the share of the ticket's weights that are among as many
    weights of the highest scores, ties counted as their expectation under a random order; `noise_ceiling`,
    the share of the ticket's weights that a second slow ticket keeps (`kept_repeat`), None if not run.

    Memory: the scores of one network. With a cluster its workers take a network each.

    Raises:
        ValueError: the table lacks the predictor's features or the networks asked for.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "evaluated", recording)
        >>> arrays = {"coefficients": np.array([1.0]), "intercept": np.array([0.0])}
        >>> predictor = Predictor("linear", "regression", "score", (table.schema.column("magnitude"),), arrays)
        >>> found = evaluate_predictor(predictor, table)
        >>> found["rows"], found["roc_auc"], found["overlap"]  # the larger half was kept
        (8, 1.0, 1.0)
    """
    networks = networks_of(table) if networks is None else networks
    if not networks:
        raise ValueError("no network to evaluate on: none was named")
    if cluster is None:
        ticket, entries, sums = _figures(predictor, table, networks, rounds)
    else:
        calls = [partial(_alone, predictor, table, [network], rounds) for network in networks]
        entries, sums = [], {}
        try:
            for name, some, own in ordered(calls, cluster, what="network"):
                ticket = name
                entries += some
                for number, found in own.items():
                    sums.setdefault(number, Sums()).merge(found)
        except FileNotFoundError as error:
            raise cluster.does_not_see(error) from error
    by_round = [
        _summary(number, sums.get(number, Sums()), [entry for entry in entries if entry["round"] == number])
        for number in sorted({entry["round"] for entry in entries})
    ]
    if not by_round:
        raise ValueError("no rows to evaluate on: the chosen networks have none in the rounds asked for")
    return by_round[0] | {"ticket": ticket, "by_round": by_round, "networks": entries}


Figures = tuple[str, list[dict[str, Any]], dict[int, "Sums"]]


def _alone(*arguments: Any) -> Figures:
    """By a worker of the cluster."""
    with alone():
        return _figures(*arguments)


def _figures(
    predictor: Predictor, table: ScoreTable, networks: Sequence[Key], rounds: Collection[int] | None
) -> Figures:
    """The ticket's column, the figures of each network and round, and the sums of each round."""
    columns = set(table.schema.targets)
    ticket = predictor.target if predictor.target.startswith("kept") else "kept"
    wanted = {predictor.target, ticket, "kept_repeat"} & columns
    sums = dict[int, Sums]()
    entries = list[dict[str, Any]]()
    for workload, seed in networks:
        for number in sorted(table.rounds if rounds is None else rounds):
            scores, kept, repeat = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
            for block in table.blocks(
                [*predictor.features, *sorted(wanted)], seeds=(seed,), workloads=(workload,), rounds=(number,)
            ):
                predicted = predictor.predict(block.features(predictor.features))
                scores.append(predicted)
                if predictor.target in columns and predictor.objective != "ranking":
                    sums.setdefault(number, Sums()).add(block.columns[predictor.target].astype(np.float64), predicted)
                if ticket in columns:
                    kept.append(block.columns[ticket] > 0.5)
                if ticket == "kept" and "kept_repeat" in columns:
                    repeat.append(block.columns["kept_repeat"])
            if not scores:
                continue
            entry: dict[str, Any] = {"workload": workload, "seed": seed, "round": number}
            entry["rows"] = sum(map(len, scores))
            if kept:
                entry |= _ticket_figures(np.concatenate(scores), np.concatenate(kept))
                entry["noise_ceiling"] = _repeated(np.concatenate(kept), np.concatenate(repeat)) if repeat else None
            entries.append(entry)
    return ticket, entries, sums


def _summary(number: int, sums: Sums, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one round."""
    return {
        "round": number,
        "rows": sum(entry["rows"] for entry in entries),
        "r2": sums.r2,
        "mse": sums.mse,
        **{name: _mean(entries, name) for name in ("average_precision", "roc_auc", "overlap", "noise_ceiling")},
    }


def overlap(scores: np.ndarray, kept: np.ndarray) -> float | None:
    """Share of the k kept weights among the k highest scores; of scores that tie at the cut, the mean.

    With a weights above the cut's score and t on it, a + (k - a) weights are chosen, k - a of them at random
    among t: the expected number of kept ones is (kept above) + (k - a)/t · (kept on the cut).

    Examples:
        >>> overlap(np.array([0.9, 0.2, 0.4]), np.array([True, False, True]))
        1.0
    """
    k = int(kept.sum())
    if not k:
        return None
    cut = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, on = scores > cut, scores == cut
    share = (k - int(above.sum())) / int(on.sum())
    return float((int((above & kept).sum()) + share * int((on & kept).sum())) / k)


@dataclass
class Sums:
    """Streamed sums of a target and its prediction; centres merge by Chan's update.

    Examples:
        >>> sums = Sums()
        >>> sums.add(np.array([1.0, 3.0]), np.array([1.5, 2.5]))
        >>> sums.mse, sums.r2
        (0.25, 0.75)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    errors: float = 0.0

    def add(self, y: np.ndarray, predicted: np.ndarray) -> None:
        """Some more rows."""
        if not len(y):
            return
        own = float(y.mean())
        self.merge(Sums(len(y), own, float(((y - own) ** 2).sum()), float(((y - predicted) ** 2).sum())))

    def merge(self, other: Sums) -> None:
        """Those of other rows; there are some."""
        total = self.count + other.count
        self.squares += other.squares + (other.mean - self.mean) ** 2 * self.count * other.count / total
        self.mean += (other.mean - self.mean) * other.count / total
        self.errors += other.errors
        self.count = total

    @property
    def mse(self) -> float | None:
        """Mean squared error; None without rows or where the target was NaN."""
        return _number(self.errors / self.count) if self.count else None

    @property
    def r2(self) -> float | None:
        """Coefficient of determination; None for a target without spread."""
        return _number(1 - self.errors / self.squares) if self.squares > 0 else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _ticket_figures(scores: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    count = int(kept.sum())
    precision = float(average_precision_score(kept, scores)) if count else None
    auc = float(roc_auc_score(kept, scores)) if 0 < count < len(kept) else None
    return {"kept": count, "average_precision": precision, "roc_auc": auc, "overlap": overlap(scores, kept)}


def _repeated(kept: np.ndarray, repeat: np.ndarray) -> float | None:
    known = ~np.isnan(repeat)
    count = int((kept & known).sum())
    return float((kept & known & (repeat > 0)).sum() / count) if count else None


def _mean(entries: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [entry[name] for entry in entries if entry.get(name) is not None]
    return float(np.mean(values)) if values else None
