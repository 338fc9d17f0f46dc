"""The numbers behind the page: candidates of one or several runs pooled, on one common box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..indicators import EXACT_OBJECTIVES, UnitVolume, nondominated, unit_hypervolume
from ..problem import Array
from ..view import usable_knee
from .groups import groups

if TYPE_CHECKING:
    from ..store import Candidates, Column, RunView

_BLOCKS = 50
_GRID = 300  # times at most at which a band is told
_MANY = 8  # runs: more than this are told at _BLOCKS generations each
_COMMON = "best to worst of all fronts on this page"

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """The box in which hypervolume is measured, in minimised fitness.

    Args:
        ideal: Best corner, shape (m,).
        nadir: Worst corner, shape (m,); the reference point lies at 1.1 of the way to it.
        source: Where it comes from, in words.
    """

    ideal: Array
    nadir: Array
    source: str

    def volume(self, fitness: Array) -> float:
        """Hypervolume of the rows, shape (k, m), as a share in [0, 1]; 0 for no rows."""
        return unit_hypervolume(fitness, self.ideal, self.nadir) if len(fitness) else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """All candidates of all runs, one row each (N rows); arrays are aligned."""

    run: Index
    id: NDArray[np.int64]
    generation: NDArray[np.int64]
    origin: NDArray[np.str_]
    values: Array  # (N, columns), raw units, NaN where failed
    fitness: Array  # (N, m), minimised
    ok: NDArray[np.bool_]
    feasible: NDArray[np.bool_]
    validation: Array
    confirmed: Array
    row: Index  # position in the candidates of its own run


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """How one run got there: k steps, each after one generation or block.

    ``evaluations`` count as many more as a search on a part of the data was worth.
    """

    evaluations: NDArray[np.int64]  # (k,)
    minutes: Array  # (k,), NaN where no clock was kept
    volume: Array  # (k,)
    best: Array  # (k, m), raw units, NaN before the first feasible candidate


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Median and quartiles of n runs of one configuration at common times.

    Args:
        label: The configuration.
        runs: How many.
        at: Evaluations or minutes, ascending, shape (k,).
        low: Lower quartile of the hypervolume at each, shape (k,).
        median: Shape (k,).
        high: Upper quartile, shape (k,).
    """

    label: str
    runs: int
    at: NDArray[Any]
    low: Array
    median: Array
    high: Array


@dataclass(frozen=True, slots=True)
class Standing:
    """One line of the table of baselines; ``beaten``: share of its front the search dominates."""

    origin: str
    evaluations: int
    front: int
    volume: float
    beaten: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Everything the page tells about one or several runs.

    Args:
        runs: Views, in the order given.
        columns: Searched objectives first, then recorded metrics.
        pool: Candidates of all runs.
        front: Rows of the pool on the common front, best first in the first objective.
        knee: Row of the knee, None for an empty front.
        best: Row per searched objective that is best in it, empty for an empty front.
        box: Common box of all fronts, None when no candidate is feasible.
        track: Where the curves are measured: the box of a single run, else the common one.
        curves: One per run.
        groups: (label, run indices) per configuration, seeds set aside.
    """

    runs: tuple[RunView, ...]
    columns: tuple[Column, ...]
    pool: Pool
    front: Index
    knee: int | None
    best: tuple[int, ...]
    box: Box | None
    track: Box | None
    curves: tuple[Curve, ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def objectives(self) -> tuple[Column, ...]:
        """Only the searched columns."""
        return tuple(column for column in self.columns if column.searched)

    @property
    def describe(self) -> Mapping[str, Any]:
        """What the problem of the first run says of itself; empty when it says nothing."""
        return self.runs[0].meta.get("describe") or {}

    @property
    def dense(self) -> dict[str, float]:
        """Values of the untouched problem by column, as far as they are known.

        What the problem says of itself, completed by the candidate left dense at every site.
        """
        told = self.describe.get("dense") or {}
        known = {k: float(v) for k, v in told.items() if isinstance(v, int | float)}
        row = _untouched(self)
        if row is None:
            return known
        values = zip(self.columns, self.pool.values[row], strict=True)
        return {c.name: float(v) for c, v in values if np.isfinite(v)} | known


def gather(
    views: Sequence[RunView], labels: Sequence[str] | None = None, box: Box | None = None
) -> Facts:
    """Pool the runs and measure them on one box.

    Args:
        views: One or more.
        labels: What each run belongs to; by default runs of equal configuration, seeds set aside,
            belong together.
        box: Where everything is measured; by default the box of all fronts, and the recorded one
            for the curve of a single run.

    Raises:
        ConfigError: No run, or runs that search different objectives.
    """
    if not views:
        raise ConfigError("a report needs at least one run folder, got none")
    columns = _common_columns(views)
    pool = _pool(views, columns)
    fitness, front = pool.fitness, _front(pool, len(views) == 1, views[0].candidates)
    common = box or _common_box(pool)
    track = common if box is not None else _track_box(views, common)
    own, many = track is not common, len(views) > _MANY
    best = fitness[front].argmin(axis=0) if len(front) else []
    describe = views[0].meta.get("describe") or {}
    middle = usable_knee(describe, columns, pool.values[front], fitness[front])
    return Facts(
        runs=tuple(views), columns=columns, pool=pool, front=front,
        knee=None if middle is None else int(front[middle]),
        best=tuple(int(front[i]) for i in best),
        box=common, track=track,
        curves=tuple(
            _curve(pool, view, i, track, columns, many=many, own=own)
            for i, view in enumerate(views)
        ),
        groups=groups(views) if labels is None else _labelled(labels),
    )  # fmt: skip


def standings(facts: Facts) -> list[Standing]:
    """The search and each baseline on the common box; only the search when there is no baseline."""
    pool, names = facts.pool, ["search"]
    names += [name for name in np.unique(pool.origin).tolist() if name != "search"]
    found = pool.fitness[facts.front]
    return [_standing(pool, name, facts.box, found) for name in names]


def front_of(pool: Pool, origin: str, *, runs: Sequence[int] | None = None) -> Index:
    """Rows of the pool that no feasible row of the same origin, in the same runs, dominates."""
    mine = (pool.origin == origin) & pool.feasible
    rows = np.flatnonzero(mine if runs is None else mine & np.isin(pool.run, runs))
    return rows[nondominated(pool.fitness[rows])] if len(rows) else rows


def block_curve(facts: Facts, origin: str, run: int) -> Curve:
    """Growth of one baseline over equal blocks of its evaluations, without a clock."""
    pool = facts.pool
    rows = np.flatnonzero((pool.origin == origin) & (pool.run == run))
    blocks = _BLOCKS
    stops = np.unique(np.linspace(1, len(rows), min(blocks, len(rows))).astype(int))
    ends = [rows[:stop] for stop in stops]
    return _grow(pool, ends, np.full(len(ends), np.nan), facts.track, facts.objectives)


def bands(facts: Facts, by: Literal["evaluations", "minutes"] = "evaluations") -> list[Band]:
    """Median and quartiles per configuration of two runs or more, up to its shortest run's end."""
    out = []
    for label, members in facts.groups:
        curves = [facts.curves[i] for i in members if len(facts.curves[i].evaluations)]
        if len(curves) < 2:
            continue
        times: list[NDArray[Any]] = [getattr(curve, by) for curve in curves]
        last, first = min(t[-1] for t in times), max(t[0] for t in times)
        grid = np.unique(np.concatenate(times))
        grid = grid[(grid >= first) & (grid <= last)]
        if len(grid) > _GRID:
            grid = grid[np.linspace(0, len(grid) - 1, _GRID).round().astype(int)]
        if not len(grid):
            continue
        table = np.stack([_hold(t, c.volume, grid) for t, c in zip(times, curves, strict=True)])
        low, median, high = np.percentile(table, [25, 50, 75], axis=0)
        out.append(Band(label, len(curves), grid, low, median, high))
    return out


def _hold(times: NDArray[Any], volume: Array, grid: NDArray[Any]) -> Array:
    """Last known hypervolume at or before each time of the grid."""
    return volume[np.searchsorted(times, grid, side="right") - 1]


def _labelled(labels: Sequence[str]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    names = dict.fromkeys(labels)
    return tuple((n, tuple(i for i, label in enumerate(labels) if label == n)) for n in names)


def _common_columns(views: Sequence[RunView]) -> tuple[Column, ...]:
    """Searched columns of the first run, then the metrics that every run recorded."""
    first = [(c.name, c.goal) for c in views[0].columns if c.searched]
    for view in views[1:]:
        other = [(c.name, c.goal) for c in view.columns if c.searched]
        if other != first:
            raise ConfigError(
                f"runs on one page must search the same objectives; {views[0].folder} has "
                f"{_listed(first)}, {view.folder} has {_listed(other)}",
                hint="write one report per set of objectives",
            )
    shared = set.intersection(*({c.name for c in view.columns} for view in views))
    kept = [c for c in views[0].columns if c.name in shared]
    return tuple(sorted(kept, key=lambda column: not column.searched))


def _listed(pairs: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({goal})" for name, goal in pairs)


def _pool(views: Sequence[RunView], columns: tuple[Column, ...]) -> Pool:
    parts = [_pool_one(view, i, columns) for i, view in enumerate(views)]
    return Pool(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _pool_one(view: RunView, index: int, columns: tuple[Column, ...]) -> tuple[Any, ...]:
    """The fields of a pool for one run, rows by id."""
    found = view.candidates
    names = [column.name for column in view.columns]
    take = [names.index(column.name) for column in columns]
    order = np.argsort(found.id, kind="stable")
    values = found.values[order][:, take]
    sign = np.array([1.0 if c.goal == "min" else -1.0 for c in columns if c.searched])
    fitness = values[:, : len(sign)] * sign
    ok = found.ok[order] & np.isfinite(fitness).all(axis=1)
    return (
        np.full(len(order), index), found.id[order], found.generation[order],
        np.asarray(found.origin, dtype=np.str_)[order], values, fitness, ok,
        ok & (found.violation[order] <= 0),
        found.validation[order][:, take], found.confirmed[order][:, take], order,
    )  # fmt: skip


def _front(pool: Pool, single: bool, candidates: Candidates) -> Index:
    """One run keeps the front of its file; several runs get the front of the union."""
    if single:
        rows = np.flatnonzero(candidates.on_front[pool.row] & pool.feasible)
    else:
        rows = front_of(pool, "search")
    keys = pool.fitness[rows].T[::-1]
    return rows[np.lexsort(keys)] if len(rows) else rows


def _common_box(pool: Pool) -> Box | None:
    """From the best to the worst member of all fronts: one per run and origin."""
    fronts = [
        pool.fitness[front_of(pool, str(origin), runs=[run])]
        for run in np.unique(pool.run).tolist()
        for origin in np.unique(pool.origin)
    ]
    rows = np.concatenate([np.empty((0, pool.fitness.shape[1])), *fronts])
    if not len(rows):
        return None
    return Box(rows.min(axis=0), rows.max(axis=0), _COMMON)


def _track_box(views: Sequence[RunView], common: Box | None) -> Box | None:
    """The box in which a single run measured itself; the common box for several runs."""
    told = views[0].meta.get("box") if len(views) == 1 else None
    if not told or common is None:
        return common
    source = str(told.get("rule") or "recorded with the run")
    return Box(np.array(told["ideal"], float), np.array(told["nadir"], float), source)


def _curve(
    pool: Pool, view: RunView, run: int, box: Box | None, columns: tuple[Column, ...], *,
    many: bool, own: bool,
) -> Curve:  # fmt: skip
    """One step per complete generation; generations in which nothing new was judged add none."""
    mine = np.flatnonzero((pool.run == run) & (pool.origin == "search"))
    born = pool.generation[mine]
    done = [g for g in view.generations if g.complete]
    before = sum(g.seconds for g in view.low)
    totals = (before + np.cumsum([g.seconds for g in view.generations])) / 60.0
    spent = {g.number: t for g, t in zip(view.generations, totals.tolist(), strict=True)}
    m = pool.fitness.shape[1]
    if (m > EXACT_OBJECTIVES or many) and len(done) > _BLOCKS:
        picked = np.linspace(0, len(done) - 1, _BLOCKS).round().astype(int)
        done = [done[i] for i in picked]
    ends = [mine[born <= g.number] for g in done]
    minutes = np.array([spent[g.number] for g in done], dtype=np.float64)
    known = [g.hypervolume for g in done] if own else None
    curve = _grow(pool, ends, minutes, box, tuple(c for c in columns if c.searched), known)
    return replace(curve, evaluations=curve.evaluations + view.low_worth)


def _grow(
    pool: Pool,
    ends: Sequence[Index],
    minutes: Array,
    box: Box | None,
    columns: Sequence[Column],
    known: Sequence[float | None] | None = None,
) -> Curve:
    """Hypervolume and best values after each of the growing sets of rows ``ends``.

    Args:
        pool: Where the rows are.
        ends: k index arrays, each the last one and more.
        minutes: Shape (k,).
        box: Where hypervolume is measured; without one it is 0.
        columns: Searched columns.
        known: Hypervolumes that were recorded in this box already.
    """
    m, volume, best = len(columns), [], []
    archive, before = np.empty((0, m)), 0
    grown: UnitVolume | None = None
    for i, rows in enumerate(ends):
        new = rows[before:]
        before = len(rows)
        added = pool.fitness[new[pool.feasible[new]]]
        archive = np.concatenate([archive, added])
        archive = archive[nondominated(archive)] if len(archive) else archive
        told = known[i] if known is not None else None
        if told is None and box is not None:
            if grown is None:
                grown = UnitVolume(box.ideal, box.nadir, archive)
            else:
                grown.grow(archive, added)
            told = grown.value
        volume.append(told or 0.0)
        best.append(archive.min(axis=0) if len(archive) else np.full(m, np.nan))
    sign = np.array([1.0 if c.goal == "min" else -1.0 for c in columns])
    return Curve(
        np.array([len(rows) for rows in ends], dtype=np.int64),
        np.asarray(minutes, dtype=np.float64),
        np.array(volume, dtype=np.float64),
        np.reshape(np.array(best, dtype=np.float64), (len(ends), m)) * sign,
    )


def _standing(pool: Pool, origin: str, box: Box | None, found: Array) -> Standing:
    rows = front_of(pool, origin)
    fitness = pool.fitness[rows]
    beaten = None
    if origin != "search" and len(rows):
        worse = [
            bool(((found <= row).all(axis=1) & (found < row).any(axis=1)).any()) for row in fitness
        ]
        beaten = float(np.mean(worse))
    count = int((pool.origin == origin).sum())
    return Standing(origin, count, len(rows), box.volume(fitness) if box else 0.0, beaten)


def _untouched(facts: Facts) -> int | None:
    """Row of the first candidate whose variant is dense at every site, if there is one."""
    sites, part = facts.describe.get("sites"), facts.describe.get("choices_part")
    if not sites or not part:
        return None
    kinds = [[v.get("kind") for v in site["variants"]] for site in sites]
    if not all("dense" in row for row in kinds):
        return None
    choices = facts.runs[0].candidates.genomes[part]
    plain = (choices == [row.index("dense") for row in kinds]).all(axis=1)
    rows = np.flatnonzero((facts.pool.run == 0) & facts.pool.ok)
    rows = rows[plain[facts.pool.row[rows]]]
    return int(rows[0]) if len(rows) else None
