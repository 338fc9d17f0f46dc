"""Parallel coordinates: the scales of their axes, and plotly's figure of them for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..live import number
from ..problem import Array
from .plot import (
    CLOUD,
    INK,
    SCALE,
    SOFT,
    Figure,
    decades,
    figure,
    layout,
    log_scale,
    scaled,
    short,
    title_of,
)

if TYPE_CHECKING:
    from ..store import Column
    from .facts import Facts

_MARKS = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis.

    Args:
        log: Whether it is in decades; the other fields are then base-ten logarithms.
        low: Lowest value, a little below the lowest positive one where some are 0 on a log axis.
        high: Highest value.
        marks: Places with what is written there.
    """

    log: bool
    low: float
    high: float
    marks: tuple[tuple[float, str], ...]


def scale_of(column: Column, values: Array) -> Scale:
    """The axis over finite values, one at least; a constant gets five per cent to either side."""
    log = log_scale(column, values)
    shown = decades(values) if log else values
    low, high = float(shown.min()), float(shown.max())
    if low == high:
        low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
    zero = log and bool((values <= 0).any())
    least = float(np.log10(values[values > 0].min())) if zero else low
    marks = [(float(t), _tick(10.0**t if log else t)) for t in np.linspace(least, high, _MARKS)]
    return Scale(log, low, high, (*([(low, "0")] if zero else []), *marks))


def parallel(facts: Facts) -> Figure:
    """Every front member as a line over objectives and metrics; better is down on every axis."""
    rows = facts.front
    values = facts.pool.values[rows]
    dimensions = [
        _dimension(column, values[:, j])
        for j, column in enumerate(facts.columns)
        if np.isfinite(values[:, j]).all()
    ]
    first = values[:, 0]
    line = {
        "color": short(decades(first) if log_scale(facts.columns[0], first) else first),
        "colorscale": scaled(SCALE[2:]), "showscale": False,
        "reversescale": facts.columns[0].goal == "min",
    }  # fmt: skip
    trace = {
        "type": "parcoords", "dimensions": dimensions, "line": line,
        "labelfont": {"size": 13, "color": INK}, "tickfont": {"size": 11, "color": SOFT},
        "rangefont": {"size": 11, "color": SOFT},
        "unselected": {"line": {"color": CLOUD, "opacity": 0.12}},
    }  # fmt: skip
    shown = layout(400)
    shown["margin"] = {"l": 70, "r": 70, "t": 62, "b": 28}
    return figure([trace], shown)


def _dimension(column: Column, values: Array) -> Figure:
    scale = scale_of(column, values)
    ends = [scale.low, scale.high]
    return {
        "label": title_of(column), "values": short(decades(values) if scale.log else values),
        "range": ends if column.goal == "min" else ends[::-1],
        "tickvals": short(np.array([place for place, _ in scale.marks])),
        "ticktext": [text for _, text in scale.marks],
    }  # fmt: skip


def _tick(value: float) -> str:
    return number(float(f"{value:.3g}")).replace(" ", "")
