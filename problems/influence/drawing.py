"""A graph as a report draws it: where its nodes lie, which edges are shown, who is seeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.streams import stream

from .cascades import Groups
from .graphs import Graph
from .layout import placed

NODES = 10_000  # larger graphs are not drawn
EDGES = 6_000  # of more edges, some are drawn
_SIDE = 2000  # whole steps from edge to edge of the drawing


def drawn(graph: Graph, groups: Groups, seeds: NDArray[np.int32], seed: int) -> Mapping[str, Any]:
    """JSON facts of a drawing (see :class:`evo.problem.Problem`).

    Args:
        graph: What is drawn, arcs as edges.
        groups: Its communities, by which nodes lie together.
        seeds: Seed sets, padded with -1, (P, most).
        seed: Of the layout, and of which edges are shown.
    """
    if graph.n > NODES:
        return {"left_out": f"Graphs of more than {NODES:,} nodes are not drawn; this has "
                            f"{graph.n:,}."}  # fmt: skip
    ends = np.sort(np.stack([graph.sources, graph.targets]).astype(np.int64), axis=0)
    one, two = np.divmod(np.unique(ends[0] * graph.n + ends[1]), graph.n)
    where = placed(one, two, groups.of, seed)
    low, high = where.min(axis=0), where.max(axis=0)
    steps = np.round((where - low) / (high - low).max() * _SIDE).astype(int)
    shown = np.arange(len(one))
    if len(one) > EDGES:
        shown = np.sort(stream(seed, "drawn edges").choice(len(one), EDGES, replace=False))
    return {
        "nodes": "nodes", "groups": "communities", "marked": "seeds",
        "names": list(graph.names), "x": steps[:, 0].tolist(), "y": steps[:, 1].tolist(),
        "group": groups.community.tolist(), "edges": [one[shown].tolist(), two[shown].tolist()],
        "edges_in_all": len(one), "marks": [row[row >= 0].tolist() for row in seeds],
    }  # fmt: skip
