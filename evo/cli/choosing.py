"""Picks candidates out of a recorded front: by limits, by order, by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..limits import Limit, check_limits, parse_limit
from ..live import number
from ..preferences import nearest, parse_weights
from ..suggest import did_you_mean
from ..view import RunView, usable_knee

Rows = NDArray[np.intp]


def column_index(view: RunView, name: str) -> int:
    """Position of an objective or metric of the run.

    Raises:
        ConfigError: The run has no such column; the nearest is suggested.
    """
    names = [column.name for column in view.columns]
    if name not in names:
        raise ConfigError(
            f"the run {view.folder} has no objective or metric called {name!r}"
            f"{did_you_mean(name, names)}",
            hint=f"it has {', '.join(names)}",
        )
    return names.index(name)


def within(view: RunView, rows: Rows, where: Sequence[str]) -> Rows:
    """The rows that keep every limit such as ``"params < 12e6"``, in their order.

    Raises:
        ConfigError: A limit cannot be read, names no column, or contradicts another.
    """
    limits = [parse_limit(text) for text in where]
    check_limits(limits)
    kept = np.ones(len(rows), dtype=bool)
    for limit in limits:
        kept &= limit.keeps(view.candidates.values[rows, column_index(view, limit.name)])
    return rows[kept]


def required(view: RunView, rows: Rows, where: Sequence[str]) -> Rows:
    """Like :func:`within`, but at least one row.

    Raises:
        ConfigError: No row keeps the limits; the nearest one is named.
    """
    if not len(rows):
        raise ConfigError(
            f"the front of {view.folder} is empty", hint=f"evo show {view.folder} tells its state"
        )
    kept = within(view, rows, where)
    if len(kept):
        return kept
    limits = [parse_limit(text) for text in where]
    far = sum(np.maximum(_excess(view, rows, limit), 0.0) for limit in limits)
    nearest = rows[int(np.argmin(np.nan_to_num(far, nan=np.inf)))]
    told = ", ".join(
        f"{name} {number(float(view.candidates.values[nearest, column_index(view, name)]))}"
        for name in dict.fromkeys(limit.name for limit in limits)
    )
    raise ConfigError(
        f"no candidate on the front keeps {' and '.join(repr(x.text) for x in limits)}; "
        f"the nearest is {view.candidates.id[nearest]} with {told}",
        hint="loosen the limit, or search longer",
    )


def ordered(view: RunView, rows: Rows, by: str) -> Rows:
    """The rows sorted by one column, best first; equal values keep their order.

    Raises:
        ConfigError: There is no such column.
    """
    if by == "id":
        return rows[np.argsort(view.candidates.id[rows], kind="stable")]
    j = column_index(view, by)
    sign = 1.0 if view.columns[j].goal == "min" else -1.0
    return rows[np.argsort(sign * view.candidates.values[rows, j], kind="stable")]


def knee_row(view: RunView, rows: Rows) -> int | None:
    """The row of the best usable compromise, None for no rows."""
    describe = view.meta.get("describe") or {}
    found = usable_knee(describe, view.columns, view.candidates.values[rows], view.fitness[rows])
    return None if found is None else int(rows[found])


def weighed_row(view: RunView, rows: Rows, weights: str) -> int | None:
    """The row whose pseudo-weights on the whole front are nearest to weights such as ``"f1=2"``.

    Equally near ones go to the lowest id. None for no rows.

    Raises:
        ConfigError: The weights cannot be read.
    """
    wanted = parse_weights(weights, [column.name for column in view.columns if column.searched])
    front = view.front_rows()
    front = front[np.argsort(view.candidates.id[front], kind="stable")]
    found = nearest(view.fitness[front], wanted, np.isin(front, rows))
    return None if found is None else int(front[found])


def pick(view: RunView, candidate: str, where: Sequence[str] = ()) -> int:
    """The row of an id, ``knee``, ``best:OBJECTIVE``, an objective, or ``weights:OBJECTIVE=2,…``.

    Args:
        view: The run.
        candidate: What to pick; ids may be any successful candidate, the rest comes from the front.
        where: Limits the picked candidate must keep.

    Raises:
        ConfigError: Nothing fits.
    """
    if candidate.isdigit():
        return _by_id(view, int(candidate), where)
    rows = required(view, view.front_rows(), where)
    if candidate == "knee":
        row = knee_row(view, rows)
        assert row is not None
        return row
    if candidate.startswith("weights:"):
        row = weighed_row(view, rows, candidate.removeprefix("weights:"))
        assert row is not None
        return row
    name = candidate.removeprefix("best:")
    names = [column.name for column in view.columns]
    if name not in names:
        raise ConfigError(
            f"no candidate called {candidate!r}{did_you_mean(name, [*names, 'knee'])}",
            hint=f"give an id from evo front {view.folder}, knee, best:{names[0]}, or "
            f"weights:{names[0]}=1",
        )
    return int(ordered(view, rows, name)[0])


def _by_id(view: RunView, wanted: int, where: Sequence[str]) -> int:
    found = np.flatnonzero(view.candidates.id == wanted)
    if not len(found):
        raise ConfigError(
            f"the run {view.folder} has no candidate {wanted}",
            hint=f"evo front {view.folder} shows their ids",
        )
    row = int(found[0])
    if not view.candidates.ok[row]:
        raise ConfigError(f"candidate {wanted} failed: {view.candidates.reason[row]}")
    if view.candidates.share[row] < 1:
        raise ConfigError(
            f"candidate {wanted} lost a race after {view.candidates.share[row]:.0%} of the data, "
            "so its values are estimates",
            hint=f"choose one that evo front {view.folder} shows",
        )
    required(view, found, where)
    return row


def _excess(view: RunView, rows: Rows, limit: Limit) -> NDArray[np.float64]:
    """How far each row is beyond a limit, as a share of it; 0 or less within, NaN is far."""
    values = view.candidates.values[rows, column_index(view, limit.name)]
    over = values - limit.value if limit.sign[0] == "<" else limit.value - values
    over = over / max(abs(limit.value), 1e-12)
    touching = np.finfo(np.float64).tiny if "=" not in limit.sign else 0.0
    return np.where(np.isnan(over), np.inf, np.where(over == 0, touching, over))
