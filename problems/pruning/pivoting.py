"""The pivot form of a matrix of low rank: some of its rows, and the others as their combinations.

PIFA (arXiv 2501.19090): a column-pivoted QR of Wᵀ names r independent rows, and the other rows are
C W_p exactly. Two factors of rank r spend r² numbers more on the same matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .ranks import require_rank

LARGE = 1e3  # pivoting keeps independent rows' entries of C near one


@dataclass(frozen=True)
class PivotForm:
    """A matrix W of rank r.

    Args:
        pivots: Which rows are kept, ascending, (r,) of int32.
        kept: Those rows W_p, (r, n).
        mix: C, with which the other rows in their order are C W_p, (m - r, r).
    """

    pivots: torch.Tensor
    kept: torch.Tensor
    mix: torch.Tensor


def pivot_form(first: torch.Tensor, second: torch.Tensor) -> PivotForm:
    """Pivot form of a product of two factors.

    Args:
        first: V, (r, n).
        second: U, (m, r).

    Returns:
        Of U V, in float64.

    Raises:
        ConfigError: r is above m or n.
    """
    first, second = first.double(), second.double()
    require_rank(len(first), len(second), first.shape[1])
    # with Vᵀ = Q R, the rows of U V have the geometry of those of U Rᵀ, which are shorter
    _, triangle = torch.linalg.qr(first.t())
    rows = second @ triangle.t()
    pivots = pivot_rows(rows, len(first))
    others = torch.ones(len(second), dtype=torch.bool, device=second.device)
    others[pivots] = False
    mix, _ = torch.linalg.solve_ex(second[pivots].t(), second[others].t())
    if not (mix.abs() < LARGE).all():  # the rank is lower, and the last pivots were no choice
        mix = torch.linalg.pinv(rows[pivots].t(), rtol=1e-12) @ rows[others].t()
    return PivotForm(pivots.to(torch.int32), second[pivots] @ first, mix.t())


def pivot_rows(matrix: torch.Tensor, count: int) -> torch.Tensor:
    """The rows that a column-pivoted QR of the transpose takes first, ascending.

    Each step takes the row with the largest rest and takes its direction out of all others, by
    Householder reflections (Businger and Golub, 1965).

    Args:
        matrix: Shape (m, k); not modified.
        count: How many rows, at most min(m, k).

    Returns:
        Shape (count,) of int64. Of equal rests the first counts.
    """
    rest = matrix.double().t().clone()  # (k, m): candidates are columns, as in the usual QR
    order = torch.arange(rest.shape[1], device=rest.device)
    for step in range(count):
        best = step + int(rest[step:, step:].square().sum(0).argmax())
        for swapped in (order, rest.t()):
            swapped[[step, best]] = swapped[[best, step]]
        _reflect(rest[step:, step:])
    return order[:count].sort().values


def _reflect(rest: torch.Tensor) -> None:
    """Turn the first column onto its first entry, and everything with it, in place."""
    mirror = rest[:, 0].clone()
    length = mirror.norm()
    mirror[0] += torch.where(mirror[0] < 0, -length, length)
    square = mirror.square().sum()
    if square > 0:
        rest.addr_(mirror, mirror @ rest, alpha=-2 / float(square))
