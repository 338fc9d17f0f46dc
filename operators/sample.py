"""Draws of whole genomes from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import RNG, Bounds, Sampling

BOXED = frozenset({"choice", "integer", "mask", "real"})


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every legal value of every gene is equally likely."""

    kinds: ClassVar[frozenset[str]] = BOXED

    def __call__(self, n: int, bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Shape (n, d), dtype of the bounds."""
        return from_shares(rng.random((n, len(bounds))), bounds)


@dataclass(frozen=True, slots=True)
class LatinHypercube:
    """Per gene, one row in each of n equal slices of its range (McKay et al. 1979)."""

    kinds: ClassVar[frozenset[str]] = BOXED

    def __call__(self, n: int, bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Shape (n, d), dtype of the bounds."""
        slices = np.broadcast_to(np.arange(n)[:, None], (n, len(bounds)))
        shares = (rng.permuted(slices, axis=0) + rng.random((n, len(bounds)))) / max(n, 1)
        return from_shares(shares, bounds)


@dataclass(frozen=True, slots=True)
class LevelSpread:
    """Rows spread along the diagonal of the box, from all genes low to all genes high.

    With many genes, uniform draws pile up at the middle of every summed cost. Here row i first
    draws a centre in slice i of n, then each gene a place from a triangular bell around it, rounded
    up or down at random in proportion; a switch is so on with the centre as probability. Unordered
    genes with more than two values are uniform.

    Args:
        width: Half-width of the bell, as a share of the gene's range.
    """

    width: float = 0.25
    kinds: ClassVar[frozenset[str]] = BOXED

    def __call__(self, n: int, bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Shape (n, d), dtype of the bounds."""
        shape, dtype = (n, len(bounds)), bounds.low.dtype
        centre = (np.arange(n)[:, None] + rng.random((n, 1))) / max(n, 1)  # (n, 1)
        bell = self.width * (rng.random(shape) - rng.random(shape))
        place, free = np.clip(centre + bell, 0.0, 1.0), rng.random(shape)
        if np.issubdtype(dtype, np.floating):
            return from_shares(place, bounds)
        low, span = bounds.low.astype(np.int64), bounds.high.astype(np.int64) - bounds.low
        level = np.minimum(np.floor(place * span + free).astype(np.int64), span)
        uniform = np.minimum(np.floor(free * (span + 1)).astype(np.int64), span)
        return (low + np.where(bounds.ordered | (span == 1), level, uniform)).astype(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """Given rows first, then draws of another sampling.

    Args:
        rows: Legal rows, shape (k, d), best first.
        rest: Where the remaining rows come from.
    """

    rows: NDArray[Any]
    rest: Sampling = Uniform()
    kinds: ClassVar[frozenset[str]] = BOXED

    def __call__(self, n: int, bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Shape (n, d); the first min(n, k) rows are the given ones."""
        head = self.rows[:n]
        return np.concatenate([head, self.rest(n - len(head), bounds, rng).astype(head.dtype)])


def from_shares(shares: NDArray[np.float64], bounds: Bounds) -> NDArray[Any]:
    """Map shares in [0, 1) onto the ranges; each integer gets an equal slice; shape (n, d)."""
    dtype = bounds.low.dtype
    if np.issubdtype(dtype, np.floating):
        return (bounds.low + shares * (bounds.high - bounds.low)).astype(dtype)
    low, high = bounds.low.astype(np.int64), bounds.high.astype(np.int64)
    return np.minimum(low + np.floor(shares * (high - low + 1)).astype(np.int64), high).astype(
        dtype
    )
