"""Attainment surfaces of problems with two objectives.

Source: Fonseca, Guerreiro, López-Ibáñez and Paquete, *On the computation of the empirical
attainment function*, 2011; computed by moocore.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..problem import Array
from .measure import Compared

SHARES = (25, 50, 75)  # per cent of the runs


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What a share of the runs of one contestant attains.

    Args:
        contestant: Whose runs.
        runs: How many.
        share: Per cent of them that attain every point of the surface or better.
        corners: In raw units, by rising first objective, shape (k, 2).
    """

    contestant: str
    runs: int
    share: int
    corners: Array


def surfaces(compared: Compared) -> list[Surface]:
    """The surfaces of every contestant with two runs or more; none unless m is 2."""
    columns = compared.facts.objectives
    if len(columns) != 2:
        return []
    import moocore

    signs = np.array([1.0 if c.goal == "min" else -1.0 for c in columns])
    out: list[Surface] = []
    for name in compared.contestants:
        fronts = [s.front for s in compared.scores if s.contestant == name and len(s.front)]
        if len(fronts) < 2:
            continue
        sets = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
        found = moocore.eaf(np.concatenate(fronts), sets, percentiles=SHARES)
        for share in SHARES:
            corners = found[found[:, 2] == share][:, :2] * signs
            corners = corners[np.argsort(corners[:, 0], kind="stable")]
            out.append(Surface(name, len(fronts), share, corners))
    return out
