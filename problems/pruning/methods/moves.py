"""EvoPress's mutations: swaps that leave the amount pruned as it is (arXiv 2410.14649)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from .staged import Rows


def count_moves(rng: RNG) -> int:
    """The smaller of two uniform draws from {1, 2, 3}: 1, 2, 3 with 5/9, 3/9, 1/9."""
    return int(rng.integers(1, 4, size=2).min())


@dataclass(frozen=True, eq=False)
class DepthSwap:
    """A kept attention goes and a removed one comes back, or the same with feed-forwards.

    Args:
        halves: Columns of the attentions and of the feed-forwards, block after block.
        entire: Feed-forwards go with their attentions, so that whole blocks do.
    """

    halves: tuple[NDArray[np.intp], NDArray[np.intp]]
    entire: bool = False

    def __call__(self, genome: Rows, rng: RNG) -> Rows:
        """A mutant (S,) of a genome of zeros (kept) and ones (removed), some of each per half."""
        child = genome.copy()
        for _ in range(count_moves(rng)):
            half = self.halves[int(rng.integers(2))]
            kept = rng.choice(half[child[half] == 0])
            removed = rng.choice(half[child[half] == 1])
            child[kept], child[removed] = 1, 0
        return self._joined(child)

    def random(self, removed: int, rng: RNG) -> Rows:
        """A genome (S,) with so many ones in each half, at random places."""
        genome = np.zeros(sum(map(len, self.halves)), dtype=np.int16)
        for half in self.halves:
            genome[rng.choice(half, removed, replace=False)] = 1
        return self._joined(genome)

    def _joined(self, genome: Rows) -> Rows:
        attentions, feed_forwards = self.halves
        if self.entire:
            genome[feed_forwards] = genome[attentions]
        return genome


@dataclass(frozen=True, eq=False)
class LevelSwap:
    """A layer gives up a level and another takes it, both drawn from those that can.

    Args:
        low: Lowest level of each layer, (S,).
        high: Highest level of each layer, (S,).
        most: Largest sum of absolute levels, or None.
    """

    low: Rows
    high: Rows
    most: int | None = None

    def __call__(self, genome: Rows, rng: RNG) -> Rows | None:
        """A mutant (S,) of a genome of levels, perhaps an equal one; None beyond ``most``."""
        child = genome.copy()
        for _ in range(count_moves(rng)):
            down = rng.choice(np.flatnonzero(child > self.low))
            up = rng.choice(np.flatnonzero(child < self.high))
            child[down] -= 1
            child[up] += 1
        beyond = self.most is not None and np.abs(child).sum() > self.most
        return None if beyond else child
