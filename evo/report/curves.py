"""The figures of how it got there: hypervolume and best values over evaluations and minutes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ..problem import Array
from .figures import BASELINES
from .markup import count
from .plot import (
    CYCLE,
    DASHES,
    Figure,
    axis,
    decades,
    figure,
    layout,
    log_scale,
    short,
    ticks,
    title_of,
)  # fmt: skip

if TYPE_CHECKING:
    from .facts import Band, Curve, Facts

_ABOVE = {
    "orientation": "h",
    "y": 1.02,
    "yanchor": "bottom",
    "x": 0,
    "xanchor": "left",
    "traceorder": "normal",
}


def growth(facts: Facts, baselines: Sequence[tuple[str, Curve]]) -> Figure:
    """Hypervolume of each run by evaluation (left) and by minute (right), baselines on the left."""
    styles = _styles(facts)
    data = [
        _step(style, curve.evaluations, curve.volume, legend=True)
        for style, curve in zip(styles, facts.curves, strict=True)
    ]
    data += [_baseline(origin, curve) for origin, curve in baselines]
    data += [
        _step(style, curve.minutes, curve.volume, legend=False) | {"xaxis": "x2", "yaxis": "y2"}
        for style, curve in zip(styles, facts.curves, strict=True)
    ]
    shown = layout(
        400,
        xaxis=axis("evaluations", domain=[0, 0.53], rangemode="tozero", exponentformat="none"),
        yaxis=axis("hypervolume ↑ (share of the reference box)", tickformat=".2~f"),
        xaxis2=axis("minutes of search", domain=[0.6, 1], anchor="y2", rangemode="tozero"),
        yaxis2=axis(None, matches="y", anchor="x2", tickformat=".2~f"),
    )
    shown["legend"] = shown["legend"] | _ABOVE
    return figure(data, shown)


def spread(bands: Sequence[Band], by: str = "evaluations") -> Figure:
    """Median hypervolume of each configuration over evaluations or minutes, quartiles as a band."""
    data: list[Figure] = []
    for i, band in enumerate(bands):
        colour, x = CYCLE[i % len(CYCLE)], short(band.at)
        edge = {
            "type": "scatter",
            "mode": "lines",
            "x": x,
            "hoverinfo": "skip",
            "showlegend": False,
        }
        flat = {"width": 0, "shape": "hv"}
        data.append(edge | {"y": short(band.low), "line": flat})
        data.append(
            edge
            | {"y": short(band.high), "line": flat, "fill": "tonexty", "fillcolor": pale(colour)}
        )
        name = escape(f"{band.label} (median of {band.runs} runs)")
        line = {"color": colour, "width": 2.2, "dash": dash_of(i), "shape": "hv"}
        data.append(
            {"type": "scatter", "mode": "lines", "x": x, "y": short(band.median), "name": name,
             "line": line}
        )  # fmt: skip
    shown = layout(
        380,
        xaxis=axis(by, rangemode="tozero", exponentformat="none"),
        yaxis=axis("hypervolume ↑ (share of the reference box)", tickformat=".2~f"),
    )
    shown["legend"] = shown["legend"] | _ABOVE
    return figure(data, shown)


def best_values(facts: Facts) -> Figure:
    """Best value per objective over evaluations, one panel per objective."""
    columns, styles = facts.objectives, _styles(facts)
    m, across = len(columns), min(len(columns), 3)
    rows = -(-m // across)
    data: list[Figure] = []
    shown = layout(max(250, 250 * rows), showlegend=len(facts.groups) > 1)
    for j, column in enumerate(columns):
        ids = {"xaxis": "x" if j == 0 else f"x{j + 1}", "yaxis": "y" if j == 0 else f"y{j + 1}"}
        for style, curve in zip(styles, facts.curves, strict=True):
            trace = _step(style, curve.evaluations, curve.best[:, j], legend=j == 0)
            data.append(trace | ids)
        seen = np.concatenate([curve.best[:, j] for curve in facts.curves])
        log = log_scale(column, seen)
        col, row = j % across, j // across
        shown[f"xaxis{'' if j == 0 else j + 1}"] = axis(
            "evaluations" if row == rows - 1 or j + across >= m else "",
            anchor=ids["yaxis"], rangemode="tozero", exponentformat="none", nticks=6,
            domain=[col / across + 0.095 * (col > 0), (col + 1) / across - 0.01],
        )  # fmt: skip
        shown[f"yaxis{'' if j == 0 else j + 1}"] = axis(
            f"best {title_of(column, log=log)}", range=_span(seen, log=log),
            **ticks(seen, log=log), anchor=ids["xaxis"], nticks=6,
            type="log" if log else "linear",
            domain=[1 - (row + 1) / rows + 0.16 * (rows > 1), 1 - row / rows],
        )  # fmt: skip
    shown["legend"] = shown["legend"] | _ABOVE
    return figure(data, shown)


def _span(values: Array, *, log: bool) -> list[float]:
    """Axis range with a margin; a constant gets five per cent to either side."""
    seen = values[np.isfinite(values)]
    if not len(seen):
        return [0.0, 1.0]
    seen = decades(seen) if log else seen
    low, high = float(seen.min()), float(seen.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return [low - margin, high + margin]


def _styles(facts: Facts) -> list[Figure]:
    """Name, line and legend of each run: one colour and one legend entry per configuration."""
    styles: dict[int, Figure] = {}
    for i, (label, members) in enumerate(facts.groups):
        alone = len(facts.runs) == 1
        line = {"shape": "hv", "width": 2 if len(members) == 1 else 1.3}
        line |= {"color": CYCLE[i % len(CYCLE)], "dash": DASHES[i % len(DASHES)]}
        for run in members:
            styles[run] = {
                "type": "scatter",
                "mode": "lines",
                "line": line,
                "name": "search" if alone else escape(f"{label} ({count(len(members), 'run')})"),
                "legendgroup": str(i),
                "first": run == members[0],
            }
            if not alone:
                told = escape(facts.runs[run].folder.name)
                styles[run]["hovertemplate"] = f"{told}<br>%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>"
    return [styles[run] for run in range(len(facts.runs))]


def _step(style: Figure, x: Any, y: Any, *, legend: bool) -> Figure:
    """One run as a step line."""
    shown = {key: value for key, value in style.items() if key != "first"}
    return shown | {"x": short(x), "y": short(y), "showlegend": legend and style["first"]}


def _baseline(origin: str, curve: Curve) -> Figure:
    name, _, colour, dash = BASELINES[origin]
    return {
        "type": "scatter", "mode": "lines", "x": short(curve.evaluations),
        "y": short(curve.volume), "name": name,
        "line": {"shape": "hv", "width": 1.6, "color": colour, "dash": dash},
    }  # fmt: skip


def dash_of(i: int) -> str:
    """Dash of the i-th configuration: colours repeat after six, pairs of colour and dash later."""
    return DASHES[(i + i // len(CYCLE)) % len(DASHES)]


def pale(colour: str) -> str:
    """The colour, nearly transparent."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
