"""SliceGPT's rotation at one width everywhere: the widest that reaches the target.

Ashkboos et al., arXiv 2401.15024, in the form of :mod:`..variants.slicegpt`, with the bases of the
dense model; polishing learns them again on the sliced prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from ..sites import Place, places
from ..variants.slicegpt import channels, weights_per_channel
from . import Outcome, weight_count
from .low_rank import density, named
from .two_stage import require_multiple


@dataclass(frozen=True)
class SliceGPT:
    """Every attention and feed-forward in the same number of channels, where that is smaller.

    The target is the share of the weights of the blocks' linear layers; the matrices that lead in
    and out count as weights that stay.

    Args:
        multiple: The number of channels is a multiple of it.
    """

    multiple: int = 8

    def __post_init__(self) -> None:
        require_multiple("slicegpt", self.multiple)

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Slice all submodules; draws nothing.

        Raises:
            ConfigError: The target is not between 0 and 1, or the smallest width takes more.
        """
        most = density(sparsity) * weight_count(problem)
        found = _submodules(problem)
        width = self._width(found, most, sparsity)
        hidden = channels(found[0])
        name = named("slicegpt", multiple=self.multiple)
        other = problem.again([f"{name}@{1 - width / hidden!r}"])
        sliced = set(other.table.kind)
        dense = "" if len(sliced) == 2 else f" of each {sliced.pop().replace('_', '-')} alone"
        note = f"{width} of {hidden} channels{dense}"
        return Outcome(other, np.ones(len(other.table), dtype=np.int16), notes=(note,))

    def _width(self, found: list[Place], most: float, sparsity: float) -> int:
        """The largest width with which at most so many weights stay."""
        per_channel = np.array([weights_per_channel(place) for place in found])
        dense = left = np.array([place.weight_count() for place in found])
        for width in range(channels(found[0]) // self.multiple * self.multiple, 0, -self.multiple):
            left = np.minimum(dense, width * per_channel)
            if left.sum() <= most:
                return width
        raise ConfigError(
            f"a sparsity of {sparsity:g} cannot be reached: with {self.multiple} channels in every "
            f"attention and feed-forward, {1 - left.sum() / dense.sum():.4g} of their weights go",
            hint="ask for less, or take a smaller multiple or a method that removes whole parts",
        )


def _submodules(problem: Mixed) -> list[Place]:
    itemsize = next(problem.pretrained.model.parameters()).element_size()
    return places(
        problem.pretrained.blocks, "submodule", itemsize=itemsize, tokens=1.0, caches=False
    )
