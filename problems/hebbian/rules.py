"""n plastic networks that step together: forward, act, then all layers learn from that pass.

Every array has the lanes first, one lane per life: weights are (lanes, outputs, inputs). All layers
but the inputs are squashed by tanh; there are no biases. Results of a lane do not depend on which
other lanes are stepped with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .genes import Kept, Rule, Values

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
) -> Lanes:
    """Networks at the beginning of their lives.

    Args:
        rule: How they learn.
        coefficients: Of n candidates, as :meth:`~.genes.Rule.decode` gives them.
        kept: What pruning leaves of the n candidates.
        of: Candidate of each lane, (lanes,).
        beginnings: Weights of each lane, (lanes, outputs, inputs) per layer.
    """
    if rule.name == "wnchl":
        from .weightless import Recorded

        return Recorded(rule, coefficients, kept, of)
    n = len(next(iter(coefficients.values())))
    masks = [m[of] for m in kept.matrices(rule, n)]
    if rule.name == "static":
        own = rule.matrices(coefficients["w"])
        weights = [np.where(m, w[of], 0).astype(w.dtype) for w, m in zip(own, masks, strict=True)]
        return Stored(rule, weights, [])
    weights = [np.where(m, w, 0).astype(w.dtype) for w, m in zip(beginnings, masks, strict=True)]
    layers = {name: rule.by_layer(values[of]) for name, values in coefficients.items()}
    if rule.name == "hl":
        updates: list[Update] = [
            Synapses({name: cut[i] for name, cut in layers.items()}, mask)
            for i, mask in enumerate(masks)
        ]
        return Stored(rule, weights, updates)
    stays = [s[of] for s in kept.by_layer(rule, n)]
    whole = kept.synapses is None
    return Stored(
        rule,
        weights,
        [
            Neurons(
                {name: cut[i] for name, cut in layers.items()},
                {name: cut[i + 1] for name, cut in layers.items()},
                stays[i], stays[i + 1], None if whole else masks[i],
            )
            for i in range(len(rule.pairs))
        ],
    )  # fmt: skip


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

    def __init__(self, own: Mapping[str, Values], mask: NDArray[np.bool_]) -> None:
        eta = np.where(mask, own["eta"], 0).astype(own["eta"].dtype)
        self._a, self._b, self._c, self._d = (eta * own[name] for name in "abcd")

    def __call__(self, before: Values, after: Values, weights: Values) -> None:
        """See :class:`Update`."""
        x, y = before[:, None, :], after[:, :, None]
        for rows in tiles(weights):
            change = self._c[rows] * y[rows]
            change += self._a[rows]
            change *= x[rows]
            weights[rows] += change
            np.multiply(self._b[rows], y[rows], out=change)
            change += self._d[rows]
            weights[rows] += change

    def keep(self, rows: Rows) -> None:
        """See :class:`Update`."""
        self._a, self._b, self._c, self._d = (v[rows] for v in (self._a, self._b, self._c, self._d))


class Neurons:
    """ABCD of every neuron (Eq. 3), i before and j after.

    w += (η_i + η_j)/2 · (A_i a_i + B_j a_j + C_i C_j a_i a_j + D_i D_j), as the product of an
    (outputs, 8) and an (8, inputs) matrix.
    """

    def __init__(
        self,
        before: Mapping[str, Values],
        after: Mapping[str, Values],
        stays_before: NDArray[np.bool_],
        stays_after: NDArray[np.bool_],
        mask: NDArray[np.bool_] | None,
    ) -> None:
        self._left, self._right = factors(before, after)
        self._left *= stays_after[:, :, None]
        self._right *= stays_before[:, None, :]
        self._mask = mask

    def __call__(self, before: Values, after: Values, weights: Values) -> None:
        """See :class:`Update`."""
        left, right = active(self._left, self._right, before, after)
        for rows in tiles(weights):
            change = np.matmul(left[rows], right[rows])
            if self._mask is not None:
                change *= self._mask[rows]
            weights[rows] += change

    def keep(self, rows: Rows) -> None:
        """See :class:`Update`."""
        self._left, self._right = self._left[rows], self._right[rows]
        if self._mask is not None:
            self._mask = self._mask[rows]


def factors(before: Mapping[str, Values], after: Mapping[str, Values]) -> tuple[Values, Values]:
    """The two matrices of Eq. 3 for activations of one, (n, outputs, 8) and (n, 8, inputs)."""
    i, j = before, after
    half = np.full_like(j["eta"], 0.5)
    left = [
        value for own in (half, 0.5 * j["b"], 0.5 * j["c"], 0.5 * j["d"])
        for value in (own, own * j["eta"])
    ]  # fmt: skip
    right = [
        value for own in (i["a"], np.ones_like(i["eta"]), i["c"], i["d"])
        for value in (own * i["eta"], own)
    ]  # fmt: skip
    return np.stack(left, axis=2), np.stack(right, axis=1)


def active(left: Values, right: Values, before: Values, after: Values) -> tuple[Values, Values]:
    """The two matrices for these activations: B and C heed the output, A and C the input."""
    left, right = left.copy(), right.copy()
    left[:, :, 2:6] *= after[:, :, None]
    right[:, 0:2] *= before[:, None, :]
    right[:, 4:6] *= before[:, None, :]
    return left, right


def tiles(weights: Values) -> list[slice]:
    """Slices of lanes whose weights fit the cache together."""
    each = max(1, TILE // (weights[0].nbytes or 1)) if len(weights) else 1
    return [slice(start, start + each) for start in range(0, len(weights), each)]
