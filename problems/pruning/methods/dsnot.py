"""DSnoT: a scorer's mask at one sparsity everywhere, refined (arXiv 2310.08915)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from operators import RNG

from ..searches import Mixed
from ..variants import Asked
from ..variants.dsnot import DSnoT as Refined
from . import Outcome
from .allocated import everywhere, require_rows


@dataclass(frozen=True)
class DSnoT:
    """The first mask of a scorer, then exchanges within rows of the layers that are not skipped.

    Sparsity counts the weights of the blocks' linear layers.

    Args:
        initial: The scorer of the first mask, one that goes row by row.
        cycles: Most exchanges of a row.
        threshold: A row stops once its expected error is no larger, in units of the output summed
            over the tokens of a sequence.
        power: Of the variance by which what a weight adds is divided.
        same_sign: Whether a row stops before its error changes sign.
        skip: Which layers keep the first mask: ``feed_forward`` as published, ``attention`` or
            ``none``.
    """

    initial: str = "wanda"
    cycles: int = 50
    threshold: float = 0.1
    power: float = 1.0
    same_sign: bool = False
    skip: str = "feed_forward"

    def __post_init__(self) -> None:
        self._kind()

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Every site at the one level; nothing is drawn.

        Raises:
            ConfigError: The target is out of range.
        """
        require_rows(problem, self.initial, sparsity)
        made = problem.again([Asked(self._kind(), (float(sparsity),))])
        return Outcome(made, everywhere(made))

    def _kind(self) -> Refined:
        return Refined(**asdict(self))
