"""Scorers: one number per weight that decides what goes first, and how the counts are set.

A scorer is a function of a weight matrix and the norms of its inputs; ``rule`` says within which
group the lowest scores go: each output row (``row``) or the whole matrix (``matrix``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .magnitude import magnitude
from .wanda import wanda


@dataclass(frozen=True, slots=True)
class Scorer:
    """A score and the group it is compared within.

    Args:
        name: Id.
        score: (weight (d_out, d_in), input norms (d_in,)) → (d_out, d_in), larger is kept longer.
        rule: ``row``: exactly int(d_in·s) go in each row. ``matrix``: every weight at or below the
            score at index int(numel·s) of the sorted scores goes, as the published pruners count.
    """

    name: str
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    rule: str


SCORERS: dict[str, Scorer] = {
    "wanda": Scorer("wanda", wanda, "row"),
    "magnitude": Scorer("magnitude", magnitude, "matrix"),
    "magnitude-row": Scorer("magnitude-row", magnitude, "row"),
}
"""Scorers by id."""


def gone_from(scores: torch.Tensor, rule: str, sparsities: list[float]) -> torch.Tensor:
    """The first level at which each weight is gone: one byte holds every sparsity.

    Args:
        scores: (d_out, d_in).
        rule: ``row`` or ``matrix``.
        sparsities: Ascending levels in [0, 1).

    Returns:
        uint8, (d_out, d_in); ``len(sparsities)`` where a weight survives every level.
    """
    levels = len(sparsities)
    code = torch.full(scores.shape, levels, dtype=torch.uint8)
    if rule == "row":
        rank = torch.argsort(torch.argsort(scores, dim=1, stable=True), dim=1)
        for level in range(levels - 1, -1, -1):
            code[rank < int(scores.shape[1] * sparsities[level])] = level
    else:
        ordered = scores.flatten().sort().values
        for level in range(levels - 1, -1, -1):
            if sparsities[level] > 0:
                threshold = ordered[int(scores.numel() * sparsities[level])]
                code[scores <= threshold] = level
    return code


def n_of_m(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Which weights go when the n lowest scores in every m neighbouring inputs of a row do.

    Returns:
        bool, (d_out, d_in), True where a weight goes.

    Raises:
        ValueError: m does not divide d_in, or n is not between 1 and m - 1.
    """
    rows, columns = scores.shape
    if columns % m or not 0 < n < m:
        raise ValueError(f"{n}:{m} does not fit rows of {columns} inputs")
    groups = scores.reshape(rows, columns // m, m)
    rank = torch.argsort(torch.argsort(groups, dim=2, stable=True), dim=2)
    return (rank < n).reshape(rows, columns)
