"""Two of many objectives at a time: a plot whose axes the reader picks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..live import arrow
from .correlation import pearson
from .figures import Series, legend, scales, trace_of
from .markup import esc
from .plot import Figure, axis, axis_type, clipped, figure, layout, ticks, title_of

if TYPE_CHECKING:
    from ..problem import Array
    from ..store import Column

MOST = 6  # objectives up to which all pairs are drawn side by side


def rivals(fitness: Array) -> tuple[int, int]:
    """The two objectives that go together least over a front, shape (n, m); the first two else."""
    r = pearson(fitness) if len(fitness) > 1 else np.full((fitness.shape[1],) * 2, np.nan)
    r = np.where(np.tri(len(r), dtype=bool) | np.isnan(r), np.inf, r)
    if not np.isfinite(r).any():
        return 0, 1
    i, j = np.unravel_index(int(r.argmin()), r.shape)
    return int(i), int(j)


def pair_plot(columns: Sequence[Column], series: Sequence[Series], pair: tuple[int, int]) -> Figure:
    """One panel of objective ``pair[0]`` (across) and ``pair[1]`` (up).

    ``meta`` of the layout holds the values of every series in every objective, and every axis.
    """
    firm, logs, windows = scales(columns, series)
    axes = [
        axis(
            title_of(c, log=logs[j]), range=windows[j], type=axis_type(logs[j]), nticks=9,
            **ticks(firm[:, j], log=logs[j]),
        )
        for j, c in enumerate(columns)
    ]  # fmt: skip
    values = [
        [clipped(s.values[:, j], windows[j], log=logs[j]) for j in range(len(columns))]
        for s in series
    ]
    data = [trace_of(s) for s in series]
    for trace, own in zip(data, values, strict=True):
        trace |= {"x": own[pair[0]], "y": own[pair[1]]}
    shown = layout(
        520, xaxis=axes[pair[0]], yaxis=axes[pair[1]], meta={"axes": axes, "values": values}
    )
    shown["legend"] = shown["legend"] | legend(2)
    return figure(data, shown)


def picks(columns: Sequence[Column], pair: tuple[int, int]) -> str:
    """The two lists to pick the axes from."""
    html = ""
    for id, told, picked in (("pair-x", "Across", pair[0]), ("pair-y", "Up", pair[1])):
        options = "".join(
            f'<option value="{j}"{" selected" if j == picked else ""}>'
            f"{esc(c.name)} {arrow(c.goal)}</option>"
            for j, c in enumerate(columns)
        )
        html += f'<label for="{id}">{told}</label><select id="{id}">{options}</select>'
    return f'<p class="controls">{html}</p>'
