"""Warm starts: the dense model, uniform levels, and genomes that change one site."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from .sites import SiteTable

RUNGS = 16


def shares(table: SiteTable) -> NDArray[np.float64]:
    """Share of a site's dense parameters that each variant keeps, (S, V); NaN where none is."""
    return table.params / table.params[:, :1]


def ladder(table: SiteTable, rungs: int = RUNGS) -> NDArray[np.int16]:
    """Genomes whose sites all keep about one share, dense first, without repeats; (≤ rungs, S)."""
    kept = shares(table)
    targets = np.linspace(1.0, 0.0, rungs)
    rows = np.array([np.nanargmin(np.abs(kept - t), axis=1) for t in targets], dtype=np.int16)
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]


def one_change(table: SiteTable) -> NDArray[np.int16]:
    """Genomes that differ from the dense one at a single site, all of them, (changes, S)."""
    rows = []
    for site, size in enumerate(table.sizes):
        for variant in range(1, size):
            row = np.zeros(len(table), dtype=np.int16)
            row[site] = variant
            rows.append(row)
    return np.array(rows, dtype=np.int16).reshape(-1, len(table))


def mixture(table: SiteTable, n: int, rng: RNG) -> NDArray[Any]:
    """At most n starts: dense, uniform levels, then one-change genomes for at most 40 % of n.

    Args:
        table: The sites.
        n: Most rows wanted.
        rng: Chooses among the one-change genomes when there are too many.
    """
    uniform = ladder(table)
    changes = one_change(table)
    room = min(len(changes), max(0, n - len(uniform)), int(0.4 * n))
    chosen = np.sort(rng.permutation(len(changes))[:room])
    rows = np.concatenate([uniform, changes[chosen]])
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)][:n]
