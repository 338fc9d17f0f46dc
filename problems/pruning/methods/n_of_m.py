"""N:M sparsity everywhere: n of every m neighbouring inputs of a row go, under one scorer.

The pattern is that of Mishra et al., arXiv 2104.08378, for which hardware has kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from evo.errors import ConfigError
from operators import RNG

from ..allocate import require_target
from ..searches import Mixed
from . import Outcome
from .allocated import everywhere


@dataclass(frozen=True)
class NofM:
    """One pattern; the sparsity it gives is fixed, and a target must agree.

    Sparsity counts the weights of the blocks' linear layers.

    Args:
        pattern: ``2:4`` or any n:m; n weights of every m go.
        scorer: Any scorer, ``dsnot`` or ``sparsegpt``.
        permute: Whether neurons, and values within heads, change places so that more of a scorer's
            scores stay.
    """

    pattern: str = "2:4"
    scorer: str = "wanda"
    permute: bool = False

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Every site with the pattern; nothing is drawn.

        Raises:
            ConfigError: No such pattern, the target is another share than its own, or a layer's
                rows are no multiple of m.
        """
        require_target(sparsity)
        share = self._share()
        if abs(share - sparsity) > 1e-9:
            raise ConfigError(
                f"{self.pattern} removes {float(share):g} of the weights, but the target is "
                f"{sparsity:g}",
                hint="ask for that sparsity, or choose another pattern",
            )
        settings = "(permute=true)" if self.permute else ""
        made = problem.again([f"{self.pattern}{settings}@{self.scorer}"])
        return Outcome(made, everywhere(made))

    def _share(self) -> Fraction:
        n, colon, m = self.pattern.partition(":")
        if not (colon and n.isdigit() and m.isdigit() and 0 < int(n) < int(m)):
            raise ConfigError(
                f"pattern is n:m with 0 < n < m, for example 2:4, got {self.pattern!r}"
            )
        return Fraction(int(n), int(m))
