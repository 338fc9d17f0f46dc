"""The second half of the page: baselines, how sure, how to repeat."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..indicators import nondominated, rank_correlation
from ..live import duration
from . import curves, figures, words
from .agreement import identity
from .facts import Band, Facts, bands, front_of, standings
from .markup import Section, count, details, esc, grid, paragraph, plot, pre
from .markup import words as word_table
from .sections import baseline_names, box_text, stamp, thinned

if TYPE_CHECKING:
    from ..problem import Array
    from ..store import Column, RunView

_EVENTS = 200
_REASONS = 40
_REASON_LENGTH = 400
_NAMES = {"problem": "stands on", "git": "source", "reason": "stopped"}
_TOLD = {
    "config",
    "describe",
    "drawing",
    "parts",
    "fingerprint",
    "box",
    "scales",
    "created",
    "status",
    "stop",
    "command",
}


def baselines(facts: Facts) -> Section | None:
    """Search against baselines on one box, and what they told, or None without baselines."""
    lines = standings(facts)
    if len(lines) < 2 or facts.box is None:
        return None
    rows = [
        (line.origin.removeprefix("baseline:"), f"{line.evaluations:,}", f"{line.front:,}",
         f"{line.volume:.4f}", "–" if line.beaten is None else f"{line.beaten:.0%}")
        for line in lines
    ]  # fmt: skip
    head = (
        "found by",
        "evaluations",
        "front",
        "hypervolume ↑",
        "of its front, dominated by the search",
    )
    table = grid(head, rows, id="baseline-table")
    told = dict.fromkeys(e.text for v in facts.runs for e in v.events if e.kind == "baseline")
    notes = "".join(paragraph(f"{text[:1].upper()}{text[1:]}.", "note") for text in told)
    body = table + notes + paragraph(box_text(facts, facts.box), "note") + _fronts(facts)
    return Section("baselines", "Baselines", words.against_baselines(lines), body)


def _fronts(facts: Facts) -> str:
    """All fronts overlaid."""
    thin = thinned(facts)
    names = [words.name_of(facts, int(row)) for row in thin.front]
    series = []
    if facts.knee is not None:
        found = figures.front_series(thin, names)
        series.append(
            figures.Series("search", found.values, found.marker, found.text, names, "solid")
        )
    for origin in baseline_names(facts.pool.origin):
        rows = front_of(facts.pool, origin)
        if len(rows):
            series.append(figures.baseline_series(facts, origin, rows, firm=True))
    dense = figures.dense_series(facts)
    series += [dense] if dense is not None else []
    spec, _ = figures.matrix(facts.objectives, series)
    return plot(
        "baselines", spec,
        f"Fronts of the search and of each baseline, {words.budget(facts)}; click the legend to "
        "hide or show one.",
        label="Fronts of search and baselines", least=180 + 150 * (len(facts.objectives) - 1),
    )  # fmt: skip


def sure(facts: Facts) -> Section:
    """Validation, confirmation and seeds; says so when there is none of them."""
    seeds = bands(facts)
    body, told = "", []
    for values, what in (
        (facts.pool.validation, "validation"),
        (facts.pool.confirmed, "confirmed"),
    ):
        finding, html = _elsewhere(facts, values, what)
        told += [finding] if finding else []
        body += html
    if len(facts.runs) > 1:
        told += [words.across_seeds(seeds)] if seeds else []
        body += _seeds(facts, seeds)
    if not told:
        told = ["One run without validation data: chance has not been measured"]
    if len(facts.runs) == 1:
        body += _more_seeds(facts.runs[0])
    return Section("sure", "How sure", ". ".join(told), body)


def _more_seeds(view: RunView) -> str:
    folder = words.shown(view.folder)
    seed = (view.meta.get("config") or {}).get("seed", 0)
    other = seed + 1 if isinstance(seed, int) else 1
    lines = (
        f"evo run {shlex.quote(folder + '/config.toml')} --set seed={other}\n"
        f"evo report {shlex.quote(folder)} OTHER-RUN"
    )
    return paragraph(
        "Other seeds show how much of this is chance; several runs give medians and quartiles:",
        "note",
    ) + pre(lines)


def _elsewhere(facts: Facts, values: Array, what: str) -> tuple[str, str]:
    """Search values against other values of the front: a finding and its figure, or nothing.

    Columns are told where some member's value differs.
    """
    pool, rows = facts.pool, facts.front
    search, other = pool.values[rows], values[rows]
    both = np.isfinite(other) & np.isfinite(search)
    differing = [
        j for j in range(len(facts.columns)) if (both[:, j] & (other[:, j] != search[:, j])).any()
    ]
    if not both.any():
        return "", ""
    if not differing:
        return f"All {what} values equal those of the search", ""
    columns = [facts.columns[j] for j in differing]
    names = [words.name_of(facts, int(row)) for row in rows]
    spec = identity(columns, search[:, differing], other[:, differing], what, names)
    judged = int(both.any(axis=1).sum())
    source = "data the search never saw" if what == "validation" else "slower, truer measurements"
    caption = (
        f"{count(judged, 'front member')} judged again on {source}. Points on the dashed line kept "
        "their value; Spearman's rank correlation: "
        f"{_correlations(columns, search[:, differing], other[:, differing])}."
    )
    html = f"<h3>Search against {what}</h3>" + plot(
        what, spec, caption, label=f"Search against {what} values",
        least=290 * min(len(columns), 3),
    )  # fmt: skip
    return _survivors(facts, other, what), html


def _correlations(columns: Sequence[Column], search: Array, other: Array) -> str:
    told = [
        f"{c.name} {r:.3f}"
        if np.isfinite(r := rank_correlation(search[:, i], other[:, i]))
        else f"{c.name} –"
        for i, c in enumerate(columns)
    ]
    return ", ".join(told)


def _survivors(facts: Facts, other: Array, what: str) -> str:
    """How many members stay non-dominated under the other values, searched columns only."""
    m = len(facts.objectives)
    search = facts.pool.values[facts.front][:, :m]
    merged = np.where(np.isfinite(other[:, :m]), other[:, :m], search)
    sign = np.array([1.0 if c.goal == "min" else -1.0 for c in facts.objectives])
    stays = int(nondominated(merged * sign).sum())
    where = "On validation data" if what == "validation" else "Measured again"
    return f"{where}, {stays:,} of {count(len(search), 'front member')} stay non-dominated"


def _seeds(facts: Facts, found: Sequence[Band]) -> str:
    """Final hypervolume per run, and the band figure where some configuration has two runs."""
    rows = []
    for label, members in facts.groups:
        for i in members:
            view, curve = facts.runs[i], facts.curves[i]
            seed = (view.meta.get("config") or {}).get("seed", "–")
            evaluations = f"{curve.evaluations[-1]:,}" if len(curve.evaluations) else "0"
            final = f"{curve.volume[-1]:.4f}" if len(curve.volume) else "–"
            rows.append((label, view.folder.name, seed, evaluations, final))
    head = ("configuration", "run", "seed", "evaluations", "final hypervolume ↑")
    html = grid(head, rows, left=2, id="runs-table")
    if found:
        levels = [
            (
                b.label,
                b.runs,
                f"{b.at[-1]:,}",
                *(f"{float(v[-1]):.4f}" for v in (b.low, b.median, b.high)),
            )
            for b in found
        ]
        head = (
            "configuration",
            "runs",
            "at evaluations",
            "lower quartile",
            "median",
            "upper quartile",
        )
        told = ", ".join(f"{b.label}: n = {b.runs} runs" for b in found)
        html += "<h3>Median and quartiles</h3>" + grid(head, levels, id="bands-table")
        html += plot(
            "spread", curves.spread(found),
            f"Median (line) and quartiles (band); {told}. Each configuration is shown up to the "
            f"end of its shortest run. {box_text(facts, facts.box)}",
            label="Hypervolume across seeds",
        )  # fmt: skip
    return html


def repeat(facts: Facts) -> Section:
    """Commands, configuration, versions, warnings and failures of every run."""
    finished = sum(view.complete for view in facts.runs)
    finding = (
        "The same configuration, versions and device give the same run"
        if finished == len(facts.runs)
        else f"{count(len(facts.runs) - finished, 'run')} not finished; resume, then repeat"
    )
    blocks = [_repeat_one(facts, i) for i in range(len(facts.runs))]
    if len(blocks) > 1:
        blocks = [
            details(words.shown(v.folder), b) for v, b in zip(facts.runs, blocks, strict=True)
        ]
    return Section("repeat", "How to repeat", finding, "".join(blocks))


def _repeat_one(facts: Facts, run: int) -> str:
    view = facts.runs[run]
    html = f"<h3>Commands</h3>{pre(_commands(facts, view))}"
    html += f'<div class="facts"><div><h3>Configuration</h3>{pre(_config_text(view))}</div>'
    html += f"<div><h3>Run</h3>{word_table(_facts_of(view))}</div></div>"
    return html + _events(view) + _failures(view)


def _commands(facts: Facts, view: RunView) -> str:
    folder = words.shown(view.folder)
    quoted, first = shlex.quote(folder), facts.objectives[0].name
    command = view.meta.get("command")
    told = [f"# begun with: {_command(command)}"] if command else []
    return "\n".join([
        *told,
        f"evo run {shlex.quote(folder + '/config.toml')}",
        f"evo resume {quoted} --generations +20" if view.complete else f"evo resume {quoted}",
        f"evo front {quoted} --sort {first}",
        f"evo report {quoted}",
    ])  # fmt: skip


def _command(words: Any) -> str:
    """A recorded command line; the program by its name, since its place is nobody's business."""
    parts = [str(w) for w in words] if isinstance(words, list | tuple) else shlex.split(str(words))
    name = parts[0].replace("\\", "/").rsplit("/", 1)[-1] if parts else ""
    return shlex.join(["evo" if name in ("__main__.py", "") else name, *parts[1:]])


def _config_text(view: RunView) -> str:
    """The configuration file of the run; its recorded settings as JSON when the file is gone."""
    try:
        return (view.folder / "config.toml").read_text(encoding="utf-8").rstrip()
    except (OSError, UnicodeDecodeError):
        return json.dumps(view.meta.get("config") or {}, indent=2, sort_keys=True)


def _facts_of(view: RunView) -> list[tuple[str, str]]:
    """Folder, dates and everything small that the run file says about itself."""
    spent = view.seconds
    pairs = [
        ("run", words.shown(view.folder)), ("begun", stamp(view)),
        ("status", "finished" if view.complete else "not finished"),
        ("search time", duration(spent)), ("fingerprint", str(view.meta.get("fingerprint") or "")),
    ]  # fmt: skip
    for key, value in sorted(view.meta.items()):
        if key in _TOLD or value in (None, "", [], {}):
            continue
        text = _flat(value)
        if len(text) <= 600:
            pairs.append((_NAMES.get(key, key.replace("_", " ")), text))
    return pairs


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_flat(v) for v in value)
    return str(value)


def _events(view: RunView) -> str:
    if not view.events:
        return paragraph("No warnings or other events.", "note")
    last = view.events[-_EVENTS:]
    rows = [(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(e.at)), e.kind, e.text) for e in last]
    more = f", the last {len(last)} of {len(view.events)}" if len(last) < len(view.events) else ""
    table = grid(("UTC", "kind", "event"), rows, left=3, id="events-table")
    return details(f"{count(len(view.events), 'event')}{more}", table)


def _failures(view: RunView) -> str:
    """Failed candidates, grouped by reason, most frequent first."""
    found = view.candidates
    failed = np.flatnonzero(~found.ok)
    if not len(failed):
        return paragraph("No candidate failed.", "note")
    groups: dict[str, list[str]] = {}
    for i in failed:
        groups.setdefault(found.reason[i] or "no reason recorded", []).append(str(found.id[i]))
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows = [
        (f"{len(ids):,}", _clip(reason), ", ".join(ids[:10]) + (" …" if len(ids) > 10 else ""))
        for reason, ids in ordered[:_REASONS]
    ]
    more = (
        f", the {_REASONS} most frequent of {len(ordered)} reasons"
        if len(ordered) > _REASONS
        else ""
    )
    table = grid(("how many", "reason", "candidates"), rows, left=3, id="failures-table")
    return f"<h3>{esc(count(len(failed), 'failed candidate'))}{more}</h3>{table}"


def _clip(text: str) -> str:
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 1] + "…"
