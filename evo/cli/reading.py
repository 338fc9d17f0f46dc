"""Commands that read one run or several: front, report."""

from __future__ import annotations

import csv as csv_module
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..live import aligned, arrow, valued
from ..view import RunView, read_run
from .choosing import Rows, knee_row, ordered, weighed_row, within
from .output import Flag, Words, run_folder, say, say_json, tell

_EXTRAS = ("validation", "confirmed")


def front(
    run: str,
    /,
    *,
    sort: str | None = None,
    where: Words = (),
    weights: str | None = None,
    limit: int | None = None,
    csv: Flag = False,
    json: Flag = False,
) -> None:
    """Show the front of a run as a table, CSV or JSON.

    Args:
        run: Folder of the run, or its name in the folder of runs.
        sort: Objective or metric to sort by, best first; the first objective when not given.
        where: Keep only candidates within a limit such as "params < 12e6"; may be repeated.
        weights: Name the candidate whose pseudo-weights are nearest to these, as in "f1=2,f2=1".
        limit: Show at most this many candidates.
        csv: Write comma-separated values instead of a table.
        json: Write JSON instead of a table.
    """
    if csv and json:
        raise ConfigError("--csv and --json exclude each other")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit must be at least 1, got {limit}")
    view = read_run(run_folder(run))
    rows = within(view, view.front_rows(), where)
    marks = _marks(view, rows, weights)
    rows = (ordered(view, rows, sort) if sort else rows)[:limit]
    if json:
        say_json(_as_json(view, rows, marks))
    elif csv:
        _write_csv(view, rows)
    else:
        _write_table(view, rows, marks)


def report(*runs: str, out: Path | None = None, json: Flag = False) -> None:
    """Write one HTML page about one run or several.

    Args:
        runs: Folders of the runs, or their names in the folder of runs.
        out: File to write; report.html in the folder of the first run when not given.
        json: Write the path as JSON.
    """
    from ..report import write_report

    if not runs:
        raise ConfigError("evo report needs at least one run", hint="evo list runs")
    path = write_report([run_folder(run) for run in runs], out)
    if json:
        say_json({"report": str(path)})
    else:
        say(str(path))


def choices(view: RunView, row: int) -> list[str]:
    """Names of the choices of one candidate, site by site; empty where a problem has no sites."""
    described: Mapping[str, Any] = view.meta.get("describe") or {}
    sites, part = described.get("sites") or [], str(described.get("choices_part"))
    if not sites or part not in view.candidates.genomes.parts:
        return []
    picked = view.candidates.genomes[part][row]
    pairs = zip(sites, picked, strict=True)
    return [str(site["variants"][int(k)]["name"]) for site, k in pairs]


def _marks(view: RunView, rows: Rows, weights: str | None) -> dict[str, int | None]:
    """What stands out among the rows: the knee, and what weights lead to where there are some."""
    marks = {"knee": knee_row(view, rows)}
    return marks if weights is None else marks | {"nearest": weighed_row(view, rows, weights)}


def _as_json(view: RunView, rows: Rows, marks: Mapping[str, int | None]) -> dict[str, Any]:
    searched = [c for c in view.columns if c.searched]
    metrics = [c for c in view.columns if not c.searched]
    described = view.meta.get("describe") or {}
    return {
        "run": str(view.folder),
        "objectives": [{"name": c.name, "goal": c.goal, "unit": c.unit} for c in searched],
        "metrics": [{"name": c.name, "goal": c.goal, "unit": c.unit} for c in metrics],
        "sites": [site["name"] for site in described.get("sites") or []],
        **{k: None if row is None else int(view.candidates.id[row]) for k, row in marks.items()},
        "front": [_entry(view, int(row)) for row in rows],
    }


def _entry(view: RunView, row: int) -> dict[str, Any]:
    found = view.candidates
    names = [column.name for column in view.columns]
    entry: dict[str, Any] = {
        "id": int(found.id[row]),
        "values": dict(zip(names, found.values[row].tolist(), strict=True)),
    }
    for kind in _EXTRAS:
        again = dict(zip(names, getattr(found, kind)[row].tolist(), strict=True))
        entry[kind] = {k: v for k, v in again.items() if np.isfinite(v)} or None
    genome = {name: part[row].tolist() for name, part in found.genomes.parts.items()}
    return {**entry, "choices": choices(view, row), "genome": genome}


def _extra_columns(view: RunView, rows: Rows) -> list[tuple[str, int]]:
    """(kind, column) of every objective judged again for at least one of the rows."""
    return [
        (kind, j)
        for kind in _EXTRAS
        for j in range(len(view.columns))
        if np.isfinite(getattr(view.candidates, kind)[rows, j]).any()
    ]


def _write_table(view: RunView, rows: Rows, marks: Mapping[str, int | None]) -> None:
    if not len(rows):
        tell(f"no candidate to show; evo show {view.folder} tells the state of the run")
        return
    found, extras = view.candidates, _extra_columns(view, rows)
    titles = [f"{c.name} {arrow(c.goal)}" for c in view.columns]
    titles += [f"{view.columns[j].name} {kind}" for kind, j in extras]
    table = [["id", *titles, ""]]
    for row in rows:
        cells = [(found.values[row, j], c) for j, c in enumerate(view.columns)]
        cells += [(getattr(found, kind)[row, j], view.columns[j]) for kind, j in extras]
        told = [valued(float(value), c.name, c.unit) for value, c in cells]
        table.append([str(found.id[row]), *told, " ".join(k for k, r in marks.items() if r == row)])
    say(aligned(table))


def _write_csv(view: RunView, rows: Rows) -> None:
    found, extras = view.candidates, _extra_columns(view, rows)
    sites = bool(len(rows)) and bool(choices(view, int(rows[0])))
    titles = ["id", *(c.name for c in view.columns)]
    titles += [f"{view.columns[j].name}_{kind}" for kind, j in extras]
    write = csv_module.writer(sys.stdout, lineterminator="\n").writerow
    write([*titles, "choices"] if sites else titles)
    for row in rows:
        values = [*found.values[row].tolist()]
        values += [float(getattr(found, kind)[row, j]) for kind, j in extras]
        cells: Sequence[Any] = [int(found.id[row]), *("" if np.isnan(v) else v for v in values)]
        write([*cells, " ".join(choices(view, int(row)))] if sites else cells)
