"""Attentions alone: the second stage of 2SSP (arXiv 2501.17771) takes the whole target.

The yardstick for what narrowing feed-forwards adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from . import Outcome
from .removals import Losses, require_samples
from .two_stage import Counts, count, without_attentions


@dataclass(frozen=True)
class AttentionsAlone:
    """Removes attentions one by one, as many as come nearest to the target.

    The target counts all parameters of the blocks, as in 2SSP. Sentence encoders are judged by
    their drift instead of the loss.

    Args:
        samples: Calibration sequences that removals are judged on; none means all.
    """

    samples: int | None = 1

    def __post_init__(self) -> None:
        require_samples("depth", self.samples)

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The chosen attentions are gone; nothing is drawn.

        Raises:
            ConfigError: The target is nearest to no attention, or to all of them or more.
        """
        attentions = attention_count(count(problem.pretrained.blocks), sparsity)
        other = problem.again(["removal"])
        judge, dense = Losses(other, self.samples), np.zeros(len(other.table), dtype=np.int16)
        return Outcome(other, without_attentions(other, judge, dense, attentions), judge.tokens)


def attention_count(counts: Counts, sparsity: float) -> int:
    """How many attentions come nearest to a share of all parameters of the blocks, halves up.

    Raises:
        ConfigError: None, or not one would be left.
    """
    each, most = counts.attention / counts.total, counts.blocks - 1
    wanted = int(sparsity / each + 0.5)
    if not 1 <= wanted <= most:
        raise ConfigError(
            f"method 'depth' can remove 1 to {most} attentions, a sparsity of {each:.4g} to "
            f"{most * each:.4g}; {sparsity:g} is nearest to {wanted}",
            hint="sleb removes whole blocks, 2ssp also narrows feed-forwards",
        )
    return wanted
