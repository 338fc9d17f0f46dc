"""n plastic networks that step together: forward, act, then all layers learn from that pass.

Every array has the lanes first, one lane per life: weights are (lanes, outputs, inputs). All layers
but the inputs are squashed by tanh; there are no biases. Results of a lane do not depend on which
other lanes are stepped with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .genes import Kept, Rule, Values

SMALL = 500
"""Synapses below which loading compiled updates takes longer than they save."""

TILE = 2**18
"""Bytes of weights that are updated at once, so that they stay in a core's own cache."""

Rows = NDArray[Any]
EVERY = slice(None)


class Lanes(Protocol):
    """The networks of many lives."""

    def step(self, x: Values) -> tuple[Values, NDArray[np.bool_]]:
        """Act on observations (lanes, inputs), then learn.

        Returns:
            Outputs (lanes, outputs) in [-1, 1], and whether all sums of the pass were finite; a
            weight that is infinite or not a number shows there.
        """
        ...

    def weights(self, rows: Rows | slice = EVERY) -> list[Values]:
        """Weights of some lanes now, (lanes, outputs, inputs) per layer; not to be changed."""
        ...

    def keep(self, rows: Rows) -> None:
        """Go on with these lanes only."""
        ...


def lanes(
    rule: Rule,
    coefficients: Mapping[str, Values],
    kept: Kept,
    of: NDArray[np.intp],
    beginnings: Sequence[Values],
    device: str | None = None,
) -> Lanes:
    """Networks at the beginning of their lives.

    Args:
        rule: How they learn.
        coefficients: Of n candidates, as :meth:`~.genes.Rule.decode` gives them.
        kept: What pruning leaves of the n candidates.
        of: Candidate of each lane, (lanes,).
        beginnings: Weights of each lane, (lanes, outputs, inputs) per layer.
        device: Where torch computes; None for NumPy.
    """
    if rule.name == "wnchl":
        from .weightless import Recorded

        return Recorded(rule, coefficients, kept, of, device)
    if device is not None:
        from .on_device import OnDevice

        return OnDevice(rule, coefficients, kept, of, beginnings, device)
    n = len(next(iter(coefficients.values())))
    masks = [m[of] for m in kept.matrices(rule, n)]
    if rule.name == "static":
        own = rule.matrices(coefficients["w"])
        weights = [np.where(m, w[of], 0).astype(w.dtype) for w, m in zip(own, masks, strict=True)]
        return Stored(rule, weights, None, None)
    weights = [np.where(m, w, 0).astype(w.dtype) for w, m in zip(beginnings, masks, strict=True)]
    cuts = {name: rule.by_layer(values[of]) for name, values in coefficients.items()}
    module = compiled(rule)
    if rule.name == "hl":
        return Stored(rule, weights, Synapses(cuts, masks, module), module)
    pruned = kept.neurons is not None or kept.synapses is not None
    return Stored(rule, weights, Neurons(cuts, masks if pruned else None, module), module)


class Learning(Protocol):
    """How the layers of many networks learn."""

    def __call__(self, activations: Sequence[Values], weights: Sequence[Values]) -> None:
        """Add to the weights between consecutive activations (lanes, size) what these teach."""
        ...

    def keep(self, rows: Rows) -> None:
        """Go on with these lanes only."""
        ...


class Stored:
    """Networks that store their weights."""

    def __init__(
        self, rule: Rule, weights: list[Values], learning: Learning | None, compiled: Any
    ) -> None:
        self._rule, self._weights, self._learning = rule, weights, learning
        self._finite = finite if compiled is None else compiled.finite
        self._step = 0

    def step(self, x: Values) -> tuple[Values, NDArray[np.bool_]]:
        """See :class:`Lanes`."""
        activations, sums = [x], []
        for w in self._weights:
            sums.append(np.matmul(w, activations[-1][:, :, None])[:, :, 0])
            activations.append(np.tanh(sums[-1]))
        self._step += 1
        if self._learning is not None and self._step % self._rule.every == 0:
            self._learning(activations, self._weights)
            for w in self._weights:
                self._normalise(w)
        return activations[-1], self._finite(tuple(sums))

    def weights(self, rows: Rows | slice = EVERY) -> list[Values]:
        """See :class:`Lanes`."""
        return [w[rows] for w in self._weights]

    def keep(self, rows: Rows) -> None:
        """See :class:`Lanes`."""
        self._weights = [w[rows] for w in self._weights]
        if self._learning is not None:
            self._learning.keep(rows)

    def _normalise(self, w: Values) -> None:
        if self._rule.norm == "clip":
            np.clip(w, -self._rule.limit, self._rule.limit, out=w)
        elif self._rule.norm == "max":
            largest = np.abs(w).max(axis=(1, 2), keepdims=True)
            np.divide(w, largest, out=w, where=largest > 0)


def moved(old: Sequence[Values], new: Sequence[Values]) -> NDArray[np.float64]:
    """Absolute differences, summed over all layers in double precision, (lanes,)."""
    found = np.zeros(len(old[0]))
    for before, after in zip(old, new, strict=True):
        found += np.abs(after - before).sum(axis=(1, 2), dtype=np.float64)
    return found


def finite(sums: Sequence[Values]) -> NDArray[np.bool_]:
    """Whether all numbers of a lane are finite, (lanes,)."""
    return np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in sums])


class Synapses:
    """ABCD of every synapse: w += η(A a_i + B a_j + C a_i a_j + D), i before and j after (Eq. 2).

    The learning rate is multiplied into the others once per life.
    """

    def __init__(
        self, cuts: Mapping[str, Sequence[Values]], masks: Sequence[NDArray[np.bool_]],
        compiled: Any,
    ) -> None:  # fmt: skip
        rates = [
            np.where(m, eta, 0).astype(eta.dtype) for eta, m in zip(cuts["eta"], masks, strict=True)
        ]
        self._abcd = [
            tuple(
                np.ascontiguousarray(rate * own)
                for rate, own in zip(rates, cuts[name], strict=True)
            )
            for name in "abcd"
        ]
        self._compiled = compiled

    def __call__(self, activations: Sequence[Values], weights: Sequence[Values]) -> None:
        """See :class:`Learning`."""
        if self._compiled is not None:
            self._compiled.synapses(tuple(weights), *self._abcd, tuple(activations))
            return
        pairs = pairwise(activations)
        for w, a, b, c, d, (before, after) in zip(weights, *self._abcd, pairs, strict=True):
            x, y = before[:, None, :], after[:, :, None]
            for rows in tiles(w):
                change = c[rows] * y[rows]
                change += a[rows]
                change *= x[rows]
                w[rows] += change
                np.multiply(b[rows], y[rows], out=change)
                change += d[rows]
                w[rows] += change

    def keep(self, rows: Rows) -> None:
        """See :class:`Learning`."""
        self._abcd = [tuple(values[rows] for values in layers) for layers in self._abcd]


class Neurons:
    """ABCD of every neuron, i before and j after (Eq. 3).

    w += (η_i + η_j)/2 · (A_i a_i + B_j a_j + C_i C_j a_i a_j + D_i D_j).
    """

    def __init__(
        self, cuts: Mapping[str, Sequence[Values]], masks: Sequence[NDArray[np.bool_]] | None,
        compiled: Any,
    ) -> None:  # fmt: skip
        halves = [eta / 2 for eta in cuts["eta"]]
        self._own = [
            tuple(map(np.ascontiguousarray, values))
            for values in (halves, *(cuts[name] for name in "abcd"))
        ]
        self._masks = None if masks is None else tuple(masks)
        self._compiled = compiled

    def __call__(self, activations: Sequence[Values], weights: Sequence[Values]) -> None:
        """See :class:`Learning`."""
        if self._compiled is not None:
            self._compiled.neurons(tuple(weights), self._masks, *self._own, tuple(activations))
            return
        rate, a, b, c, d = self._own
        for k, (before, after) in enumerate(pairwise(activations)):
            i = rate[k], a[k] * before, c[k] * before, d[k]
            j = rate[k + 1], b[k + 1] * after, c[k + 1] * after, d[k + 1]
            for rows in tiles(weights[k]):
                rate_i, pre, both_i, constant_i = (values[rows, None, :] for values in i)
                rate_j, post, both_j, constant_j = (values[rows, :, None] for values in j)
                change = pre + post
                change += both_i * both_j
                change += constant_i * constant_j
                change *= rate_i + rate_j
                if self._masks is not None:
                    change = np.where(self._masks[k][rows], change, 0)
                weights[k][rows] += change

    def keep(self, rows: Rows) -> None:
        """See :class:`Learning`."""
        self._own = [tuple(v[rows] for v in layers) for layers in self._own]
        if self._masks is not None:
            self._masks = tuple(mask[rows] for mask in self._masks)


def compiled(rule: Rule) -> Any:
    """The compiled updates; None for small networks, or where Numba is not installed."""
    if rule.synapses < SMALL:
        return None
    try:
        return import_module(".fused", __package__)
    except ImportError:
        return None


def tiles(weights: Values) -> list[slice]:
    """Slices of lanes whose weights fit the cache together."""
    each = max(1, TILE // (weights[0].nbytes or 1)) if len(weights) else 1
    return [slice(start, start + each) for start in range(0, len(weights), each)]
