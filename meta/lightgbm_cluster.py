"""LightGBM's own training on a Dask cluster: each worker holds a part of the rows, and they add their histograms."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from scratchcard.meta.batch import Batch
from scratchcard.meta.parts import Part, parts_of
from scratchcard.meta.rows import Rows
from scratchcard.workers.cluster import Cluster
from scratchcard.workers.pool import MOST_DEATHS

SOCKET_MINUTES = 1
"""After which LightGBM takes a worker that does not answer for dead; its own default is two hours."""
Taken = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Features `(n, F)` float32, target and weight `(n,)` float32 of a part."""


def train_on_cluster(
    rows: Rows,
    parameters: dict[str, Any],
    trees: int,
    prepared: Callable[[Rows, Part, Batch], Batch],
    *,
    weighted: bool,
    groups: Sequence[Sequence[int]] | None = None,
) -> Any:
    """The LightGBM Booster, trained by the cluster's workers on the rows that each has read.

    Feature bins are found by several workers, and sums are added in another order, so that trees differ from those of
    one machine as they differ between numbers of threads. A worker that dies ends the training, which is then made once
    more by those that are left.

    Args:
        rows: with their cluster.
        parameters: of LightGBM.
        trees: how many.
        prepared: the batch of a part, in its order, with target and weights as they are trained on; of a function that
            can be sent to workers.
        weighted: whether it gives weights.
        groups: for a ranking, the sizes of each network's queries; parts are whole networks then.

    Raises:
        ValueError: what a worker refused.
        OSError: workers died again and again, or do not see the table.

    Examples:
        >>> train_on_cluster.__name__  # see `GBM`
        'train_on_cluster'
    """
    cluster = rows.cluster
    assert cluster is not None  # noqa: S101
    whole = groups is not None or rows.count < sum(rows.summary.rows)
    sizes = {network: [group.rows for group in rows.groups(network)] for network in rows.networks}
    parts = [Part((network,)) for network in rows.networks] if whole else parts_of(sizes)
    counts = [rows.counts[rows.networks.index(part.networks[0])] for part in parts]
    if not whole:
        counts = [sum(sizes[part.networks[0]][part.groups or slice(None)]) for part in parts]
    kept = [place for place, count in enumerate(counts) if count]
    taken = [partial(take, rows, parts[place], prepared) for place in kept]
    of_parts = None if groups is None else [groups[place] for place in kept]
    held = [counts[place] for place in kept]
    for attempt in range(MOST_DEATHS):
        before = cluster.workers()
        try:
            return _train(cluster, taken, held, rows, parameters, trees, weighted, of_parts)
        except FileNotFoundError as error:
            raise cluster.does_not_see(error) from error
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # of LightGBM's sockets, or Dask's word for a worker that is gone
            if cluster.workers() == before and "Socket" not in str(error):
                raise
            if attempt == MOST_DEATHS - 1:
                raise OSError(
                    f"workers of the cluster died {MOST_DEATHS} times while the trees were grown (out of memory?): "
                    "give them more memory, or take fewer rows with max_rows"
                ) from error
            cluster.wait_until_idle(2 * 60.0 * SOCKET_MINUTES)  # the others notice it one by one
    raise AssertionError  # MOST_DEATHS is at least one


def take(rows: Rows, part: Part, prepared: Callable[[Rows, Part, Batch], Batch]) -> Taken:
    """The rows of a part in this worker's memory.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> recording = sc.Recording("USS", "magnitude", 0.5)
        >>> table = sc.build(sc.Workload(nn.Linear(4, 2), task), [0], "taken", recording)
        >>> rows = Rows(table, ("magnitude", "depth"), "kept", (("Linear-own", 0),))
        >>> x, y, weight = take(rows, Part(rows.networks), lambda rows, part, batch: batch)
        >>> x.shape, y.dtype, weight
        ((8, 2), dtype('float32'), None)
    """
    batches = list(rows.batches(part.networks, part.groups))
    weights = [batch.weight for batch in batches if batch.weight is not None]
    both = np.concatenate([batch.x for batch in batches]), np.concatenate([batch.y for batch in batches])
    found = prepared(rows, part, Batch(*both, np.concatenate(weights) if weights else None))
    weight = None if found.weight is None else found.weight.astype(np.float32)
    return found.x, found.y.astype(np.float32), weight


def _train(
    cluster: Cluster,
    taken: Sequence[Callable[[], Taken]],
    counts: Sequence[int],
    rows: Rows,
    parameters: dict[str, Any],
    trees: int,
    weighted: bool,
    groups: Sequence[Sequence[int]] | None,
) -> Any:
    import dask
    import dask.array as da
    from lightgbm.dask import DaskLGBMRanker, DaskLGBMRegressor

    whole = [dask.delayed(call, pure=False)() for call in taken]

    def column(place: int, shape: Callable[[int], tuple[int, ...]]) -> Any:
        arrays = [
            da.from_delayed(each[place], shape(count), dtype=np.float32)
            for each, count in zip(whole, counts, strict=True)
        ]
        return da.concatenate(arrays)

    settings = {name: value for name, value in parameters.items() if name != "num_threads"}  # a worker's own
    # A regressor with the objective `binary`: a classifier would number the classes that each worker happens to hold.
    kind = DaskLGBMRegressor if groups is None else DaskLGBMRanker
    model = kind(n_estimators=trees, client=cluster.client, time_out=SOCKET_MINUTES, **settings)
    given: dict[str, Any] = {"sample_weight": column(2, lambda n: (n,)) if weighted else None}
    if groups is not None:
        sizes = [da.from_array(np.array(each, dtype=np.int64), chunks=-1) for each in groups]
        given["group"] = da.concatenate(sizes)
    # LightGBM waits with Dask's current client, prints that it looks for ports, and warns of its own default.
    with cluster.client.as_current(), contextlib.redirect_stdout(None), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Parameter n_jobs will be ignored")
        model.fit(column(0, lambda n: (n, len(rows.features))), column(1, lambda n: (n,)), **given)
    return model.booster_
