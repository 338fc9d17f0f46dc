"""LLM-Streamline (ICLR 2025, arXiv 2403.19135), with a closed-form module for the trained one.

The paper's n + 1 blocks give way to one trained layer; here all blocks of the window give way to
one linear map of the residual stream, fitted by ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass

from operators import RNG

from ..searches import Mixed
from . import Outcome
from .window import without_window


@dataclass(frozen=True)
class Streamline:
    """Sparsity is the share of blocks in the window, the module's own parameters not counted.

    Args:
        rank: Rank of the map as a share of the model's width; None for the whole map.
        ridge: λ as a share of the mean diagonal of the states' second moments.
        skip: Leading tokens of each sequence that the fit leaves out.
        intercept: Whether the module adds a constant.
    """

    rank: float | None = None
    ridge: float = 1e-3
    skip: int = 0
    intercept: bool = True

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Choose the window of most similar states; no text but the calibration text is read.

        Raises:
            ConfigError: Blocks normalise the residual sum, or the window would have no block or
                all.
        """
        rank = "none" if self.rank is None else self.rank
        return without_window(
            problem,
            f"streamline(share={sparsity},rank={rank},ridge={self.ridge},skip={self.skip},"
            f"intercept={str(self.intercept).lower()})",
        )
