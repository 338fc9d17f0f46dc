"""SubFit (arXiv 2606.02559): the submodules of least effect give way to fitted linear bypasses.

The paper's formulas were not available, so this is a reconstruction with every choice a setting. As
many attentions as feed-forwards go, each the k of least effect rot^α · mag^(1-α), where rot is the
mean of 1 - cos(x, x + u) and mag that of ‖u‖/‖x‖ over calibration tokens; x is the residual sum and
u what the submodule adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evo.errors import ConfigError
from operators import RNG

from ..library import Library
from ..searches import Mixed
from ..sites import places
from ..variants import parse
from . import Outcome

SUBMODULES = ("attention", "feed_forward")


@dataclass(frozen=True)
class SubFit:
    """Sparsity counts submodules, as the paper does: k of L attentions and k of L feed-forwards.

    Args:
        alpha: Weight of rotation against magnitude in the effect, between 0 and 1.
        first: Blocks at the beginning that are left alone.
        last: Blocks at the end that are left alone.
        rank: Rank of a feed-forward's bypass as a share of the model's width; None for the rank at
            which all bypasses together have at most ``cost`` of the removed parameters.
        cost: That share; summaries of the paper say about a tenth.
        attention: Rank of an attention's bypass as a share of a feed-forward's.
        ridge: λ as a share of the mean diagonal of the regressors' second moments.
        skip: Leading tokens of each sequence that the fit leaves out.
        intercept: Whether a bypass adds a constant.
        regressor: ``residual``, or ``norm`` to read what the submodule read.
        basis: ``own``, or ``shared`` for one input basis of all feed-forwards.
    """

    alpha: float = 0.5
    first: int = 0
    last: int = 0
    rank: float | None = None
    cost: float = 0.1
    attention: float = 0.25
    ridge: float = 1e-3
    skip: int = 0
    intercept: bool = True
    regressor: str = "residual"
    basis: str = "own"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha of subfit must be between 0 and 1, got {self.alpha:g}")
        if not 0 < self.cost < 1:
            raise ConfigError(f"cost of subfit must be between 0 and 1, got {self.cost:g}")

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Choose the k of each type; no text but the calibration text is read.

        Raises:
            ConfigError: No submodule would go, or more than are not left alone.
        """
        blocks = len(problem.pretrained.blocks)
        free = range(self.first, blocks - self.last)
        k = int(sparsity * blocks + 0.5)
        if not 1 <= k <= len(free):
            raise ConfigError(
                f"sparsity {sparsity:g} bypasses {k} of {blocks} attentions and feed-forwards; "
                f"expected between 1 and {len(free)}",
                hint="choose another sparsity, or protect fewer blocks",
            )
        level = self._level(problem, k)
        settings = (
            f"attention={self.attention},ridge={self.ridge},skip={self.skip},"
            f"intercept={str(self.intercept).lower()},regressor={self.regressor},"
            f"basis={self.basis}"
        )
        text = f"subfit({settings})@{level:.6f}"
        found = problem.again(variants=[text], sites="submodule")
        choices = np.zeros(len(found.table), dtype=np.int16)
        for part in SUBMODULES:
            effects = effects_of(found.library, parse(text).kind, part, blocks, self.alpha)
            chosen = sorted(free, key=lambda i: effects[i])[:k]
            for column, site in enumerate(found.table.sites):
                if site.kind == part and site.depth in chosen:
                    choices[column] = 1
        return Outcome(found, choices)

    def _level(self, problem: Mixed, k: int) -> float:
        """Rank of feed-forwards as a share of the width, when k of each type are bypassed."""
        if self.rank is not None:
            return self.rank
        blocks = problem.pretrained.blocks
        owned = places(blocks, "submodule", itemsize=1, tokens=0.0, caches=False)
        removed = sum(place.own for place in owned) / len(blocks)
        width = int(problem.pretrained.config.hidden_size)
        constants = 2 * width if self.intercept else 0
        factors = 2.0 if self.basis == "own" else 1 + 1 / k  # one input factor for all
        rank = (self.cost * removed - constants) / (width * (factors + 2 * self.attention))
        return min(max(rank, 1.0) / width, 0.99)


def effects_of(
    library: Library, kind: object, part: str, blocks: int, alpha: float
) -> NDArray[np.float64]:
    """rot^α · mag^(1-α) of a submodule in each block, (blocks,)."""
    fitted = library.fitted(kind)

    def means(name: str) -> NDArray[np.float64]:
        return np.array([float(fitted[f"{part}.{i}.{name}"]) for i in range(blocks)])

    return means("rotation") ** alpha * means("magnitude") ** (1 - alpha)
