"""The figures of a comparison: critical differences, scatter over runs, attainment surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..problem import Array
from .curves import dash_of, pale
from .plot import CYCLE, INK, SOFT, Figure, axis, figure, layout, short, title_of

if TYPE_CHECKING:
    from ..comparison.attainment import Surface
    from ..statistics import Ranking
    from ..store import Column

_ABOVE = {
    "orientation": "h",
    "y": 1.02,
    "yanchor": "bottom",
    "x": 0,
    "xanchor": "left",
    "traceorder": "normal",
}


def critical(ranking: Ranking) -> Figure:
    """Critical-difference diagram (Demšar 2006): bars join what Nemenyi's test does not tell apart.

    The best are on the left; names hang from their mean ranks, the better half to the left.
    """
    order = np.argsort(ranking.ranks, kind="stable").tolist()
    k, half = len(order), (len(order) + 1) // 2
    bars = [0.35 * (i + 1) for i in range(len(ranking.groups))]
    top = (bars[-1] if bars else 0.0) + 0.6
    data: list[Figure] = []
    notes: list[Figure] = []
    for place, i in enumerate(order):
        left = place < half
        depth = top + 0.6 * (place if left else k - 1 - place)
        edge = 0.75 if left else k + 0.25
        rank = ranking.ranks[i]
        data.append(_line([rank, rank, edge], [0, -depth, -depth], SOFT, 1.3))
        notes.append(_note(
            f"{escape(ranking.names[i])} ({rank:.2f})", edge, -depth, "right" if left else "left"
        ))  # fmt: skip
    place_of = dict(zip(ranking.names, ranking.ranks, strict=True))
    for group, depth in zip(ranking.groups, bars, strict=True):
        ends = [place_of[group[0]] - 0.03, place_of[group[-1]] + 0.03]
        data.append(_line(ends, [-depth, -depth], INK, 5))
    data.append(_line([1, k], [0, 0], INK, 1.5))
    for rank in range(1, k + 1):
        data.append(_line([rank, rank], [0, 0.15], INK, 1.5))
        notes.append(_note(str(rank), rank, 0.45, "center"))
    data.append(_line([1, 1 + ranking.difference], [1.0, 1.0], INK, 2.5))
    told = f"critical difference {ranking.difference:.2f}"
    notes.append(_note(told, 1, 1.35, "left"))
    deepest = top + 0.6 * max(half - 1, k - 1 - half, 0)
    hidden = {"visible": False, "fixedrange": True}
    shown = layout(
        int(110 + 44 * (deepest + 1.2)), showlegend=False, hovermode=False, annotations=notes,
        xaxis=hidden | {"range": [0.75 - 0.35 * (k - 1), k + 0.25 + 0.35 * (k - 1)]},
        yaxis=hidden | {"range": [-deepest - 0.5, 1.8]},
    )  # fmt: skip
    return figure(data, shown)


def scatter(samples: Mapping[str, Mapping[str, Array]], title: str) -> Figure:
    """Box and points of every contestant on every problem.

    Args:
        samples: Contestant → problem → values.
        title: Of the axis.
    """
    data: list[Figure] = []
    for i, (name, by_problem) in enumerate(samples.items()):
        pairs = [(p, v) for p, values in by_problem.items() for v in values if np.isfinite(v)]
        colour = CYCLE[i % len(CYCLE)]
        data.append({
            "type": "box", "name": escape(name), "x": [escape(p) for p, _ in pairs],
            "y": short(np.array([v for _, v in pairs])), "boxpoints": "all", "jitter": 0.5,
            "pointpos": 0, "marker": {"size": 4, "color": colour}, "line": {"width": 1.4},
            "fillcolor": pale(colour), "hoverinfo": "y+name",
        })  # fmt: skip
    shown = layout(
        400, boxmode="group", xaxis=axis(None, type="category"), yaxis=axis(title, tickformat="~g")
    )
    shown["legend"] = shown["legend"] | _ABOVE
    return figure(data, shown)


def attained(surfaces: Sequence[Surface], columns: Sequence[Column]) -> Figure:
    """Median attainment surfaces, firm, between those of a quarter and of three quarters."""
    data: list[Figure] = []
    names = list(dict.fromkeys(s.contestant for s in surfaces))
    for s in surfaces:
        i, middle = names.index(s.contestant), s.share == 50
        colour = CYCLE[i % len(CYCLE)]
        line: dict[str, Any] = {"shape": "hv" if columns[0].goal == "min" else "vh"}
        line |= {"color": colour, "width": 2.2 if middle else 0.8, "dash": dash_of(i)}
        data.append({
            "type": "scatter", "mode": "lines", "line": line, "opacity": 1 if middle else 0.6,
            "x": short(s.corners[:, 0]), "y": short(s.corners[:, 1]),
            "name": escape(f"{s.contestant} ({s.runs} runs)"), "legendgroup": str(i),
            "showlegend": middle, "hoverinfo": "x+y+name",
        })  # fmt: skip
    shown = layout(460, xaxis=axis(title_of(columns[0])), yaxis=axis(title_of(columns[1])))
    shown["legend"] = shown["legend"] | _ABOVE
    return figure(data, shown)


def _line(x: Sequence[float], y: Sequence[float], colour: str, width: float) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "hoverinfo": "skip",
        "line": {"color": colour, "width": width},
    }  # fmt: skip


def _note(text: str, x: float, y: float, side: str) -> Figure:
    """Text that ends, begins or is centred at a point."""
    gap = {"right": -6, "left": 6, "center": 0}[side]
    return {
        "text": text, "x": x, "y": y, "xanchor": side, "yanchor": "middle", "xshift": gap,
        "showarrow": False, "font": {"size": 13, "color": INK},
    }  # fmt: skip
