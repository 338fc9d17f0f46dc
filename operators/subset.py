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
            pack(items, shared | mine, d, first.dtype),
            pack(items, shared | (loose & ~mine), d, second.dtype),
        )


@dataclass(frozen=True, slots=True)
class SubsetCut:
    """Behind a cut of its own in each parent, a child goes on with the other parent.

    The first child has the items of the first parent before its cut and those of the second parent
    from that index on; the second child mirrors it. Rows are cut as they are kept, in ascending
    order. An item met twice counts once.
    """

    kinds: ClassVar[frozenset[str]] = SUBSET

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d), sorted and padded with -1."""
        cuts = [picks((rows >= 0).sum(axis=1), rng) for rows in (first, second)]
        return (_continued(first, second, cuts[0]), _continued(second, first, cuts[1]))


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
        victim = picks(size, rng)
        stranger = outsiders(rows, universe, rng)
        place = np.where(grow, size, victim)
        value = np.where(shrink, _LAST, stranger)
        acting = np.flatnonzero(grow | shrink | swap)
        out = np.where(rows < 0, _LAST, rows)
        out[acting, place[acting]] = value[acting]
        return pack(out, out != _LAST, d, genomes.dtype)


@dataclass(frozen=True, slots=True)
class SubsetEdit:
    """A third of the rows swap a member for an outsider, a third take one in, a third drop one.

    Unlike with :class:`SubsetMove`, a row stays as it is where it cannot do what was drawn, and
    full rows only ever shrink.

    Args:
        least: Smallest size of a set.
    """

    least: int = 1
    kinds: ClassVar[frozenset[str]] = SUBSET

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), sorted and padded with -1."""
        n, d = genomes.shape
        universe, size = int(bounds.high[0]) + 1, (genomes >= 0).sum(axis=1)
        kind, victim = rng.integers(0, 3, n), picks(size, rng)
        stranger = outsiders(genomes, universe, rng)
        room = (size < d) & (size < universe)
        out = genomes.astype(np.int64)
        for rows, place, value in (
            (np.flatnonzero((kind == 0) & room & (size > 0)), victim, stranger),
            (np.flatnonzero((kind == 1) & room), size, stranger),
            (np.flatnonzero((kind == 2) & (size > self.least)), victim, np.full(n, -1)),
        ):
            out[rows, place[rows]] = value[rows]
        return pack(out, out >= 0, d, genomes.dtype)


def picks(size: NDArray[Any], rng: RNG) -> NDArray[np.int64]:
    """A uniform index below each size, (n,); 0 where the size is 0."""
    return np.floor(rng.random(len(size)) * np.maximum(size, 1)).astype(np.int64)


def outsiders(rows: NDArray[Any], universe: int, rng: RNG) -> NDArray[np.int64]:
    """One uniform item per ascending row that is not in the row, (n,).

    Meaningless for rows that hold the whole universe.
    """
    size = (rows >= 0).sum(axis=1)
    item = np.floor(rng.random(len(rows)) * np.maximum(universe - size, 1)).astype(np.int64)
    members = np.where(rows < 0, _LAST, rows.astype(np.int64))
    for column in members.T:  # ascending: step over each member passed
        item += item >= column
    return item


def pack(
    items: NDArray[Any], kept: NDArray[np.bool_], d: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Kept items of each row, none twice, sorted and padded with -1 to d columns."""
    out = np.sort(np.where(kept, items.astype(np.int64), _LAST), axis=1)
    again = (out[:, 1:] == out[:, :-1]) & (out[:, 1:] != _LAST)
    if again.any():
        out[:, 1:][again] = _LAST
        out.sort(axis=1)
    out = out[:, :d]
    return np.where(out == _LAST, -1, out).astype(dtype)


def _continued(head: NDArray[Any], tail: NDArray[Any], cut: NDArray[np.int64]) -> NDArray[Any]:
    """Items of ``head`` before the cut and of ``tail`` from it on."""
    before = np.arange(head.shape[1]) < cut[:, None]
    items = np.concatenate([head, tail], axis=1)
    kept = np.concatenate([before, ~before], axis=1) & (items >= 0)
    return pack(items, kept, head.shape[1], head.dtype)
