"""AlphaPruning: blocks whose weights have a heavier-tailed spectrum keep more.

Lu et al., arXiv 2410.10912: the exponent of the tail of the eigenvalues of WᵀW by Hill's estimator
(eq. 2), its start chosen near the peak of the spectrum, and the mapping to sparsities (eq. 3).
The published search for the start compares the logarithm of its lower end with eigenvalues
themselves, so it mostly scans everything left of the peak too; that is kept, since the published
exponents come of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from operators import RNG

from ..layouts import get, matrix
from ..listening import layers_of
from ..models import Block
from . import Allocation, block_counts, by_block, require_target

if TYPE_CHECKING:
    from ..searches import Mixed

BINS = 100
BELOW, ABOVE = 0.95, 1.5  # ends of the scan, in units of the peak
_NOISE = 1e-12  # of the largest eigenvalue; below it are zeros of a singular matrix


def hill(eigenvalues: NDArray[np.float64], start: int) -> float:
    """Exponent α of a density x^-α fitted to the eigenvalues from ``start`` on.

    Args:
        eigenvalues: Ascending, positive, (N,).
        start: Index of the smallest eigenvalue of the tail; infinite when all of it is equal.
    """
    logs = np.log(eigenvalues[start:])
    total = float((logs - logs[0]).sum())
    return 1 + len(logs) / total if total > 0 else float("inf")


def distance(eigenvalues: NDArray[np.float64], start: int, alpha: float) -> float:
    """Kolmogorov–Smirnov distance of the tail from the fitted power law."""
    tail = eigenvalues[start:]
    fitted = 1 - (tail / tail[0]) ** (1 - alpha)
    return float(np.abs(fitted - np.arange(len(tail)) / len(tail)).max())


def exponent(eigenvalues: NDArray[np.float64]) -> float:
    """The α that fits best of all starts up to 1.5 times the peak of the spectrum.

    Args:
        eigenvalues: Ascending, positive, (N,) with N of at least 2.
    """
    logs = np.log10(eigenvalues)
    counts, edges = np.histogram(logs, bins=BINS)
    peak = 10 ** edges[int(counts.argmax())]
    low, high = np.log10(BELOW * peak), ABOVE * peak
    starts = np.flatnonzero((eigenvalues[:-1] >= low) & (eigenvalues[:-1] <= high))
    fits = [(i, hill(eigenvalues, i)) for i in (starts.tolist() or [0])]
    fits = [(distance(eigenvalues, i, a), a) for i, a in fits if np.isfinite(a)]
    return min(fits, key=lambda fit: fit[0])[1] if fits else float("inf")


def mapped(
    alphas: Sequence[float] | NDArray[np.float64],
    counts: Sequence[int] | NDArray[np.int64],
    sparsity: float,
    spread: float,
) -> NDArray[np.float64]:
    """Sparsity of each block, linear in its exponent, (L,); large exponents lose more.

    Args:
        alphas: Exponent of each block, (L,).
        counts: Weights of each block, (L,).
        sparsity: Mean of the result, weighted by the counts.
        spread: Shares differ by up to 1 - spread to 1 + spread before they are scaled (ε).
    """
    found, weights = np.asarray(alphas, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    width = found.max() - found.min()
    if width == 0:
        return np.full(len(found), sparsity)
    shares = (found - found.min()) / width * 2 * spread + (1 - spread)
    return shares * sparsity * weights.sum() / (weights * shares).sum()


def spectrum(weight: torch.Tensor) -> NDArray[np.float64]:
    """Squared singular values of a matrix that are not zero, ascending."""
    wide = weight.double()
    gram = wide @ wide.t() if wide.shape[0] <= wide.shape[1] else wide.t() @ wide
    values = torch.linalg.eigvalsh(gram).cpu().numpy()
    return values[values > _NOISE * values[-1]]


@dataclass(frozen=True)
class AlphaPruning:
    """Needs weights only; its cost is that of the eigenvalues of every linear layer.

    Args:
        spread: How much blocks may differ (ε of the paper).
    """

    spread: float = 0.3

    def __call__(self, problem: Mixed, sparsity: float, rng: RNG) -> Allocation:
        """One share per block; the mean weighted by weights is the target."""
        require_target(sparsity)
        alphas = np.array([_of_block(block) for block in problem.pretrained.blocks])
        known = alphas[np.isfinite(alphas)]
        alphas[~np.isfinite(alphas)] = known.max() if len(known) else 1.0  # no tail: lightest
        return by_block(problem, mapped(alphas, block_counts(problem), sparsity, self.spread))


def _of_block(block: Block) -> float:
    """Mean exponent of a block's linear layers that have a tail; infinite where none has."""
    spectra = [spectrum(matrix(get(block.module, path)).detach()) for _, path in layers_of([block])]
    found = np.array([exponent(values) for values in spectra if len(values) > 1])
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else float("inf")
