"""Uniform: every linear layer loses the same share, as SparseGPT and Wanda do (2301.00774)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from operators import RNG

from . import Allocation, require_target, shapes

if TYPE_CHECKING:
    from ..searches import Mixed


@dataclass(frozen=True)
class Uniform:
    """One share for all."""

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """The target itself, for every linear layer."""
        require_target(sparsity)
        return dict.fromkeys(shapes(problem), sparsity)
