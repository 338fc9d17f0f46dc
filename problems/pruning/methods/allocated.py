"""Allocated sparsity: an allocator says how much each layer loses, a scorer says which weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from .. import allocate
from ..importance import find
from ..searches import Mixed
from ..variants.assigned import of_scorer
from ..variants.updates import SPARSEGPT
from . import Outcome


@dataclass(frozen=True)
class Allocated:
    """Published allocations with any scorer.

    Sparsity counts the weights of the blocks' linear layers, and the allocator's paper says how it
    meets the target: OWL and NeuroAL by the plain mean over blocks, the others by weights.

    Args:
        allocator: ``owl``, ``alphapruning``, ``neuroal``, ``ecoflap``, ``erk`` or ``uniform``, with
            settings in brackets as in ``owl(spread=0.1)``.
        scorer: What goes first within a layer: any scorer, or ``sparsegpt``.
    """

    allocator: str = "owl"
    scorer: str = "wanda"

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Every linear layer at its share, exactly.

        Raises:
            ConfigError: The target is out of range, or asks a layer or row for more than it has.
        """
        require_rows(problem, self.scorer, sparsity)
        chosen = allocate.find(self.allocator)
        shares = chosen(problem, sparsity, rng)
        allocate.require_reachable(f"allocator {self.allocator!r}", sparsity, shares)
        made = problem.again([of_scorer(self.scorer, shares)], sites="linear")
        count = getattr(chosen, "tokens", None)
        return Outcome(made, everywhere(made), count(problem) if count else 0)


def everywhere(problem: Mixed) -> np.ndarray:
    """The choice of the only variant at every site, (S,)."""
    return np.ones(len(problem.table), dtype=np.int16)


def require_rows(problem: Mixed, scorer: str, sparsity: float) -> None:
    """Check that a target is a share, and one that whole weights can give.

    Raises:
        ConfigError: It is not between 0 and 1, or a scorer that compares within rows can remove
            nothing at it, or would have to empty a row.
    """
    allocate.require_target(sparsity)
    if scorer == SPARSEGPT.name or find(scorer, [SPARSEGPT.name]).rule != "row":
        return
    widths = [into for _, into in allocate.shapes(problem).values()]
    least, most = 1 / max(widths), 1 - 1 / max(widths)
    if not least <= sparsity <= most:
        raise ConfigError(
            f"sparsity {sparsity:g} is out of reach: {scorer!r} removes whole weights of each row, "
            f"and rows of {max(widths)} inputs lose from {least:.4g} to {most:.4g}"
        )
