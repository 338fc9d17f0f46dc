"""The genome map: what every front member keeps at every site, over depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Array
from . import words
from .plot import (
    BLUE,
    SCALE,
    Figure,
    axis,
    decades,
    figure,
    layout,
    log_scale,
    scaled,
    short,
    ticks,
    title_of,
    value_of,
)  # fmt: skip

if TYPE_CHECKING:
    from ..store import Column
    from .facts import Facts

_COSTS = ("params", "kv_bytes", "weight_bytes", "macs")
_NAMED = 48


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What the front keeps: k members, S sites in order of depth.

    Args:
        sites: The site records, by depth.
        choices: Variant index per member and site, shape (k, S).
        share: Share of the site's dense cost that the member keeps, in [0, 1], shape (k, S).
    """

    sites: tuple[Mapping[str, Any], ...]
    choices: NDArray[np.int64]
    share: Array


def kept(facts: Facts) -> Kept | None:
    """What the front keeps, or None when the problem has no sites, or the front no member."""
    described = [view.meta.get("describe") or {} for view in facts.runs]
    sites, part = described[0].get("sites"), described[0].get("choices_part")
    if not sites or not part or not len(facts.front):
        return None
    if any(other.get("sites") != sites for other in described[1:]):
        return None
    order = sorted(range(len(sites)), key=lambda s: (sites[s].get("depth", s), s))
    pool = facts.pool
    rows = [facts.runs[pool.run[i]].candidates.genomes[part][pool.row[i]] for i in facts.front]
    choices = np.asarray(rows, dtype=np.int64)[:, order]
    ordered = tuple(sites[s] for s in order)
    tables = [shares(site) for site in ordered]
    share = np.stack([tables[s][choices[:, s]] for s in range(len(ordered))], axis=1)
    return Kept(ordered, choices, share)


def shares(site: Mapping[str, Any]) -> Array:
    """Cost of each variant over that of the dearest, in the first cost that tells variants apart.

    Parameters come first; a site whose variants all have as many (a cache) falls back on cache
    bytes, weight bytes, then multiply-accumulates. Without any difference every variant keeps all.
    """
    variants = site["variants"]
    for name in _COSTS:
        cost = np.array([float(v.get(name) or 0.0) for v in variants])
        if cost.max() > cost.min():
            return cost / cost.max()
    return np.ones(len(variants))


def genome_map(facts: Facts, found: Kept) -> Figure:
    """Front members (rows, sorted along one objective) by sites (columns, by depth).

    The layout's ``meta`` holds one order of rows per objective, by which the page re-sorts.
    """
    k, n_sites = found.share.shape
    x = list(range(n_sites))
    heat: Figure = {
        "type": "heatmap", "x": x, "y": list(range(k)),
        "z": [short(row) for row in found.share], "zmin": 0, "zmax": 1,
        "colorscale": scaled(SCALE), "xgap": 1 if n_sites <= 80 else 0,
        "ygap": 1 if k <= 60 else 0,
        "text": _texts(facts, found), "hoverinfo": "text",
        "colorbar": {
            "title": {"text": "share kept", "side": "top"}, "thickness": 12, "len": 0.9,
            "tickformat": ".0%", "x": 1.0, "outlinewidth": 0,
        },
    }  # fmt: skip
    first = facts.objectives[0]
    line: Figure = {
        "type": "scatter", "mode": "lines+markers" if k <= 120 else "lines", "showlegend": False,
        "x": _side(first, facts.pool.values[facts.front, 0]), "y": list(range(k)),
        "xaxis": "x2", "marker": {"size": 4, "color": BLUE}, "line": {"width": 1.4, "color": BLUE},
        "hoverinfo": "x",
    }  # fmt: skip
    named = [escape(str(site["name"])) for site in found.sites]
    every = -(-n_sites // _NAMED)
    log = log_scale(first, facts.pool.values[facts.front, 0])
    shown = layout(
        int(np.clip(150 + 9 * k, 380, 760)),
        xaxis=axis(
            None, domain=[0, 0.76], tickvals=x[::every], ticktext=named[::every], tickangle=-60,
            showgrid=False, automargin=True,
        ),
        xaxis2=axis(title_of(first, log=log), domain=[0.79, 0.97], type="log" if log else "linear",
                    side="bottom", nticks=4, **ticks(facts.pool.values[facts.front, 0], log=log)),
        yaxis=axis(
            "front members", range=[k - 0.5, -0.5], showgrid=False, showticklabels=False, ticks="",
        ),
        meta=_orders(facts),
    )  # fmt: skip
    shown["margin"] = shown["margin"] | {"l": 40, "r": 70, "b": 40}
    return figure([heat, line], shown)


def _orders(facts: Facts) -> dict[str, Any]:
    """Per objective: the rows sorted best first, and what the side panel then shows."""
    values = facts.pool.values[facts.front]
    names = [words.name_of(facts, int(row)) for row in facts.front]
    out: dict[str, Any] = {"sorts": [], "names": names}
    for j, column in enumerate(facts.objectives):
        key = values[:, j] if column.goal == "min" else -values[:, j]
        order = np.argsort(key, kind="stable")
        log = log_scale(column, values[:, j])
        out["sorts"].append({
            "name": column.name, "title": title_of(column, log=log), "log": log,
            "order": order.tolist(), "values": _side(column, values[:, j]),
            "ticks": ticks(values[:, j], log=log),
        })  # fmt: skip
    return out


def _side(column: Column, values: Array) -> list[Any]:
    """Values of the side panel; on a log axis, zeros lie just below the rest."""
    return short(10.0 ** decades(values) if log_scale(column, values) else values)


def _texts(facts: Facts, found: Kept) -> list[list[str]]:
    """Hover text per cell: site, variant, share; then the member and its sorted value."""
    first, pool = facts.objectives[0], facts.pool
    names = [[escape(str(v["name"])) for v in site["variants"]] for site in found.sites]
    sites = [escape(str(site["name"])) for site in found.sites]
    out = []
    for i, row in enumerate(facts.front):
        who = (
            f"candidate {pool.id[row]}, {escape(first.name)} {value_of(pool.values[row, 0], first)}"
        )
        out.append([
            f"<b>{sites[s]}</b><br>{names[s][found.choices[i, s]]}<br>"
            f"keeps {found.share[i, s]:.0%}<br>{who}"
            for s in range(len(sites))
        ])  # fmt: skip
    return out


def habits(found: Kept) -> tuple[Sequence[tuple[str, float]], Sequence[tuple[str, float]]]:
    """Sites with their mean share kept over the front: the two most spared, the two most cut."""
    mean = found.share.mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    pairs = [(str(found.sites[s]["name"]), float(mean[s])) for s in order]
    return pairs[:2], pairs[::-1][:2]
