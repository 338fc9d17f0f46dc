"""Cells of a study run side by side in processes of this machine, each as an ordinary run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..errors import EvoError, StoreError
from ..folders import LOCK, take_lock
from ..live import Lines, heading_of
from ..run import Run
from ..schema import FILE
from .folder import Found
from .plan import Cell

LOG = "log.txt"
_OFTEN = 0.2  # seconds between two words about one run
_ORPHANS = 10.0  # seconds that a process of a killed study may take to notice


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a cell.

    Args:
        kind: ``"begun"``, ``"step"``, ``"done"`` or ``"failed"``.
        cell: The cell.
        evaluations: Candidates judged so far.
        seconds: Active time so far.
        eta: Estimated seconds to go; None when nothing tells.
        hypervolume: In the box of the run.
        why: Why it failed, as a sentence.
    """

    kind: str
    cell: Cell | Found
    evaluations: int = 0
    seconds: float = 0.0
    eta: float | None = None
    hypervolume: float = 0.0
    why: str = ""


def conduct(cells: Sequence[Cell], folder: Path, jobs: int) -> Generator[Event, None, None]:
    """Run the cells in order, ``jobs`` at a time, and tell what happens; failures stop no other.

    Processes end when the iterator is closed, and when the process that iterates dies.

    Args:
        cells: Runs that exist are continued.
        folder: Of the study.
        jobs: How many processes, at least 1.
    """
    waiting = deque(cells)
    crew: list[_Worker] = []
    try:
        with _threads(jobs):
            crew = [_Worker() for _ in range(min(jobs, len(waiting)))]
        while waiting or any(worker.cell for worker in crew):
            for worker in crew:
                if worker.cell is None and waiting:
                    yield worker.give(waiting.popleft(), folder)
            busy = {worker.end: worker for worker in crew if worker.cell}
            ready: list[Any] = list(wait(list(busy)))
            for end in ready:
                yield busy[end].hear()
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """One process, replaced by another when it dies."""

    def __init__(self) -> None:
        self.cell: Cell | None = None
        self._begin()

    def give(self, cell: Cell, folder: Path) -> Event:
        job = (str(folder / cell.name), cell.config.to_mapping(), sys.argv)
        try:
            self.end.send(job)
        except OSError:  # it died while idle
            self.stop()
            self._begin()
            self.end.send(job)
        self.cell = cell
        return Event("begun", cell)

    def hear(self) -> Event:
        cell = self.cell
        assert cell is not None
        try:
            answer: tuple[str, dict[str, Any]] = self.end.recv()
        except (EOFError, OSError):
            code = self.stop()
            self._begin()
            answer = "failed", {"why": f"its process {_ending(code)}"}
        kind, told = answer
        if kind != "step":
            self.cell = None
        return Event(kind, cell, **told)

    def stop(self) -> int | None:
        self.end.close()
        self._process.join(0.2)
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def _begin(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.end, its = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(its,))
        self._process.start()
        its.close()


def _serve(end: Connection) -> None:
    """The life of a process: one run after the other until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    parent: Any = multiprocessing.parent_process()
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    while True:
        try:
            folder, config, command = end.recv()
        except EOFError:
            return
        answer = _attempt(Path(folder), config, command, end)
        with contextlib.suppress(OSError):  # nobody listens any more
            end.send(answer)


def _leave_with(parent: Any) -> None:
    wait([parent.sentinel])
    os._exit(1)  # everything judged is committed


def _attempt(folder: Path, config: Any, command: list[str], end: Connection) -> tuple[str, Any]:
    """Run one cell; what became of it."""
    try:
        return "done", _run(folder, RunConfig.from_mapping(config), command, end.send)
    except EvoError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return "failed", {"why": f"{error.message}{hint}"}
    except Exception as error:  # the edge that turns a broken run into a record
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / LOG, "a", encoding="utf-8") as log:
                log.write("".join(traceback.format_exception(error)))
        told = " ".join(str(error).split())
        why = f"unexpected {type(error).__name__}: {told}; the traceback is in {folder / LOG}"
        return "failed", {"why": why}


def _run(
    folder: Path, config: RunConfig, command: list[str], tell: Callable[[Any], None]
) -> dict[str, Any]:
    _wait_for_orphan(folder)
    begun = (folder / FILE).is_file()
    run = Run.resume(folder) if begun else Run.create(config, folder, command=command)
    with run, open(folder / LOG, "a", encoding="utf-8") as log:
        lines, last = Lines(heading_of(run), log), 0.0
        spent = 0.0
        for generation in run:
            lines.hear(generation)
            spent += generation.seconds
            if time.monotonic() - last > _OFTEN:
                last = time.monotonic()
                tell(("step", {
                    "evaluations": generation.evaluations, "seconds": spent,
                    "eta": generation.eta_seconds, "hypervolume": generation.hypervolume,
                }))  # fmt: skip
        lines.close()
        result = run.finish()
    return {
        "evaluations": result.evaluations, "seconds": result.seconds,
        "hypervolume": result.hypervolume,
    }  # fmt: skip


def _wait_for_orphan(folder: Path) -> None:
    """Wait until a process that outlived its killed study has let go of the run."""
    patience = time.monotonic() + _ORPHANS
    while (folder / LOCK).exists():
        try:
            take_lock(folder).close()
            return
        except StoreError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def _threads(jobs: int) -> Iterator[None]:
    """Share the cores among processes started inside, where nobody has said how many threads."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max(1, (os.cpu_count() or 1) // jobs))
    try:
        yield
    finally:
        del os.environ[name]


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
