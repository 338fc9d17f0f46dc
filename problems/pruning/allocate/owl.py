"""OWL: blocks with more outlying Wanda scores keep more (Yin et al., arXiv 2310.05175, eq. 1).

The share of a block's scores above a multiple of their mean is mapped linearly onto densities
whose plain mean over blocks is the target's; blocks of unequal size shift the realised sparsity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from operators import RNG

from ..listening import layers_of
from ..models import Block
from . import Allocation, by_block, require_target

if TYPE_CHECKING:
    from ..searches import Mixed

FLOOR = 0.01  # the published pruner's, for sparsities that would be 0 or less


def spread_out(
    outliers: Sequence[float] | NDArray[np.float64], sparsity: float, spread: float
) -> NDArray[np.float64]:
    """Sparsity of each block, (L,); alike where no block has more outliers than another.

    Args:
        outliers: Share of outlying scores of each block, in any unit, (L,).
        sparsity: Mean of the result, unless a block is held at 0.01.
        spread: Half of the range of the result.
    """
    found = np.asarray(outliers, dtype=np.float64)
    width = found.max() - found.min()
    if width == 0:
        return np.full(len(found), sparsity)
    kept = (found - found.min()) / width * 2 * spread
    shares = sparsity - (kept - kept.mean())
    return np.where(shares <= 0, FLOOR, shares)


def outlier_share(scores: Sequence[torch.Tensor], multiple: float) -> float:
    """Per cent of all entries above ``multiple`` times their mean."""
    total = sum(s.numel() for s in scores)
    mean = sum(float(s.double().sum()) for s in scores) / total
    return 100 * sum(int((s > multiple * mean).sum()) for s in scores) / total


@dataclass(frozen=True)
class OWL:
    """Outlier-weighed layerwise sparsity.

    Args:
        multiple: How far above a block's mean score an outlier lies (M of the paper).
        spread: Most that a block's sparsity may differ, times two (λ of the paper).
    """

    multiple: float = 5.0
    spread: float = 0.08

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """One share per block, from the norms in the library of the problem."""
        require_target(sparsity)
        outliers = [self._outliers(problem, block) for block in problem.pretrained.blocks]
        return by_block(problem, spread_out(outliers, sparsity, self.spread))

    def _outliers(self, problem: Mixed, block: Block) -> float:
        paths = [path for _, path in layers_of([block])]
        scores = [problem.library.scores("wanda", block, path) for path in paths]
        return outlier_share(scores, self.multiple)
