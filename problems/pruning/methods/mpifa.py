"""MPIFA: truncate, refit layer after layer on the pruned prefix, store in pivot form.

MPIFA (arXiv 2501.19090) at one density everywhere; see :mod:`..variants.mpifa` for the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from operators import RNG

from ..refit import RIDGE
from ..searches import Mixed
from . import Outcome
from .low_rank import density, named, smallest


@dataclass(frozen=True)
class MPIFA:
    """Every linear layer refitted in sequence and in pivot form.

    Args:
        mu: Share of the dense model's own outputs in the targets.
        steps: 1 refits the second factor, 2 both.
        ridge: Pull of the second step towards the dense weights.
        multiple: Ranks are rounded up to multiples of it, and a little less than the target goes.
    """

    mu: float = 0.25
    steps: int = 2
    ridge: float = RIDGE
    multiple: int = 1

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Fit all layers at one density, the share of their weights that stays; draws nothing.

        Raises:
            ConfigError: The target is not between 0 and 1, rank 1 takes more, or a setting is out
                of range.
        """
        kind = named(
            "mpifa", density=density(sparsity), mu=self.mu, steps=self.steps, ridge=self.ridge,
            multiple=self.multiple,
        )  # fmt: skip
        found = problem.again([kind], sites="linear")
        return smallest(found, sparsity, exact=self.multiple == 1)
