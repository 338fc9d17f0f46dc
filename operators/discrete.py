"""Moves on genes with few values: levels, choices and switches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import RNG, Bounds

DISCRETE = frozenset({"choice", "integer", "mask"})
BLOCK = 2**15
LAST = 3  # late cuts lie in one of so many parts of the genes, the last


@dataclass(frozen=True, slots=True)
class UniformCrossover:
    """Every gene comes from either parent; the second child gets what the first did not.

    Args:
        share: Probability that a gene changes hands, in [0, 1].
    """

    share: float = 0.5
    kinds: ClassVar[frozenset[str]] = DISCRETE | {"real"}

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d)."""
        return _exchange(first, second, tossed(first.shape, self.share, rng))


@dataclass(frozen=True, slots=True)
class OnePoint:
    """Everything behind one cut changes hands; genes in order of depth keep their prefix together.

    With a single gene there is nowhere to cut, and the children equal their parents.

    Args:
        late: Share of pairs cut somewhere in the last third, in [0, 1]; the others anywhere.
    """

    late: float = 0.0
    kinds: ClassVar[frozenset[str]] = DISCRETE | {"real"}

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d)."""
        n, d = first.shape
        end = max(d, 2)
        cut = rng.integers(1, end, (n, 1))  # (n, 1)
        if self.late:
            behind = rng.integers(min(max(d - d // LAST, 1), end - 1), end, (n, 1))
            cut = np.where(rng.random((n, 1)) < self.late, behind, cut)
        return _exchange(first, second, np.arange(d) >= cut)


@dataclass(frozen=True, slots=True)
class TwoPoint:
    """The stretch between two cuts changes hands; its length is at least one gene."""

    kinds: ClassVar[frozenset[str]] = DISCRETE | {"real"}

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d)."""
        n, d = first.shape
        ends = np.sort(rng.integers(0, d, (n, 2)), axis=1)  # (n, 2)
        genes = np.arange(d)
        return _exchange(first, second, (genes >= ends[:, :1]) & (genes <= ends[:, 1:]))


@dataclass(frozen=True, slots=True)
class LevelStep:
    """Ordered genes move a step up or down; unordered genes are reset to another value.

    Every row changes in at least one gene that has more than one value. A step that would leave the
    bounds goes the other way.

    Args:
        rate: Probability per gene; None means 1/d, so that about 1.4 genes of a row change.
        reset: Probability that an ordered gene jumps to any other value instead of stepping, so
            that far values stay reachable.
        reach: Longest step as a share of the gene's range; a step has at least one level.
    """

    rate: float | None = None
    reset: float = 0.1
    reach: float = 0.0
    kinds: ClassVar[frozenset[str]] = DISCRETE

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input."""
        low, high = bounds.low.astype(np.int64), bounds.high.astype(np.int64)
        chosen = np.flatnonzero(pick_genes(genomes.shape, self.rate, high > low, rng))
        gene = chosen % genomes.shape[1]
        jump = ~bounds.ordered[gene] | (drawn_at(chosen, genomes.shape, rng) < self.reset)
        longest = np.maximum(1, np.floor(self.reach * (high - low)).astype(np.int64))
        step = _integers(longest, genomes.shape, rng).take(chosen)
        step = np.where(drawn_at(chosen, genomes.shape, rng) < 0.5, -step, step)
        shift = _integers(np.maximum(high - low, 1), genomes.shape, rng).take(chosen)
        low, high, values = low[gene], high[gene], genomes.take(chosen).astype(np.int64)
        other = _turned(values, low, high, shift)
        step = np.where((values + step < low) | (values + step > high), -step, step)
        return _put(genomes, chosen, np.where(jump, other, np.clip(values + step, low, high)))


@dataclass(frozen=True, slots=True)
class LevelSwap:
    """EvoPress's move: one gene a level up and another a level down, min(U1, U2) times.

    U1 and U2 are uniform on 1 to ``most`` (Sieberling et al. 2025). The original never changes the
    sum of levels, because its cost is fixed; here a move is, now and then, only its upper or lower
    half, so that cost can be an objective. Unordered genes take any other value instead of a step.

    Args:
        most: Largest number of moves per row.
        half: Probability that a move is only a half.
    """

    most: int = 3
    half: float = 0.5
    kinds: ClassVar[frozenset[str]] = DISCRETE

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input; a row can come back as it was."""
        low, high = bounds.low.astype(np.int64), bounds.high.astype(np.int64)
        out = genomes.astype(np.int64)
        times = rng.integers(1, self.most + 1, (2, len(out))).min(axis=0)
        for move in range(self.most):
            mode = rng.random(len(out))
            up = (mode >= self.half / 2) & (times > move)
            down = ((mode < self.half / 2) | (mode >= self.half)) & (times > move)
            raised = _shift(out, up, 1, out < high, bounds, rng)
            free = (out > low) & (raised == out)  # never undo the other half
            out = raised + _shift(out, down, -1, free, bounds, rng) - out
        return out.astype(genomes.dtype)


@dataclass(frozen=True, slots=True)
class Reset:
    """Genes are redrawn among their other values; on a mask this flips bits.

    Every row changes in at least one gene that has more than one value.

    Args:
        rate: Probability per gene; None means 1/d.
    """

    rate: float | None = None
    kinds: ClassVar[frozenset[str]] = DISCRETE

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input."""
        low, high = bounds.low.astype(np.int64), bounds.high.astype(np.int64)
        chosen = np.flatnonzero(pick_genes(genomes.shape, self.rate, high > low, rng))
        gene = chosen % genomes.shape[1]
        shift = _integers(np.maximum(high - low, 1), genomes.shape, rng).take(chosen)
        return _put(genomes, chosen, _turned(genomes.take(chosen), low[gene], high[gene], shift))


@dataclass(frozen=True, slots=True)
class Swap:
    """Two genes of a row exchange their values, clipped to the bounds of their new place.

    Keeps the multiset of values where the genes share their bounds.

    Args:
        times: Exchanges per row.
    """

    times: int = 1
    kinds: ClassVar[frozenset[str]] = DISCRETE | {"real"}

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input."""
        n, d = genomes.shape
        out, rows = genomes.copy(), np.arange(n)
        for _ in range(self.times if d > 1 else 0):
            a = rng.integers(0, d, n)
            b = (a + rng.integers(1, d, n)) % d
            out[rows, a], out[rows, b] = out[rows, b], out[rows, a]
        return np.clip(out, bounds.low, bounds.high).astype(genomes.dtype)


def blocks(shape: tuple[int, ...]) -> list[slice]:
    """Rows in blocks of about ``BLOCK`` genes, so that what is worked out of one stays in cache."""
    n, d = shape
    rows = max(1, BLOCK // max(d, 1))
    return [slice(i, i + rows) for i in range(0, n, rows)]


def tossed(shape: tuple[int, ...], share: float, rng: RNG) -> NDArray[np.bool_]:
    """One toss per gene, true with the given chance, shape (n, d)."""
    out = np.empty(shape, dtype=bool)
    for rows in blocks(shape):
        np.less(rng.random(out[rows].shape), share, out=out[rows])
    return out


def drawn_at(places: NDArray[np.intp], shape: tuple[int, ...], rng: RNG) -> NDArray[np.float64]:
    """A uniform draw per gene; those at the k flat places, which ascend, are kept, shape (k,)."""
    out = np.empty(len(places))
    n, d = shape
    for rows in blocks(shape):
        start, stop = rows.start * d, min(rows.stop, n) * d
        some = slice(*np.searchsorted(places, [start, stop]))
        out[some] = rng.random(stop - start)[places[some] - start]
    return out


def pick_genes(
    shape: tuple[int, ...], rate: float | None, movable: NDArray[np.bool_], rng: RNG
) -> NDArray[np.bool_]:
    """Which genes to change, shape (n, d): at least one movable gene per row."""
    n, d = shape
    places = np.flatnonzero(movable)
    if places.size == 0:
        return np.zeros((n, d), dtype=bool)
    chosen = tossed((n, d), 1.0 / places.size if rate is None else rate, rng) & movable
    forced = places[
        rng.integers(0, places.size, n)
    ]  # drawn for every row: the stream stays aligned
    empty = np.flatnonzero(~chosen.any(axis=1))
    chosen[empty, forced[empty]] = True
    return chosen


def _shift(
    values: NDArray[np.int64],
    rows: NDArray[np.bool_],
    step: int,
    free: NDArray[np.bool_],
    bounds: Bounds,
    rng: RNG,
) -> NDArray[np.int64]:
    """A copy in which one random free gene of the given rows moved by ``step``."""
    gene = np.where(free, rng.random(values.shape), -1.0).argmax(axis=1)  # (n,)
    low, high = bounds.low.astype(np.int64), bounds.high.astype(np.int64)
    other = _other(values, low, high, rng)
    moved = np.where(bounds.ordered, values + step, other)
    acting = np.flatnonzero(rows & free.any(axis=1))
    out = values.copy()
    out[acting, gene[acting]] = moved[acting, gene[acting]]
    return out


def _exchange(
    first: NDArray[Any], second: NDArray[Any], moved: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.where(moved, second, first), np.where(moved, first, second)


def _other(
    values: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64], rng: RNG
) -> NDArray[np.int64]:
    """A uniform legal value other than the present one, where the gene has another."""
    shift = _integers(np.maximum(high - low, 1), values.shape, rng)
    return _turned(values, low, high, shift)


def _turned(
    values: NDArray[Any], low: NDArray[np.int64], high: NDArray[np.int64], shift: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Values moved up, from the highest on to the lowest."""
    return low + (values - low + shift) % (high - low + 1)


def _integers(most: NDArray[np.int64], shape: tuple[int, ...], rng: RNG) -> NDArray[np.int64]:
    """From 1 to ``most`` of each gene, shape (n, d); 1 alone needs no draw."""
    if (most == 1).all():
        return np.broadcast_to(np.int64(1), shape)
    return rng.integers(1, most + 1, shape)


def _put(
    genomes: NDArray[Any], places: NDArray[np.intp], values: NDArray[np.int64]
) -> NDArray[Any]:
    """A copy with other genes at flat places."""
    out = np.array(genomes, order="C")
    out.reshape(-1)[places] = values
    return out
