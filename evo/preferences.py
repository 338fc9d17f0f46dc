"""Which member of a front fits what one cares about most: pseudo-weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ConfigError, ShapeError
from .problem import Array
from .suggest import did_you_mean

TIE = 1e-12  # distances that differ by less are equal, however their sums are rounded

_WEIGHT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+)\s*")


def pseudo_weights(fitness: ArrayLike) -> Array:
    """How strongly each row favours each objective (Deb 2001, Multi-Objective Optimization, §8.4).

    The distance to the worst value of the rows, as a share of their range, and then of the sum over
    objectives. An objective in which all rows agree gets nothing.

    Args:
        fitness: Minimised values of a front, shape (n, m).

    Returns:
        Shape (n, m), each row adds up to 1; all zero for a row that is worst in everything.

    Raises:
        ShapeError: ``fitness`` is not two-dimensional.
    """
    values = np.asarray(fitness, dtype=np.float64)
    if values.ndim != 2:
        raise ShapeError(f"pseudo-weights need fitness of shape (n, m), got {values.shape}")
    if not len(values):
        return values.copy()
    ideal, nadir = values.min(axis=0), values.max(axis=0)
    extent = nadir - ideal
    share = np.where(extent > 0, (nadir - values) / np.where(extent > 0, extent, 1.0), 0.0)
    total = share.sum(axis=1, keepdims=True)
    return share / np.where(total > 0, total, 1.0)


def nearest(
    fitness: ArrayLike, weights: ArrayLike, among: NDArray[np.bool_] | None = None
) -> int | None:
    """Index of the row whose pseudo-weights are nearest to the weights, by the sum of differences.

    Args:
        fitness: Minimised values of a front, shape (n, m).
        weights: At least 0, not all 0, shape (m,); only their ratios count.
        among: Rows that may be chosen, shape (n,); the pseudo-weights are those of the whole front.

    Returns:
        The first of equally near rows; None when there is no row.
    """
    wanted = np.asarray(weights, dtype=np.float64)
    far = np.abs(pseudo_weights(fitness) - wanted / wanted.sum()).sum(axis=1)
    rows = np.arange(len(far)) if among is None else np.flatnonzero(among)
    if not len(rows):
        return None
    return int(rows[np.flatnonzero(far[rows] <= far[rows].min() + TIE)[0]])


def parse_weights(text: str, names: Sequence[str]) -> list[float]:
    """Read ``"loss=2,params=1"`` as one weight per name; names left out weigh 0.

    Raises:
        ConfigError: The text has another form, a name is unknown or told twice, or all weigh 0.

    Example:
        >>> parse_weights("loss=2, params=0.5", ["loss", "macs", "params"])
        [2.0, 0.0, 0.5]
    """
    told: dict[str, float] = {}
    for piece in text.split(","):
        found = _WEIGHT.fullmatch(piece)
        if found is None or found[1] in told:
            why = "names an objective twice" if found else "cannot be read"
            raise ConfigError(
                f"the weights {text!r} {why} at {piece!r}",
                hint=f"for example {','.join(f'{name}=1' for name in names[:2])}",
            )
        if found[1] not in names:
            raise ConfigError(
                f"no objective called {found[1]!r} to weigh{did_you_mean(found[1], names)}",
                hint=f"objectives are {', '.join(names)}",
            )
        told[found[1]] = float(found[2])
    if not any(told.values()):
        raise ConfigError(f"the weights {text!r} are all 0", hint="at least one must be above 0")
    return [told.get(name, 0.0) for name in names]
