"""The figure of how objectives go together: Pearson's r of every two, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..live import arrow
from ..problem import Array
from .plot import BLUE, GRID, RUST, Figure, axis, figure, layout, scaled

if TYPE_CHECKING:
    from ..store import Column

LEAST = 3  # objectives, and rows, from which the figure is worth drawing


def pearson(fitness: Array) -> Array:
    """Pearson's r of every two columns over the rows, (n, m) to (m, m); NaN where one is constant.

    Minimised values make a pair that improves together positive, whatever the goals are.
    """
    off = fitness - fitness.mean(axis=0)
    length = np.linalg.norm(off, axis=0)
    flat = length <= 1e-12 * np.abs(fitness).max(axis=0, initial=0) * len(fitness) ** 0.5
    unit = np.where(flat, np.nan, off / np.where(flat, 1.0, length))
    return np.clip(unit.T @ unit, -1.0, 1.0)


def heat(columns: Sequence[Column], front: Array, every: Array) -> Figure:
    """The front below the diagonal, all candidates above it.

    Args:
        columns: Searched objectives, m of them.
        front: Minimised values of the front, shape (k, m).
        every: Of all feasible candidates, shape (n, m).
    """
    m = len(columns)
    below, above = pearson(front), pearson(every)
    shown = np.where(np.tri(m, k=-1, dtype=bool), below, above)
    np.fill_diagonal(shown, np.nan)
    z = [[None if np.isnan(r) else round(float(r), 3) for r in row] for row in shown]
    names = [f"{escape(c.name)} {arrow(c.goal)}" for c in columns]
    over = [["front" if i > j else "all candidates" for j in range(m)] for i in range(m)]
    trace: Figure = {
        "type": "heatmap", "x": names, "y": names, "z": z, "customdata": over,
        "zmin": -1, "zmax": 1, "colorscale": scaled((RUST, GRID, BLUE)), "xgap": 2, "ygap": 2,
        "texttemplate": "%{z:.2f}", "textfont": {"size": 13}, "hoverongaps": False,
        "hovertemplate": "%{y}, %{x}<br>r %{z:.3f} over %{customdata}<extra></extra>",
        "colorbar": {"title": {"text": "r", "side": "top"}, "thickness": 12, "outlinewidth": 0},
    }  # fmt: skip
    style = {"showgrid": False, "ticks": "", "automargin": True}
    drawn = layout(
        120 + 62 * m, xaxis=axis(None, constrain="domain", **style),
        yaxis=axis(None, autorange="reversed", scaleanchor="x", constrain="domain", **style),
    )  # fmt: skip
    return figure([trace], drawn)
