"""Candidates judged on worlds of their own: nearly independent simulations, but repeatable.

A stock holds many more worlds than a candidate is judged on. Which part of it is a candidate's own
follows from its seeds alone, so that a value never depends on when or beside whom it is judged.
"""

from __future__ import annotations

import numpy as np

from evo.streams import stream

from .cascades import Groups, Outcomes, SeedSets, propagated
from .worlds import Model, Pool

BLOCK = 10  # worlds that are given out together


def on_own_worlds(
    sets: SeedSets, model: Model, stock: Pool, count: int, groups: Groups, limit: int | None
) -> Outcomes:
    """Every set in ``count`` worlds of the stock.

    Args:
        sets: P seed sets.
        model: Whose worlds they are.
        stock: Worlds to choose from.
        count: W, how many a set gets.
        groups: Whom to count together.
        limit: Most steps, None for no limit.
    """
    worlds = list(stock)
    blocks = -(-len(worlds) // BLOCK)
    wanted = -(-count // BLOCK)
    chosen = np.array(
        [
            stream(0, "share", row[row >= 0].tobytes()).permutation(blocks)[:wanted]
            for row in sets.rows
        ]
    )  # (P, wanted)
    active = np.zeros((len(sets), wanted * BLOCK, groups.count), dtype=np.int32)
    steps = np.zeros(active.shape[:2], dtype=np.int32)
    for block in np.unique(chosen):
        which, slot = np.nonzero(chosen == block)
        some = SeedSets(sets.rows[which], sets.n)
        part = worlds[block * BLOCK : (block + 1) * BLOCK]
        found = propagated(some, model, part, groups, limit)
        places = (slot * BLOCK)[:, None] + np.arange(len(part))
        active[which[:, None], places] = found.active
        steps[which[:, None], places] = found.steps
    return Outcomes(active[:, :count], steps[:, :count])
