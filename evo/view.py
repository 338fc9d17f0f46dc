"""What a run file holds, read without the problem's libraries, even while it is being written."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .genomes import Genomes
from .indicators import knee
from .limits import parse_limit
from .problem import Array, Goal
from .schema import Layout, damaged, guarded, open_reader, quoted

SEARCH = "search"
"""Origin of the candidates that the search itself asked for."""
LOW = "low fidelity"
"""Origin of those judged on a part of the data before; see :mod:`.low_fidelity`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One objective or metric of a run: objectives come first.

    Args:
        name: Identifier, also the column of the table ``candidate``.
        goal: Whether less or more is better.
        unit: Unit of the values; empty when there is none.
        resolution: Differences below this are ties.
        searched: Whether the search compared by it, or it was only recorded.
    """

    name: str
    goal: Goal
    unit: str
    resolution: float
    searched: bool


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """One generation as recorded.

    Args:
        number: 0 for the first.
        started: Seconds since 1970.
        seconds: Active seconds, summed over interruptions.
        evaluated: Candidates judged in it.
        cached: Asked candidates that were known already.
        hypervolume: Of everything found up to it, in the box of the run; None while incomplete.
        complete: Whether all its candidates are recorded.
        origin: ``"search"`` or a baseline.
    """

    number: int
    started: float
    seconds: float
    evaluated: int
    cached: int
    hypervolume: float | None
    complete: bool
    origin: str = SEARCH


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth remembering: ``at`` is in seconds since 1970."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All candidates of a run as a struct of arrays, in the order in which they were recorded.

    Args:
        id: Shape (n,), as used on the command line.
        generation: Shape (n,).
        slot: Row in what its generation asked for, shape (n,).
        origin: ``"search"`` or ``"baseline:"`` and one of uniform, random, greedy.
        genomes: n rows.
        values: Raw units, shape (n, columns); NaN where the candidate failed.
        violation: Scaled sum over all constraints, shape (n,); 0 when feasible.
        ok: Shape (n,); False when the candidate failed.
        reason: Why it failed, or empty.
        seconds: Shape (n,); share of its chunk's time.
        on_front: Shape (n,); on the front of everything the search found.
        validation: Values on data the search never saw, shape (n, columns); NaN where not judged.
        confirmed: Slower, truer values, shape (n, columns); NaN where not confirmed.
        share: Share of the data that was judged, shape (n,); below 1 the values are estimates.
    """

    id: NDArray[np.int64]
    generation: NDArray[np.int64]
    slot: NDArray[np.int64]
    origin: NDArray[np.str_]
    genomes: Genomes
    values: Array
    violation: Array
    ok: NDArray[np.bool_]
    reason: list[str]
    seconds: Array
    on_front: NDArray[np.bool_]
    validation: Array
    confirmed: Array
    share: Array

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """A consistent picture of one run file.

    Args:
        folder: Where the run lies.
        meta: Configuration, fingerprints, versions, host, device, description, command line, ….
        columns: Objectives, then metrics.
        parts: Name, kind and length of each part of a genome.
        candidates: Everything recorded but for the search on a part of the data.
        generations: Those of the search, in order.
        events: In order.
        complete: Whether the run was finished.
        baselines: Generations of each baseline, by origin.
        work: Counts by (origin, generation) and name; none in files of older versions.
        low: Generations of the search on a part of the data, in order.
    """

    folder: Path
    meta: Mapping[str, Any]
    columns: tuple[Column, ...]
    parts: tuple[tuple[str, str, int], ...]
    candidates: Candidates
    generations: list[GenerationRow]
    events: list[Event]
    complete: bool
    baselines: Mapping[str, list[GenerationRow]]
    work: Mapping[tuple[str, int], Mapping[str, float]] = field(default_factory=dict)
    low: Sequence[GenerationRow] = ()

    @property
    def seconds(self) -> float:
        """Active time of the search, on a part of the data and on all of it."""
        return sum(row.seconds for row in (*self.low, *self.generations))

    @property
    def low_worth(self) -> int:
        """See :func:`low_worth`."""
        return low_worth(self.meta, self.low)

    @property
    def searched(self) -> NDArray[np.intp]:
        """Indices of the columns the search compared by, shape (m,)."""
        return np.flatnonzero([c.searched for c in self.columns])

    @property
    def fitness(self) -> Array:
        """Searched values with signs flipped so that less is better, shape (n, m)."""
        signs = [1.0 if c.goal == "min" else -1.0 for c in self.columns if c.searched]
        return self.candidates.values[:, self.searched] * np.array(signs)

    def front_rows(self) -> NDArray[np.intp]:
        """Rows of the front, sorted by the first objective, best first; shape (k,)."""
        rows = np.flatnonzero(self.candidates.on_front)
        return rows[np.argsort(self.fitness[rows, 0], kind="stable")]


def low_worth(meta: Mapping[str, Any], low: Sequence[GenerationRow]) -> int:
    """Evaluations on all data that cost as much as a search on a part of the data, rounded up."""
    share = float(meta.get("low_fidelity", 0.0))
    return math.ceil(share * sum(row.evaluated for row in low))


def read_run(folder: str | Path, *, genomes: bool = True, low: bool = False) -> RunView:
    """Read a run; it may still be running, and nothing is changed.

    Args:
        folder: Where it lies.
        genomes: Whether to read the genomes; where not, those of the candidates have no rows.
        low: Whether candidates include those that were judged on a part of the data before.

    Raises:
        StoreError: The folder holds no run, or the file is damaged or of a newer format.
    """
    folder = Path(folder)
    with guarded(folder):
        connection = open_reader(folder)
        try:
            connection.execute("BEGIN")  # one snapshot for all reads
            return _read(connection, folder, genomes, low)
        except (KeyError, ValueError, TypeError) as error:
            raise damaged(folder, f"its contents do not fit together ({error})") from error
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is, without its candidates.

    Args:
        meta: Configuration, versions, status and all other settings.
        generations: Those of the search, in order.
        low: Those of the search on a part of the data, in order.
    """

    meta: Mapping[str, Any]
    generations: list[GenerationRow]
    low: Sequence[GenerationRow] = ()

    @property
    def evaluations(self) -> int:
        """Candidates that the search judged."""
        return sum(row.evaluated for row in self.generations)

    @property
    def seconds(self) -> float:
        """Active time of the search, on a part of the data and on all of it."""
        return sum(row.seconds for row in (*self.low, *self.generations))

    @property
    def complete(self) -> bool:
        """Whether the run was finished."""
        return self.meta.get("status") == "finished"


def read_standing(folder: str | Path) -> Standing:
    """Read how far a run is; quick whatever its size.

    Raises:
        StoreError: The folder holds no run, or the file is damaged or of a newer format.
    """
    folder = Path(folder)
    with guarded(folder):
        connection = open_reader(folder)
        try:
            connection.execute("BEGIN")
            phases = _phases(connection)
            return Standing(read_meta(connection), phases[SEARCH], phases.get(LOW, ()))
        except ValueError as error:
            raise damaged(folder, f"its contents do not fit together ({error})") from error
        finally:
            connection.close()


def usable_knee(
    describe: Mapping[str, Any], columns: Sequence[Column], values: Array, fitness: Array
) -> int | None:
    """Index of the best compromise among rows the problem calls usable, else among all.

    Args:
        describe: What the problem says of itself; its ``usable`` lists limits such as
            ``"drift < 0.3"``, beyond which a candidate serves nobody.
        columns: Of the values.
        values: Raw values, shape (n, columns).
        fitness: Minimised searched objectives, shape (n, m).
    """
    names = [column.name for column in columns]
    usable = np.ones(len(values), dtype=bool)
    for limit in map(parse_limit, describe.get("usable") or ()):
        if limit.name in names:
            usable &= limit.keeps(values[:, names.index(limit.name)])
    rows = np.flatnonzero(usable) if usable.any() else np.arange(len(values))
    return int(rows[knee(fitness[rows])]) if len(rows) else None


def read_columns(connection: sqlite3.Connection) -> tuple[Column, ...]:
    """The objectives and metrics of an open run file."""
    rows = connection.execute(
        "SELECT name, goal, unit, resolution, searched FROM objective ORDER BY slot"
    )
    return tuple(Column(n, g, u, r, bool(s)) for n, g, u, r, s in rows)


def read_meta(connection: sqlite3.Connection) -> dict[str, Any]:
    """All of ``meta``, each value decoded from JSON."""
    rows = connection.execute("SELECT key, value FROM meta").fetchall()
    return {key: json.loads(value) for key, value in rows}


def _read(connection: sqlite3.Connection, folder: Path, genomes: bool, low: bool) -> RunView:
    meta, columns = read_meta(connection), read_columns(connection)
    layout = Layout.from_json(meta["parts"])
    phases = _phases(connection)
    events = connection.execute("SELECT at, kind, text FROM event ORDER BY id")
    return RunView(
        folder=folder,
        meta=meta,
        columns=columns,
        parts=layout.facts,
        candidates=_candidates(connection, columns, layout, genomes, low),
        generations=phases.pop(SEARCH),
        low=phases.pop(LOW, []),
        events=[Event(*row) for row in events],
        complete=meta.get("status") == "finished",
        baselines=phases,
        work=_work(connection),
    )


def _phases(connection: sqlite3.Connection) -> dict[str, list[GenerationRow]]:
    """Generations by origin, that of the search always there."""
    rows = connection.execute(
        "SELECT origin, number, started, seconds, evaluated, cached, hypervolume, complete "
        "FROM generation ORDER BY origin, number"
    ).fetchall()
    phases: dict[str, list[GenerationRow]] = {SEARCH: []}
    for origin, *rest, complete in rows:
        row = GenerationRow(*rest, complete=bool(complete), origin=origin)
        phases.setdefault(origin, []).append(row)
    return phases


def _work(connection: sqlite3.Connection) -> dict[tuple[str, int], dict[str, float]]:
    found: dict[tuple[str, int], dict[str, float]] = {}
    if _format(connection) > 2:
        for origin, number, name, value in connection.execute("SELECT * FROM work"):
            found.setdefault((origin, number), {})[name] = value
    return found


def _format(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _candidates(
    connection: sqlite3.Connection, columns: Sequence[Column], layout: Layout, genomes: bool,
    low: bool,
) -> Candidates:  # fmt: skip
    names = "".join(f", {quoted(c.name)}" for c in columns)
    # files of format 1 are read as they are
    share = "judged_share" if _format(connection) > 1 else "1.0"
    genome = "genome" if genomes else "x''"
    rows = connection.execute(
        f"SELECT id, generation, slot, origin, {genome}, violation, status, reason, seconds, "
        f"on_front, {share}{names} FROM candidate WHERE origin != ? ORDER BY id",
        ("" if low else LOW,),
    ).fetchall()
    fixed = list(zip(*(row[:11] for row in rows), strict=True)) or [()] * 11
    values = np.array([row[11:] for row in rows], dtype=np.float64)  # None becomes NaN
    ids = np.array(fixed[0], dtype=np.int64)
    return Candidates(
        id=ids,
        generation=np.array(fixed[1], dtype=np.int64),
        slot=np.array(fixed[2], dtype=np.int64),
        origin=np.array(fixed[3], dtype=np.str_),
        genomes=layout.unpack(b"".join(fixed[4])),
        values=values.reshape(len(rows), len(columns)),
        violation=np.array(fixed[5], dtype=np.float64),
        ok=np.array([status == "ok" for status in fixed[6]], dtype=np.bool_),
        reason=list(fixed[7]),
        seconds=np.array(fixed[8], dtype=np.float64),
        on_front=np.array(fixed[9], dtype=np.bool_),
        validation=_judged(connection, "validation", ids, columns),
        confirmed=_judged(connection, "confirmed", ids, columns),
        share=np.array(fixed[10], dtype=np.float64),
    )


def _judged(
    connection: sqlite3.Connection, kind: str, ids: NDArray[np.int64], columns: Sequence[Column]
) -> Array:
    out = np.full((len(ids), len(columns)), np.nan)
    place = {c.name: j for j, c in enumerate(columns)}
    rows = connection.execute(
        "SELECT candidate, name, value FROM judged WHERE kind = ? AND value IS NOT NULL", (kind,)
    )
    for candidate, name, value in rows:
        out[np.searchsorted(ids, candidate), place[name]] = value
    return out
