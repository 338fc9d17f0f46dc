"""Candidates judged on worlds of their own: nearly independent simulations, but repeatable.

A stock holds many more worlds than a candidate is judged on. Which part of it is a candidate's own
follows from its seeds alone, so that a value never depends on when or beside whom it is judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evo.streams import stream

from .cascades import Groups, Outcomes, SeedSets, propagated
from .worlds import Model, Pool

BLOCK = 25  # worlds that are given out together


def on_own_worlds(
    sets: SeedSets, model: Model, stock: Pool, groups: Groups, limit: int | None, count: int,
    *, steps: bool, **how: Any,
) -> Outcomes:  # fmt: skip
    """Every set in ``count`` worlds of the stock.

    Args:
        sets: P seed sets.
        model: Whose worlds they are.
        stock: Worlds to choose from.
        groups: Whom to count together.
        limit: Most steps, None for no limit.
        count: W, how many a set gets.
        steps: Whether steps are wanted.
        **how: As in :func:`.cascades.propagated`.
    """
    worlds = list(stock)
    wanted = -(-count // BLOCK)
    chosen = np.array([
        stream(0, "share", row[row >= 0].tobytes()).permutation(len(worlds) // BLOCK)[:wanted]
        for row in sets.rows
    ])  # (P, wanted)  # fmt: skip
    active = np.zeros((len(sets), wanted * BLOCK, groups.count), dtype=np.int32)
    took = np.zeros(active.shape[:2], dtype=np.int32)
    for block in np.unique(chosen):
        which, slot = np.nonzero(chosen == block)
        some, part = SeedSets(sets.rows[which], sets.n), worlds[block * BLOCK :][:BLOCK]
        found = propagated(some, model, part, groups, limit, steps=steps, **how)
        places = which[:, None], (slot * BLOCK)[:, None] + np.arange(BLOCK)
        active[places] = found.active
        if found.steps is not None:
            took[places] = found.steps
    return Outcomes(active[:, :count], took[:, :count] if steps else None)
