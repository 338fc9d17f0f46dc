"""Width alone: the first stage of 2SSP (arXiv 2501.17771) takes the whole target.

The yardstick for what removing attentions adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from operators import RNG

from ..searches import Mixed
from . import Outcome
from .two_stage import count, narrowed, neurons_left, nothing_goes, require_multiple, rounded


@dataclass(frozen=True)
class WidthAlone:
    """Narrows all feed-forwards alike; the target counts all parameters of the blocks.

    Args:
        multiple: Round the number of neurons to a multiple of this, for speed.
    """

    multiple: int = 1

    def __post_init__(self) -> None:
        require_multiple("width", self.multiple)

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The neurons of the least mean norm are gone; nothing is drawn or judged.

        Raises:
            ConfigError: The feed-forwards hold less than the target.
        """
        counts = count(problem.pretrained.blocks)
        neurons = neurons_left(counts, sparsity, 0, "method 'width'")
        other, row = narrowed(problem, rounded(neurons, counts.neurons, self.multiple))
        if not row.any():
            raise nothing_goes("width", sparsity)
        return Outcome(other, row)
