"""What the live page says: of a run its report and log, of a study its runs and comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..config import StopConfig
from ..folders import LOCK, being_written
from ..live import duration
from ..report.facts import gather
from ..report.markup import Section, count, esc, paragraph
from ..report.page import Parts, header
from ..report.page import parts as report_parts
from ..schema import FILE
from ..stopping import eta
from ..studies.attempt import LOG, Event
from ..studies.folder import FAILURES, RECORD, Found, State, read_failures, read_study
from ..studies.progress import Board
from ..view import RunView, Standing, read_run, read_standing

_TAIL = 32 * 1024  # bytes of the log
_LINES = 200
_HOME = '<p><a href="../../">All runs of the study</a></p>'


class Source(Protocol):
    """What one page shows."""

    def stamp(self) -> str:
        """Another text whenever something may have changed; quick."""
        ...

    def parts(self) -> Parts:
        """What the page says now; may take a while."""
        ...


@dataclass(frozen=True)
class _RunPage:
    folder: Path
    study: bool = False

    def stamp(self) -> str:
        return _stamp(self.folder)

    def parts(self) -> Parts:
        view = read_run(self.folder)
        told = report_parts(gather([view]))
        state = _state(view, being_written(self.folder))
        log = _log(self.folder)
        return replace(
            told, title=f"{told.title.removesuffix(' · evo report')} · evo watch",
            head=_with_state(told.head, state, _HOME if self.study else ""),
            sections=(*told.sections, *log),
        )  # fmt: skip


class _StudyPage:
    """Compares anew only when another run is finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finished: tuple[str, ...] = ()
        self._sections: tuple[Section, ...] = ()

    def stamp(self) -> str:
        _, cells = read_study(self._folder)
        own = (_sizes(self._folder / name) for name in (RECORD, FAILURES))
        return " ".join([*own, *(_stamp(cell.folder) for cell in cells)])

    def parts(self) -> Parts:
        name, cells = read_study(self._folder)
        found = [read_standing(cell.folder) if cell.begun else None for cell in cells]
        running = [being_written(cell.folder) for cell in cells]
        board = _board(cells, found, running)
        done = tuple(
            c.name for c, s in zip(cells, found, strict=True) if s is not None and s.complete
        )
        if done != self._finished:
            self._sections, self._finished = self._compared(), done
        left = duration(board.eta()) if any(running) and board.eta() is not None else ""
        told = [f"{board.done} of {count(board.total, 'run')} finished"]
        why = read_failures(self._folder)
        failed = {
            c.name: why[c.name]
            for c, busy in zip(cells, running, strict=True)
            if c.name in why and not busy and c.name not in done
        }
        told += [f"{sum(running)} running"] if any(running) else []
        told += [f"{len(failed)} failed"] if failed else []
        told += [f"{left} to go"] if left else []
        head = header(f"study {self._folder}", name, f"{' · '.join(told)}.")
        table = Section("runs", "Runs", told[0], _runs(cells, found, running, failed))
        return Parts(
            f"{board.done}/{board.total} {name} · evo watch", head,
            (table, *self._sections), f"study {name}",
        )  # fmt: skip

    def _compared(self) -> tuple[Section, ...]:
        from ..comparison import compare_study
        from ..comparison.page import parts

        return parts(compare_study(self._folder)).sections


def run_page(folder: Path) -> Source:
    """The page of a run.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    read_standing(folder)
    return _RunPage(folder)


def study_pages(folder: Path) -> dict[str, Source]:
    """The page of a study under ``""``, and that of each of its runs under its name.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    _, cells = read_study(folder)
    return {"": _StudyPage(folder), **{cell.name: _RunPage(cell.folder, True) for cell in cells}}


def _sizes(file: Path) -> str:
    try:
        found = os.stat(file)
    except OSError:
        return "-"
    return f"{found.st_mtime_ns:x}.{found.st_size:x}"


def _stamp(folder: Path) -> str:
    """Times and sizes of the files that a run grows by, and whether it is going on."""
    files = (FILE, f"{FILE}-wal", LOG, LOCK)
    return ",".join([*(_sizes(folder / name) for name in files), str(being_written(folder))])


def _state(run: RunView, running: bool) -> str:
    """How far a run is, in words."""
    meta, rows = run.meta, run.generations
    if meta.get("status") == "finished":
        return f"finished {meta.get('reason') or ''}".rstrip()
    done, stop = sum(row.complete for row in rows), _stop(meta)
    told = f"generation {done}" + (f" of {stop.generations}" if stop.generations else "")
    if run.low and not rows:
        told = f"generation {sum(row.complete for row in run.low)} of those on a part of the data"
    left = _left(run) if running else None
    after = f" · {duration(left)} to go" if left is not None else ""
    return f"{'running' if running else 'not running'} · {told}{after}"


def _left(run: Standing | RunView) -> float | None:
    """Estimated seconds until it ends."""
    return eta(_stop(run.meta), run.generations, run.low)


def _stop(meta: Mapping[str, Any]) -> StopConfig:
    return StopConfig(**(meta.get("stop") or {}))


def _with_state(head: str, state: str, links: str) -> str:
    """The head with a line about the state, and ready HTML behind it."""
    return head.replace("</div></header>", f'<p id="state">{esc(state)}</p>{links}</div></header>')


def _log(folder: Path) -> list[Section]:
    """The end of the log, where there is one."""
    try:
        with open(folder / LOG, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode("utf-8", errors="replace").splitlines()[-_LINES:]
    except OSError:
        return []
    text = esc("\n".join(lines))
    return [Section("watch-log", "Log", "The last lines of the log", f'<pre id="log">{text}</pre>')]


def _board(
    cells: Sequence[Found], found: Sequence[Standing | None], running: Sequence[bool]
) -> Board:
    """What the terminal of the study knows, as far as the files tell."""
    states = [
        State("new") if s is None
        else State("finished" if s.complete else "begun", s.evaluations, s.seconds)
        for s in found
    ]  # fmt: skip
    board = Board(cells, states, max(1, sum(running)))
    for cell, standing, busy in zip(cells, found, running, strict=True):
        if standing is not None and busy and not standing.complete:
            left = _left(standing)
            board.hear(Event("begun", cell))
            board.hear(Event("step", cell, standing.evaluations, standing.seconds, left))
    return board


def _runs(
    cells: Sequence[Found], found: Sequence[Standing | None], running: Sequence[bool],
    failed: Mapping[str, str],
) -> str:  # fmt: skip
    """One line per run; those that exist lead to a page of their own."""
    rows = ""
    for cell, standing, busy in zip(cells, found, running, strict=True):
        state, link = "waiting", esc(cell.name)
        cells_ = ["–", "–", "–", "–"]
        if standing is not None:
            done = standing.complete
            state = "finished" if done else "running" if busy else "not running"
            link = f'<a href="run/{esc(cell.name)}/">{esc(cell.name)}</a>'
            left = _left(standing) if busy and not done else None
            volume = next(
                (g.hypervolume for g in standing.generations[::-1] if g.hypervolume is not None),
                None,
            )
            cells_ = [
                f"{standing.evaluations:,}", "–" if volume is None else f"{volume:.4f}",
                duration(standing.seconds), duration(left),
            ]  # fmt: skip
        state = "failed" if cell.name in failed else state
        why = f": {failed[cell.name]}" if state == "failed" else ""
        told = "".join(f"<td>{esc(text)}</td>" for text in cells_)
        rows += (
            f'<tr class="{state.replace(" ", "-")}"><td class="w">{link}</td>'
            f'<td class="w">{esc(cell.problem)}</td><td class="w">{esc(cell.label)}</td>'
            f'<td>{cell.seed}</td><td class="w">{state}{esc(why)}</td>{told}</tr>'
        )
    head = "".join(
        f'<th scope="col"{" class=w" if left else ""}>{name}</th>'
        for name, left in (
            ("run", 1), ("problem", 1), ("contestant", 1), ("seed", 0), ("state", 1),
            ("evaluations", 0), ("hypervolume ↑ (own box)", 0), ("time", 0), ("to go", 0),
        )
    )  # fmt: skip
    table = f'<table id="study-runs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    note = "The comparison below is made anew whenever a run is finished."
    return f'<div class="across">{table}</div>' + paragraph(note, "note")
