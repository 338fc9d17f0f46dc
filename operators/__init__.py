"""Moves on arrays: sampling, crossover and mutation as pure NumPy functions.

Every operator is a frozen dataclass whose call takes arrays, bounds and a generator, and returns
new arrays; arguments are never modified. Row i of the result belongs to row i of the input. Integer
genomes stay integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

RNG = np.random.Generator


@dataclass(frozen=True, slots=True)
class Bounds:
    """Legal values of d genes.

    Args:
        low: Smallest value per gene, shape (d,).
        high: Largest value per gene, inclusive, shape (d,).
        ordered: Whether neighbouring values of the gene are alike, shape (d,).
    """

    low: NDArray[Any]
    high: NDArray[Any]
    ordered: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.low.shape[0])


class Sampling(Protocol):
    """Draws genomes from nothing."""

    def __call__(self, n: int, bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Return shape (n, d), inside the bounds."""
        ...


class Crossover(Protocol):
    """Mixes pairs of parents."""

    def __call__(
        self, first: NDArray[Any], second: NDArray[Any], bounds: Bounds, rng: RNG
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children per pair, each shape (n, d), dtype of the parents."""
        ...


class Mutation(Protocol):
    """Changes genomes a little."""

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Return shape (n, d), dtype of the input, inside the bounds."""
        ...


CATALOGUE: dict[str, str] = {
    "uniform-crossover": "operators.discrete:UniformCrossover",
    "one-point": "operators.discrete:OnePoint",
    "two-point": "operators.discrete:TwoPoint",
    "sbx": "operators.real:SBX",
    "blend": "operators.real:Blend",
    "differential": "operators.real:Differential",
    "subset-union": "operators.subset:SubsetUnion",
    "subset-cut": "operators.subset:SubsetCut",
    "level-step": "operators.discrete:LevelStep",
    "level-swap": "operators.discrete:LevelSwap",
    "reset": "operators.discrete:Reset",
    "bit-flip": "operators.discrete:Reset",
    "swap": "operators.discrete:Swap",
    "polynomial": "operators.real:Polynomial",
    "gaussian": "operators.real:Gaussian",
    "subset-move": "operators.subset:SubsetMove",
    "subset-edit": "operators.subset:SubsetEdit",
    "uniform": "operators.sample:Uniform",
    "latin-hypercube": "operators.sample:LatinHypercube",
    "level-spread": "operators.sample:LevelSpread",
}
"""Operator id → ``module:attr``; strings only, so that listing imports nothing."""
