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
        return Stored(rule, weights, [])
    weights = [np.where(m, w, 0).astype(w.dtype) for w, m in zip(beginnings, masks, strict=True)]
    layers = {name: rule.by_layer(values[of]) for name, values in coefficients.items()}
    cuts = [{k: cut[i] for k, cut in layers.items()} for i in range(len(layers["eta"]))]
    module = compiled(rule)
    if rule.name == "hl":
        updates: list[Update] = [
            Synapses(own, mask, module) for own, mask in zip(cuts, masks, strict=True)
        ]
        return Stored(rule, weights, updates)
    pruned = kept.neurons is not None or kept.synapses is not None
    return Stored(
        rule,
        weights,
        [
            Neurons(before, after, mask if pruned else None, module)
            for (before, after), mask in zip(pairwise(cuts), masks, strict=True)
        ],
    )


class Update(Protocol):
    """How one layer learns."""

    def __call__(self, before: Values, after: Values, weights: Values) -> None:
        """Add to the weights what activations before (lanes, in) and after (lanes, out) teach."""
        ...

    def keep(self, rows: Rows) -> None:
        """Go on with these lanes only."""
        ...


class Stored:
    """Networks that store their weights."""

    def __init__(self, rule: Rule, weights: list[Values], updates: Sequence[Update]) -> None:
        self._rule, self._weights, self._updates = rule, weights, updates
        self._step = 0

    def step(self, x: Values) -> tuple[Values, NDArray[np.bool_]]:
        """See :class:`Lanes`."""
        finite = np.ones(len(x), dtype=bool)
        activations = [x]
        for w in self._weights:
            sums = np.matmul(w, activations[-1][:, :, None])[:, :, 0]
            finite &= np.isfinite(sums).all(axis=1)
            activations.append(np.tanh(sums))
        self._step += 1
        if self._step % self._rule.every == 0:
            for i, update in enumerate(self._updates):
                update(activations[i], activations[i + 1], self._weights[i])
                self._normalise(self._weights[i])
        return activations[-1], finite

    def weights(self, rows: Rows | slice = EVERY) -> list[Values]:
        """See :class:`Lanes`."""
        return [w[rows] for w in self._weights]

    def keep(self, rows: Rows) -> None:
        """See :class:`Lanes`."""
        self._weights = [w[rows] for w in self._weights]
        for update in self._updates:
            update.keep(rows)

    def _normalise(self, w: Values) -> None:
        if self._rule.norm == "clip":
            np.clip(w, -self._rule.limit, self._rule.limit, out=w)
        elif self._rule.norm == "max":
            largest = np.abs(w).max(axis=(1, 2), keepdims=True)
            np.divide(w, largest, out=w, where=largest > 0)


class Synapses:
    """ABCD of every synapse: w += η(A a_i + B a_j + C a_i a_j + D), i before and j after (Eq. 2).

    The learning rate is multiplied into the others once per life.
    """

    def __init__(self, own: Mapping[str, Values], mask: NDArray[np.bool_], compiled: Any) -> None:
        eta = np.where(mask, own["eta"], 0).astype(own["eta"].dtype)
        self._abcd = [np.ascontiguousarray(eta * own[name]) for name in "abcd"]
        self._compiled = compiled

    def __call__(self, before: Values, after: Values, weights: Values) -> None:
        """See :class:`Update`."""
        if self._compiled is not None:
            self._compiled.synapses(weights, *self._abcd, before, after)
            return
        a, b, c, d = self._abcd
        x, y = before[:, None, :], after[:, :, None]
        for rows in tiles(weights):
            change = c[rows] * y[rows]
            change += a[rows]
            change *= x[rows]
            weights[rows] += change
            np.multiply(b[rows], y[rows], out=change)
            change += d[rows]
            weights[rows] += change

    def keep(self, rows: Rows) -> None:
        """See :class:`Update`."""
        self._abcd = [values[rows] for values in self._abcd]


class Neurons:
    """ABCD of every neuron, i before and j after (Eq. 3).

    w += (η_i + η_j)/2 · (A_i a_i + B_j a_j + C_i C_j a_i a_j + D_i D_j).
    """

    def __init__(
        self, before: Mapping[str, Values], after: Mapping[str, Values],
        mask: NDArray[np.bool_] | None, compiled: Any,
    ) -> None:  # fmt: skip
        self._i = [np.ascontiguousarray(before[name]) for name in ("eta", "a", "c", "d")]
        self._j = [np.ascontiguousarray(after[name]) for name in ("eta", "b", "c", "d")]
        self._i[0], self._j[0] = self._i[0] / 2, self._j[0] / 2
        self._mask, self._compiled = mask, compiled

    def __call__(self, before: Values, after: Values, weights: Values) -> None:
        """See :class:`Update`."""
        i, j = active(self._i, before), active(self._j, after)
        if self._compiled is not None:
            self._compiled.neurons(weights, self._mask, i, j)
            return
        for rows in tiles(weights):
            rate_i, pre, both_i, constant_i = (values[rows, None, :] for values in i)
            rate_j, post, both_j, constant_j = (values[rows, :, None] for values in j)
            change = pre + post
            change += both_i * both_j
            change += constant_i * constant_j
            change *= rate_i + rate_j
            if self._mask is not None:
                change = np.where(self._mask[rows], change, 0)
            weights[rows] += change

    def keep(self, rows: Rows) -> None:
        """See :class:`Update`."""
        self._i, self._j = [v[rows] for v in self._i], [v[rows] for v in self._j]
        if self._mask is not None:
            self._mask = self._mask[rows]


def active(own: Sequence[Values], activations: Values) -> tuple[Values, ...]:
    """Rates, A or B, C and D of one side of a layer for these activations, which only D ignores."""
    rate, one, both, constant = own
    return rate, one * activations, both * activations, constant


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
