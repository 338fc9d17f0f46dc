"""Moves on sets of items, kept as sorted rows padded with -1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import RNG, Bounds

SUBSET = frozenset({"subset"})
_LAST = np.iinfo(np.int64).max  # sorts behind every item


@dataclass(frozen=True, slots=True)
class SubsetUnion:
    """Children draw on the union of their parents.

    Items of both parents go to both children; the others are dealt out at random, so that the first
    child is as large as the first parent and the second as large as the second.
    """

    kinds: ClassVar[frozenset[str]] = SUBSET

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d), sorted and padded with -1."""
        n, d = first.shape
        items = np.concatenate([first, second], axis=1).astype(np.int64)  # (n, 2d)
        items = np.sort(np.where(items < 0, _LAST, items), axis=1)
        real = items != _LAST
        again = np.zeros_like(real)
        again[:, 1:] = real[:, 1:] & (items[:, 1:] == items[:, :-1])
        shared = np.zeros_like(real)
        shared[:, :-1] = again[:, 1:]
        loose = real & ~again & ~shared
        quota = (first >= 0).sum(axis=1) - shared.sum(axis=1)
        keys = np.where(loose, rng.random((n, 2 * d)), np.inf)
        place = np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1, kind="stable")
        mine = loose & (place < quota[:, None])
        return (
            _pack(items, shared | mine, d, first.dtype),
            _pack(items, shared | (loose & ~mine), d, second.dtype),
        )


@dataclass(frozen=True, slots=True)
class SubsetMove:
    """Each row swaps one member for an outsider, takes one in, or drops one.

    A row that cannot do what was drawn (full, or at its least size) swaps instead; a row that holds
    the whole universe stays.

    Args:
        grow: Probability of taking one in.
        shrink: Probability of dropping one.
        least: Smallest size of a set.
    """

    grow: float = 0.25
    shrink: float = 0.25
    least: int = 1
    kinds: ClassVar[frozenset[str]] = SUBSET

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), sorted and padded with -1."""
        n, d = genomes.shape
        universe = int(bounds.high[0]) + 1
        rows, size = genomes.astype(np.int64), (genomes >= 0).sum(axis=1)
        draw = rng.random(n)
        grow = ((draw < self.grow) | (size == 0)) & (size < min(d, universe))
        shrink = (draw >= self.grow) & (draw < self.grow + self.shrink) & (size > self.least)
        swap = ~grow & ~shrink & (size > 0) & (size < universe)
        victim = np.floor(rng.random(n) * np.maximum(size, 1)).astype(np.int64)
        stranger = _outsider(rows, universe, size, rng)
        place = np.where(grow, size, victim)
        value = np.where(shrink, _LAST, stranger)
        acting = np.flatnonzero(grow | shrink | swap)
        out = np.where(rows < 0, _LAST, rows)
        out[acting, place[acting]] = value[acting]
        return _pack(out, out != _LAST, d, genomes.dtype)


def _outsider(
    rows: NDArray[np.int64], universe: int, size: NDArray[Any], rng: RNG
) -> NDArray[np.int64]:
    """One uniform item per row that is not in the row, (n,); meaningless for full rows."""
    item = np.floor(rng.random(len(rows)) * np.maximum(universe - size, 1)).astype(np.int64)
    for column in np.where(rows < 0, _LAST, rows).T:  # ascending: step over each member passed
        item += item >= column
    return item


def _pack(
    items: NDArray[np.int64], kept: NDArray[np.bool_], d: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Kept items of each row, sorted, padded with -1 to d columns."""
    out = np.sort(np.where(kept, items, _LAST), axis=1)[:, :d]
    return np.where(out == _LAST, -1, out).astype(dtype)
