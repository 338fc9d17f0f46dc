"""The first half of the page: the question, the answer, the way there, what answers look like."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import DEFAULT_PROBLEM
from ..indicators import REFERENCE as CORNER
from ..live import arrow, number
from . import correlation, curves, drawing, figures, maps, pairs, words
from .choice import choice
from .facts import Box, Facts, block_curve, front_of
from .markup import Section, count, esc, grid, listed, paragraph, plot
from .markup import words as word_table
from .plot import CYCLE, value_of
from .table import front_table

if TYPE_CHECKING:
    from ..store import RunView


def asked(facts: Facts) -> Section:
    """Problem, objectives, evaluation budget, seeds, constraints, data."""
    config = facts.runs[0].meta.get("config") or {}
    body = (
        f'<div class="facts"><div><h3>Problem</h3>{_problem(facts, config)}</div>'
        f"<div><h3>Search</h3>{_search(facts, config)}</div></div>"
        f"<h3>Objectives</h3>{_objectives(facts)}"
    )
    return Section("asked", "What was asked", f"Find {words.wanted(facts)}", body)


def _problem(facts: Facts, config: Mapping[str, Any]) -> str:
    problem = dict(config.get("problem") or {})
    told = facts.describe
    known = {str(k): v for k, v in (told.get("facts") or {}).items()}
    pairs = [("problem", problem.pop("id", None) or DEFAULT_PROBLEM)]
    pairs += [] if "model" in known else [("model", told.get("model"))]
    sites = told.get("sites") or []
    if sites:
        variants = sum(len(site["variants"]) for site in sites)
        pairs.append(("choices", f"{count(len(sites), 'site')}, {variants:,} variants in all"))
    else:
        parts = [f"{name}: {length:,} {kind}" for name, kind, length in facts.runs[0].parts]
        pairs.append(("genome", ", ".join(parts)))
    pairs += list(known.items())
    pairs.append(("notes", "; ".join(map(str, told.get("notes") or ()))))
    pairs += [(k, _short(v)) for k, v in problem.items() if k != "model"]
    return word_table(pairs)


def _search(facts: Facts, config: Mapping[str, Any]) -> str:
    algorithm, stop = (
        dict(config.get("algorithm") or {}),
        facts.runs[0].meta.get("stop") or config.get("stop") or {},
    )
    pool = facts.pool
    searched = pool.origin == "search"
    seeds = [str((view.meta.get("config") or {}).get("seed", "–")) for view in facts.runs]
    limits = [
        f"{v:g} {k}" if k != "stall" else f"{v} generations without gain"
        for k, v in stop.items()
        if v is not None
    ]
    judged = count(int(searched.sum()), "evaluation")
    failed = int((searched & ~pool.ok).sum())
    pairs = [
        ("algorithm", algorithm.pop("id", None)),
        ("population", algorithm.pop("population", None)),
        *((k, _short(v)) for k, v in algorithm.items()),
        ("stop after", " or ".join(limits) or "the default number of generations"),
        ("judged", f"{judged}, {failed:,} failed" if failed else f"{judged}, none failed"),
        ("seed" if len(seeds) == 1 else "seeds", ", ".join(dict.fromkeys(seeds))),
        ("constraints", ", ".join(config.get("constraints") or []) or "none"),
        ("validation", _validated(facts)),
    ]
    return word_table(pairs)


def _validated(facts: Facts) -> str:
    judged = np.isfinite(facts.pool.validation[facts.front]).any(axis=1)
    if not judged.any():
        return "none"
    return f"{count(int(judged.sum()), 'front member')} judged again on data the search never saw"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{k} {v}" for k, v in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 300 else text[:297] + "…"


def _objectives(facts: Facts) -> str:
    """One line per column; the untouched problem is shown where it says how it scores."""
    told = facts.dense
    values, rows = facts.pool.values[facts.front], []
    for j, c in enumerate(facts.columns):
        seen = values[:, j][np.isfinite(values[:, j])]
        span = f"{value_of(seen.min(), c)} to {value_of(seen.max(), c)}" if len(seen) else "–"
        scored = value_of(told[c.name], c) if c.name in told else "–"
        rows.append([
            f"{c.name} {arrow(c.goal)}", "less is better" if c.goal == "min" else "more is better",
            c.unit or "–", "searched" if c.searched else "recorded only", number(c.resolution),
            *([scored] if told else []), span,
        ])  # fmt: skip
    head = ["name", "goal", "unit", "role", "resolution"]
    head += [*(["dense"] if told else []), "range on the front"]
    return grid(head, rows, left=4)


def answer(facts: Facts) -> Section:
    """Front matrix, parallel coordinates, table."""
    finding = words.span_of_front(facts)
    if facts.knee is None:
        return Section("answer", "The answer", finding, paragraph(words.finding(facts)))
    thin = thinned(facts)
    body = _matrix(thin, facts)
    if len(facts.objectives) > 1 and len(thin.front) > 1:
        body += choice(thin, facts)
    body += front_table(thin, len(facts.front)) + _correlations(facts)
    return Section("answer", "The answer", finding, body)


def _correlations(facts: Facts) -> str:
    """How three objectives or more go together, over the front and over all candidates."""
    pool, least = facts.pool, correlation.LEAST
    if len(facts.objectives) < least or len(facts.front) < least:
        return ""
    every = pool.fitness[(pool.origin == "search") & pool.feasible]
    spec = correlation.heat(facts.objectives, pool.fitness[facts.front], every)
    told = (
        "Pearson's r of every two objectives: positive where they get better together, negative "
        "where one costs the other. Below the diagonal over the "
        f"{count(len(facts.front), 'front member')}, above it over all "
        f"{count(len(every), 'feasible candidate')} of the search; empty where one never changes."
    )
    heading = "<h3>How objectives go together</h3>"
    return heading + plot(
        "correlation", spec, told, label="Correlation of objectives",
        least=150 + 48 * len(facts.objectives),
    )  # fmt: skip


def thinned(facts: Facts) -> Facts:
    """The same facts with some ``figures.MEMBERS`` front members at most; knee and bests stay."""
    from dataclasses import replace

    total, most = len(facts.front), figures.members(len(facts.objectives))
    if total <= most:
        return facts
    assert facts.knee is not None
    picked = facts.front[np.linspace(0, total - 1, most).round().astype(int)]
    keep = np.isin(facts.front, np.concatenate([picked, [facts.knee], facts.best]))
    return replace(facts, front=facts.front[keep])


def _matrix(facts: Facts, whole: Facts) -> str:
    """The front matrix with its caption; baselines only where they do not crowd out the front."""
    names = [words.name_of(facts, int(row)) for row in facts.front]
    m = len(facts.objectives)
    light, drawn_from = figures.cloud(facts, m if m > pairs.MOST else max(m * (m - 1) // 2, 1))
    found = _group_fronts(facts) or [figures.front_series(facts, names)]
    series = [light, *_baselines(facts, firm=False), *found]
    dense = figures.dense_series(facts)
    series += [dense] if dense is not None else []
    if facts.knee is not None and m > 1:
        series.append(figures.knee_series(facts, words.name_of(facts, facts.knee)))
    html = ""
    if m > pairs.MOST:
        pair, outside = pairs.rivals(facts.pool.fitness[facts.front]), 0
        spec, html = (
            pairs.pair_plot(facts.objectives, series, pair),
            pairs.picks(facts.objectives, pair),
        )
    else:
        spec, outside = figures.matrix(facts.objectives, series)
    told = [f"{count(len(whole.front), 'front member')}, {words.budget(whole)}."]
    if m > pairs.MOST:
        told.append("Shown first are the two objectives that go together least over the front.")
    if len(found) > 1:
        told.append("One front per configuration; the table lists that of all runs together.")
    if len(facts.front) < len(whole.front):
        told.append(f"{len(facts.front):,} of the members are drawn, evenly spaced.")
    if len(light.values) < drawn_from:
        told.append(
            f"{len(light.values):,} of {drawn_from:,} feasible candidates are drawn lightly, "
            "evenly spaced."
        )
    if figures.zero_on_log(facts.objectives, series):
        told.append("On a log axis, 0 is drawn at the edge.")
    if outside:
        told.append(
            f"{count(outside, 'drawn point lies', 'drawn points lie')} outside the axes; "
            "double-click to see all."
        )
    told.append("Click a point to mark it everywhere and in the table.")
    label = f"Candidates and front: {words.wanted(facts)}"
    least = 180 + 150 * (m - 1) if 2 < m <= pairs.MOST else 0
    return html + plot("front", spec, " ".join(told), label=label, least=least)


def _group_fronts(facts: Facts) -> list[figures.Series]:
    """One step line or cloud per configuration when several are compared."""
    if len(facts.groups) < 2:
        return []
    pool, out, m = facts.pool, [], len(facts.objectives)
    for i, (label, members) in enumerate(facts.groups):
        rows = front_of(pool, "search", runs=members)
        symbol = figures.SYMBOLS[i % len(figures.SYMBOLS)]
        marker = {"size": 7, "symbol": f"{symbol}-open", "color": CYCLE[(i + 1) % 6]}
        name = esc(f"{label} ({count(len(members), 'run')})")
        names = [words.name_of(facts, int(r)) for r in rows]
        text = figures.hover(names, facts.objectives, pool.values[rows, :m])
        out.append(figures.Series(name, pool.values[rows, :m], marker, text, names, steps="dot"))
    return out


def _baselines(facts: Facts, *, firm: bool) -> list[figures.Series]:
    out = []
    for origin in baseline_names(facts.pool.origin):
        rows = front_of(facts.pool, origin)
        if len(rows):
            out.append(figures.baseline_series(facts, origin, rows, firm=firm))
    return out


def baseline_names(origins: NDArray[np.str_]) -> list[str]:
    """Origins other than the search, sorted."""
    return [str(name) for name in np.unique(origins) if name != "search"]


def journey(facts: Facts) -> Section:
    """Hypervolume by evaluation and minute; best values."""
    if facts.track is None:
        return Section(
            "journey", "How it got there", words.speed(facts), paragraph("Nothing to draw yet.")
        )
    lines = [
        (origin, block_curve(facts, origin, run))
        for run in range(len(facts.runs) if len(facts.runs) == 1 else 0)
        for origin in baseline_names(facts.pool.origin)
        if origin in figures.BASELINES and origin != "baseline:uniform"  # the others are lists
    ]
    told = box_text(facts, facts.track)
    told += " Minutes are active search time, interruptions left out."
    body = plot(
        "growth", curves.growth(facts, lines), told, label="Hypervolume over time", least=560
    )
    body += "<h3>Best value of each objective so far</h3>" + plot(
        "best", curves.best_values(facts),
        "Best feasible value after each generation; a step, because nothing is known in between.",
        label="Best values over evaluations", least=300 * min(len(facts.objectives), 3),
    )  # fmt: skip
    return Section("journey", "How it got there", words.speed(facts), body)


def box_text(facts: Facts, box: Box | None) -> str:
    """The caption that states box and reference point."""
    if box is None:
        return "No candidate is feasible, so there is no box."
    told = []
    for j, c in enumerate(facts.objectives):
        sign = 1.0 if c.goal == "min" else -1.0
        ideal, nadir = sign * float(box.ideal[j]), sign * float(box.nadir[j])
        corner = ideal + CORNER * (nadir - ideal)
        told.append(
            f"{c.name} {value_of(ideal, c)} to {value_of(nadir, c)} "
            f"(reference {value_of(corner, c)})"
        )
    return (
        "Share of the box between the best corner and the reference point that the front covers. "
        f"Box: {box.source}; {listed(told)}. The reference point lies at {CORNER} of the box in "
        "every objective."
    )


def look(facts: Facts) -> Section | None:
    """The genome map, or None when the problem has no sites."""
    thin = thinned(facts)
    found = maps.kept(thin)
    if found is None:
        return None
    spared, cut = maps.habits(found)
    options = "".join(f"<option>{esc(c.name)} {arrow(c.goal)}</option>" for c in facts.objectives)
    body = (
        f'<p class="controls"><label for="map-sort">Sort front members along</label>'
        f'<select id="map-sort">{options}</select></p>'
    )
    caption = words.map_caption(found, len(thin.front), len(facts.front))
    body += plot(
        "map", maps.genome_map(thin, found), caption, label="What front members keep, by depth",
        least=620,
    )  # fmt: skip
    return Section("map", "What the answers look like", words.habit(spared, cut), body)


def drawn(facts: Facts) -> Section | None:
    """The picture that the problem drew with what members chose in it, or None without one."""
    left_out = (facts.runs[0].meta.get("drawing") or {}).get("left_out")
    if left_out and len(facts.runs) == 1:
        return Section("drawing", "What the answers look like", str(left_out), "")
    thin = thinned(facts)
    found = drawing.found(thin)
    if found is None:
        return None
    assert facts.knee is not None
    options = "".join(
        f'<option value="{esc(words.name_of(facts, row))}">{esc(name)}</option>'
        for row, name in drawing.members(thin, found)
    )
    body = (
        f'<p class="controls"><label for="drawing-pick">Show {esc(found.told["marked"])} of</label>'
        f'<select id="drawing-pick">{options}</select></p>'
    )
    caption, finding = found.caption(len(facts.front)), found.finding(facts.knee, "The knee")
    body += plot("drawing", drawing.network(thin, found), caption, label=finding)
    return Section("drawing", "What the answers look like", finding, body)


def stamp(view: RunView) -> str:
    """When a run began, in UTC, or nothing when that is not recorded."""
    begun = view.meta.get("created") or (view.generations[0].started if view.generations else None)
    if not begun:
        return ""
    return time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(begun)).lstrip("0")
