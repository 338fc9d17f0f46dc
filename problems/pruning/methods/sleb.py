"""SLEB: block after block goes, each time the one that costs least in the model as it then is.

Song et al., *SLEB: Streamlining LLMs through redundancy verification and elimination of transformer
blocks* (arXiv 2402.09025); the first and the last block that are left never go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators import RNG

from ..searches import Mixed
from . import Outcome
from .removals import Judge, Losses, Row, block_count, removed, require_samples, without_best


@dataclass(frozen=True)
class SLEB:
    """Removes blocks one by one, as many as come nearest to the target.

    Sentence encoders are judged by their drift instead of the loss.

    Args:
        samples: Calibration sequences that removals are judged on; none means all.
    """

    samples: int | None = None

    def __post_init__(self) -> None:
        require_samples("sleb", self.samples)

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The chosen blocks are gone; nothing is drawn.

        Raises:
            ConfigError: No number of blocks from 1 to all but two is nearest to the target.
        """
        blocks = len(problem.pretrained.blocks)
        count = block_count(sparsity, blocks, blocks - 2, "sleb")
        other = problem.again(["removal"], sites="block")
        judge = Losses(other, self.samples)
        return Outcome(other, eliminate(judge, removed(other), count), judge.tokens)


def eliminate(judge: Judge, gone: Row, count: int) -> Row:
    """The candidate after that many rounds, (L,).

    Args:
        judge: Asked once a round, for every block that is left but the first and the last.
        gone: Index of the choice that removes each block, (L,).
        count: Rounds, at most L - 2.
    """
    row = np.zeros(len(gone), dtype=np.int16)
    for _ in range(count):
        left = np.flatnonzero(row != gone)
        row = without_best(judge, row, left[1:-1].tolist(), gone)
    return row
