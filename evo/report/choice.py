"""The choice of a candidate: the front over all axes, weights and limits, and their data."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import parse_limit
from ..live import arrow
from . import words
from .markup import data, esc
from .parallel import scale_of

if TYPE_CHECKING:
    from ..problem import Array
    from ..store import Column
    from .facts import Facts, Index


def choice(facts: Facts, whole: Facts) -> str:
    """Parallel coordinates where there are three axes or more, then weights and limits.

    Args:
        facts: Whose front is shown, two members or more, two objectives or more.
        whole: The same with all members, which decide what pseudo-weights are shares of.
    """
    columns = _shown(facts)
    html = ""
    if len(columns) > 2:
        html = (
            "<h3>The front over all axes at once</h3><figure>"
            '<div class="wide"><div id="parallel"></div></div><figcaption>'
            "One line per front member, coloured by the first objective; better is always down. "
            "Drag along an axis to keep part of it, drag several to combine, drag a kept part to "
            "move it, click an axis to let go. Click a line to choose it.</figcaption></figure>"
        )
    return html + _panel(facts, columns, whole) + data(_told(facts, columns, whole), "data-choice")


def _shown(facts: Facts) -> list[int]:
    """Columns of which some member has a value."""
    values = facts.pool.values[facts.front]
    return [j for j in range(len(facts.columns)) if np.isfinite(values[:, j]).any()]


def _panel(facts: Facts, columns: list[int], whole: Facts) -> str:
    rows = "".join(_row(facts.columns[j]) for j in columns)
    head = "".join(
        f'<th scope="col"{side}>{name}</th>'
        for side, name in (
            (' class="w"', "objective"), (' class="w"', "weight"), ("", "has"),
            (' class="w"', "best to worst that will do"), ("", "limit"),
        )
    )  # fmt: skip
    part = ""
    if len(facts.front) < len(whole.front):
        part = " The page chooses among the members it shows, the command among all of them."
    single = len(facts.runs) == 1
    command = (
        '<p class="note">The same in a terminal:</p><div class="command"><pre>'
        '<code id="front-command"></code></pre>'
        '<button class="copy" data-copy="front-command" type="button">Copy</button></div>'
    )
    return (
        "<h3>Choose by weights and limits</h3>"
        '<p class="note">Weights say how much each objective matters; the member whose '
        "pseudo-weights (column “has”: its distance to the worst of the front, as a share) are "
        "nearest is chosen. Members beyond a limit are dimmed in every figure and in the table."
        f"{part}</p>"
        f'<div class="across"><table id="choice"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="controls"><button type="button" id="to-knee">Take the knee</button>'
        '<button type="button" id="to-weights">Go by weights</button>'
        '<button type="button" id="lift-limits">Lift all limits</button></p>'
        '<p id="choice-told" role="status"></p>' + (command if single else "")
    )


def _row(column: Column) -> str:
    name = esc(column.name)
    weight = '<td colspan="2"></td>'
    if column.searched:
        weight = (
            f'<td class="w"><input type="range" class="weight" min="0" max="10" step="0.1" '
            f'value="1" aria-label="Weight of {name}"><output class="weighs">1</output></td>'
            '<td class="share"></td>'
        )
    return (
        f'<tr data-column="{name}"><td class="w">{name} {arrow(column.goal)}</td>{weight}'
        f'<td class="w"><input type="range" class="limit" min="0" max="1000" step="1" '
        f'value="1000" aria-label="Limit of {name}"></td><td class="held">any</td></tr>'
    )


def _told(facts: Facts, columns: list[int], whole: Facts) -> dict[str, Any]:
    """What the script needs; values in full, so that limits and distances are those of Python."""
    pool, front = facts.pool, facts.front
    assert facts.knee is not None
    fitness = whole.pool.fitness[whole.front]
    folder = words.shown(facts.runs[0].folder)
    return {
        "columns": [_axis(facts.columns[j], pool.values[front, j]) for j in columns],
        "names": [words.name_of(facts, int(row)) for row in front],
        "ids": pool.id[front], "values": pool.values[front][:, columns],
        "usable": _usable(facts, front), "knee": int(np.flatnonzero(front == facts.knee)[0]),
        "ideal": fitness.min(axis=0), "nadir": fitness.max(axis=0),
        "command": f"evo front {shlex.quote(folder)}",
    }  # fmt: skip


def _usable(facts: Facts, rows: Index) -> list[bool]:
    """Which rows keep the limits beyond which, as the problem says, a candidate serves nobody."""
    names, kept = [column.name for column in facts.columns], np.ones(len(rows), dtype=bool)
    for limit in map(parse_limit, facts.describe.get("usable") or ()):
        if limit.name in names:
            kept &= limit.keeps(facts.pool.values[rows, names.index(limit.name)])
    return kept.tolist()


def _axis(column: Column, values: Array) -> dict[str, Any]:
    """Ends and labels of one axis, in decades where it is logarithmic."""
    scale = scale_of(column, values[np.isfinite(values)])
    unit = f" ({column.unit})" if column.unit and column.unit != column.name else ""
    return {
        "name": column.name, "goal": column.goal, "searched": column.searched,
        "title": f"{column.name} {arrow(column.goal)}{unit}", "log": scale.log, "low": scale.low,
        "high": scale.high, "ticks": scale.marks,
    }  # fmt: skip
