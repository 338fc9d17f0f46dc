"""The drawing: what front members choose among nodes that lie in a plane, such as a graph's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..live import arrow
from .markup import count, listed
from .plot import CLOUD, CYCLE, INK, PAPER, Figure, figure, layout, scaled, value_of

if TYPE_CHECKING:
    from .facts import Facts

_OFFERED = 12  # members to pick from
_SMALL = 300  # nodes up to which they are drawn large


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that a run recorded.

    Args:
        told: Its facts (see :class:`evo.problem.Problem`).
        marks: Chosen nodes of each front member, by the row of the pool.
    """

    told: Mapping[str, Any]
    marks: Mapping[int, list[int]]

    def finding(self, row: int, who: str) -> str:
        """What a member chose, in words."""
        nodes, group = self.marks[row], self.told["group"]
        among = {group[node] for node in nodes} - {-1}
        total = len(set(group) - {-1})
        return (
            f"{who} has {len(nodes):,} {self.told['marked']} in {len(among):,} of {total:,} "
            f"{self.told['groups']}"
        )

    def caption(self, members: int) -> str:
        """What the figure shows."""
        told, shown = self.told, len(self.told["edges"][0])
        edges = f"{count(told['edges_in_all'], 'edge')}"
        part = f"{shown:,} of {edges}, drawn by lot" if shown < told["edges_in_all"] else edges
        return (
            f"{len(told['names']):,} {told['nodes']}, {part}. What is joined lies together; "
            f"colours tell {told['groups']} apart, the largest first, and repeat; grey is in none. "
            f"Dark marks are the {told['marked']} of one of {count(members, 'front member')}: pick "
            "one here, in the table or in the front."
        )


def found(facts: Facts) -> Drawing | None:
    """The picture of a single run with a front, or None."""
    told = facts.runs[0].meta.get("drawing") or {}
    if len(facts.runs) > 1 or "marks" not in told or facts.knee is None:
        return None
    row_of = {int(facts.pool.id[row]): int(row) for row in facts.front}
    pairs = zip(told["ids"], told["marks"], strict=True)
    marks = {row_of[id]: nodes for id, nodes in pairs if id in row_of}
    return Drawing(told, marks) if facts.knee in marks else None


def members(facts: Facts, drawing: Drawing) -> list[tuple[int, str]]:
    """Rows to pick from with what they are called: the knee, the bests, and some in between."""
    assert facts.knee is not None
    special = {facts.knee: ["knee"]}
    for column, row in zip(facts.objectives, facts.best, strict=True):
        special.setdefault(row, []).append(f"best {column.name}")
    front = facts.front
    spaced = front[np.linspace(0, len(front) - 1, min(len(front), _OFFERED)).round().astype(int)]
    rows = [row for row in dict.fromkeys([*special, *map(int, spaced)]) if row in drawing.marks]
    return [(row, _named(facts, row, special.get(row, []))) for row in rows[: 2 * _OFFERED]]


def _named(facts: Facts, row: int, special: list[str]) -> str:
    values = [
        f"{c.name} {arrow(c.goal)} {value_of(float(facts.pool.values[row, j]), c)}"
        for j, c in enumerate(facts.objectives)
    ]
    return " · ".join([*([listed(special)] if special else []), *values])


def network(facts: Facts, drawing: Drawing) -> Figure:
    """Nodes, edges and the marks of the knee; ``meta`` of the layout holds those of all by id."""
    told = drawing.told
    x, y = told["x"], told["y"]
    small = len(x) <= _SMALL
    gap = [None] * len(told["edges"][0])
    edges = {
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False,
        "x": _threaded([x[u] for u in told["edges"][0]], [x[v] for v in told["edges"][1]], gap),
        "y": _threaded([y[u] for u in told["edges"][0]], [y[v] for v in told["edges"][1]], gap),
        "line": {"width": 1 if small else 0.5, "color": CLOUD}, "opacity": 0.6 if small else 0.5,
    }  # fmt: skip
    names = [escape(str(name)) for name in told["names"]]
    nodes = {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "name": told["nodes"],
        "text": names, "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": _colours(told["group"]), "cmin": 0, "cmax": len(CYCLE), "opacity": 0.85,
            "colorscale": scaled((*CYCLE, CLOUD)), "size": 9 if small else 3.5,
        },
    }  # fmt: skip
    assert facts.knee is not None
    chosen = drawing.marks[facts.knee]
    marked = {
        "type": "scatter", "mode": "markers", "name": told["marked"],
        "x": [x[node] for node in chosen], "y": [y[node] for node in chosen],
        "text": [names[node] for node in chosen], "hovertemplate": "<b>%{text}</b><extra></extra>",
        "marker": {
            "size": 15 if small else 10, "color": INK, "line": {"width": 1.6, "color": PAPER},
            "symbol": "diamond",
        },
    }  # fmt: skip
    hidden = {"visible": False, "constrain": "domain"}
    by_id = {str(facts.pool.id[row]): nodes for row, nodes in drawing.marks.items()}
    shown = layout(
        660, xaxis=hidden, yaxis=hidden | {"scaleanchor": "x"}, showlegend=False,
        meta=by_id,
    )  # fmt: skip
    shown["margin"] = {"l": 8, "r": 8, "t": 8, "b": 8}
    return figure([edges, nodes, marked], shown)


def _threaded(first: list[Any], second: list[Any], gap: list[Any]) -> list[Any]:
    """Pairs of ends one after the other, a gap behind each."""
    return [value for three in zip(first, second, gap, strict=True) for value in three]


def _colours(group: list[int]) -> list[int]:
    """Index of the colour of each node: of its group by size, the last for none."""
    of = np.asarray(group)
    sizes = np.bincount(of[of >= 0], minlength=1)
    place = np.empty(len(sizes), dtype=int)
    place[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes)) % len(CYCLE)
    return np.where(of >= 0, place[np.maximum(of, 0)], len(CYCLE)).tolist()
