"""What the layers of many networks learn in a step, in one compiled pass over their weights.

Term by term in the order of the arrays' version in :mod:`.rules`, and with it to the last bit, but
for sums over the synapses.
Everything is a tuple with an array per layer, of neurons or of the weights between two layers;
arrays have lanes first, weights are (lanes, outputs, inputs) and are changed.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

jit: Any = nb.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")


@jit
def finite(sums):
    """Whether all numbers of a lane are finite, (lanes,)."""
    found = np.ones(len(sums[0]), dtype=np.bool_)
    for values in sums:
        for lane in range(len(values)):
            for value in values[lane]:
                found[lane] &= np.isfinite(value)
    return found


@nb.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})
def moved(old, new):
    """Absolute differences, summed over all layers in double precision, (lanes,)."""
    found = np.zeros(len(old[0]))
    for lane in range(len(found)):
        for k in range(len(old)):
            before, after = old[k][lane].ravel(), new[k][lane].ravel()
            total = 0.0
            for i in range(len(before)):
                total += np.abs(after[i] - before[i])
            found[lane] += total
    return found


@jit
def synapses(weights, a, b, c, d, activations):
    """ABCD of every synapse, multiplied by its learning rate already."""
    for lane in range(len(weights[0])):
        for k in range(len(weights)):
            x = activations[k][lane]
            w, a_k, b_k, c_k, d_k = weights[k][lane], a[k][lane], b[k][lane], c[k][lane], d[k][lane]
            for j in range(w.shape[0]):
                after = activations[k + 1][lane, j]
                for i in range(w.shape[1]):
                    pre = (c_k[j, i] * after + a_k[j, i]) * x[i]
                    post = b_k[j, i] * after + d_k[j, i]
                    w[j, i] = (w[j, i] + pre) + post


@jit
def neurons(weights, masks, rates, a, b, c, d, activations):
    """ABCD of neurons, with half their learning rates.

    ``masks`` tell which synapses are there, None where all are.
    """
    for lane in range(len(weights[0])):
        for k in range(len(weights)):
            before, w = activations[k][lane], weights[k][lane]
            rate_i, constant_i = rates[k][lane], d[k][lane]
            pre, both_i = a[k][lane] * before, c[k][lane] * before
            for j in range(w.shape[0]):
                after = activations[k + 1][lane, j]
                rate, own = rates[k + 1][lane, j], b[k + 1][lane, j] * after
                both, constant = c[k + 1][lane, j] * after, d[k + 1][lane, j]
                for i in range(w.shape[1]):
                    taught = (pre[i] + own) + both_i[i] * both
                    taught = (taught + constant_i[i] * constant) * (rate_i[i] + rate)
                    if masks is None or masks[k][lane, j, i]:
                        w[j, i] += taught
