"""Scorers: one number per weight that decides what goes first, and how the counts are set.

A scorer is a function of a weight matrix and the norms of its inputs; ``rule`` says within which
group the lowest scores go: each output row (``row``), the whole matrix (``matrix``), or the whole
matrix with counts that follow the magnitudes of all matrices (``pooled``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evo.errors import ConfigError

from .gblm import gblm
from .magnitude import magnitude
from .multiflow import multiflow
from .ria import ria
from .wanda import wanda


@dataclass(frozen=True, slots=True)
class Scorer:
    """A score and the group it is compared within.

    Args:
        name: Id.
        score: (weight (d_out, d_in), input norms (d_in,)) → (d_out, d_in), larger is kept longer.
        rule: ``row``: exactly int(d_in·s) go in each row, or as many as ``counts`` says.
            ``matrix``: every weight at or below the score at index int(numel·s) of the sorted
            scores goes, as the published pruners count. ``pooled``: the lowest go, as many as the
            matrix has among the int(numel·s) smallest weights of all matrices.
        settings: Names of the numbers that ``score`` takes besides, 0 or larger.
        gradients: Whether ``score`` takes the norms of the gradients, (d_out, d_in), third.
        counts: How the ``row`` rule makes a whole number of d_in·s: a key of :data:`COUNTS`.
    """

    name: str
    score: Callable[..., torch.Tensor]
    rule: str
    settings: tuple[str, ...] = ()
    gradients: bool = False
    counts: str = "down"


COUNTS: dict[str, Callable[[float], int]] = {"down": int, "nearest": round}
"""Ways to make a whole number of d_in·s: down as the published pruners do, or to the nearest."""

SCORERS: dict[str, Scorer] = {
    "wanda": Scorer("wanda", wanda, "row"),
    "magnitude": Scorer("magnitude", magnitude, "matrix"),
    "magnitude-row": Scorer("magnitude-row", magnitude, "row"),
    "ria": Scorer("ria", ria, "matrix", ("exponent",)),
    "ria-row": Scorer("ria-row", ria, "row", ("exponent",)),
    "multiflow": Scorer("multiflow", multiflow, "pooled"),
    "gblm": Scorer("gblm", gblm, "row", ("scale",), gradients=True),
}
"""Scorers by id."""

_NAME = re.compile(r"([^()]*)(?:\((\w+)=([^()]*)\))?")


def base_name(text: str) -> str:
    """The id in a scorer's name: ``ria`` of ``ria(exponent=0.3)``; other text as it is."""
    found = _NAME.fullmatch(text)
    return found[1] if found else text


def find(text: str, others: Sequence[str] = ()) -> Scorer:
    """A scorer by name, with a setting in brackets where it has one: ``ria(exponent=0.3)``.

    Every scorer that goes row by row has ``counts``: ``wanda(counts=nearest)`` takes the whole
    number nearest to d_in·s out of each row (of two equally near ones the even one), where the
    published rule, ``counts=down``, rounds down.

    Args:
        text: The name.
        others: What else the caller takes for a name, for the error's list.

    Raises:
        ConfigError: No such scorer or setting, or a value that is no number of at least 0.
    """
    scorer = SCORERS.get(base_name(text))
    if scorer is None:
        raise ConfigError(f"no scorer called {text!r}; known: {', '.join([*SCORERS, *others])}")
    found = _NAME.fullmatch(text)
    if found is None or found[2] is None:
        return scorer
    key, value = found[2], _number(found[3])
    own = (*scorer.settings, *(["counts"] if scorer.rule == "row" else []))
    if key not in own:
        known = ", ".join(own) or "none"
        raise ConfigError(f"scorer {scorer.name!r} has no setting {key!r}; its settings: {known}")
    if key == "counts":
        return replace(scorer, name=text, counts=_counts(scorer, found[3]))
    if not 0 <= value < math.inf:
        raise ConfigError(
            f"{key} of scorer {scorer.name!r} must be a number of at least 0, got {found[3]!r}"
        )
    return replace(scorer, name=text, score=partial(scorer.score, **{key: value}))


def _counts(scorer: Scorer, text: str) -> str:
    if text not in COUNTS:
        known = " or ".join(map(repr, COUNTS))
        raise ConfigError(f"counts of scorer {scorer.name!r} must be {known}, got {text!r}")
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def gone_from(
    scores: torch.Tensor, rule: str, sparsities: list[float], counts: str = "down"
) -> torch.Tensor:
    """The first level at which each weight is gone: one byte holds every sparsity.

    Args:
        scores: (d_out, d_in).
        rule: ``row`` or ``matrix``.
        sparsities: Ascending levels in [0, 1).
        counts: How the ``row`` rule makes whole numbers, a key of :data:`COUNTS`.

    Returns:
        uint8, (d_out, d_in); ``len(sparsities)`` where a weight survives every level.
    """
    levels = len(sparsities)
    code = torch.full(scores.shape, levels, dtype=torch.uint8)
    if rule == "row":
        rank = torch.argsort(torch.argsort(scores, dim=1, stable=True), dim=1)
        for level in range(levels - 1, -1, -1):
            code[rank < COUNTS[counts](scores.shape[1] * sparsities[level])] = level
    else:
        ordered = scores.flatten().sort().values
        for level in range(levels - 1, -1, -1):
            if sparsities[level] > 0:
                threshold = ordered[int(scores.numel() * sparsities[level])]
                code[scores <= threshold] = level
    return code


def gone_by_row(
    scores: torch.Tensor, sparsities: NDArray[np.float64], counts: str = "down"
) -> torch.Tensor:
    """Which weights go when each row loses its own share of its lowest scores.

    Args:
        scores: (d_out, d_in).
        sparsities: Share that each row loses, (d_out,).
        counts: How d_in·s becomes a whole number, a key of :data:`COUNTS`.

    Returns:
        bool, (d_out, d_in), True where a weight goes; of equal scores the first go first.
    """
    rank = torch.argsort(torch.argsort(scores, dim=1, stable=True), dim=1)
    lost = torch.tensor(_row_counts(scores.shape[1], sparsities, counts))
    return rank < lost.to(rank.device)[:, None]


def row_zeros(inputs: int, sparsities: NDArray[np.float64], counts: str = "down") -> int:
    """How many weights :func:`gone_by_row` takes out of rows of so many inputs."""
    return sum(_row_counts(inputs, sparsities, counts))


def _row_counts(inputs: int, sparsities: NDArray[np.float64], counts: str) -> list[int]:
    return [COUNTS[counts](inputs * float(share)) for share in sparsities]


def gone_by_count(scores: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """The first level at which each weight is gone when exactly the counted lowest scores go.

    Args:
        scores: (d_out, d_in).
        counts: How many go at each level, ascending.

    Returns:
        uint8, (d_out, d_in), as :func:`gone_from`; of equal scores the first go first.
    """
    rank = torch.argsort(torch.argsort(scores.flatten(), stable=True))
    edges = torch.tensor(counts, device=scores.device)
    code = torch.searchsorted(edges, rank, right=True)
    return code.to(torch.uint8).reshape(scores.shape).cpu()


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


def require_multiples(name: str, m: int, inputs: int, block: Any, path: str) -> None:
    """Check that groups of m neighbouring inputs fill the rows of a linear layer.

    Raises:
        ConfigError: They do not.
    """
    if inputs % m:
        raise ConfigError(
            f"{name} needs rows that {m} divides, but {path} of block {block.index} has "
            f"{inputs} inputs"
        )
