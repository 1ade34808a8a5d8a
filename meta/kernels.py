"""Compiled loops over array trees (numba, which takes a second to import).

All loops run over blocks of rows, trees outside and rows inside: a tree's nodes stay in the nearest cache,
and each row still adds its trees in their order, so that sums are those of the library to the bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped,unused-ignore]
from numba.extending import intrinsic

from scratchcard.artefacts.compiled import compiled

ROWS = 512
"""Rows of one block: bit vectors and transposed features of 12 columns take 30 kB."""

UNROLL = 4
"""Nodes whose masks are joined before a bit vector is touched; node lists are padded to a multiple."""


@intrinsic  # type: ignore[untyped-decorator,unused-ignore]
def _lowest_bit(_typing: Any, bits: Any) -> Any:
    """Position of the lowest set bit; undefined for 0."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return bits(bits), build


@compiled()
def bit_vectors(
    x: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    mask: np.ndarray,
    nodes: np.ndarray,
    value: np.ndarray,
    leaves: np.ndarray,
    ones: Any,
    out: np.ndarray,
) -> None:
    rows, features = x.shape
    columns = np.zeros((features, ROWS), np.float32)
    bits = np.empty(ROWS, mask.dtype)
    total = np.empty(ROWS, np.float64)
    for first in range(0, rows, ROWS):
        size = min(ROWS, rows - first)
        for f in range(features):
            for row in range(size):
                columns[f, row] = x[first + row, f]
        total[:] = 0.0
        for tree in range(len(nodes) - 1):
            bits[:] = ones
            for k in range(nodes[tree], nodes[tree + 1], UNROLL):
                a, b, c, d = threshold[k], threshold[k + 1], threshold[k + 2], threshold[k + 3]
                mask_a, mask_b, mask_c, mask_d = mask[k], mask[k + 1], mask[k + 2], mask[k + 3]
                column_a = columns[feature[k]]
                column_b = columns[feature[k + 1]]
                column_c = columns[feature[k + 2]]
                column_d = columns[feature[k + 3]]
                for row in range(ROWS):
                    keep_a = mask_a if column_a[row] > a else ones
                    keep_b = mask_b if column_b[row] > b else ones
                    keep_c = mask_c if column_c[row] > c else ones
                    keep_d = mask_d if column_d[row] > d else ones
                    bits[row] &= (keep_a & keep_b) & (keep_c & keep_d)
            base = leaves[tree]
            for row in range(size):
                total[row] += value[base + np.int64(_lowest_bit(bits[row]))]
        for row in range(size):
            out[first + row] = total[row]


@compiled()
def walk(
    x: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    children: np.ndarray,
    value: np.ndarray,
    offsets: np.ndarray,
    depths: np.ndarray,
    out: np.ndarray,
) -> None:
    # All rows of a block take a step at a time and rest in their leaf (its own child): no branch to guess,
    # and their reads overlap.
    rows = x.shape[0]
    node = np.empty(ROWS, np.int32)
    for first in range(0, rows, ROWS):
        size = min(ROWS, rows - first)
        out[first : first + size] = 0.0
        for tree in range(len(offsets) - 1):
            node[:] = offsets[tree]
            for _ in range(depths[tree]):
                for row in range(size):
                    at = node[row]
                    right = np.int64(x[first + row, feature[at]] > threshold[at])
                    node[row] = children[at, right]
            for row in range(size):
                out[first + row] += value[node[row]]


@compiled()
def logistic(values: np.ndarray) -> np.ndarray:
    out = np.empty(len(values), np.float64)
    for place in range(len(values)):
        out[place] = 1.0 / (1.0 + math.exp(-values[place]))
    return out
