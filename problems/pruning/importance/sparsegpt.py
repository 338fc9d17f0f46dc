"""SparseGPT: zeros column by column, each paid for by a change of the weights to its right.

Frantar and Alistarh, arXiv 2301.00774, algorithm 1 with the mask chosen per block of columns
or per group of N:M; the score and the update are those of the optimal brain surgeon
with the inverse Hessian of the columns that are left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from . import gone_by_count, n_of_m

DAMPING = 0.01  # of the Hessian's mean diagonal
COLUMNS = 128  # in a block


@dataclass(frozen=True)
class Count:
    """Exactly so many zeros in a weight, as many in each column as in every other, within one."""

    zeros: int

    def within(self, start: int, stop: int, columns: int) -> Count:
        """Its share of the columns from ``start`` to ``stop`` of so many; shares add up to it."""
        return Count(self.zeros * stop // columns - self.zeros * start // columns)


Pattern = float | tuple[int, int] | Count
"""A share of zeros in (0, 1), n zeros of every m neighbouring inputs, or a number of zeros."""


def factor(hessian: torch.Tensor, damping: float = DAMPING) -> tuple[torch.Tensor, torch.Tensor]:
    """What all sparsities share: the inverse Hessian as UᵀU, and the inputs that are always zero.

    Args:
        hessian: 2/N·Σ x xᵀ over the tokens of N sequences, (d_in, d_in), finite; not modified.
        damping: Added to the diagonal, as a share of its mean.

    Returns:
        U, upper triangular, float64, (d_in, d_in); and bool, (d_in,).
    """
    damped = hessian.double().clone()
    diagonal = damped.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    diagonal += damping * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True), dead


def prune(
    weight: torch.Tensor,
    upper: torch.Tensor,
    dead: torch.Tensor,
    pattern: Pattern,
    columns: int = COLUMNS,
) -> torch.Tensor:
    """The weight with zeros where the pattern wants them, and the others changed to make up.

    Args:
        weight: (d_out, d_in); not modified.
        upper: U of :func:`factor`.
        dead: Inputs that are always zero; their weights go first, beyond the share if need be.
        pattern: A share s takes every weight of a block of columns at or below the score at index
            int(numel·s) of the block's sorted scores, as the published pruner counts. n:m takes n
            of each group, scored after the updates of the columns before it. A count is dealt out
            to the blocks by their columns and met exactly: weights of dead inputs that it does not
            reach stay, and of equal scores the first go.
        columns: Columns of a block; rounded to whole groups for n:m.

    Returns:
        (d_out, d_in), of the weight's type.

    Raises:
        ValueError: m does not divide d_in, or n is not between 1 and m - 1.
    """
    changed, width = weight.double().clone(), weight.shape[1]
    if not isinstance(pattern, Count):
        changed[:, dead] = 0
    if isinstance(pattern, tuple):
        columns = max(1, columns // pattern[1]) * pattern[1]
    for start in range(0, width, columns):
        span, own = slice(start, min(start + columns, width)), pattern
        if isinstance(pattern, Count):
            own = pattern.within(start, span.stop, width)
        errors = _block(changed[:, span], upper[span, span], dead[span], own)
        changed[:, span.stop :] -= errors @ upper[span, span.stop :]
    return changed.to(weight.dtype)


def _block(
    piece: torch.Tensor, upper: torch.Tensor, dead: torch.Tensor, pattern: Pattern
) -> torch.Tensor:
    """Prune a block of columns in place; returns what each column owes to later blocks.

    Args:
        piece: (d_out, c).
        upper: The block of U on the diagonal, (c, c).
        dead: Inputs that are always zero, (c,).
        pattern: See :func:`prune`.
    """
    errors = torch.zeros_like(piece)
    gone = torch.zeros_like(piece, dtype=torch.bool)
    if isinstance(pattern, Count):
        scores = _scores(piece, upper).masked_fill(dead, -1)  # before all others
        gone = gone_by_count(scores, [pattern.zeros]).eq(0).to(piece.device)
    elif not isinstance(pattern, tuple):
        scores = _scores(piece, upper)
        index = int(scores.numel() * pattern)
        gone = scores <= scores.flatten().kthvalue(index + 1).values
    for i in range(piece.shape[1]):
        if isinstance(pattern, tuple) and i % pattern[1] == 0:
            group = slice(i, i + pattern[1])
            gone[:, group] = n_of_m(_scores(piece[:, group], upper[group, group]), *pattern)
        errors[:, i] = piece[:, i].where(gone[:, i], 0) / upper[i, i]
        piece[:, i:] -= errors[:, i, None] * upper[i, i:]
        piece[:, i].masked_fill_(gone[:, i], 0)  # where rounding left something
    return errors


def _scores(piece: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
    """Twice the rise of the squared error when one weight goes and those to its right make up."""
    return (piece / upper.diagonal()) ** 2
