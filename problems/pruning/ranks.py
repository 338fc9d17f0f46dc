"""Which rank a linear layer of some density has, and what the layer then takes.

A layer of rank r is kept as two thin factors (r(m + n) numbers), or in the lossless pivot form of
PIFA (arXiv 2501.19090): r of its rows, the other rows as combinations of those, and which rows they
are (r(m + n) - r² numbers and r indices).
"""

from __future__ import annotations

import math

from evo.errors import ConfigError

INDEX_BYTES = 4


def factors_rank(density: float, rows: int, columns: int) -> int:
    """Largest rank whose two factors take at most that share of the layer's weights.

    Args:
        density: Share to keep, between 0 and 1.
        rows: d_out of the layer.
        columns: d_in of the layer.
    """
    return int(density * rows * columns / (rows + columns))


def pivot_rank(density: float, rows: int, columns: int, multiple: int = 1) -> int:
    """Largest rank whose pivot form takes at most that share, indices counted.

    Args:
        density: Share to keep, between 0 and 1.
        rows: d_out of the layer.
        columns: d_in of the layer.
        multiple: Ranks are rounded up to multiples of it, which takes a little more than asked.

    Returns:
        At most min(rows, columns).
    """
    half = (rows + columns + 1) / 2
    rank = int(half - math.sqrt(half * half - int(density * rows * columns)))
    return min(-(-rank // multiple) * multiple, rows, columns)


def factors_weights(svd_rank: int, rows: int, columns: int) -> int:
    """Numbers in two thin factors, also their multiply-accumulates per token."""
    return svd_rank * (rows + columns)


def pivot_weights(svd_rank: int, rows: int, columns: int) -> int:
    """Numbers in the pivot form, also its multiply-accumulates per token; indices left out."""
    return svd_rank * (rows + columns) - svd_rank * svd_rank


def require_rank(svd_rank: int, rows: int, columns: int) -> None:
    """Stop at a rank that a matrix cannot have.

    Raises:
        ConfigError: The rank is not between 1 and min(rows, columns).
    """
    if not 1 <= svd_rank <= min(rows, columns):
        raise ConfigError(
            f"a matrix of {rows} rows and {columns} columns has ranks from 1 to "
            f"{min(rows, columns)}, got svd_rank {svd_rank}",
            hint="ask for a lower density or rank",
        )
