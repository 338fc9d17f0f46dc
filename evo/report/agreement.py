"""The figure of how sure: search values against values from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..problem import Array
from .plot import (
    BLUE,
    SOFT,
    Figure,
    axis,
    axis_id,
    axis_key,
    axis_type,
    clipped,
    figure,
    layout,
    log_scale,
    ticks,
    title_of,
    window,
)

if TYPE_CHECKING:
    from ..store import Column


def identity(
    columns: Sequence[Column], search: Array, other: Array, what: str, names: Sequence[str]
) -> Figure:
    """Search values against values from elsewhere, one panel per column, with the line of equality.

    Args:
        columns: Columns compared, k of them.
        search: Values that the search saw, shape (n, k).
        other: Values of the same candidates from elsewhere, shape (n, k); NaN leaves a point out.
        what: How the axis calls the other values, e.g. ``validation``.
        names: Of the candidates, by which the page marks them.
    """
    across = min(len(columns), 3)
    rows = -(-len(columns) // across)
    data: list[Figure] = []
    shown = layout(340 * rows, showlegend=False)
    for p, column in enumerate(columns):
        seen = np.isfinite(search[:, p]) & np.isfinite(other[:, p])
        pair = search[seen, p], other[seen, p]
        data += _panel(column, *pair, p, what, [names[i] for i in np.flatnonzero(seen).tolist()])
        shown |= _axes(column, np.concatenate(pair), p, what, across, rows)
    return figure(data, shown)


def _panel(column: Column, x: Array, y: Array, p: int, what: str, names: list[str]) -> list[Figure]:
    """The line of equality and the points of one column."""
    both = np.concatenate([x, y])
    log = log_scale(column, both)
    span = window(column, both, log=log)
    ends = np.array([both.min(), both.max()])
    ids: Figure = {"xaxis": axis_id("x", p), "yaxis": axis_id("y", p)}
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": clipped(ends, span, log=log),
        "y": clipped(ends, span, log=log),
        "line": {"color": SOFT, "width": 1.2, "dash": "dash"},
        "hoverinfo": "skip",
        "name": "equal",
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": clipped(x, span, log=log),
        "y": clipped(y, span, log=log),
        "marker": {"size": 6, "color": BLUE, "opacity": 0.8},
        "name": escape(column.name),
        "customdata": names,
        "hovertemplate": f"search %{{x:.4g}}<br>{what} %{{y:.4g}}<extra></extra>",
    }
    return [line | ids, points | ids]


def _axes(column: Column, both: Array, p: int, what: str, across: int, rows: int) -> dict[str, Any]:
    log = log_scale(column, both)
    col, row = p % across, p // across
    style = {"type": axis_type(log)} | ticks(both, log=log)
    x = axis(
        f"{title_of(column, log=log)}, search",
        anchor=axis_id("y", p),
        domain=[col / across + 0.06 * (col > 0), (col + 1) / across - 0.02],
        **style,
    )
    y = axis(
        what,
        anchor=axis_id("x", p),
        domain=[1 - (row + 1) / rows + 0.13 * (rows > 1), 1 - row / rows],
        **style,
    )
    return {axis_key("x", p): x, axis_key("y", p): y}
