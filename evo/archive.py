"""Everything worth keeping: the feasible front so far, in a box that stays the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .indicators import nondominated, unit_hypervolume
from .problem import Array
from .view import SEARCH, RunView


@dataclass(frozen=True, slots=True)
class Box:
    """Where fitness is normalised for the hypervolume: ideal maps to 0 and nadir to 1."""

    ideal: tuple[float, ...]
    nadir: tuple[float, ...]
    rule: str

    @staticmethod
    def around(fitness: Array, anchors: Array) -> Box:
        """The box of a run, from its first generation and known reference candidates.

        The nadir is the worst value seen. The ideal lies as far below the best value as the worst
        lies above it, so that later progress stays inside; it stops at 0 where nothing is negative.

        Args:
            fitness: Finite rows of the first generation, shape (n, m).
            anchors: Further rows, e.g. the untouched model, shape (k, m).
        """
        rows = np.concatenate([fitness, anchors])
        best, worst = rows.min(axis=0), rows.max(axis=0)
        extent = np.where(worst > best, worst - best, np.maximum(np.abs(worst), 1.0))
        ideal = np.where(best >= 0, np.maximum(best - extent, 0.0), best - extent)
        nadir = np.where(worst > ideal, worst, ideal + extent)
        return Box(
            tuple(ideal.tolist()),
            tuple(nadir.tolist()),
            "nadir: worst of generation 0 and the references; ideal: one extent below the best, "
            "not below 0 where all are positive; reference point 1.1",
        )

    @staticmethod
    def spanning(fitness: Array) -> Box:
        """The smallest box around some rows, shape (n, m), n at least 1."""
        return Box(
            tuple(fitness.min(axis=0).tolist()),
            tuple(fitness.max(axis=0).tolist()),
            "best and worst of the fronts compared; reference point 1.1",
        )

    def hypervolume(self, fitness: Array) -> float:
        """Share of the box, up to 1.1 in every objective, that the rows dominate; in [0, 1]."""
        if len(fitness) == 0:
            return 0.0
        return unit_hypervolume(fitness, self.ideal, self.nadir)

    def to_json(self) -> dict[str, Any]:
        """For the run file."""
        return {"ideal": list(self.ideal), "nadir": list(self.nadir), "rule": self.rule}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Box:
        """The inverse of :meth:`to_json`."""
        return Box(tuple(data["ideal"]), tuple(data["nadir"]), str(data["rule"]))


class Front:
    """The feasible candidates that nothing found so far dominates."""

    def __init__(self, n_objectives: int) -> None:
        self.ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.fitness: Array = np.zeros((0, n_objectives))

    def __len__(self) -> int:
        return len(self.ids)

    def add(
        self, ids: Sequence[int], fitness: Array, feasible: NDArray[np.bool_]
    ) -> tuple[list[int], list[int]]:
        """Take in new candidates; returns who entered and who left, each ascending.

        Args:
            ids: Length n, not in the front yet.
            fitness: Minimised, shape (n, m).
            feasible: Only these rows are considered, shape (n,).
        """
        before = set(self.ids.tolist())
        every = np.concatenate([self.ids, np.asarray(ids, dtype=np.int64)[feasible]])
        values = np.concatenate([self.fitness, fitness[feasible]])
        keep = nondominated(values) if len(values) else np.zeros(0, dtype=np.bool_)
        self.ids, self.fitness = every[keep], values[keep]
        after = set(self.ids.tolist())
        return sorted(after - before), sorted(before - after)


def spread_order(fitness: Array) -> NDArray[np.intp]:
    """An order in which every prefix is spread over the front: each next row is the loneliest left.

    Args:
        fitness: Minimised values, shape (n, m); each objective is scaled to its extent.

    Returns:
        Shape (n,); the best row of the first objective comes first. Quadratic in n.
    """
    extent = np.ptp(fitness, axis=0) if len(fitness) else np.zeros(fitness.shape[1])
    points = fitness / np.where(extent > 0, extent, 1.0)
    order: list[int] = []
    distance = np.full(len(points), np.inf)
    for _ in range(len(points)):
        chosen = int(distance.argmax()) if order else int(points[:, 0].argmin())
        order.append(chosen)
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen], axis=1))
        distance[chosen] = -1.0  # never again
    return np.array(order, dtype=np.intp)


def compare_origins(view: RunView) -> dict[str, float]:
    """Hypervolume of the front of each origin, all in one box that spans all those fronts.

    Returns:
        ``"search"`` first, then the baselines; 0.0 where nothing feasible was found.
    """
    c = view.candidates
    usable = c.ok & (c.violation == 0)
    origins = [SEARCH, *sorted(set(c.origin.tolist()) - {SEARCH})]
    fronts = {}
    for origin in origins:
        rows = view.fitness[usable & (c.origin == origin)]
        fronts[origin] = rows[nondominated(rows)] if len(rows) else rows
    every = np.concatenate(list(fronts.values()))
    if len(every) == 0:
        return dict.fromkeys(origins, 0.0)
    box = Box.spanning(every)
    return {origin: box.hypervolume(rows) for origin, rows in fronts.items()}
