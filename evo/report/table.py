"""The table of the front: sortable, knee and bests marked, search beside validation values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..live import arrow
from . import words
from .markup import count, esc
from .plot import value_of

if TYPE_CHECKING:
    from ..problem import Array
    from ..store import Column
    from .facts import Facts

_KINDS: tuple[str, ...] = ("search", "validation", "confirmed")


def front_table(facts: Facts, total: int) -> str:
    """The front as a table, with the command that builds the chosen row.

    Args:
        facts: Whose front is shown.
        total: Members of the whole front, of which ``facts`` may hold a part.
    """
    assert facts.knee is not None
    tables = dict(zip(_KINDS, _values(facts), strict=True))
    plan = [
        (j, [k for k in _KINDS if _told(tables[k], tables["search"], j, k)])
        for j in range(len(facts.columns))
    ]
    rows = "".join(_row(facts, i, plan, tables) for i in range(len(facts.front)))
    shown = (
        ""
        if len(facts.front) == total
        else f" ({len(facts.front):,} of {total:,} shown, evenly spaced)"
    )
    command = esc(words.export_command(facts, facts.knee))
    return (
        f"<h3>{count(total, 'front member')}{shown}</h3>"
        '<p class="note">Click a heading to sort, a row to choose. Bold marks the best value of an '
        "objective, pale rows lie outside the limits. "
        '<label><input type="checkbox" id="only-inside"> Hide those</label></p>'
        f'<div class="scroll"><table id="front-table"><thead>{_head(facts, plan)}</thead>'
        f"<tbody>{rows}</tbody></table></div>"
        '<p class="note">Build the chosen candidate (the knee, until you choose):</p>'
        f'<div class="command"><pre><code id="export-command">{command}</code></pre>'
        '<button class="copy" data-copy="export-command" type="button">Copy</button></div>'
    )


def _values(facts: Facts) -> tuple[Array, Array, Array]:
    pool, rows = facts.pool, facts.front
    return pool.values[rows], pool.validation[rows], pool.confirmed[rows]


def _told(values: Array, search: Array, j: int, kind: str) -> bool:
    """Whether a column is worth showing: search always, others where some value differs."""
    if kind == "search":
        return True
    seen = np.isfinite(values[:, j])
    return bool((seen & (values[:, j] != search[:, j])).any())


def _head(facts: Facts, plan: list[tuple[int, list[str]]]) -> str:
    """One line, or two when some column has values from elsewhere."""
    deep = any(len(kinds) > 1 for _, kinds in plan)
    key, first, second = 1, [_heading("candidate", 0, span=2 if deep else 1, left=True)], []
    for j, kinds in plan:
        column = facts.columns[j]
        name = f"{column.name} {arrow(column.goal)}" + _unit(column)
        if len(kinds) == 1:
            first.append(_heading(name, key, span=2 if deep else 1))
        else:
            first.append(
                f'<th class="group" scope="colgroup" colspan="{len(kinds)}">{esc(name)}</th>'
            )
            second += [_heading(kind, key + i) for i, kind in enumerate(kinds)]
        key += len(kinds)
    below = f"<tr>{''.join(second)}</tr>" if deep else ""
    return f"<tr>{''.join(first)}</tr>{below}"


def _unit(column: Column) -> str:
    return f" ({column.unit})" if column.unit and column.unit != column.name else ""


def _heading(name: str, key: int, *, span: int = 1, left: bool = False) -> str:
    rows = f' rowspan="{span}"' if span > 1 else ""
    side = ' class="w"' if left else ""
    button = f'<button type="button">{esc(name)}</button>'
    return f'<th scope="col"{side}{rows} data-key="{key}">{button}</th>'


def _row(facts: Facts, i: int, plan: list[tuple[int, list[str]]], tables: dict[str, Array]) -> str:
    row = int(facts.front[i])
    name = words.name_of(facts, row)
    tag = (
        '<span class="tag knee">knee</span>'
        if row == facts.knee and len(facts.objectives) > 1
        else ""
    )
    best = [c.name for c, b in zip(facts.objectives, facts.best, strict=True) if b == row]
    tag += f'<span class="tag">best {esc(", ".join(best))}</span>' if best else ""
    cells = [f'<td class="w" data-value="{facts.pool.id[row]}">{esc(name)}{tag}</td>']
    for j, kinds in plan:
        column = facts.columns[j]
        for kind in kinds:
            value = float(tables[kind][i, j])
            top = kind == "search" and column.searched and facts.best[j] == row
            mark = ' class="best"' if top else (' class="sub"' if kind != "search" else "")
            cells.append(f'<td{mark} data-value="{value!r}">{esc(value_of(value, column))}</td>')
    command = esc(words.export_command(facts, row))
    return f'<tr data-name="{esc(name)}" data-command="{command}">{"".join(cells)}</tr>'
