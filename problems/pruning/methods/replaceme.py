"""ReplaceMe (arXiv 2505.02819): a window of blocks goes, a folded map makes up for it."""

from __future__ import annotations

from dataclasses import dataclass

from operators import RNG

from ..searches import Mixed
from . import Outcome
from .window import without_window


@dataclass(frozen=True)
class ReplaceMe:
    """Sparsity is the share of blocks removed, as in the paper.

    Args:
        ridge: λ as a share of the mean diagonal of MᵀM; the paper's default is 0.
        skip: Leading tokens of each sequence that the fit leaves out.
    """

    ridge: float = 0.0
    skip: int = 0

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Outcome:
        """Choose the window of least angular distance; no text but the calibration text is read.

        Raises:
            ConfigError: The model is not sequential and normalised before each submodule, or the
                window would have no block or all.
        """
        text = f"replaceme(share={sparsity},ridge={self.ridge},skip={self.skip})"
        return without_window(problem, text)
