"""ERK: layers keep a density proportional to (d_in + d_out) / (d_in · d_out).

The Erdős–Rényi rule of Mocanu et al. (arXiv 1707.04780) as scaled to a target by RigL (Evci et al.,
arXiv 1911.11134, section 3); for linear layers its kernel form is the same. Weights are counted
over all layers, so the weighted mean meets the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from . import Allocation, require_target, shapes

if TYPE_CHECKING:
    from ..searches import Mixed


def densities(sizes: Sequence[tuple[int, int]], density: float) -> NDArray[np.float64]:
    """Share of weights that each layer keeps, (k,).

    Layers that would keep more than all are kept whole, and the others are scaled again; scales
    only grow on the way, so a layer once whole stays so.

    Args:
        sizes: (d_out, d_in) of each layer.
        density: Share of all weights to keep, in (0, 1).
    """
    dims = np.array(sizes, dtype=np.float64)
    counts, raw = dims.prod(1), dims.sum(1) / dims.prod(1)
    whole = np.zeros(len(dims), dtype=bool)
    while True:
        left = density * counts.sum() - counts[whole].sum()
        scaled = np.where(whole, 1.0, raw * left / (raw * counts)[~whole].sum())
        if (scaled <= 1).all():
            return scaled
        whole |= scaled > 1


@dataclass(frozen=True)
class ERK:
    """Wide layers lose more than narrow ones; needs shapes only."""

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """One minus the density of every linear layer."""
        require_target(sparsity)
        sizes = shapes(problem)
        kept = densities(list(sizes.values()), 1 - sparsity)
        return {layer: float(1 - d) for layer, d in zip(sizes, kept, strict=True)}
