"""Networks without weights: sums over a record of activations stand for them (NcHL, WNcHL).

Every completed pass records the activations of all neurons. A weight is the sum of what Eq. 3 would
have added at each of the last k recorded steps, or at all of them while there are fewer, from zero.
With s the sums of a neuron's record and m the recorded steps, the input sum of a neuron j is

    ½ Σ_i a_i (η_i + η_j)(A_i s_i + B_j s_j + C_i C_j Σ_τ a_i(τ) a_j(τ) + m D_i D_j),

which needs no weight: only C looks at single steps, so a layer costs k times its neurons.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError

from .genes import Kept, Rule, Values
from .rules import EVERY, Neurons, Rows, compiled


class Recorded:
    """The networks of many lives; see :class:`~.rules.Lanes`.

    Args:
        rule: How they learn.
        coefficients: Of n candidates.
        kept: What pruning leaves of them.
        of: Candidate of each lane.
        device: Where torch computes; None for NumPy.

    Raises:
        ConfigError: Single synapses are pruned, which the sums cannot leave out.
    """

    def __init__(
        self, rule: Rule, coefficients: Mapping[str, Values], kept: Kept, of: NDArray[np.intp],
        device: str | None = None,
    ) -> None:  # fmt: skip
        if kept.synapses is not None:
            raise ConfigError(
                "rule 'wnchl' stores no weights, so problem.prune can be 'neurons', not 'synapses'"
            )
        n = len(next(iter(coefficients.values())))
        self._rule = rule
        self._array, self._moved = _arrays(device)
        own = {name: rule.by_layer(values[of]) for name, values in coefficients.items()}
        self._own = {name: [self._moved(v) for v in cut] for name, cut in own.items()}
        self._stays = [self._moved(s[of]) for s in kept.by_layer(rule, n)]
        sizes = [(len(of), rule.window, size) for size in rule.layers]
        self._record = [self._moved(np.zeros(size, dtype=rule.dtype)) for size in sizes]
        self._step, self._recorded = 0, 0

    def step(self, x: Values) -> tuple[Values, NDArray[np.bool_]]:
        """See :class:`~.rules.Lanes`."""
        finite = np.ones(len(x), dtype=bool)
        activations = [self._moved(x)]
        for layer in range(len(self._rule.pairs)):
            sums = self._sums(layer, activations[-1])
            finite &= _back(self._array.isfinite(sums).all(1))
            activations.append(self._array.tanh(sums) * self._stays[layer + 1])
        self._step += 1
        if self._step % self._rule.every == 0:
            slot = self._recorded % self._rule.window
            for record, values in zip(self._record, activations, strict=True):
                record[:, slot] = values
            self._recorded += 1
        return _back(activations[-1]), finite

    def _sums(self, layer: int, a: Any) -> Any:
        """Inputs of the neurons after a layer, (lanes, outputs), given activations before it."""
        i = {name: own[layer] for name, own in self._own.items()}
        j = {name: own[layer + 1] for name, own in self._own.items()}
        before, after = self._record[layer], self._record[layer + 1]
        s_i, s_j = before.sum(1), after.sum(1)
        filled = min(self._recorded, self._rule.window)
        seen = self._array.stack([i["eta"] * i["c"] * a, i["c"] * a], 2)  # (lanes, in, 2)
        shared = after.swapaxes(1, 2) @ (before @ seen)  # (lanes, out, 2)

        def both(own: Any) -> Any:
            """Σ_i own_i (η_i + η_j), (lanes, out)."""
            return (i["eta"] * own).sum(1)[:, None] + j["eta"] * own.sum(1)[:, None]

        total = both(i["a"] * s_i * a) + j["b"] * s_j * both(a)
        total += j["c"] * (shared[:, :, 0] + j["eta"] * shared[:, :, 1])
        total += filled * j["d"] * both(i["d"] * a)
        return 0.5 * total

    def weights(self, rows: Rows | slice = EVERY) -> list[Values]:
        """The weights that the record stands for; see :class:`~.rules.Lanes`."""
        cuts = {name: [_back(v)[rows] for v in own] for name, own in self._own.items()}
        stays = [_back(v)[rows] for v in self._stays]
        records = [_back(v)[rows] for v in self._record]
        masks = [b[:, :, None] & a[:, None, :] for a, b in pairwise(stays)]
        every = all(mask.all() for mask in masks)
        learning = Neurons(cuts, None if every else masks, compiled(self._rule))
        found = [np.zeros(mask.shape, dtype=self._rule.dtype) for mask in masks]
        for k in range(min(self._recorded, self._rule.window)):
            learning([np.ascontiguousarray(record[:, k]) for record in records], found)
        return found

    def keep(self, rows: Rows) -> None:
        """See :class:`~.rules.Lanes`."""
        self._own = {name: [v[rows] for v in own] for name, own in self._own.items()}
        self._stays = [s[rows] for s in self._stays]
        self._record = [r[rows] for r in self._record]


def _arrays(device: str | None) -> tuple[Any, Any]:
    """NumPy or torch, both called alike here, and what brings an array to it."""
    if device is None:
        return np, lambda values: values
    from .on_device import mover

    return import_module("torch"), mover(device)


def _back(values: Any) -> Values:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
