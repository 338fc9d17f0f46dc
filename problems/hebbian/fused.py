"""What synapses learn in a step, in one compiled pass over their weights.

Term by term in the order of the arrays' version in :mod:`.rules`, and with it to the last bit.
Arrays have lanes first; weights are (lanes, outputs, inputs) and are changed.
"""

from __future__ import annotations

from typing import Any

import numba as nb

jit: Any = nb.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")


@jit
def synapses(weights, a, b, c, d, x, y):
    """ABCD of every synapse, multiplied by its learning rate already."""
    lanes, outputs, inputs = weights.shape
    for lane in range(lanes):
        for j in range(outputs):
            after = y[lane, j]
            for i in range(inputs):
                pre = (c[lane, j, i] * after + a[lane, j, i]) * x[lane, i]
                post = b[lane, j, i] * after + d[lane, j, i]
                weights[lane, j, i] = (weights[lane, j, i] + pre) + post


@jit
def neurons(weights, mask, before, after):
    """ABCD of neurons; ``before`` and ``after`` are half the rates, A or B, C and D, activated.

    ``mask`` tells which synapses are there, None where all are.
    """
    rate_i, pre, both_i, constant_i = before
    rate_j, post, both_j, constant_j = after
    lanes, outputs, inputs = weights.shape
    for lane in range(lanes):
        for j in range(outputs):
            rate, own = rate_j[lane, j], post[lane, j]
            both, constant = both_j[lane, j], constant_j[lane, j]
            for i in range(inputs):
                taught = (pre[lane, i] + own) + both_i[lane, i] * both
                taught = (taught + constant_i[lane, i] * constant) * (rate_i[lane, i] + rate)
                if mask is None or mask[lane, j, i]:
                    weights[lane, j, i] += taught
