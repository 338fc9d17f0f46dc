"""Warm starts: the dense model, uniform levels, published allocations, single changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operators import RNG

from .allocate import Allocation, Allocator, Layer, Share
from .sites import Site, SiteTable

if TYPE_CHECKING:
    from .searches import Mixed

RUNGS = 16
ALLOCATORS = ("uniform", "owl", "erk")
"""Those that need no more than weights and the norms in the library."""

_ALLOCATED = 0.3  # of all starts
_TARGETS = (0.5, 0.25, 0.75)  # where between a kind's lowest and highest sparsity


def shares(table: SiteTable) -> NDArray[np.float64]:
    """Share of a site's dense parameters that each variant keeps, (S, V); NaN where none is."""
    return table.params / table.params[:, :1]


def ladder(table: SiteTable, rungs: int = RUNGS) -> NDArray[np.int16]:
    """Genomes whose sites all keep about one share, dense first, without repeats; (≤ rungs, S)."""
    kept = shares(table)
    targets = np.linspace(1.0, 0.0, rungs)
    rows = np.array([np.nanargmin(np.abs(kept - t), axis=1) for t in targets], dtype=np.int16)
    return _distinct(rows)


def one_change(table: SiteTable) -> NDArray[np.int16]:
    """Genomes that differ from the dense one at a single site, all of them, (changes, S)."""
    rows = []
    for site, size in enumerate(table.sizes):
        for variant in range(1, size):
            row = np.zeros(len(table), dtype=np.int16)
            row[site] = variant
            rows.append(row)
    return np.array(rows, dtype=np.int16).reshape(-1, len(table))


def sparsity_kinds(table: SiteTable) -> dict[str, tuple[float, float]]:
    """Kinds of which some site offers several sparsities → the lowest and the highest of them."""
    found: dict[str, tuple[float, float]] = {}
    for site in table.sites:
        levels: dict[str, list[float]] = {}
        for variant in site.variants:
            if 0 < variant.sparsity < 1:
                levels.setdefault(variant.kind, []).append(variant.sparsity)
        for kind, own in levels.items():
            if len(own) > 1:
                low, high = found.get(kind, (1.0, 0.0))
                found[kind] = (min(low, *own), max(high, *own))
    return found


def nearest(table: SiteTable, kind: str, allocation: Mapping[Layer, Share]) -> NDArray[np.int16]:
    """The genome whose sites come closest to an allocation, dense or by one kind's variants, (S,).

    Args:
        table: The sites; those that have no variant of the kind stay dense.
        kind: Of the variants to choose among.
        allocation: Share removed of every linear layer.
    """
    return np.array([_nearest(site, kind, allocation) for site in table.sites], dtype=np.int16)


def _nearest(site: Site, kind: str, allocation: Mapping[Layer, Share]) -> int:
    place = site.place
    sizes = {path: out * into for path, (out, into) in place.shapes().items()}
    wanted = sum(n * float(np.mean(allocation[site.depth, p])) for p, n in sizes.items())
    wanted /= place.weight_count()
    offered = [i for i, v in enumerate(site.variants) if i == 0 or v.kind == kind]
    return min(offered, key=lambda i: abs(site.variants[i].sparsity - wanted))


def allocations(problem: Mixed, allocators: Sequence[Allocator], rng: RNG) -> NDArray[np.int16]:
    """Genomes nearest to what allocators give at a few targets, without repeats, (k, S).

    Targets lie between the lowest and the highest sparsity of each kind, the middle one first.

    Args:
        problem: Whose sites offer sparsities; without any the result is empty.
        allocators: Asked in this order.
        rng: For allocators that draw.
    """
    table, known, rows = problem.table, dict[tuple[int, float], Allocation](), []
    kinds = sparsity_kinds(table)
    for share in _TARGETS if kinds else ():
        for i, allocator in enumerate(allocators):
            for kind, (low, high) in kinds.items():
                target = round(low + share * (high - low), 3)
                if (i, target) not in known:
                    known[i, target] = allocator(problem, target, rng)
                rows.append(nearest(table, kind, known[i, target]))
    return _distinct(np.array(rows, dtype=np.int16).reshape(-1, len(table)))


def _distinct(rows: NDArray[np.int16]) -> NDArray[np.int16]:
    """Rows without repeats, in their order."""
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]


def mixture(
    table: SiteTable, n: int, rng: RNG, allocated: NDArray[np.int16] | None = None
) -> NDArray[Any]:
    """At most n starts: dense, uniform levels, allocations, then one-change genomes.

    Allocations are at most 30 % of n and one-change genomes at most 40 %; uniform levels are
    spaced wider where they leave no room for the allocations.

    Args:
        table: The sites.
        n: Most rows wanted.
        rng: Chooses among the one-change genomes when there are too many.
        allocated: Genomes of allocations, the most wanted first, (k, S).
    """
    none = np.empty((0, len(table)), dtype=np.int16)
    given = none if allocated is None else allocated[: int(_ALLOCATED * n)]
    uniform = ladder(table, min(RUNGS, n - len(given)) if len(given) else RUNGS)
    changes = one_change(table)
    room = min(len(changes), max(0, n - len(uniform) - len(given)), int(0.4 * n))
    chosen = np.sort(rng.permutation(len(changes))[:room])
    return _distinct(np.concatenate([uniform, given, changes[chosen]]))[:n]
