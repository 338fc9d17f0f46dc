"""Shortened LLaMA: the blocks whose removal alone costs least go at once.

Kim et al., *Shortened LLaMA: depth pruning for large language models with comparison of retraining
methods* (arXiv 2402.02834), the criterion of perplexity. Perplexity rises with the loss, so the
loss ranks alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from . import Outcome
from .removals import Losses, block_count, chosen, one_gone, removed, require_samples

NAME = "shortened-llama"


@dataclass(frozen=True)
class ShortenedLlama:
    """Removes the blocks of the least loss, as many as come nearest to the target.

    Sentence encoders are judged by their drift instead.

    Args:
        samples: Calibration sequences that removals are judged on; none means all.
        keep_first: Blocks at the beginning that stay.
        keep_last: Blocks at the end that stay.
    """

    samples: int | None = None
    keep_first: int = 0
    keep_last: int = 0

    def __post_init__(self) -> None:
        require_samples(NAME, self.samples)
        if min(self.keep_first, self.keep_last) < 0:
            raise ConfigError(
                f"keep_first and keep_last of method {NAME!r} must be at least 0, "
                f"got {self.keep_first} and {self.keep_last}"
            )

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The chosen blocks are gone; nothing is drawn.

        Raises:
            ConfigError: No number of unprotected blocks is nearest to the target.
        """
        blocks = len(problem.pretrained.blocks)
        offered = range(self.keep_first, blocks - self.keep_last)
        count = block_count(sparsity, blocks, len(offered), NAME)
        other = problem.again(["removal"], sites="block")
        judge, dense = Losses(other, self.samples), np.zeros(blocks, dtype=np.int16)
        losses = judge(one_gone(dense, offered, removed(other)))
        order = np.argsort(losses, kind="stable")[:count]
        return Outcome(other, chosen(other, [offered[i] for i in order]), judge.tokens)
