"""Mustafar: one sparsity for the cached keys and values of every attention (arXiv 2505.22913)."""

from __future__ import annotations

from dataclasses import dataclass

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from ..variants.mustafar import WINDOW
from . import Outcome
from .allocated import everywhere


@dataclass(frozen=True)
class Mustafar:
    """Keys and values keep their entries of largest magnitude; no weight changes.

    Sparsity counts the entries of cached keys and values outside the window.

    Args:
        window: Recent tokens that stay whole.
    """

    window: int = WINDOW

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Every attention at the one level; nothing is drawn.

        Raises:
            ConfigError: The target is out of range, or the model or text does not fit.
        """
        if not 0 < sparsity < 1:
            raise ConfigError(
                "sparsity is the share of cached entries to drop, above 0 and below 1, got "
                f"{sparsity!r}"
            )
        made = problem.again([f"mustafar(window={self.window})@{float(sparsity)!r}"])
        return Outcome(made, everywhere(made))
