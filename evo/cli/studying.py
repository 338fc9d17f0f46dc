"""The command that runs a study."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..folders import runs_home, take_lock
from ..live import aligned, duration
from ..schema import guarded
from .output import Flag, Interrupted, say, say_json, tell

if TYPE_CHECKING:
    from ..studies.attempt import Event
    from ..studies.progress import Board

_QUIET = 10.0  # seconds without a word after which a line tells how far the study is


def study(
    file: str, /, *, jobs: int | None = None, out: Path | None = None, ray: str | None = None,
    json: Flag = False,
) -> int:  # fmt: skip
    """Run a grid of problems, algorithms, settings and seeds; the same command goes on with it.

    Args:
        file: A TOML file with lists problems, algorithms and seeds, and tables of settings.
        jobs: Runs at a time [default: the number of cores].
        out: Folder of the study [default: its name in the folder of runs]; with --ray one that all
            machines see under that name.
        ray: Spread runs over Ray: local, or the address of a cluster (auto finds it).
        json: Write one JSON object per run that has ended, then the result.
    """
    from ..studies import load_study
    from ..studies.folder import Failures, check, record, states
    from ..studies.on_ray import Cluster
    from ..studies.processes import conduct
    from ..studies.progress import Board

    plan = load_study(file)
    at_once = _jobs(jobs)
    folder = out if out is not None else runs_home() / plan.name
    before = states(plan, folder)
    todo = [c for c, s in zip(plan.cells, before, strict=True) if s.state != "finished"]
    begun = {c.name for c, s in zip(plan.cells, before, strict=True) if s.state == "begun"}
    check(plan, todo)
    with guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder, "study")
    with lock, ExitStack() as stack:
        record(plan, folder)
        cluster = Cluster(ray, jobs) if ray else None
        if cluster:
            stack.callback(cluster.close)
            at_once = cluster.jobs
        board, failures = Board(plan.cells, before, at_once), Failures(folder)
        start, ordered = time.monotonic(), sorted(todo, key=lambda c: c.name not in begun)
        tell(f"study {folder} · {_counted(board, len(begun))} · {at_once} at a time")
        listen = _listener(board, json)
        try:
            judged = (
                cluster.conduct(ordered, folder) if cluster else conduct(ordered, folder, at_once)
            )
            with closing(judged) as events:
                for event in events:
                    board.hear(event)
                    failures.hear(event)
                    listen.hear(event)
        except KeyboardInterrupt:
            raise Interrupted(
                f"everything judged is recorded; go on with: evo study {file}"
            ) from None
        finally:
            listen.close()
    _end(board, folder, time.monotonic() - start, json)
    return 1 if board.failures else 0


def _jobs(jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {jobs}")
    shared = getattr(os, "sched_getaffinity", None)  # not on every system
    return jobs or (len(shared(0)) if shared else os.cpu_count() or 1)


def _counted(board: Board, begun: int) -> str:
    told = f"{board.total} runs"
    told += f", {board.done} finished already" if board.done else ""
    return told + (f", {begun} to be continued" if begun else "")


def _end(board: Board, folder: Path, seconds: float, as_json: bool) -> None:
    failed = [{"run": c.name, "why": why} for c, why in board.failures]
    if as_json:
        result = {"study": str(folder), "runs": board.total, "finished": board.done}
        result |= {"failed": failed, "seconds": seconds}
        say_json({"type": "result", **result}, compact=True)
        return
    lines = ["", *_table(board), "", f"{board.done} of {board.total} runs · {duration(seconds)}"]
    lines += [f"  failed {row['run']}: {row['why']}" for row in failed]
    if failed:
        lines.append("the same command tries the failed runs again")
    say([*lines, f"  evo compare {folder}"])


def _table(board: Board) -> list[str]:
    """One line per problem, algorithm and settings."""
    rows = [["problem", "algorithm", "done", "running", "failed", "evaluations", "per run"]]
    for g in board.groups:
        mean = duration(sum(g.seconds) / len(g.seconds)) if g.seconds else "–"
        counts = [f"{g.done} of {g.total}", str(g.running), str(g.failed), f"{g.evaluations:,}"]
        rows.append([g.problem, g.label, *counts, mean])
    return aligned(rows, left=2)


def _progress(board: Board) -> str:
    failed = f", {len(board.failures)} failed" if board.failures else ""
    return f"{board.done} of {board.total} runs{failed} · {duration(board.eta())} to go"


def _listener(board: Board, as_json: bool) -> Any:
    if as_json:
        return _JSONLines(board)
    return _Table(board) if sys.stderr.isatty() else _Lines(board)


class _JSONLines:
    """One JSON object per run that has ended."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def hear(self, event: Event) -> None:
        if event.kind not in ("done", "failed"):
            return
        cell = event.cell
        told = {"type": "run", "run": cell.name, "problem": cell.problem, "label": cell.label}
        told |= {"seed": cell.seed, "state": event.kind, "evaluations": event.evaluations}
        told |= {"hypervolume": event.hypervolume, "seconds": event.seconds, "why": event.why}
        say_json({**told, "eta_seconds": self._board.eta()}, compact=True)
        sys.stdout.flush()

    def close(self) -> None:
        pass


class _Lines:
    """A line per run that has ended, and one now and then where none ends for long."""

    def __init__(self, board: Board) -> None:
        self._board, self._told = board, time.monotonic()

    def hear(self, event: Event) -> None:
        ended = event.kind in ("done", "failed")
        if not ended and time.monotonic() - self._told < _QUIET:
            return
        self._told = time.monotonic()
        what = [event.cell.name, f"{event.evaluations:,} evaluations", duration(event.seconds)]
        what = [event.cell.name, "failed", event.why] if event.kind == "failed" else what
        tell(" · ".join([_progress(self._board), *(what if ended else [])]))

    def close(self) -> None:
        pass


class _Table:
    """A table on a terminal that is drawn anew as things happen."""

    def __init__(self, board: Board) -> None:
        from rich.console import Console
        from rich.live import Live

        self._board = board
        console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=self._draw
        )
        self._live.start()

    def hear(self, event: Event) -> None:
        pass  # the board knows

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> Any:
        from rich.text import Text

        return Text("\n".join([*_table(self._board), _progress(self._board)]))
