"""EvoPress on unstructured sparsity: how many zeros each linear layer gets (arXiv 2410.14649)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evo.errors import ConfigError
from operators import RNG

from ..searches import Mixed
from ..variants.steps import REACH, MaskSteps, SparseGPTSteps, Steps
from . import Outcome
from .evopress import EvoPress, Search
from .evopress_files import read_levels, write_levels
from .moves import LevelSwap
from .staged import Rows


@dataclass(frozen=True, kw_only=True)
class Sparsity(EvoPress):
    """Search the share of zeros of every linear layer.

    Level 0 has the target's share in each layer; one level up or down is the same number of
    weights everywhere, so a step up and a step down leave the total as it is. The start is level 0
    everywhere, which is uniform pruning.

    Args:
        scorer: ``sparsegpt``, or the name of a scorer whose lowest weights go.
        weights_diff: Weights between levels; by default
            int(0.5·min(s, 1 - s)/num_levels·hidden_size²).
        num_levels: Most levels on either side of 0.
        max_total_deviation: Largest sum of absolute levels, or None.
    """

    preset: str = "sparsity"
    scorer: str = "sparsegpt"
    weights_diff: int | None = None
    num_levels: int = REACH
    max_total_deviation: int | None = None

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Choose; see :class:`.Method`.

        Raises:
            ConfigError: A setting is out of range, the steps are larger than the layers allow, or
                ``start`` does not fit.
        """
        schedule, steps = self.schedule(), self.steps(problem, sparsity)
        if schedule.generations is None:
            raise ConfigError(f"preset {self.preset!r} needs the setting generations here")
        kind = (
            SparseGPTSteps(steps) if self.scorer == "sparsegpt" else MaskSteps(self.scorer, steps)
        )
        own = problem.again([kind], sites="linear")
        counts = [site.place.weight_count() for site in own.table.sites]
        low, high = np.array([steps.bounds(count) for count in counts], dtype=np.int16).T
        origin = np.array([steps.origin(count) for count in counts], dtype=np.int16)
        if not (low < 0).any() or not (high > 0).any():
            raise ConfigError(
                f"steps of {steps.size:,} weights are larger than any layer allows at sparsity "
                f"{sparsity:g}",
                hint="set a smaller weights_diff",
            )
        search = Search.of(self, own, schedule, rng, origin)
        parent = self._started(own, low, high)
        parent = search.run(parent, LevelSwap(low, high, self.max_total_deviation), banned=False)
        if self.result is not None:
            write_levels(Path(self.result), dict(zip(_names(own), parent.tolist(), strict=True)))
        return search.outcome(own, parent + origin)

    def steps(self, problem: Mixed, sparsity: float) -> Steps:
        """The levels at a target."""
        size = self.weights_diff
        if size is None:
            hidden = int(problem.pretrained.config.hidden_size)
            share = 0.5 * min(sparsity, 1 - sparsity)
            size = max(1, int(share / max(1, self.num_levels) * hidden**2))
        return Steps(sparsity, size, self.num_levels)

    def _started(self, own: Mixed, low: Rows, high: Rows) -> Rows:
        if self.start is None:
            return np.zeros(len(low), dtype=np.int16)
        levels = read_levels(Path(self.start), _names(own))
        outside = np.flatnonzero((levels < low) | (levels > high))
        if len(outside) or levels.sum():
            where = _names(own)[outside[0]] if len(outside) else ""
            found = f"level {levels[outside[0]]} of {where}" if where else f"sum {levels.sum()}"
            raise ConfigError(
                f"levels of {self.start} must sum to 0 and lie within the layers' bounds, got "
                f"{found}",
                hint="was it made with another sparsity or weights_diff?",
            )
        return levels


def _names(problem: Mixed) -> list[str]:
    """Full module names of linear sites, in order."""
    path = problem.pretrained.blocks_path
    return [f"{path}.{s.depth}.{s.place.linears[0]}" for s in problem.table.sites]
