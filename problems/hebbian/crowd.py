"""The networks of many lives, shared out among threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .genes import Kept, Rule, Values
from .rules import Lanes, Rows, compiled, lanes, moved
from .threads import Threads

SHARED = 2**23
"""Bytes of weights, and of rules per synapse, from which threads share them out.

With less work in a step, and with more parts than threads, waiting for one another costs more than
it saves.
"""


class Crowd:
    """Networks at the beginning of their lives; results do not depend on threads.

    Args:
        rule: How they learn.
        coefficients: Of n candidates, as :meth:`~.genes.Rule.decode` gives them.
        kept: What pruning leaves of the n candidates.
        of: Candidate of each lane, (lanes,), in ascending order.
        beginnings: Weights of each lane, (lanes, outputs, inputs) per layer.
        device: Where torch computes all of them together; None for NumPy.
        threads: That step them.
    """

    def __init__(
        self, rule: Rule, coefficients: Mapping[str, Values], kept: Kept, of: NDArray[np.intp],
        beginnings: Sequence[Values], device: str | None, threads: Threads,
    ) -> None:  # fmt: skip
        self._threads = threads
        module = compiled(rule)
        self._moved = moved if module is None else module.moved
        count = 1 if device is not None else parts(rule, len(of), threads.count)
        self._cuts = np.linspace(0, len(of), count + 1).astype(int)
        self._parts: list[Lanes] = []
        for rows in self._slices():
            mine = slice(of[rows][0], of[rows][-1] + 1)
            self._parts.append(lanes(
                rule, {name: values[mine] for name, values in coefficients.items()},
                kept.some(mine), of[rows] - mine.start, [w[rows] for w in beginnings], device,
            ))  # fmt: skip

    def step(self, x: Values) -> tuple[Values, NDArray[np.bool_]]:
        """See :class:`~.rules.Lanes`."""
        found = self._threads.each(_stepped, self._parts, self._shared(x))
        outputs, finite = zip(*found, strict=True)
        return np.concatenate(outputs), np.concatenate(finite)

    def watched(self, x: Values) -> tuple[Values, NDArray[np.bool_], NDArray[np.float64]]:
        """A step, and how much weights changed in it: absolute values summed, (lanes,)."""
        found = self._threads.each(
            _watched, self._parts, self._shared(x), repeat(self._moved, len(self._parts))
        )
        outputs, finite, moved = zip(*found, strict=True)
        return np.concatenate(outputs), np.concatenate(finite), np.concatenate(moved)

    def largest(self, rows: NDArray[np.bool_]) -> Values:
        """Largest absolute weight of some lanes now, (rows,)."""
        found = self._threads.each(_largest, self._parts, self._shared(rows))
        return np.concatenate(found)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Go on with these lanes only."""
        shares = self._shared(rows)
        for part, share in zip(self._parts, shares, strict=True):
            part.keep(share)
        left = [int(share.sum()) for share in shares]
        self._parts = [part for part, count in zip(self._parts, left, strict=True) if count]
        self._cuts = np.cumsum([0, *filter(None, left)])

    def _slices(self) -> list[slice]:
        return [slice(a, b) for a, b in pairwise(self._cuts.tolist())]

    def _shared(self, values: Rows) -> list[Rows]:
        return [values[rows] for rows in self._slices()]


def parts(rule: Rule, count: int, threads: int) -> int:
    """Into how many parts to cut so many lanes: one, or one for every thread."""
    if rule.name not in ("hl", "nchl"):  # short calls only
        return 1
    each = (5 if rule.name == "hl" else 1) * rule.synapses * np.dtype(rule.dtype).itemsize
    return min(count, threads) if count * each > SHARED else 1


@np.errstate(all="ignore")  # what overflows is found and told
def _stepped(part: Lanes, x: Values) -> tuple[Values, NDArray[np.bool_]]:
    return part.step(x)


@np.errstate(all="ignore")
def _watched(
    part: Lanes, x: Values, moved: Any
) -> tuple[Values, NDArray[np.bool_], NDArray[np.float64]]:
    before = [w.copy() for w in part.weights()]
    outputs, finite = part.step(x)
    return outputs, finite, moved(tuple(before), tuple(part.weights()))


@np.errstate(all="ignore")
def _largest(part: Lanes, rows: NDArray[np.bool_]) -> Values:
    return np.max([np.abs(w).max(axis=(1, 2)) for w in part.weights(rows)], axis=0)
