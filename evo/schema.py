"""The SQLite file of a run: tables, migrations, opening, and errors in plain words."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import StoreError
from .genomes import Genomes
from .space import SearchSpace

FILE = "run.sqlite"
KEY = 16  # bytes of a genome's key
APPLICATION = 0x65766F31  # "evo1", tells our files from other SQLite files

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE objective (
  slot INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, goal TEXT NOT NULL, unit TEXT NOT NULL,
  resolution REAL NOT NULL, searched INTEGER NOT NULL) STRICT;
CREATE TABLE generation (
  origin TEXT NOT NULL, number INTEGER NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL,
  evaluated INTEGER NOT NULL, cached INTEGER NOT NULL, hypervolume REAL, plan TEXT NOT NULL,
  complete INTEGER NOT NULL, asked BLOB NOT NULL, PRIMARY KEY (origin, number)) STRICT;
CREATE TABLE candidate (
  id INTEGER PRIMARY KEY, origin TEXT NOT NULL, generation INTEGER NOT NULL,
  slot INTEGER NOT NULL, key BLOB NOT NULL, genome BLOB NOT NULL,
  on_front INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL, reason TEXT NOT NULL,
  seconds REAL NOT NULL, violation REAL, violations BLOB NOT NULL, copied INTEGER NOT NULL,
  UNIQUE (origin, key)) STRICT;
CREATE INDEX candidate_place ON candidate (origin, generation, slot);
CREATE TABLE judged (
  candidate INTEGER NOT NULL REFERENCES candidate (id), kind TEXT NOT NULL, name TEXT NOT NULL,
  value REAL, PRIMARY KEY (candidate, kind, name)) STRICT;
CREATE TABLE packed (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE event (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL) STRICT;
"""

_RACES = """
ALTER TABLE candidate ADD COLUMN judged_share REAL NOT NULL DEFAULT 1.0;
CREATE TABLE sample (
  candidate INTEGER PRIMARY KEY REFERENCES candidate (id), value BLOB NOT NULL) STRICT;
"""

_WORK = """
CREATE TABLE work (
  origin TEXT NOT NULL, generation INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (origin, generation, name)) STRICT;
"""

_KEYS = """
ALTER TABLE generation ADD COLUMN keys BLOB;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _RACES, _WORK, _KEYS)
"""Migration k brings a file from format k to k + 1; each is applied once and never edited."""

FIXED_COLUMNS = frozenset(
    [
        "id",
        "origin",
        "generation",
        "slot",
        "key",
        "genome",
        "on_front",
        "status",
        "reason",
        "seconds",
        "violation",
        "violations",
        "copied",
        "judged_share",
        "rowid",
        "oid",
        "_rowid_",
    ]
)
"""Names an objective may not have."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a genome lies in its blob: parts in order, little-endian, without gaps."""

    parts: tuple[tuple[str, str, int, str], ...]  # name, kind, length, dtype

    @staticmethod
    def of(space: SearchSpace) -> Layout:
        """The layout of a space."""
        return Layout(
            tuple((p.name, p.kind, p.shape[0], p.dtype.newbyteorder("<").str) for p in space.parts)
        )

    @staticmethod
    def from_json(rows: Sequence[Sequence[Any]]) -> Layout:
        """Read back what :attr:`parts` gave to JSON."""
        return Layout(tuple((str(a), str(b), int(c), str(d)) for a, b, c, d in rows))

    @property
    def facts(self) -> tuple[tuple[str, str, int], ...]:
        """Name, kind and length of each part."""
        return tuple((name, kind, length) for name, kind, length, _ in self.parts)

    @property
    def record(self) -> np.dtype[Any]:
        """One row as a structured type."""
        return np.dtype([(name, dtype, (length,)) for name, _, length, dtype in self.parts])

    def pack(self, genomes: Genomes) -> list[bytes]:
        """One blob per row."""
        return Genomes(
            {name: genomes[name].astype(dtype, copy=False) for name, _, _, dtype in self.parts}
        ).rows()

    def unpack(self, data: bytes) -> Genomes:
        """Rows from blobs laid end to end.

        Raises:
            StoreError: The bytes are no whole number of rows.
        """
        if len(data) % self.record.itemsize:
            raise StoreError("a genome in the run file has the wrong length; the file is damaged")
        records = np.frombuffer(data, dtype=self.record)
        return Genomes(
            {
                name: records[name].astype(np.dtype(dtype).newbyteorder("="))
                for name, _, _, dtype in self.parts
            }
        )


def quoted(name: str) -> str:
    """An identifier as SQL, so that ``order`` may be an objective."""
    return '"' + name.replace('"', '""') + '"'


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest format, each step in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number in range(version, len(MIGRATIONS)):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{MIGRATIONS[number]}\n"
            f"PRAGMA application_id = {APPLICATION};\nPRAGMA user_version = {number + 1};\nCOMMIT;"
        )


def open_reader(folder: Path) -> sqlite3.Connection:
    """A connection that can only read.

    Raises:
        StoreError: There is no run, or it cannot be read by this version.
    """
    file = existing(folder)
    try:
        connection = _connect(file, "mode=ro")
        check_format(connection, folder)
    except sqlite3.OperationalError:
        # The log needs an index file; a folder that cannot hold one has no writer either.
        if file.with_name(FILE + "-wal").exists():
            raise
        connection = _connect(file, "mode=ro&immutable=1")
        check_format(connection, folder)
    return connection


def open_writer(folder: Path) -> sqlite3.Connection:
    """A connection that writes durably: write-ahead log, synchronised at every commit.

    Raises:
        StoreError: There is no run, or it cannot be written by this version.
    """
    connection = _connect(existing(folder), "mode=rw")
    check_format(connection, folder)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    migrate(connection)
    return connection


def existing(folder: Path) -> Path:
    """The run file of a folder.

    Raises:
        StoreError: There is none.
    """
    file = folder / FILE
    if not file.is_file():
        what = "holds no run" if folder.is_dir() else "does not exist"
        raise StoreError(
            f"run folder {str(folder)!r} {what}", hint="evo list runs shows the runs there are"
        )
    return file


def check_format(connection: sqlite3.Connection, folder: Path) -> None:
    """Raise unless the file is a run file that this version understands.

    Raises:
        StoreError: Another application's file, a newer format, or missing tables.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version > len(MIGRATIONS) and application == APPLICATION:
        raise StoreError(
            f"run {str(folder)!r} has format {version}; this version of evo reads up to "
            f"{len(MIGRATIONS)}",
            hint="update evo, or read the run where it was made",
        )
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    missing = {"meta", "objective", "generation", "candidate", "judged", "packed", "event"} - names
    if application != APPLICATION or missing:
        raise damaged(folder, f"it lacks {', '.join(sorted(missing)) or 'the mark of a run'}")


def damaged(folder: Path, why: str) -> StoreError:
    """The error for a file that is no run file, or no longer one."""
    return StoreError(
        f"the run file in {str(folder)!r} is damaged: {why}",
        hint="restore it from a copy, or start a new run",
    )


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the operating system say into one sentence about the run.

    Raises:
        StoreError: The disk is full, the file is locked, damaged or not permitted.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(folder, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(folder) from error
        raise StoreError(f"run folder {str(folder)!r} cannot be used: {error.strerror}") from error


def _explain(folder: Path, error: sqlite3.Error) -> StoreError:
    text = str(error)
    if "is full" in text or "disk I/O" in text or "too big" in text:
        return _full(folder, text)
    if "locked" in text or "busy" in text:
        return StoreError(
            f"run {str(folder)!r} is being written by another process",
            hint="wait until it ends, or stop it",
        )
    if "readonly" in text or "unable to open" in text:
        return StoreError(f"run {str(folder)!r} cannot be opened: {text}")
    return damaged(folder, text)


def _full(folder: Path, text: str = "no space left") -> StoreError:
    return StoreError(
        f"run {str(folder)!r} cannot be written: {text}; everything recorded so far is kept",
        hint=f"free some space, then: evo resume {folder}",
    )


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=10.0, isolation_level=None)
