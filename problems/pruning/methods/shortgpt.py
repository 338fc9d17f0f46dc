"""ShortGPT: the blocks that change the hidden states least go at once.

Men et al., *ShortGPT: Layers in large language models are more redundant than you expect*
(arXiv 2403.03853): block influence is one minus the mean cosine between a block's input and its
output, over all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from operators import RNG

from ..searches import Mixed
from . import Outcome
from .removals import block_count, chosen, require_samples
from .residual import residual_states


@dataclass(frozen=True)
class ShortGPT:
    """Removes the blocks of the least influence, as many as come nearest to the target.

    Args:
        samples: Calibration sequences that are read; none means all.
    """

    samples: int | None = None

    def __post_init__(self) -> None:
        require_samples("shortgpt", self.samples)

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The chosen blocks are gone; nothing is drawn, and no pruned model is judged.

        Raises:
            ConfigError: No number of blocks from 1 to all but one is nearest to the target.
        """
        blocks = len(problem.pretrained.blocks)
        count = block_count(sparsity, blocks, blocks, "shortgpt")
        other = problem.again(["removal"], sites="block")
        order = np.argsort(influences(problem, self.samples), kind="stable")
        return Outcome(other, chosen(other, order[:count]))


def influences(problem: Mixed, samples: int | None = None) -> NDArray[np.float64]:
    """Influence of every block over the real calibration tokens, (L,), each in [0, 2]."""
    sums, count = np.zeros(len(problem.pretrained.blocks)), 0
    for states, real in residual_states(problem, samples):
        sums += [float(change(x[real], y[real]).sum()) for x, y in pairwise(states)]
        count += int(real.sum())
    return sums / count


def change(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of each pair of vectors, (n,) in float64 from two (n, D)."""
    return 1 - torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=-1)
