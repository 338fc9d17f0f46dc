"""One scorer, one sparsity for every linear layer: the pruners that allocations are added to."""

from __future__ import annotations

from dataclasses import dataclass

from operators import RNG

from ..searches import Mixed
from . import Outcome
from .allocated import everywhere, require_rows


@dataclass(frozen=True)
class Plain:
    """A scorer alone at uniform sparsity; MULTIFLOW sets its counts over all layers, as published.

    Sparsity counts the weights of the blocks' linear layers.

    Args:
        scorer: Any scorer, with its settings in brackets, or ``sparsegpt``.
    """

    scorer: str = "wanda"

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Every site at the one level; nothing is drawn.

        Raises:
            ConfigError: The target is out of range, or no such scorer.
        """
        require_rows(problem, self.scorer, sparsity)
        made = problem.again([f"{self.scorer}@{float(sparsity)!r}"])
        return Outcome(made, everywhere(made))
