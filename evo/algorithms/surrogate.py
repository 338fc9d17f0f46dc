"""Predict objectives of genomes from those judged so far: Gaussian processes over genes.

Source: Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, algorithm 2.1. The
covariance is a sum of a part in which genes act on their own, and one that falls with distance.
Distances mix how far two levels are apart and whether they differ at all, since choices are ordered
by size, but not always by effect. A quantity may be predicted as it is or by its logarithm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Array

REACH = (0.02, 0.1, 0.3, 1.0, 3.0)  # length scale as a multiple of the number of genes
ALONE = (0.1, 1.0)  # weight of the part in which genes act on their own
DIFFER = (0.0, 0.5, 1.0)  # weight of "differs at all" against "how far apart"
NOISE = (1e-6, 1e-4, 1e-2)  # variance, as a share of that of the quantity
FITTED_ON = 300  # rows on which settings are compared
MOST_ROWS = 1000  # rows predictions are made from
SHIFT = 1e-3  # added before a logarithm, as a share of the range

Kernel = tuple[float, float, float, float]  # reach, alone, differ, noise


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How a quantity is turned into one of mean 0 and variance 1, and back."""

    logarithm: bool
    shift: float
    mean: float
    deviation: float

    @staticmethod
    def of(y: Array, logarithm: bool) -> Scale:
        """The scale of some values, shape (n,)."""
        shift = SHIFT * float(np.ptp(y))
        z = np.log(y + shift) if logarithm else y
        return Scale(logarithm, shift, float(z.mean()), float(z.std()) or 1.0)

    def forth(self, y: Array) -> Array:
        """To mean 0 and variance 1."""
        z = np.log(np.maximum(y + self.shift, 1e-300)) if self.logarithm else y
        return (z - self.mean) / self.deviation

    def back(self, z: Array) -> Array:
        """The inverse of :meth:`forth`."""
        y = z * self.deviation + self.mean
        return np.exp(np.minimum(y, 700.0)) - self.shift if self.logarithm else y

    def stretch(self, y: Array) -> float:
        """Sum of log derivatives of :meth:`forth`, which makes likelihoods comparable."""
        logs = np.log(y + self.shift).sum() if self.logarithm else 0.0
        return float(-len(y) * np.log(self.deviation) - logs)


class Surrogate:
    """Predictions of k quantities from n judged genomes.

    Args:
        x: Genes scaled to [0, 1], shape (n, d); n at least 2.
        y: Quantities, shape (n, k), finite.
        unordered: Whether distances may count only that genes differ.
    """

    def __init__(self, x: Array, y: Array, unordered: bool) -> None:
        self._x = x
        some = np.unique(np.round(np.linspace(0, len(x) - 1, FITTED_ON)).astype(np.intp))
        chosen = _likeliest(x[some], y[some], DIFFER if unordered else DIFFER[:1])
        self._scales = [scale for _, scale in chosen]
        self._kernels = [kernel for kernel, _ in chosen]
        self._weights: list[NDArray[Any]] = []
        for j, (kernel, scale) in enumerate(chosen):
            covariance = _covariance(*_compare(x, x, kernel[2]), kernel)
            covariance[np.diag_indices_from(covariance)] += kernel[3]
            self._weights.append(np.linalg.solve(covariance, scale.forth(y[:, j])))

    def __call__(self, x: Array) -> Array:
        """Means of the k quantities at q genomes, (q, d) to (q, k)."""
        compared = {d: _compare(x, self._x, d) for d in {k[2] for k in self._kernels}}
        columns = [
            scale.back(_covariance(*compared[kernel[2]], kernel) @ weights)
            for kernel, scale, weights in zip(
                self._kernels, self._scales, self._weights, strict=True
            )
        ]
        return np.stack(columns, axis=1)


def _likeliest(x: Array, y: Array, differ: tuple[float, ...]) -> list[tuple[Kernel, Scale]]:
    """Per quantity the settings under which its values are most likely."""
    found: list[tuple[float, Kernel, Scale]] = []
    scales = [[Scale.of(c, log) for log in _transforms(c)] for c in y.T]
    for kernel, factor in _factors(x, differ):
        determinant = float(np.log(np.diag(factor)).sum())
        for j, column in enumerate(y.T):
            for scale in scales[j]:
                white = np.linalg.solve(factor, scale.forth(column))
                spread = max(float(white @ white) / len(x), 1e-300)  # the best amplitude
                score = scale.stretch(column) - determinant - 0.5 * len(x) * np.log(spread)
                if len(found) <= j:
                    found.append((score, kernel, scale))
                elif score > found[j][0] + 1e-9:
                    found[j] = score, kernel, scale
    return [(kernel, scale) for _, kernel, scale in found]


def _transforms(y: Array) -> tuple[bool, ...]:
    return (False, True) if y.min() >= 0 and np.ptp(y) > 0 else (False,)


def _factors(x: Array, differ: tuple[float, ...]) -> Iterator[tuple[Kernel, NDArray[Any]]]:
    """Every setting with the Cholesky factor of its covariance, where there is one."""
    for weight in differ:
        distance, shared = _compare(x, x, weight)
        for reach, alone, noise in product(REACH, ALONE, NOISE):
            kernel = reach, alone, weight, noise
            covariance = _covariance(distance, shared, kernel)
            covariance[np.diag_indices_from(covariance)] += noise
            try:
                yield kernel, np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:
                continue


def _compare(a: Array, b: Array, differ: float) -> tuple[Array, Array]:
    """Mean distance of genes and mean of what they share, both (len(a), len(b)), in [0, 1]."""
    distance, shared = np.zeros((2, len(a), len(b)))
    for one, two in zip(a.T, b.T, strict=True):
        if differ < 1:
            low = np.minimum.outer(one, two)
            distance += (1 - differ) * (np.add.outer(one, two) - 2 * low)
            shared += (1 - differ) * low
        if differ > 0:
            same = np.equal.outer(one, two)
            distance += differ * ~same
            shared += differ * (same & (one > 0)[:, None])
    return distance / a.shape[1], shared / a.shape[1]


def _covariance(distance: Array, shared: Array, kernel: Kernel) -> Array:
    return np.exp(distance / -kernel[0]) + kernel[1] * shared
