"""The figures of the answer: front matrix and parallel coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Array
from .plot import (
    AMBER,
    BLUE,
    CLOUD,
    GREEN,
    GRID,
    INK,
    PAPER,
    ROSE,
    RUST,
    SKY,
    Figure,
    axis,
    axis_id,
    axis_key,
    axis_type,
    clipped,
    figure,
    hover,
    layout,
    log_scale,
    ticks,
    title_of,
    window,
)  # fmt: skip

if TYPE_CHECKING:
    from ..store import Column
    from .facts import Facts

POINTS = 9_000  # light points on one page stay below this, over all panels
MEMBERS = 800  # members of the front on one page, at most
FEWEST = 100  # of them, however many panels there are
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "hexagon")

BASELINES = {
    "baseline:uniform": ("uniform", "square", AMBER, "dash"),
    "baseline:random": ("random", "x", ROSE, "dot"),
    "baseline:greedy": ("greedy", "triangle-up", GREEN, "dashdot"),
}
OWN = (
    ("pentagon", SKY, "longdash"),
    ("diamond", RUST, "dash"),
    ("triangle-down", GREEN, "dot"),
    ("hexagon", ROSE, "longdashdot"),
    ("cross", AMBER, "dashdot"),
    ("star", INK, "dot"),
    ("hourglass", SKY, "dash"),
    ("bowtie", RUST, "dashdot"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Points of one kind, drawn alike in every panel.

    Args:
        name: What the legend says.
        values: Raw units, shape (k, m).
        marker: Plotly marker.
        text: Hover text per point, or none.
        ids: Candidate per point, so that the page can select them.
        steps: Dash of the step line of a two-objective front; None draws none.
        firm: Whether the axes make room for it.
    """

    name: str
    values: Array
    marker: dict[str, Any]
    text: Sequence[str] = ()
    ids: Sequence[str] = field(default=())
    steps: str | None = None
    firm: bool = True


def baseline_style(origin: str, origins: Iterable[str]) -> tuple[str, str, str, str]:
    """Name, symbol, colour and dash of a baseline; a problem's own differ by their place."""
    if origin in BASELINES:
        return BASELINES[origin]
    own = sorted(set(origins) - {*BASELINES, "search"})
    place = own.index(origin) % len(OWN)
    return (origin.removeprefix("baseline:"), *OWN[place])


def cloud(facts: Facts, panels: int) -> tuple[Series, int]:
    """The light points: feasible candidates of the search, every k-th where there are too many.

    Returns:
        The series, and how many candidates it was drawn from.
    """
    pool, m = facts.pool, len(facts.objectives)
    rows = np.flatnonzero((pool.origin == "search") & pool.feasible)
    total, most = len(rows), max(POINTS // max(panels, 1), 200)
    if total > most:
        rows = rows[np.linspace(0, total - 1, most).round().astype(int)]
    marker = {"size": 4, "color": CLOUD, "opacity": 0.55}
    return Series("all candidates", pool.values[rows, :m], marker, firm=False), total


def members(m: int) -> int:
    """How many members of the front are shown with m objectives: each is in every panel."""
    return min(MEMBERS, max(10 * MEMBERS // max(m * (m - 1) // 2, 1), FEWEST))


def front_series(facts: Facts, names: Sequence[str]) -> Series:
    """The front, firm; ``names`` has one name per member."""
    values = facts.pool.values[facts.front][:, : len(facts.objectives)]
    text = hover([f"candidate {n}" for n in names], facts.objectives, values)
    size = 7 if len(facts.objectives) < 4 else 5
    marker = {"size": size, "color": BLUE, "line": {"width": 0.6, "color": PAPER}}
    return Series("front", values, marker, text, list(names), "solid")


def knee_series(facts: Facts, name: str) -> Series:
    """The knee, ringed."""
    assert facts.knee is not None
    values = facts.pool.values[[facts.knee]][:, : len(facts.objectives)]
    marker = {"size": 15, "symbol": "circle-open", "color": RUST, "line": {"width": 2.2}}
    text = hover([f"knee, candidate {name}"], facts.objectives, values)
    return Series("knee", values, marker, text)


def dense_series(facts: Facts) -> Series | None:
    """The untouched problem, when it says how it scores in every objective."""
    told = facts.dense
    if not all(column.name in told for column in facts.objectives):
        return None
    values = np.array([[told[column.name] for column in facts.objectives]])
    marker = {"size": 13, "symbol": "star", "color": INK}
    return Series("dense", values, marker, hover(["dense"], facts.objectives, values))


def baseline_series(facts: Facts, origin: str, rows: NDArray[np.intp], *, firm: bool) -> Series:
    """The front of one baseline, in its own shape."""
    name, symbol, colour, dash = baseline_style(origin, facts.pool.origin.tolist())
    values = facts.pool.values[rows][:, : len(facts.objectives)]
    marker = {
        "size": 6.5 if len(facts.objectives) < 4 else 5,
        "symbol": f"{symbol}-open",
        "color": colour,
        "line": {"width": 1.4},
    }
    text = hover([f"{name}, candidate {i}" for i in facts.pool.id[rows]], facts.objectives, values)
    return Series(name, values, marker, text, steps=dash, firm=firm)


def matrix(columns: Sequence[Column], series: Sequence[Series]) -> tuple[Figure, int]:
    """Every pair of objectives as one panel; a single objective against the rank in its series.

    Returns:
        The figure, and how many points lie outside its axes in some panel.
    """
    m = len(columns)
    firm, logs, windows = scales(columns, series)
    if m == 1:
        return _single(columns[0], series, windows[0], log=logs[0])
    data = [
        trace
        for s in series
        for j in range(1, m)
        for i in range(j)
        for trace in [_panel(s, columns, (i, j), windows, logs)]
    ]
    rows = m - 1
    shown = layout(
        470 if m == 2 else 80 + max(560, 200 * rows), **_axes(columns, firm, logs, windows)
    )
    shown["legend"] = shown["legend"] | legend(m)
    return figure(data, shown), _outside(series, windows, logs)


def scales(
    columns: Sequence[Column], series: Sequence[Series]
) -> tuple[Array, list[bool], list[list[float]]]:
    """The firm values, shape (k, m), and per column: whether it is drawn in decades, its range."""
    none = np.empty((0, len(columns)))
    firm = np.concatenate([s.values for s in series if s.firm] or [none])
    logs = [log_scale(c, firm[:, j]) for j, c in enumerate(columns)]
    light = np.concatenate([s.values for s in series if not s.firm] or [none])
    spans = [window(c, firm[:, j], log=logs[j], light=light[:, j]) for j, c in enumerate(columns)]
    return firm, logs, spans


def zero_on_log(columns: Sequence[Column], series: Sequence[Series]) -> bool:
    """Whether some point has a value of 0 on an axis that the matrix draws in decades."""
    firm = np.concatenate([s.values for s in series if s.firm] or [np.empty((0, len(columns)))])
    every = np.concatenate([s.values for s in series])
    return any(
        log_scale(c, firm[:, j]) and bool((every[:, j] <= 0).any()) for j, c in enumerate(columns)
    )


def _panel(
    s: Series,
    columns: Sequence[Column],
    pair: tuple[int, int],
    windows: Sequence[list[float]],
    logs: Sequence[bool],
) -> Figure:
    """One series in the panel of objective i (across) and j (up)."""
    i, j = pair
    order = np.argsort(s.values[:, i], kind="stable") if s.steps else np.arange(len(s.values))
    stepped = s.steps is not None and len(columns) == 2 and len(order) > 0
    trace = trace_of(s, order) | {
        "x": clipped(s.values[order, i], windows[i], log=logs[i]),
        "y": clipped(s.values[order, j], windows[j], log=logs[j]),
        "xaxis": axis_id("x", i), "yaxis": axis_id("y", j - 1), "showlegend": pair == (0, 1),
    }  # fmt: skip
    if stepped:
        shape = "hv" if columns[i].goal == "min" else "vh"
        trace["mode"] = "lines+markers"
        trace["line"] = {"shape": shape, "width": 1.4, "dash": s.steps, "color": s.marker["color"]}
    return trace


def trace_of(s: Series, order: NDArray[np.intp] | None = None) -> Figure:
    """Marks, names and hover texts of a series in this order, without its places."""
    rows = range(len(s.values)) if order is None else order.tolist()
    trace: Figure = {
        "type": "scatter", "name": s.name, "mode": "markers", "marker": s.marker,
        "legendgroup": s.name, "hoverinfo": "text" if s.text else "skip",
    }  # fmt: skip
    if s.text:
        trace["hovertext"] = [s.text[k] for k in rows]
    if s.ids:
        trace["customdata"] = [s.ids[k] for k in rows]
    return trace


def _axes(
    columns: Sequence[Column],
    firm: Array,
    logs: Sequence[bool],
    windows: Sequence[list[float]],
) -> dict[str, Figure]:
    """One axis per column of panels and one per row; rows start left, columns end at the bottom."""
    m, out = len(columns), {}
    labels, most = (9, 6) if m < 4 else (4, 3)
    width = 1.0 / (m - 1)
    gap = 0.0 if m == 2 else 0.09 * width
    for i in range(m - 1):
        out[axis_key("x", i)] = axis(
            title_of(columns[i], log=logs[i]), range=windows[i], type=axis_type(logs[i]),
            domain=[i * width + gap / 2, (i + 1) * width - gap / 2],
            anchor=axis_id("y", m - 2), nticks=labels, tickangle=0,
            **ticks(firm[:, i], log=logs[i], most=most),
        )  # fmt: skip
        j = i + 1
        out[axis_key("y", i)] = axis(
            title_of(columns[j], log=logs[j]), range=windows[j], type=axis_type(logs[j]),
            domain=[1 - j * width + gap / 2, 1 - (j - 1) * width - gap / 2],
            anchor="x", nticks=labels,
            **ticks(firm[:, j], log=logs[j], most=most),
        )  # fmt: skip
    return out


def legend(m: int) -> dict[str, Any]:
    """The legend: above two objectives; in the empty upper right corner of a larger matrix."""
    if m == 2:
        return {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}
    return {"x": 1.0, "xanchor": "right", "y": 0.97, "yanchor": "top"}


def _outside(series: Sequence[Series], windows: Sequence[list[float]], logs: Sequence[bool]) -> int:
    count = 0
    for s in series:
        outside = np.zeros(len(s.values), dtype=bool)
        for j, (low, high) in enumerate(windows):
            v = s.values[:, j]
            if logs[j]:
                v = np.where(v > 0, np.log10(np.maximum(v, 1e-300)), low)
            outside |= ~((v >= low) & (v <= high))
        count += int(outside.sum())
    return count


def _single(
    column: Column, series: Sequence[Series], span: list[float], *, log: bool
) -> tuple[Figure, int]:
    data = [
        {
            "type": "scatter", "mode": "markers", "name": s.name, "marker": s.marker,
            "x": clipped(s.values[:, 0], span, log=log), "y": [s.name] * len(s.values),
            "hoverinfo": "text" if s.text else "x", "hovertext": list(s.text),
        }
        for s in series
    ]  # fmt: skip
    every = np.concatenate([s.values[:, 0] for s in series if s.firm])
    across = axis(
        title_of(column, log=log), range=span, type=axis_type(log), **ticks(every, log=log)
    )
    up = axis(None, autorange="reversed", gridcolor=GRID)
    shown = layout(130 + 44 * len(series), xaxis=across, yaxis=up, showlegend=False)
    shown["margin"] = shown["margin"] | {"l": 130}
    return figure(data, shown), _outside(series, [span], [log])
