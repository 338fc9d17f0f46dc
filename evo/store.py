"""Writing a run file: one transaction per judged chunk, one writer at a time."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import StoreError
from .folders import default_folder, refuse_used, runs_home, take_lock
from .genomes import Genomes
from .problem import Array, Evaluation
from .schema import (
    FILE,
    FIXED_COLUMNS,
    KEY,
    Layout,
    damaged,
    existing,
    guarded,
    migrate,
    open_writer,
    quoted,
)
from .space import SearchSpace
from .view import (
    LOW,
    SEARCH,
    Candidates,
    Column,
    Event,
    GenerationRow,
    RunView,
    read_columns,
    read_meta,
    read_run,
)

__all__ = [
    "FILE", "LOW", "SEARCH", "Candidates", "Column", "Event", "GenerationRow", "RunFile", "RunView",
    "check_columns", "default_folder", "read_run", "runs_home",
]  # fmt: skip


PAGE = 4096  # bytes of a page of the file
PATIENCE = 1.0  # seconds of judged chunks that a crash of the machine may cost


class RunFile:
    """The open run file of one folder; holds the folder's lock until closed.

    Every method that writes is one transaction: when it raises, nothing of it was written. After it
    returned, a crash of the process loses nothing of it. A crash of the machine loses what was
    written since the disk was last waited for: that is done with judged chunks, where the last time
    is more than :data:`PATIENCE` ago, and with settings and events.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: IO[str]) -> None:
        self.folder = folder
        self._connection = connection
        self._lock = lock
        self._phases: dict[str, dict[int, GenerationRow]] = {}  # as recorded
        self._synchronised = -np.inf  # when the disk was last waited for
        self.columns = read_columns(connection)
        try:
            self.layout = Layout.from_json(self.meta()["parts"])
        except (KeyError, ValueError, TypeError) as error:
            raise damaged(folder, f"its settings cannot be read ({error})") from error

    @staticmethod
    def create(
        folder: str | Path,
        meta: Mapping[str, Any],
        space: SearchSpace,
        columns: Sequence[Column],
        *,
        starts: Genomes | None = None,
    ) -> RunFile:
        """Begin a run in a folder that holds none; the folder is made when missing.

        The file appears under its name only when it is whole.

        Raises:
            StoreError: The folder holds a run or other files, is locked, or cannot be written; or
                two columns share a name, or one has the name of a fixed column.
        """
        folder = Path(folder)
        check_columns([c.name for c in columns])
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            refuse_used(folder)
            lock = take_lock(folder)
            try:
                refuse_used(folder)  # again: another process may have been faster
                layout = Layout.of(space)
                packed = {} if starts is None else {"starts": b"".join(layout.pack(starts))}
                wide = layout.record.itemsize > PAGE  # fewer pages per genome then
                meta = {**meta, "parts": layout.parts}
                _make(folder / "new.sqlite", meta, columns, packed, 4 * PAGE if wide else PAGE)
                os.replace(folder / "new.sqlite", folder / FILE)
                return RunFile(folder, open_writer(folder), lock)
            except BaseException:
                lock.close()
                raise

    @staticmethod
    def open(folder: str | Path) -> RunFile:
        """Open an existing run for writing.

        Raises:
            StoreError: There is no run, another process writes it, or it is damaged or newer.
        """
        folder = Path(folder)
        with guarded(folder):
            existing(folder)
            lock = take_lock(folder)
            try:
                return RunFile(folder, open_writer(folder), lock)
            except BaseException:
                lock.close()
                raise

    def close(self) -> None:
        """Fold the write-ahead log into the file and give the lock back; may be called twice.

        A closed run is one plain file, so that readers of it leave nothing behind.
        """
        with contextlib.suppress(sqlite3.Error):  # closed already, or somebody reads just now
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()
        self._lock.close()

    def meta(self) -> dict[str, Any]:
        """All settings of the run, decoded from JSON."""
        with guarded(self.folder):
            return read_meta(self._connection)

    def set_meta(self, **values: Any) -> None:
        """Set some settings, each stored as JSON."""
        with self._transaction() as connection:
            _put_meta(connection, values)

    def event(self, kind: str, text: str) -> None:
        """Remember something that happened now."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO event (at, kind, text) VALUES (?, ?, ?)", (time.time(), kind, text)
            )

    def get(self, name: str) -> Genomes | None:
        """The genomes kept under a name, or None."""
        rows = self._read("SELECT value FROM packed WHERE name = ?", name)
        return self.layout.unpack(rows[0][0]) if rows else None

    def asked(self, origin: str, number: int) -> list[bytes] | None:
        """Keys of what a recorded generation asked for, or None when it is not recorded."""
        if self.generation(origin, number) is None:
            return None
        ((keys,),) = self._read(
            "SELECT keys FROM generation WHERE origin = ? AND number = ?", origin, number
        )
        if keys is None:  # recorded in format 3 or before
            genomes = self.asked_whole(origin, number)
            return [] if genomes is None else genomes.keys()
        return [keys[i : i + KEY] for i in range(0, len(keys), KEY)]

    def asked_whole(self, origin: str, number: int) -> Genomes | None:
        """What a recorded generation asked for, or None where that was not kept."""
        rows = self._read(
            "SELECT asked FROM generation WHERE origin = ? AND number = ?", origin, number
        )
        return self.layout.unpack(rows[0][0]) if rows and rows[0][0] else None

    def generation(self, origin: str, number: int) -> GenerationRow | None:
        """One recorded generation, or None."""
        return self._known(origin).get(number)

    def generations(self, origin: str) -> list[GenerationRow]:
        """The recorded generations of a phase, in order."""
        return list(self._known(origin).values())

    def begin(
        self, origin: str, number: int, genomes: Genomes, plan: str, *, whole: bool = False
    ) -> None:
        """Record what a generation asks for, before any of it is judged.

        Recording a longer list over a shorter one keeps what was judged already.

        Args:
            origin: Phase of the run.
            number: Generation.
            genomes: What is asked for.
            plan: How it will be judged.
            whole: Keep the genomes beside their keys, for who cannot tell again what was asked.
        """
        blob = b"".join(self.layout.pack(genomes)) if whole else b""
        with self._transaction(lasting=False) as connection:
            connection.execute(
                "INSERT INTO generation VALUES (?, ?, ?, 0.0, 0, 0, NULL, ?, 0, ?, ?) "
                "ON CONFLICT (origin, number) DO UPDATE "
                "SET asked = excluded.asked, keys = excluded.keys, complete = 0",
                (origin, number, time.time(), plan, blob, b"".join(genomes.keys())),
            )
        self._reread(origin, number)

    def append(
        self,
        origin: str,
        number: int,
        slots: NDArray[np.intp],
        genomes: Genomes,
        evaluation: Evaluation,
        *,
        seconds: float = 0.0,
        copied: bool = False,
        work: Mapping[str, float] = MappingProxyType({}),
        violation: Array | None = None,
    ) -> list[int]:
        """Record one judged chunk.

        Args:
            origin: Phase of the run.
            number: Generation.
            slots: Row of each candidate in what the generation asked for, shape (k,).
            genomes: k rows.
            evaluation: Results of the k candidates.
            seconds: Active time to add to the generation.
            copied: Whether the results were known from another phase.
            work: Counts to add to those of the generation, by name.
            violation: Scaled and summed, shape (k,); None where :meth:`complete` will tell.

        Returns:
            The ids given to the k candidates.
        """
        rows = self._rows(origin, number, slots, genomes, evaluation, copied, violation)
        marks = ", ".join("?" * len(rows[0])) if rows else ""
        names = "".join(f", {quoted(c.name)}" for c in self.columns)
        due = time.monotonic() - self._synchronised > PATIENCE
        with self._transaction(lasting=due) as connection:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM candidate").fetchone()
            connection.executemany(
                "INSERT INTO candidate (id, origin, generation, slot, key, genome, status, reason, "
                f"seconds, violation, violations, copied, judged_share{names}) VALUES ({marks})",
                [(last + 1 + i, *row[1:]) for i, row in enumerate(rows)],
            )
            if evaluation.samples is not None:
                whole = np.flatnonzero(evaluation.ok & (evaluation.shares == 1))
                connection.executemany(
                    "INSERT INTO sample VALUES (?, ?)",
                    [
                        (last + 1 + int(i), evaluation.samples[i].astype("<f8").tobytes())
                        for i in whole
                    ],
                )
            connection.execute(
                "UPDATE generation SET seconds = seconds + ?, evaluated = evaluated + ? "
                "WHERE origin = ? AND number = ?",
                (seconds, len(rows), origin, number),
            )
            _add_work(connection, origin, number, work)
        self._reread(origin, number)
        return list(range(last + 1, last + 1 + len(rows)))

    def complete(
        self,
        origin: str,
        number: int,
        *,
        asked: int,
        hypervolume: float,
        seconds: float,
        violation: Mapping[int, float],
        entered: Sequence[int] = (),
        left: Sequence[int] = (),
        work: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Close a generation: hypervolume, violations of its candidates, the new front, work."""
        with self._transaction(lasting=False) as connection:
            connection.executemany(
                "UPDATE candidate SET violation = ? WHERE id = ?",
                [(v, k) for k, v in violation.items()],
            )
            connection.executemany(
                "UPDATE candidate SET on_front = ? WHERE id = ?",
                [(0, k) for k in left] + [(1, k) for k in entered],
            )
            connection.execute(
                "UPDATE generation SET seconds = seconds + ?, cached = ? - evaluated, "
                "hypervolume = ?, complete = 1 WHERE origin = ? AND number = ?",
                (seconds, asked, hypervolume, origin, number),
            )
            _add_work(connection, origin, number, work)
        self._reread(origin, number)

    def judge(self, kind: str, ids: Sequence[int], names: Sequence[str], values: Array) -> None:
        """Record later judgements of some candidates.

        Args:
            kind: ``"validation"`` or ``"confirmed"``.
            ids: Candidates, length k.
            names: Columns, length c.
            values: Shape (k, c).
        """
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO judged VALUES (?, ?, ?, ?)",
                [
                    (int(k), kind, name, float(value))
                    for k, row in zip(ids, values, strict=True)
                    for name, value in zip(names, row, strict=True)
                ],
            )

    def add_work(self, origin: str, number: int, work: Mapping[str, float]) -> None:
        """Add counts by name to those of a generation, or of what follows the search (number 0)."""
        with self._transaction(lasting=False) as connection:
            _add_work(connection, origin, number, work)

    def judged(self, kind: str) -> set[int]:
        """Candidates that were judged again in this way."""
        rows = self._read("SELECT DISTINCT candidate FROM judged WHERE kind = ?", kind)
        return {row[0] for row in rows}

    def recorded(self) -> tuple[Candidates, Array]:
        """All candidates, and their unscaled violations, shape (n, c)."""
        with guarded(self.folder):
            candidates = read_run(self.folder, low=True).candidates
        blobs = self._read("SELECT violations FROM candidate ORDER BY id")
        data = np.frombuffer(b"".join(row[0] for row in blobs), dtype="<f8")
        return candidates, data.reshape(len(candidates), -1 if len(candidates) else 0)

    def samples(self, columns: int) -> dict[int, Array]:
        """What objectives of candidates average, (columns, b) by id; only where a run races."""
        rows = self._read("SELECT candidate, value FROM sample")
        return {k: np.frombuffer(v, "<f8").reshape(columns, -1) for k, v in rows}

    def _rows(
        self,
        origin: str,
        number: int,
        slots: NDArray[np.intp],
        genomes: Genomes,
        evaluation: Evaluation,
        copied: bool,
        violation: Array | None,
    ) -> list[tuple[Any, ...]]:
        told = [None] * len(genomes) if violation is None else violation.tolist()
        columns = zip(
            slots.tolist(),
            genomes.keys(),
            self.layout.pack(genomes),
            evaluation.ok.tolist(),
            evaluation.reasons,
            evaluation.seconds.tolist(),
            [v if ok else None for v, ok in zip(told, evaluation.ok, strict=True)],
            evaluation.violations.astype("<f8"),
            evaluation.shares.tolist(),
            evaluation.values.tolist(),
            strict=True,
        )
        return [
            (
                0, origin, number, slot, key, blob, "ok" if ok else "failed", reason, seconds,
                excess, violations.tobytes(), int(copied), share, *values,
            )
            for slot, key, blob, ok, reason, seconds, excess, violations, share, values in columns
        ]  # fmt: skip

    def _read(self, sql: str, *values: Any) -> list[Any]:
        with guarded(self.folder):
            return self._connection.execute(sql, values).fetchall()

    def _known(self, origin: str) -> dict[int, GenerationRow]:
        """The generations of a phase, read once: nobody else writes."""
        if origin not in self._phases:
            rows = self._read(f"{_GENERATIONS} WHERE origin = ? ORDER BY number", origin)
            self._phases[origin] = {row[0]: _generation(origin, row) for row in rows}
        return self._phases[origin]

    def _reread(self, origin: str, number: int) -> None:
        rows = self._read(f"{_GENERATIONS} WHERE origin = ? AND number = ?", origin, number)
        if rows:
            self._known(origin)[number] = _generation(origin, rows[0])

    @contextlib.contextmanager
    def _transaction(self, *, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """What is inside happens as a whole; where it need not last, the disk is not waited for."""
        with guarded(self.folder):
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
                self._synchronised = time.monotonic() if lasting else self._synchronised
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _add_work(
    connection: sqlite3.Connection, origin: str, number: int, work: Mapping[str, float]
) -> None:
    connection.executemany(
        "INSERT INTO work VALUES (?, ?, ?, ?) ON CONFLICT (origin, generation, name) "
        "DO UPDATE SET value = value + excluded.value",
        [(origin, number, name, float(value)) for name, value in work.items()],
    )


_GENERATIONS = (
    "SELECT number, started, seconds, evaluated, cached, hypervolume, complete FROM generation"
)


def _generation(origin: str, row: Sequence[Any]) -> GenerationRow:
    return GenerationRow(*row[:6], complete=bool(row[6]), origin=origin)


def check_columns(names: Sequence[str]) -> None:
    """Raise unless the names can be columns of the run file, where case does not tell apart.

    Raises:
        StoreError: A name is taken by a fixed column, or two names are the same.
    """
    seen: dict[str, str] = {}
    for name in names:
        low = name.lower()
        if low in FIXED_COLUMNS:
            raise StoreError(
                f"no objective may be called {name!r}: the run file has a column of that name"
            )
        if low in seen:
            raise StoreError(
                f"objectives {seen[low]!r} and {name!r} would share one column of the run file"
            )
        seen[low] = name


def _make(
    file: Path, meta: Mapping[str, Any], columns: Sequence[Column], packed: Mapping[str, bytes],
    page: int,
) -> None:  # fmt: skip
    for leftover in (file, file.with_name(file.name + "-journal")):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {page}")
        connection.execute("PRAGMA synchronous = OFF")  # once, in the end
        connection.execute("PRAGMA journal_mode = MEMORY")
        migrate(connection)
        connection.execute("BEGIN")
        _put_meta(connection, meta)
        connection.executemany("INSERT INTO packed VALUES (?, ?)", list(packed.items()))
        for slot, c in enumerate(columns):
            connection.execute(
                "INSERT INTO objective VALUES (?, ?, ?, ?, ?, ?)",
                (slot, c.name, c.goal, c.unit, c.resolution, int(c.searched)),
            )
            connection.execute(f"ALTER TABLE candidate ADD COLUMN {quoted(c.name)} REAL")
        connection.execute("COMMIT")
    finally:
        connection.close()
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def _put_meta(connection: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        [(key, json.dumps(value, sort_keys=True)) for key, value in values.items()],
    )
