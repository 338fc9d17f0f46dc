"""What all figures share: palette, fonts, axes and the plain plotly mapping they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..live import arrow, number
from ..problem import Array

if TYPE_CHECKING:
    from ..store import Column

Figure = dict[str, Any]

# Every colour has a dark twin in ``look.TWINS``; hues differ in lightness, marks also in shape.
INK, SOFT, GRID, PAPER, CLOUD = "#1c2430", "#5b6573", "#e4e7ec", "#ffffff", "#a9b1bd"
BLUE, RUST, GREEN, ROSE, AMBER, SKY = (
    "#0b5394", "#b8430b", "#1b7f5c", "#a3437f", "#d08a00", "#4a9fd8",
)  # fmt: skip
SCALE = ("#f1f3f6", "#c3d4e6", "#8db2d6", "#4f8bc0", "#1f639f", "#0a2f5c")
CYCLE = (BLUE, RUST, GREEN, ROSE, AMBER, SKY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_LOG_FROM = 50.0


def scaled(colours: Sequence[str] = SCALE) -> list[list[Any]]:
    """The colours as an evenly spaced plotly scale from 0 to 1."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def layout(height: int, **more: Any) -> Figure:
    """The common layout, ``more`` on top."""
    return {
        "height": height, "autosize": True, "hovermode": "closest",
        "margin": {"l": 76, "r": 24, "t": 16, "b": 56},
        "paper_bgcolor": PAPER, "plot_bgcolor": PAPER,
        "font": {"family": FONT, "size": 13, "color": INK},
        "hoverlabel": {
            "bgcolor": PAPER, "bordercolor": CLOUD,
            "font": {"family": FONT, "size": 12, "color": INK}, "align": "left",
        },
        "legend": {"bgcolor": "rgba(0,0,0,0)"},
    } | more  # fmt: skip


def axis(title: str | None = None, **more: Any) -> Figure:
    """One axis with thin lines and short numbers."""
    out = {
        "gridcolor": GRID, "linecolor": CLOUD, "showline": True, "zeroline": False,
        "ticks": "outside", "tickcolor": CLOUD, "ticklen": 4,
        "tickfont": {"size": 12, "color": SOFT},
    }  # fmt: skip
    if title is not None:
        out["title"] = {"text": title, "standoff": 8, "font": {"size": 13}}
    return out | more


def axis_id(letter: str, index: int) -> str:
    """What a trace calls the axis of this index: ``x``, ``x2`` and so on."""
    return letter if index == 0 else f"{letter}{index + 1}"


def axis_key(letter: str, index: int) -> str:
    """What the layout calls it: ``xaxis``, ``xaxis2`` and so on."""
    return f"{letter}axis" + ("" if index == 0 else str(index + 1))


def axis_type(log: bool) -> str:
    """How plotly calls the scale."""
    return "log" if log else "linear"


def title_of(column: Column, *, log: bool = False) -> str:
    """Name, arrow and unit as safe plotly text, e.g. ``drift ↓ (nats, log scale)``."""
    inside = [escape(column.unit)] if column.unit and column.unit != column.name else []
    inside += ["log scale"] if log else []
    return f"{escape(column.name)} {arrow(column.goal)}" + (
        f" ({', '.join(inside)})" if inside else ""
    )


def value_of(value: float, column: Column) -> str:
    """A number with the unit where the unit scales (bytes, times); else the number alone."""
    scales = column.unit in (
        "B",
        "byte",
        "bytes",
        "KiB",
        "MiB",
        "GiB",
        "s",
        "ms",
        "us",
        "µs",
        "ns",
        "seconds",
    )
    return number(float(value), column.unit if scales else "")


def short(values: NDArray[Any]) -> list[Any]:
    """Values for the page with seven significant digits; what is not finite becomes None."""
    return [float(f"{v:.7g}") if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]


def log_scale(column: Column, values: Array) -> bool:
    """Whether an axis reads better in decades.

    Only where less is better (decades would squeeze the good end of the others), nothing is
    negative, few values are zero, and the rest is more than fifty times wide.
    """
    seen = values[np.isfinite(values)]
    above = seen[seen > 0]
    if column.goal == "max" or len(above) < 2 or (seen < 0).any() or len(above) < 0.8 * len(seen):
        return False
    return float(above.max() / above.min()) > _LOG_FROM


def decades(values: Array) -> Array:
    """Base-ten logarithm; zeros are set a little below the smallest positive value."""
    above = np.log10(values[np.isfinite(values) & (values > 0)])
    if not len(above):
        return np.zeros_like(values)
    floor = above.min() - max(0.12 * float(np.ptp(above)), 0.2)
    return np.where(values > 0, np.log10(np.where(values > 0, values, 1.0)), floor)


def ticks(values: Array, *, log: bool, most: int = 6) -> Figure:
    """How an axis over these values writes numbers: letters from ten thousand on, whole decades.

    Args:
        values: What the axis shows.
        log: Whether it is in decades.
        most: About how many decades have room for a label.
    """
    seen = np.abs(values[np.isfinite(values)])
    top = float(seen.max()) if len(seen) else 0.0
    tiny = top < 1e-3 or (log and float(seen[seen > 0].min()) < 1e-3)
    out: Figure = {"exponentformat": "SI" if top >= 1e4 else "power" if tiny else "none"}
    if log:
        width = float(np.ptp(decades(values[np.isfinite(values)])))
        out |= {"dtick": max(1, round(width / most))} if width >= 2 else {}
    return out


def window(column: Column, firm: Array, *, log: bool, light: Array | None = None) -> list[float]:
    """Axis range around the firm points, roomier on the worse side; decades when ``log``.

    Light points widen the worse side until 95 % of them fit, but never so far that the firm points
    would fill less than some two fifths of the axis.
    """
    seen = firm[np.isfinite(firm)]
    if not len(seen):
        return [0.0, 1.0]
    if light is not None and log:
        light = np.log10(light[light > 0])
    seen = decades(seen) if log else seen
    low, high = float(seen.min()), float(seen.max())
    span = (high - low) or abs(high) * 0.1 or 1.0
    worse, better = 0.2 * span, 0.07 * span
    if light is not None and len(light):
        far = (
            np.quantile(light, 0.95) - high
            if column.goal == "min"
            else low - np.quantile(light, 0.05)
        )
        worse = max(worse, min(float(far), 1.3 * span))
    return [low - better, high + worse] if column.goal == "min" else [low - worse, high + better]


def clipped(values: Array, span: Sequence[float], *, log: bool) -> list[Any]:
    """Values for a plot; on a log axis, zeros are drawn just inside its lower edge."""
    if not log:
        return short(values)
    edge = 10.0 ** (span[0] + 0.02 * (span[1] - span[0]))
    return short(np.where(values <= 0, edge, values))


def hover(names: Sequence[str], columns: Sequence[Column], values: Array) -> list[str]:
    """One safe hover text per row: its name, then every value with its unit."""
    lines = []
    for name, row in zip(names, values, strict=True):
        told = [
            f"{escape(c.name)} {arrow(c.goal)} {escape(number(float(v), c.unit))}"
            for c, v in zip(columns, row, strict=True)
        ]
        lines.append("<br>".join([f"<b>{escape(name)}</b>", *told]))
    return lines


def figure(data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> Figure:
    """A plotly figure as plain data."""
    return {"data": [dict(trace) for trace in data], "layout": dict(layout)}
