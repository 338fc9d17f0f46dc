"""A mutation of real genes with heavy tails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from operators import RNG, Bounds


@dataclass(frozen=True, slots=True)
class NewOperator:
    """Cauchy steps, mostly small and now and then far (Yao, Liu and Lin 1999), clipped to bounds.

    Args:
        size: Median length of a step, as a share of the gene's range.
        rate: Probability per gene; None means 1/d.
    """

    size: float = 0.05
    rate: float | None = None
    kinds: ClassVar[frozenset[str]] = frozenset({"real"})

    def __call__(self, genomes: NDArray[Any], bounds: Bounds, rng: RNG) -> NDArray[Any]:
        """Changed rows, shape (n, d), dtype of the input."""
        rate = 1.0 / len(bounds) if self.rate is None else self.rate
        chosen = rng.random(genomes.shape) < rate
        step = self.size * (bounds.high - bounds.low) * rng.standard_cauchy(genomes.shape)
        return np.clip(np.where(chosen, genomes + step, genomes), bounds.low, bounds.high)
