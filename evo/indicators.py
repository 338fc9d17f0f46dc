"""How good a set of minimised fitness vectors is: ranks, hypervolume, distances, spacing, knee.

Sorting and indicators come from moocore, which is loaded at the first call. Convention for runs:
fitness is normalised with the ideal and nadir of a stated box, the reference point is 1.1 in every
objective, and the hypervolume is divided by 1.1**m, so that it lies in [0, 1].
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ObjectiveError, ShapeError
from .problem import Array

REFERENCE = 1.1  # of every normalised objective
EXACT_OBJECTIVES = 5  # more than this: the hypervolume is approximated
WEIGHTS = 2**12  # of R2 from three objectives on
RAYS = 2**15  # of the approximation; error about 1e-3 of fronts, 1e-2 of few scattered rows


TILE = 16, 4096  # rows and rays that are compared at a time: what stays in a core's own cache
MANY = 300  # rows of five objectives whose volume is exact while a front grows
COARSE = 2**13  # rays from there on; error about 1e-3


def nondominated(fitness: ArrayLike, violation: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Which rows no other row dominates; equal rows do not dominate one another.

    Args:
        fitness: Minimised values, shape (n, m).
        violation: Shape (n,), 0 when feasible. Feasible rows come before all others; while there
            is none, the least violating rows are marked.

    Returns:
        Mask of shape (n,).

    Raises:
        ShapeError: Shapes do not fit.
        ObjectiveError: A value is NaN.
    """
    values = _matrix(fitness)
    candidates = np.ones(len(values), dtype=bool)
    if violation is not None and len(values):
        penalty = _penalty(violation, len(values))
        candidates = penalty <= max(0.0, penalty.min())
        if penalty.min() > 0:
            return candidates
    if not candidates.any():
        return candidates
    import moocore

    mask = np.zeros(len(values), dtype=bool)
    mask[candidates] = moocore.is_nondominated(values[candidates], keep_weakly=True)
    return mask


def ranks(fitness: ArrayLike) -> NDArray[np.intp]:
    """Non-dominated sorting: 0 for the front, 1 for the front without it, …; shape (n,).

    Raises:
        ShapeError: Not shape (n, m).
        ObjectiveError: A value is NaN.
    """
    values = _matrix(fitness)
    if len(values) == 0:
        return np.zeros(0, dtype=np.intp)
    if values.shape[1] == 1:
        return np.unique(values[:, 0], return_inverse=True)[1].astype(np.intp)
    import moocore

    return moocore.pareto_rank(values).astype(np.intp)


def normalise(values: ArrayLike, ideal: ArrayLike, nadir: ArrayLike) -> Array:
    """Map the box from ideal to nadir onto [0, 1] per objective, shape (n, m); no clipping.

    An objective without extent (nadir <= ideal) is only shifted.
    """
    matrix = _matrix(values)
    low, high = (np.broadcast_to(np.asarray(v, float), matrix.shape[1:]) for v in (ideal, nadir))
    extent = np.where(high > low, high - low, 1.0)
    return (matrix - low) / extent


def hypervolume(fitness: ArrayLike, reference: ArrayLike) -> float:
    """Volume between the rows and the reference point; rows beyond it add nothing.

    Exact up to five objectives, by moocore. From six on it is approximated, see :func:`swept`;
    equal input gives equal output, and more rows never give less.

    Args:
        fitness: Minimised values, shape (n, m).
        reference: Scalar or shape (m,).

    Returns:
        0.0 for no rows.
    """
    values = _matrix(fitness)
    point = np.broadcast_to(np.asarray(reference, np.float64), values.shape[1:])
    if not np.isfinite(point).all():
        raise ObjectiveError(f"the reference point must be finite, got {point.tolist()}")
    inside = values[(values < point).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 1:
        return float(point[0] - inside.min())
    import moocore

    front = inside[nondominated(inside)]
    if front.shape[1] <= EXACT_OBJECTIVES:
        return float(moocore.hypervolume(front, ref=point))
    extent = point - front.min(axis=0)
    return float(np.prod(extent)) * swept(reach((point - front) / extent), front.shape[1])


def unit_hypervolume(fitness: ArrayLike, ideal: ArrayLike, nadir: ArrayLike) -> float:
    """Hypervolume by the convention for runs, in [0, 1]; rows beyond the ideal are clipped."""
    scaled = np.maximum(normalise(fitness, ideal, nadir), 0.0)
    m = scaled.shape[1]
    if m <= EXACT_OBJECTIVES:
        return hypervolume(scaled, REFERENCE) / REFERENCE**m
    return swept(reach(1.0 - scaled[nondominated(scaled)] / REFERENCE), m)


class UnitVolume:
    """The hypervolume of a front that grows, as :func:`unit_hypervolume` would give it.

    From six objectives on only what is new is looked at; with five too while the front has more
    than :data:`MANY` rows, whose exact volume takes longer than a generation of many searches. The
    value depends on the front alone, not on how it grew.

    Args:
        ideal: Shape (m,).
        nadir: Shape (m,).
        fitness: The front so far, shape (n, m).
    """

    def __init__(self, ideal: ArrayLike, nadir: ArrayLike, fitness: Array) -> None:
        self._ideal, self._nadir = ideal, nadir
        self._reach: NDArray[np.float32] | None = None
        self._measure(fitness, fitness)

    def grow(self, fitness: Array, new: Array) -> None:
        """Take in a changed front.

        Args:
            fitness: The whole front now, shape (n, m).
            new: Rows at least that were not in it before, shape (k, m).
        """
        if len(new):
            self._measure(fitness, new)

    def _measure(self, fitness: Array, new: Array) -> None:
        n, m = fitness.shape
        if m < EXACT_OBJECTIVES or (m == EXACT_OBJECTIVES and n <= MANY):
            self._reach = None
            self.value = unit_hypervolume(fitness, self._ideal, self._nadir)
            return
        rays = COARSE if m == EXACT_OBJECTIVES else RAYS
        far = reach(self._gaps(fitness if self._reach is None else new), rays)
        self._reach = far if self._reach is None else np.maximum(self._reach, far)
        self.value = swept(self._reach, m)

    def _gaps(self, fitness: Array) -> Array:
        return 1.0 - np.maximum(normalise(fitness, self._ideal, self._nadir), 0.0) / REFERENCE


def reach(gaps: Array, count: int = RAYS) -> NDArray[np.float32]:
    """How far each ray from the reference point runs through what the rows dominate, (count,).

    Rays start at the reference point and end on the far faces of a box of sides 1, spread evenly
    over these faces by a Sobol sequence. The reach of several sets of rows together is the larger
    one, ray by ray.

    Args:
        gaps: How far each row lies before the reference point, in sides of the box, (n, m).
        count: Rays, a power of two up to :data:`RAYS`.

    Returns:
        Shares of the rays, in [0, 1] for gaps up to 1; 0 for no rows.
    """
    far = np.zeros(count, dtype=np.float32)
    inside = gaps[(gaps > 0).all(axis=1)].astype(np.float32)
    steps, (some, block) = _steps(gaps.shape[1]), TILE
    least, other = np.empty((2, min(some, len(inside)), block), dtype=np.float32)
    for rows in (inside[i : i + some].T[:, :, None] for i in range(0, len(inside), some)):
        near, next_ = least[: rows.shape[1]], other[: rows.shape[1]]
        for rays in (slice(i, i + block) for i in range(0, count, block)):
            np.multiply(rows[0], steps[0, rays], out=near)
            for gap, step in zip(rows[1:], steps[1:, rays], strict=True):
                np.minimum(near, np.multiply(gap, step, out=next_), out=near)
            np.maximum(far[rays], near.max(axis=0), out=far[rays])
    return far


def swept(far: NDArray[np.float32], m: int) -> float:
    """Share of the box that rays of such a reach sweep over, in [0, 1].

    In polar coordinates around the corner the box has the volume of its m far faces, each times
    the integral of r^(m - 1): the share is the mean of the m-th powers.
    """
    length = far.astype(np.float64)
    power = length.copy()
    for _ in range(m - 1):
        power *= length
    return float(power.mean())


def igd_plus(fitness: ArrayLike, target: ArrayLike) -> float:
    """Mean IGD+ distance from each target row to the rows; 0 is best, infinity for no rows."""
    values, goal = _pair(fitness, target)
    if len(values) == 0:
        return float("inf")
    import moocore

    return float(moocore.igd_plus(values, ref=goal))


def epsilon_additive(fitness: ArrayLike, target: ArrayLike) -> float:
    """Least shift that makes the rows weakly dominate every target row; infinity for no rows."""
    values, goal = _pair(fitness, target)
    if len(values) == 0:
        return float("inf")
    import moocore

    return float(moocore.epsilon_additive(values, ref=goal))


def r2(fitness: ArrayLike, ideal: ArrayLike = 0.0) -> float:
    """Mean over weights of the least weighted Chebyshev distance to the ideal; no rows: infinity.

    The unary R2 of Hansen and Jaszkiewicz (1998) with weights spread evenly over the simplex: exact
    for two objectives (moocore), else over 4,096 fixed low-discrepancy weights. Scale the
    objectives first; no row may lie below the ideal.

    Args:
        fitness: Minimised values, shape (n, m).
        ideal: Scalar or shape (m,).
    """
    values = _matrix(fitness)
    if len(values) == 0:
        return float("inf")
    gaps = values - np.broadcast_to(np.asarray(ideal, np.float64), values.shape[1:])
    if gaps.shape[1] == 1:
        return float(gaps.min())
    front = gaps[nondominated(gaps)]
    if front.shape[1] == 2:
        import moocore

        return float(moocore.r2_exact(front, ref=0.0))
    blocks = np.array_split(_weights(front.shape[1]), 64)  # memory stays small for long fronts
    least = [(w[:, None] * front).max(axis=2).min(axis=1) for w in blocks]  # (block,) each
    return float(np.concatenate(least).mean())


def spacing(fitness: ArrayLike) -> float:
    """Standard deviation of the city-block distances to the nearest neighbour (Schott 1995).

    0 means even; also 0 for fewer than two rows. Scale the objectives first.
    """
    values = _matrix(fitness)
    if len(values) < 2:
        return 0.0
    nearest = np.empty(len(values))
    for i, row in enumerate(values):  # row by row: memory stays linear in n
        gaps = np.abs(values - row).sum(axis=1)
        gaps[i] = np.inf
        nearest[i] = gaps.min()
    return float(np.std(nearest, ddof=1))


def knee(fitness: ArrayLike) -> int:
    """Index of the best compromise: the row whose worst objective is least bad.

    Objectives are normalised by the front's own ideal and nadir. The maximum norm (compromise
    programming, Zeleny 1973) does not count costs that rise together twice, as the distance to the
    plane through the extremes does. Ties go to the least sum, then to the first row.

    Raises:
        ShapeError: There is no row.
    """
    values = _matrix(fitness)
    if len(values) == 0:
        raise ShapeError("a knee needs at least one row of fitness, got shape (0, m)")
    rows = np.flatnonzero(nondominated(values))
    front = values[rows]
    scaled = normalise(front, front.min(axis=0), front.max(axis=0))
    return int(rows[np.lexsort((scaled.sum(axis=1), scaled.max(axis=1)))[0]])


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's coefficient over the finite pairs of a and b, shape (n,).

    NaN for fewer than two pairs, or when one side has no spread.
    """
    seen = np.isfinite(a) & np.isfinite(b)
    x, y = _places(a[seen]), _places(b[seen])
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


@functools.cache
def _steps(m: int) -> NDArray[np.float32]:
    """How many lengths of a ray one side of the box is, by objective, (m, RAYS)."""
    from scipy.stats import qmc

    points = qmc.Sobol(m, scramble=False).random(RAYS) + 0.5 / RAYS
    face = (points[:, 0] * m).astype(np.intp)
    rays = np.ones((RAYS, m))
    rays[np.arange(m) != face[:, None]] = points[:, 1:].ravel()
    return np.ascontiguousarray((1.0 / rays).T, dtype=np.float32)


@functools.cache
def _weights(m: int) -> Array:
    """Weights that add up to 1, spread evenly over the simplex: spacings of sorted Sobol points."""
    from scipy.stats import qmc

    points = np.sort(qmc.Sobol(m - 1, scramble=False).random(WEIGHTS), axis=1)
    edges = np.zeros((WEIGHTS, 1)), np.ones((WEIGHTS, 1))
    return np.diff(np.concatenate([edges[0], points, edges[1]], axis=1), axis=1)


def _places(values: Array) -> Array:
    """Ranks from 1, ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _matrix(fitness: ArrayLike) -> Array:
    values = np.asarray(fitness, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ShapeError(f"fitness needs shape (n, m) with m >= 1, got {values.shape}")
    if np.isnan(values).any():
        raise ObjectiveError(
            "fitness must not be NaN", hint="drop failed candidates before judging a front"
        )
    return np.ascontiguousarray(values)


def _penalty(violation: ArrayLike, n: int) -> Array:
    penalty = np.asarray(violation, dtype=np.float64)
    if penalty.shape != (n,):
        raise ShapeError(f"violation needs shape (n,) = ({n},), got {penalty.shape}")
    if np.isnan(penalty).any():
        raise ObjectiveError("violation must not be NaN")
    return penalty


def _pair(fitness: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    values, goal = _matrix(fitness), _matrix(target)
    if values.shape[1] != goal.shape[1] or len(goal) == 0:
        raise ShapeError(
            f"the target needs at least one row with {values.shape[1]} objectives, got {goal.shape}"
        )
    return values, goal
