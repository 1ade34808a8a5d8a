"""The rows of a score table that a predictor is fitted on, in batches, whole or sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from scratchcard.meta.batch import Batch, side_by_side
from scratchcard.meta.parts import Key, Moments, Part, Summary, TargetSums, moments_of, parts_of, target_sums
from scratchcard.score_tables.schema import TableBlock
from scratchcard.score_tables.table import ScoreTable
from scratchcard.score_tables.table_file import RowGroup, read_groups
from scratchcard.workers.cluster import Cluster
from scratchcard.workers.pool import ordered
from scratchcard.workers.worker import alone

Found = TypeVar("Found")
POOL = 2**20
"""Rows that `Rows.shuffled` mixes at a time."""


def networks_of(table: ScoreTable) -> tuple[Key, ...]:
    """All (workload, seed) of the table, in its order.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "networks_of", recording)
        >>> networks_of(table)
        (('Linear-own', 0),)
    """
    return tuple((workload, seed) for workload, seeds in table.seeds.items() for seed in seeds)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of some networks of a table, read a row group (at most 1M rows) at a time.

    With `max_rows`, an exact-size sample without replacement, the same for the same seed. With
    `keep_positives` the positive rows (target > 0) are all in it and the others are drawn; each row's weight
    then tells how many rows it stands for, so that a fitted probability is that of all rows.

    Attributes:
        features: columns in the order in which the predictor will ask for them.
        networks: (workload, seed), in the order of reading.
        rounds: the slow regime's rounds whose rows are used; all by default.
        cluster: whose workers read them for sums over parts; None reads them here. It stays here when rows are sent.

    Raises:
        ValueError: (when read) a target that is NaN, a feature that is not finite, or more positive rows than
            `max_rows`.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "rows", recording)
        >>> rows = Rows(table, ("magnitude", "snip"), "kept", networks_of(table), max_rows=6, keep_positives=True)
        >>> rows.count, rows.weight  # 4 kept rows, and 2 of the 4 others, for two each
        (6, 2.0)
        >>> rows.whole().x.shape
        (6, 2)
    """

    table: ScoreTable
    features: tuple[str, ...]
    target: str
    networks: tuple[Key, ...]
    rounds: tuple[int, ...] | None = None
    max_rows: int | None = None
    keep_positives: bool = False
    seed: int = 0
    cluster: Cluster | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"cluster": None}

    def groups(self, network: Key) -> tuple[RowGroup, ...]:
        """The row groups of one network."""
        workload, seed = network
        return self.table.groups(seeds=(seed,), workloads=(workload,), rounds=self.rounds)

    def blocks(self, columns: Sequence[str], network: Key, groups: slice | None = None) -> Iterator[TableBlock]:
        """The rows of one network, or of some of its row groups, a row group at a time."""
        self.table.schema.check(columns)
        return read_groups(self.groups(network)[groups or slice(None)], columns)

    def over_parts(
        self,
        part: Callable[[Rows, Part], Found],
        *,
        sampled: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Found]:
        """What a function finds in each part of the rows, in their order; here all rows are one part.

        Args:
            part: called with these rows and a part, here or by a worker of the cluster.
            sampled: whether it reads `batches`, whose sample is drawn network by network.
            progress: called with the parts that a cluster has done and their number.

        Raises:
            OSError: a worker of the cluster does not see the table, or parts kill their workers.
        """
        if self.cluster is None:
            yield part(self, Part(self.networks))
            return
        sizes = {network: [group.rows for group in self.groups(network)] for network in self.networks}
        parts = parts_of(sizes)
        if sampled and self._quotas is not None:
            parts = [Part((network,)) for network in self.networks]
        for done, found in enumerate(self.by_workers([partial(part, self, each) for each in parts]), start=1):
            yield found
            if progress is not None:
                progress(done, len(parts))

    def by_workers(self, calls: Sequence[Callable[[], Found]]) -> Iterator[Found]:
        """What calls return that the cluster's workers make, in their order. Errors as of `over_parts`."""
        assert self.cluster is not None  # noqa: S101
        try:
            yield from ordered([partial(_alone, call) for call in calls], self.cluster, what="part of the fit")
        except FileNotFoundError as error:
            raise self.cluster.does_not_see(error) from error

    @cached_property
    def summary(self) -> Summary:
        """One pass over the target alone."""
        found = TargetSums()
        for sums in self.over_parts(target_sums, sampled=False):
            found.merge(sums)
        return found.summary(self.networks)

    @cached_property
    def _quotas(self) -> tuple[int, ...] | None:
        """For each network the rows to draw (of the others than the positive ones with `keep_positives`)."""
        summary = self.summary
        if self.max_rows is None or sum(summary.rows) <= self.max_rows:
            return None
        drawn, wanted = list(summary.rows), self.max_rows
        if self.keep_positives:
            drawn = [rows - above for rows, above in zip(summary.rows, summary.positives, strict=True)]
            wanted -= sum(summary.positives)
        if wanted < 1:
            raise ValueError(
                f"max_rows {self.max_rows} leaves no room: {sum(summary.positives)} rows are positive and "
                "keep_positives asks for all of them"
            )
        generator = np.random.default_rng([self.seed, 0])
        quotas, left = list[int](), sum(drawn)
        for rows in drawn:
            quotas.append(_share(generator, rows, left, wanted))
            left, wanted = left - rows, wanted - quotas[-1]
        return tuple(quotas)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Rows that `batches` gives, for each network."""
        quotas, summary = self._quotas, self.summary
        if quotas is None:
            return summary.rows
        if not self.keep_positives:
            return quotas
        return tuple(quota + above for quota, above in zip(quotas, summary.positives, strict=True))

    @property
    def count(self) -> int:
        """Rows that `batches` gives in all."""
        return sum(self.counts)

    @cached_property
    def weight(self) -> float | None:
        """What a drawn row stands for; None without a sample, or where all rows stand for equally many."""
        if self._quotas is None or not self.keep_positives:
            return None
        return (sum(self.summary.rows) - sum(self.summary.positives)) / sum(self._quotas)

    def weights(self, batch: Batch, balanced: bool) -> np.ndarray | None:
        """Weights of a batch's rows; `balanced` gives the positive and the other rows the same sum."""
        if not balanced:
            return batch.weight
        share = sum(self.summary.positives) / sum(self.summary.rows)
        if not 0 < share < 1:
            raise ValueError(f"balanced weights need positive and other rows; {self.target!r} has only one kind")
        classes = np.where(batch.y > 0, 0.5 / share, 0.5 / (1 - share))
        return classes if batch.weight is None else classes * batch.weight

    @property
    def sampling(self) -> dict[str, Any]:
        """How the rows were chosen, for the record."""
        summary = self.summary
        return {
            "rows": sum(summary.rows),
            "positive_rows": sum(summary.positives),
            "rows_used": self.count,
            "kept_all_positive_rows": self._quotas is None or self.keep_positives,
            "weight_of_other_rows": 1.0 if self.weight is None else self.weight,
        }

    def batches(self, networks: Sequence[Key] | None = None, groups: slice | None = None) -> Iterator[Batch]:
        """The rows, at most one row group at a time; always the same ones in the same order.

        Args:
            networks: only of these.
            groups: only of these row groups; of rows that are no sample.
        """
        for network in self.networks if networks is None else networks:
            place = self.networks.index(network)
            left = self.summary.rows[place]
            if self.keep_positives:
                left -= self.summary.positives[place]
            wanted = None if self._quotas is None else self._quotas[place]
            generator = np.random.default_rng([self.seed, 1, place])
            for block in self.blocks([*self.features, self.target], network, groups):
                y = block.columns[self.target].astype(np.float64)
                chosen: np.ndarray | None = None
                if wanted is not None:
                    others = np.flatnonzero(y <= 0) if self.keep_positives else np.arange(len(y))
                    share = _share(generator, len(others), left, wanted)
                    left, wanted = left - len(others), wanted - share
                    chosen = generator.choice(others, size=share, replace=False)
                    if self.keep_positives:
                        chosen = np.concatenate([chosen, np.flatnonzero(y > 0)])
                    chosen.sort()
                    y = y[chosen]
                if not len(y):
                    continue
                x = side_by_side(block, self.features, chosen)
                weight = None if self.weight is None else np.where(y > 0, 1.0, self.weight)
                yield Batch(x, y, weight)

    def whole(self) -> Batch:
        """All rows at once, for families that cannot do with less."""
        x = np.empty((self.count, len(self.features)), dtype=np.float32)
        y, weight = np.empty(self.count), np.ones(self.count)
        start = 0
        for batch in self.batches():
            part = slice(start, start + len(batch.y))
            x[part], y[part] = batch.x, batch.y
            if batch.weight is not None:
                weight[part] = batch.weight
            start = part.stop
        return Batch(x, y, None if self.weight is None else weight)

    def shuffled(self, size: int, generator: np.random.Generator) -> Iterator[Batch]:
        """One epoch in mixed order, `size` rows at a time; holds at most two pools of `POOL` + 1M rows.

        Networks come in random order; rows are mixed in a pool, of which the older half leaves when it is
        full. A network smaller than the pool (a million weights) is thus mixed over all its layers.
        """
        order = [self.networks[place] for place in generator.permutation(len(self.networks))]
        pool, held = list[Batch](), 0
        for batch in self.batches(order):
            pool.append(batch)
            held += len(batch.y)
            if held >= POOL:
                whole = Batch.mixed(pool, generator)
                cut = held // 2 // size * size
                yield from whole.cut(0, cut, size)
                pool, held = [whole.part(cut, held)], held - cut
        if held:
            yield from Batch.mixed(pool, generator).cut(0, held, size)

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each feature, `(F,)` float64; 1 for a constant feature."""
        mean, deviation = self._moments
        return mean, np.where(self.constant, 1.0, deviation)

    @property
    def constant(self) -> np.ndarray:
        """Which features have one value in all rows, `(F,)` boolean: nothing can be learned about them."""
        mean, deviation = self._moments
        return np.asarray(deviation <= 1e-12 * np.abs(mean))  # rounding noise, or 0

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        found = Moments(0, np.zeros(len(self.features)), np.zeros(len(self.features)))
        for moments in self.over_parts(moments_of):
            found.merge(moments)
        return found.mean, np.sqrt(found.squares / found.count)


def _alone(call: Callable[[], Found]) -> Found:
    with alone():
        return call()


def _share(generator: np.random.Generator, rows: int, left: int, wanted: int) -> int:
    """How many of `wanted` rows, drawn from `left`, fall among the next `rows`."""
    if rows == left:
        return wanted
    return int(generator.hypergeometric(rows, left - rows, wanted)) if rows and wanted else 0
