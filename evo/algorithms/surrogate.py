"""Predict objectives of genomes from those judged so far: Gaussian processes over genes.

Source: Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, algorithm 2.1. The
covariance is a sum of a part in which genes act on their own, and one that falls with distance.
Distances mix how far two levels are apart and whether they differ at all, since choices are ordered
by size, but not always by effect. A quantity may be predicted as it is or by its logarithm. Where
this is not exact, a second process compares genes by the effects the first one found, so that
levels that do much the same are near (input warping, Snoek et al. 2014). What was judged on a part
of the data is another quantity that correlates with the one on all of it (intrinsic
coregionalisation: Alvarez, Rosasco and Lawrence, *Kernels for vector-valued functions*, 2012,
section 4.2), so that how far the two are apart may depend on the genes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ..problem import Array

REACH = (0.02, 0.1, 0.3, 1.0, 3.0)  # length scale as a multiple of the number of genes
ALONE = (0.1, 1.0)  # weight of the part in which genes act on their own
DIFFER = (0.0, 0.5, 1.0)  # weight of "differs at all" against "how far apart"
NOISE = (1e-6, 1e-4, 1e-2)  # variance, as a share of that of the quantity
AGREE = (0.8, 0.9, 0.97, 0.99, 0.999, 1.0)  # correlation on a part of the data with that on all
USUAL = 0.97  # of those, with which the other settings are compared
FITTED_ON = 300  # rows on which settings are compared
EXACT = 0.01  # error in deviations up to which a process is taken for exact
WARPED_ON = 64  # rows over which effects are averaged
LEVELS = 32  # values of a gene up to which genomes are compared by a matrix product
GRID = 17  # values of a gene between which effects are interpolated
MOST_ROWS = 1000  # rows predictions are made from
SHIFT = 1e-3  # added before a logarithm, as a share of the range
Mask = NDArray[np.bool_]


class Kernel(NamedTuple):
    """Settings of a process, of each an entry of the list above."""

    reach: float
    alone: float
    differ: float
    noise: float
    agree: float = 1.0


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
        part: Which of the n were judged on a part of the data; by default none.
    """

    def __init__(self, x: Array, y: Array, unordered: bool, part: Mask | None = None) -> None:
        self.plain = Processes(x, y, DIFFER if unordered else DIFFER[:1], part)
        self._warped: dict[int, tuple[Warp, Processes]] = {}
        for j, error in enumerate(self.plain.errors):
            if error > EXACT:
                warp = Warp(self.plain, j, x)
                self._warped[j] = warp, Processes(warp(x), y[:, [j]], DIFFER[:1], part)

    def __call__(self, x: Array, below: Array | None = None) -> Array:
        """The k quantities at q genomes on all data, (q, d) to (q, k).

        Means, less ``below`` standard deviations of what is not noise, (k,), if it is given.
        """
        found = self.plain(x, below)
        for j, (warp, processes) in self._warped.items():
            found[:, j] = processes(warp(x), None if below is None else below[[j]])[:, 0]
        return found


class Processes:
    """A Gaussian process per quantity, with the settings under which it is most likely.

    Args:
        x: Genes, shape (n, d).
        y: Quantities, shape (n, k).
        differ: Weights of "differs at all" to choose from.
        part: Which of the n were judged on a part of the data, (n,); by default none.
    """

    def __init__(
        self, x: Array, y: Array, differ: tuple[float, ...], part: Mask | None = None
    ) -> None:
        self._known = Known(x)
        self._part = part = np.zeros(len(x), dtype=np.bool_) if part is None else part
        some = evenly(len(x), FITTED_ON)
        chosen = _likeliest(x[some], y[some], differ, part[some])
        self.scales = [scale for _, scale in chosen]
        self.kernels = [kernel for kernel, _ in chosen]
        self.errors: list[float] = []  # leaving one out, in deviations (Rasmussen, eq. 5.12)
        self._weights: list[NDArray[Any]] = []
        self._inverses: list[NDArray[Any]] = []
        self._amplitudes: list[float] = []  # the most likely ones (Rasmussen, section 5.4.1)
        for j, (kernel, scale) in enumerate(chosen):
            distance, shared = self._known.compare(x, kernel.differ)
            covariance = _among(np.exp(distance / -kernel.reach), shared, self._part, kernel)
            inverse, told = np.linalg.inv(covariance), scale.forth(y[:, j])
            self._inverses.append(inverse)
            self._weights.append(inverse @ told)
            self._amplitudes.append(float(told @ self._weights[-1]) / len(x))
            left = self._weights[-1] / np.diag(inverse)
            self.errors.append(float(np.sqrt(np.mean(left**2))))

    def __call__(self, x: Array, below: Array | None = None) -> Array:
        """Means less ``below`` standard deviations of what is not noise, (q, d) to (q, k)."""
        compared = {d: self._known.compare(x, d) for d in {k.differ for k in self.kernels}}
        columns = []
        for j, (kernel, scale) in enumerate(zip(self.kernels, self.scales, strict=True)):
            near = _covariance(*compared[kernel.differ], kernel)
            near *= np.where(self._part, kernel.agree, 1.0)
            found = near @ self._weights[j]
            if below is not None and below[j]:
                known = ((near @ self._inverses[j]) * near).sum(axis=1)
                spread = self._amplitudes[j] * (_variance(x, kernel) - known)
                found -= below[j] * np.sqrt(np.maximum(spread, 0.0))
            columns.append(scale.back(found))
        return np.stack(columns, axis=1)


class Known:
    """Genomes that others are compared with, gene by gene; by matrix products where values repeat.

    What a and b share of a gene is the sum, over its values up to b, of the part of the step to
    each that a is above.

    Args:
        x: Genes in [0, 1], shape (n, d).
    """

    def __init__(self, x: Array) -> None:
        self._x = x
        values = [np.unique(column) for column in x.T]
        few = [k for k, v in enumerate(values) if len(v) <= LEVELS]
        self._many = [k for k, v in enumerate(values) if len(v) > LEVELS]
        self._gene = np.array([k for k in few for _ in values[k]], dtype=np.intp)
        self._value = np.concatenate([[], *(values[k] for k in few)])
        self._step = np.concatenate([[], *(np.diff(values[k], prepend=0.0) for k in few)])
        coded = x[:, self._gene]
        self._above = (coded >= self._value).astype(np.float64).T
        self._equal = (coded == self._value).astype(np.float64).T

    def compare(self, a: Array, differ: float) -> tuple[Array, Array]:
        """Mean distance of genes and mean of what they share, (q, d) to twice (q, n).

        Args:
            a: Genes of others.
            differ: Weight of "differs at all" against "how far apart".
        """
        x, d = self._x, a.shape[1]
        distance, shared, coded = np.zeros((len(a), len(x))), 0.0, a[:, self._gene]
        if differ < 1:
            low = np.clip(coded - (self._value - self._step), 0.0, self._step) @ self._above
            for k in self._many:
                low += np.minimum.outer(a[:, k], x[:, k])
            distance += (1 - differ) * (np.add.outer(a.sum(axis=1), x.sum(axis=1)) - 2 * low)
            shared = (1 - differ) * low
        if differ > 0:
            same = (coded == self._value).astype(np.float64)
            equal = same @ self._equal
            there = same * (self._value > 0) @ self._equal
            for k in self._many:
                both = np.equal.outer(a[:, k], x[:, k])
                equal += both
                there += both & (a[:, k] > 0)[:, None]
            distance += differ * (d - equal)
            shared = shared + differ * there
        return distance / d, shared / d


class Warp:
    """Genes moved apart by what their values do to one quantity, averaged over some genomes.

    Args:
        processes: Predict the quantity.
        j: Its number.
        x: Genomes to average over, shape (n, d).
    """

    def __init__(self, processes: Processes, j: int, x: Array) -> None:
        rows = x[evenly(len(x), WARPED_ON)]
        self._grids, self._places = [], []
        for gene, column in enumerate(x.T):
            values = np.unique(column)
            grid = values if len(values) <= GRID else np.linspace(0.0, 1.0, GRID)
            changed = np.repeat(rows, len(grid), axis=0)
            changed[:, gene] = np.tile(grid, len(rows))
            effects = processes.scales[j].forth(processes(changed)[:, j])
            mean = effects.reshape(len(rows), len(grid)).mean(axis=0)
            self._grids.append(grid)
            self._places.append(np.concatenate([[0.0], np.abs(np.diff(mean)).cumsum()]))
        whole = sum(places[-1] for places in self._places) / x.shape[1] or 1.0
        self._places = [places / whole for places in self._places]

    def __call__(self, x: Array) -> Array:
        """Genes by effect, (q, d) to (q, d); the range of a gene is 1 on average."""
        tables = zip(x.T, self._grids, self._places, strict=True)
        return np.stack([np.interp(*table) for table in tables], axis=1)


def evenly(n: int, most: int) -> NDArray[np.intp]:
    """At most so many of n rows, spread evenly."""
    return np.unique(np.round(np.linspace(0, n - 1, min(n, most))).astype(np.intp))


def _likeliest(
    x: Array, y: Array, differ: tuple[float, ...], part: Mask
) -> list[tuple[Kernel, Scale]]:
    """Per quantity the settings under which its values are most likely; ``agree`` comes last."""
    both = bool(part.any() and not part.all())
    settings = [
        Kernel(reach, alone, weight, noise, USUAL if both else 1.0)
        for weight, reach, alone, noise in product(differ, REACH, ALONE, NOISE)
    ]
    found = _most_likely(x, y, part, settings)
    if not both:
        return found
    return [
        _most_likely(x, y[:, [j]], part, [kernel._replace(agree=agree) for agree in AGREE])[0]
        for j, (kernel, _) in enumerate(found)
    ]


def _most_likely(
    x: Array, y: Array, part: Mask, settings: Sequence[Kernel]
) -> list[tuple[Kernel, Scale]]:
    """The same, of some settings."""
    found: list[tuple[float, Kernel, Scale]] = []
    scales = [(j, Scale.of(c, log)) for j, c in enumerate(y.T) for log in _transforms(c)]
    scaled = np.column_stack([scale.forth(y[:, j]) for j, scale in scales])
    stretches = [scale.stretch(y[:, j]) for j, scale in scales]
    for kernel, factor in _factors(x, part, settings):
        determinant = float(np.log(np.diag(factor)).sum())
        white = solve_triangular(factor, scaled, lower=True, check_finite=False)
        spreads = np.maximum((white**2).sum(axis=0) / len(x), 1e-300)  # the best amplitudes
        for (j, scale), stretch, spread in zip(scales, stretches, spreads, strict=True):
            score = stretch - determinant - 0.5 * len(x) * float(np.log(spread))
            if len(found) <= j:
                found.append((score, kernel, scale))
            elif score > found[j][0] + 1e-9:
                found[j] = score, kernel, scale
    return [(kernel, scale) for _, kernel, scale in found]


def _transforms(y: Array) -> tuple[bool, ...]:
    return (False, True) if y.min() >= 0 and np.ptp(y) > 0 else (False,)


def _factors(
    x: Array, part: Mask, settings: Sequence[Kernel]
) -> Iterator[tuple[Kernel, NDArray[Any]]]:
    """Every setting with the Cholesky factor of its covariance, where there is one."""
    known = Known(x)
    compared = {d: known.compare(x, d) for d in {k.differ for k in settings}}
    for (differ, reach), group in groupby(settings, lambda k: (k.differ, k.reach)):
        distance, shared = compared[differ]
        near = np.exp(distance / -reach)
        for kernel in group:
            try:
                yield kernel, np.linalg.cholesky(_among(near, shared, part, kernel))
            except np.linalg.LinAlgError:
                continue


def _covariance(distance: Array, shared: Array, kernel: Kernel) -> Array:
    return np.exp(distance / -kernel.reach) + kernel.alone * shared


def _among(near: Array, shared: Array, part: Mask, kernel: Kernel) -> Array:
    """The covariance of what is known, noise included, (n, n)."""
    covariance = near + kernel.alone * shared
    if kernel.agree < 1:
        covariance *= np.where(np.not_equal.outer(part, part), kernel.agree, 1.0)
    covariance[np.diag_indices_from(covariance)] += kernel.noise
    return covariance


def _variance(x: Array, kernel: Kernel) -> Array:
    """The covariance of each row with itself, (q, d) to (q,)."""
    shared = (1 - kernel.differ) * x + kernel.differ * (x > 0)
    return _covariance(np.zeros(len(x)), shared.mean(axis=1), kernel)
