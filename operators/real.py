"""Moves on real genes; integer genes go through rounding and stay integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import RNG, Bounds
from .discrete import blocks, drawn_at, pick_genes, tossed

REAL = frozenset({"real", "integer"})
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SBX:
    """Simulated binary crossover within bounds (Deb and Agrawal 1995; bounded form of Deb 2000).

    Args:
        eta: Distribution index; larger keeps children nearer to their parents.
        share: Probability that a gene is crossed.
    """

    eta: float = 15.0
    share: float = 0.5
    kinds: ClassVar[frozenset[str]] = REAL

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d)."""
        chosen, draw = tossed(first.shape, self.share, rng), rng.random(first.shape)
        one, two = np.array(first, order="C"), np.array(second, order="C")
        for rows in blocks(first.shape):
            flip = rng.random(one[rows].shape)
            self._cross(one[rows], two[rows], chosen[rows], draw[rows], flip, bounds)
        return one, two

    def _cross(
        self, first: NDArray[Any], second: NDArray[Any], chosen: NDArray[np.bool_], draw: Floats,
        flip: Floats, bounds: Bounds,
    ) -> None:  # fmt: skip
        """Parents, shape (k, d), become their children in place."""
        crossed = np.flatnonzero(chosen & (np.abs(first - second) > 1e-14))  # others stay
        a, b, low, high = _at(crossed, first, second, bounds)
        drawn, flipped = draw.take(crossed), flip.take(crossed) < 0.5
        small, large = np.minimum(a, b), np.maximum(a, b)
        gap = large - small
        down = self._spread(drawn, 1.0 + 2.0 * (small - low) / gap)
        up = self._spread(drawn, 1.0 + 2.0 * (high - large) / gap)
        left = 0.5 * (small + large - down * gap)
        right = 0.5 * (small + large + up * gap)
        _put(first, crossed, np.where(flipped, right, left), low, high)
        _put(second, crossed, np.where(flipped, left, right), low, high)

    def _spread(self, draw: Floats, beta: Floats) -> Floats:
        power = self.eta + 1.0
        alpha = 2.0 - _raised(1.0 / np.maximum(beta, 1.0), power)
        area = draw * alpha
        return np.where(draw <= 1.0 / alpha, area, 1.0 / (2.0 - area)) ** (1.0 / power)


@dataclass(frozen=True, slots=True)
class Blend:
    """Blend crossover BLX-α: children uniform in the parents' interval, widened on both sides.

    Args:
        alpha: Widening as a share of the interval (Eshelman and Schaffer 1993 use 0.5).
    """

    alpha: float = 0.5
    kinds: ClassVar[frozenset[str]] = REAL

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d)."""
        a, b = first.astype(np.float64), second.astype(np.float64)
        small, gap = np.minimum(a, b), np.abs(a - b)
        draws = rng.random((2, *a.shape)) * (1.0 + 2.0 * self.alpha) - self.alpha
        children = small + draws * gap  # (2, n, d)
        return _like(children[0], bounds, first.dtype), _like(children[1], bounds, second.dtype)


@dataclass(frozen=True, slots=True)
class Differential:
    """Each parent moves along the difference of another pair (after Storn and Price 1997).

    The other pair is drawn by a random permutation of the batch; with one pair it is the pair
    itself.

    Args:
        scale: Length of the move in units of the difference.
        share: Probability that a gene moves.
    """

    scale: float = 0.5
    share: float = 0.9
    kinds: ClassVar[frozenset[str]] = REAL

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two children per pair, each shape (n, d)."""
        a, b = first.astype(np.float64), second.astype(np.float64)
        move = self.scale * (b - a)[rng.permutation(len(a))]
        moved = rng.random((2, *a.shape)) < self.share
        return (
            _like(np.where(moved[0], a + move, a), bounds, first.dtype),
            _like(np.where(moved[1], b - move, b), bounds, second.dtype),
        )


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Polynomial mutation within bounds (Deb and Goyal 1996); at least one gene per row is drawn.

    Args:
        eta: Distribution index; larger makes smaller moves.
        rate: Probability per gene; None means 1/d.
    """

    eta: float = 20.0
    rate: float | None = None
    kinds: ClassVar[frozenset[str]] = REAL

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input."""
        free = bounds.high > bounds.low
        chosen = np.flatnonzero(pick_genes(genomes.shape, self.rate, free, rng))
        u = drawn_at(chosen, genomes.shape, rng)
        x, _, low, high = _at(chosen, genomes, genomes, bounds)
        span, power = high - low, self.eta + 1.0
        below = 2.0 * u + (1.0 - 2.0 * u) * (1.0 - (x - low) / span) ** power
        above = 2.0 * (1.0 - u) + (2.0 * u - 1.0) * (1.0 - (high - x) / span) ** power
        delta = np.where(
            u <= 0.5, np.abs(below) ** (1.0 / power) - 1.0, 1.0 - np.abs(above) ** (1.0 / power)
        )
        return _put(np.array(genomes, order="C"), chosen, x + delta * span, low, high)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Normal steps, clipped to the bounds; at least one gene per row is drawn.

    Args:
        size: Standard deviation as a share of the gene's range.
        rate: Probability per gene; None means 1/d.
    """

    size: float = 0.1
    rate: float | None = None
    kinds: ClassVar[frozenset[str]] = REAL

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input."""
        free = bounds.high > bounds.low
        chosen = np.flatnonzero(pick_genes(genomes.shape, self.rate, free, rng))
        step = rng.normal(0.0, 1.0, genomes.shape).take(chosen)
        x, _, low, high = _at(chosen, genomes, genomes, bounds)
        moved = x + step * self.size * (high - low)
        return _put(np.array(genomes, order="C"), chosen, moved, low, high)


def _raised(values: Floats, power: float) -> Floats:
    """``values ** power``; where that is 2, 4, 8, 16 or 32, in place by squaring: faster."""
    if power not in (2.0, 4.0, 8.0, 16.0, 32.0):
        return values**power
    for _ in range(int(power).bit_length() - 1):
        np.square(values, out=values)
    return values


def _at(
    places: NDArray[np.intp], first: NDArray[Any], second: NDArray[Any], bounds: Bounds
) -> tuple[Floats, Floats, Floats, Floats]:
    """Genes of both at flat places, and the bounds there, each shape (k,)."""
    gene = places % first.shape[1]
    picked = (first.take(places), second.take(places), bounds.low[gene], bounds.high[gene])
    a, b, low, high = (values.astype(np.float64, copy=False) for values in picked)
    return a, b, low, high


def _put(
    genomes: NDArray[Any], places: NDArray[np.intp], values: Floats, low: Floats, high: Floats
) -> NDArray[Any]:
    """Write legal genes at flat places of contiguous rows; integers are rounded half up."""
    if not np.issubdtype(genomes.dtype, np.floating):
        values = np.floor(values + 0.5)
    genomes.reshape(-1)[places] = np.clip(values, low, high)
    return genomes


def _like(values: Floats, bounds: Bounds, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values inside the bounds in the wanted dtype; integers are rounded half up."""
    if not np.issubdtype(dtype, np.floating):
        values = np.floor(values + 0.5)
    return np.clip(values, bounds.low, bounds.high).astype(dtype)
