"""The compiled loops of the fused engine (numba): they check no index, `FusedEngine` has checked all of them before."""

from __future__ import annotations

import math

import numpy as np

from scratchcard.artefacts.compiled import compiled

PLAIN, MOMENTUM, ADAM = 0, 1, 2
"""Kinds of updates."""

# Sums may be reordered, but NaN and infinity keep their meaning: a training that diverges must be seen.
_compiled = compiled(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


@_compiled
def gather(x, rows, act):  # type: ignore[no-untyped-def]
    """Put the examples `rows` of `x` `(n, k)` into the first `k` rows of `act`, transposed."""
    for j in range(x.shape[1]):
        for b in range(rows.shape[0]):
            act[j, b] = x[rows[b], j]


@_compiled
def forward(act, width, zero, hidden, starts, sources, weights, bias):  # type: ignore[no-untyped-def]
    """Fill the units' rows of `act[:, :width]`: weighted sums of their sources, through ReLU if hidden."""
    inputs = act.shape[0] - bias.shape[0]
    for u in range(bias.shape[0]):
        i = inputs + u
        constant = bias[u]
        for b in range(width):
            act[i, b] = constant
        e, end = starts[u], starts[u + 1]
        while e + 4 <= end:
            c0, c1, c2, c3 = sources[e], sources[e + 1], sources[e + 2], sources[e + 3]
            w0, w1, w2, w3 = weights[e], weights[e + 1], weights[e + 2], weights[e + 3]
            for b in range(width):
                act[i, b] += w0 * act[c0, b] + w1 * act[c1, b] + w2 * act[c2, b] + w3 * act[c3, b]
            e += 4
        while e < end:
            c, w = sources[e], weights[e]
            for b in range(width):
                act[i, b] += w * act[c, b]
            e += 1
        if u < hidden:
            for b in range(width):
                if act[i, b] <= zero:
                    act[i, b] = zero


@_compiled
def softmax(act, width, zero, first, targets, rows, delta, scale):  # type: ignore[no-untyped-def]
    """Summed cross-entropy of the logits `act[first:]`; `scale` times its derivative goes to `delta`."""
    loss = 0.0
    for b in range(width):
        highest = act[first, b]
        for i in range(first + 1, act.shape[0]):
            highest = max(highest, act[i, b])
        total = zero
        for i in range(first, act.shape[0]):
            p = np.exp(act[i, b] - highest)
            delta[i, b] = p
            total += p
        wanted = first + targets[rows[b]]
        loss += math.log(total) + highest - act[wanted, b]
        for i in range(first, act.shape[0]):
            delta[i, b] *= scale / total
        delta[wanted, b] -= scale
    return loss


@_compiled
def moved(w, g, kind, numbers, first, second, place, c1, c2):  # type: ignore[no-untyped-def]
    """A weight after its update (`Recipe` has the formulas); `c1`, `c2`: Adam's bias corrections."""
    rate, decay, mu, b1, rest1, b2, rest2, epsilon = numbers
    g += decay * w
    if kind == PLAIN:
        return w - rate * g
    if kind == MOMENTUM:
        first[place] = mu * first[place] + g
        return w - rate * first[place]
    first[place] = b1 * first[place] + rest1 * g
    second[place] = b2 * second[place] + rest2 * g * g
    return w - rate * (first[place] * c1) / (np.sqrt(second[place] * c2) + epsilon)


@_compiled
def train_steps(  # type: ignore[no-untyped-def]
    x, targets, order, act, delta, hidden, starts, sources, weights, bias, biased,
    kind, numbers, zero, scale, corrections, first, second, first_bias, second_bias,
):  # fmt: skip
    """Steps on the batches `order` `(steps, batch)`; returns the summed loss of all examples.

    Numbers come in the dtype of the weights (`zero` too): a Python literal would widen a loop to float64.

    `biased` `(units,)` says which units have a bias; `scale` is 1 / batch; `corrections` `(steps, 2)` are
    Adam's 1 / (1 - b^t).
    """
    units, width = bias.shape[0], order.shape[1]
    inputs = act.shape[0] - units
    loss = 0.0
    for step in range(order.shape[0]):
        rows = order[step]
        gather(x, rows, act)
        forward(act, width, zero, hidden, starts, sources, weights, bias)
        loss += softmax(act, width, zero, inputs + hidden, targets, rows, delta, scale)
        delta[inputs : inputs + hidden] = zero
        c1, c2 = corrections[step, 0], corrections[step, 1]
        for u in range(units - 1, -1, -1):
            i = inputs + u
            if u < hidden:
                for b in range(width):
                    if act[i, b] <= zero:
                        delta[i, b] = zero
            for e in range(starts[u], starts[u + 1]):
                c, w = sources[e], weights[e]
                g = zero
                for b in range(width):
                    g += delta[i, b] * act[c, b]
                if c >= inputs:
                    for b in range(width):
                        delta[c, b] += w * delta[i, b]
                weights[e] = moved(w, g, kind, numbers, first, second, e, c1, c2)
            if biased[u]:
                g = zero
                for b in range(width):
                    g += delta[i, b]
                bias[u] = moved(bias[u], g, kind, numbers, first_bias, second_bias, u, c1, c2)
    return loss


@_compiled
def fill_outputs(x, act, zero, hidden, starts, sources, weights, bias, out):  # type: ignore[no-untyped-def]
    """The logits `out` `(n, classes)` of all of `x` `(n, inputs)`, a batch's width at a time."""
    first = act.shape[0] - out.shape[1]
    rows = np.empty(act.shape[1], np.int64)
    for start in range(0, x.shape[0], act.shape[1]):
        width = min(act.shape[1], x.shape[0] - start)
        for b in range(width):
            rows[b] = start + b
        gather(x, rows[:width], act)
        forward(act, width, zero, hidden, starts, sources, weights, bias)
        for b in range(width):
            for i in range(out.shape[1]):
                out[start + b, i] = act[first + i, b]
