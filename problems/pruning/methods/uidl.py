"""A window of neighbouring blocks goes whose ends are nearest in angle.

Gromov et al., *The unreasonable ineffectiveness of the deeper layers* (arXiv 2403.17887): the
angle between the hidden states before and after the window, divided by pi, at the last token,
averaged over sequences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import ConfigError
from evo.suggest import did_you_mean
from operators import RNG

from ..searches import Mixed
from . import Outcome
from .removals import block_count, chosen, require_samples
from .residual import residual_states

TOKENS = ("last", "all")


@dataclass(frozen=True)
class AngularWindow:
    """Removes the window of the smallest angle, of as many blocks as come nearest to the target.

    Args:
        samples: Calibration sequences that are read; none means all.
        tokens: Where angles are taken: the last real token of a sequence, or all of them.
    """

    samples: int | None = None
    tokens: str = "last"

    def __post_init__(self) -> None:
        require_samples("uidl", self.samples)
        if self.tokens not in TOKENS:
            raise ConfigError(
                f"tokens of method 'uidl' must be 'last' or 'all', got {self.tokens!r}"
                f"{did_you_mean(self.tokens, TOKENS)}"
            )

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """The window is gone; nothing is drawn, and no pruned model is judged.

        Raises:
            ConfigError: No number of blocks from 1 to all but one is nearest to the target.
        """
        blocks = len(problem.pretrained.blocks)
        count = block_count(sparsity, blocks, blocks, "uidl")
        other = problem.again(["removal"], sites="block")
        first = int(np.argmin(distances(problem, count, self.samples, self.tokens)))
        return Outcome(other, chosen(other, range(first, first + count)))


def distances(
    problem: Mixed, count: int, samples: int | None = None, tokens: str = "last"
) -> NDArray[np.float64]:
    """Mean angular distance across every window of that many blocks, (L - count + 1,)."""
    sums, seen = np.zeros(len(problem.pretrained.blocks) - count + 1), 0
    for states, real in residual_states(problem, samples):
        taken = real & _last(real) if tokens == "last" else real
        pairs = zip(states[:-count], states[count:], strict=True)
        sums += [float(angle(x[taken], y[taken]).sum()) for x, y in pairs]
        seen += int(taken.sum())
    return sums / seen


def angle(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Angle of each pair of vectors as a share of pi, in [0, 1]; (n,) in float64."""
    cosine = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=-1)
    return torch.arccos(cosine.clamp(-1, 1)) / math.pi


def _last(real: torch.Tensor) -> torch.Tensor:
    """Where the last real token of each sequence is, bool (B, T)."""
    return real.flip(1).cumsum(1).flip(1) == 1
