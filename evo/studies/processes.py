"""Cells of a study run side by side in processes of this machine, each as an ordinary run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .attempt import Event, attempt
from .plan import Cell


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
        answer = attempt(Path(folder), config, command, end.send)
        with contextlib.suppress(OSError):  # nobody listens any more
            end.send(answer)


def _leave_with(parent: Any) -> None:
    wait([parent.sentinel])
    os._exit(1)  # everything judged is committed


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
