"""Workers as processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import WorkerError
from .worker import Answer, Job, Order, Worker


class Processes:
    """Spawned processes, one per device given; each builds the problem when it is first needed.

    Args:
        order: What they are set up with.
        devices: Where each of them judges.
    """

    def __init__(self, order: Order, devices: Sequence[str]) -> None:
        self.count = len(devices)
        self._order, self._devices = order, devices
        self._spawn = multiprocessing.get_context("spawn")
        self._processes: list[Any] = [None] * self.count
        self._ends: list[Connection | None] = [None] * self.count
        self._answered = [False] * self.count  # at least once since it was started
        self._busy: dict[Connection, int] = {}

    def send(self, worker: int, job: Job) -> None:
        """Give an idle worker a chunk; it is started where there is none."""
        end = self._ends[worker] or self._begin(worker)
        try:
            end.send(job)
        except OSError:  # it died while idle
            self._end(worker)
            end = self._begin(worker)
            end.send(job)
        self._busy[end] = worker

    def receive(self) -> tuple[int, Answer | None]:
        """Wait for a worker that has answered or died.

        Raises:
            WorkerError: It died before it was ever of use.
        """
        ready: Any = wait(list(self._busy))[0]
        worker = self._busy.pop(ready)
        try:
            answer: Answer = ready.recv()
        except (EOFError, OSError):
            code = self._end(worker)
            if not self._answered[worker] and code == 1:
                raise WorkerError(
                    "a worker process ended while it was being started",
                    hint="a script that starts workers needs its code below "
                    "if __name__ == '__main__':",
                ) from None
            return worker, None
        self._answered[worker] = True
        return worker, answer

    def close(self) -> None:
        """Kill all of them."""
        self._busy.clear()
        for process in self._processes:
            if process is not None:
                process.kill()
        for worker in range(self.count):
            self._end(worker)

    def _begin(self, worker: int) -> Connection:
        mine, its = self._spawn.Pipe()
        process = self._spawn.Process(
            target=_serve, args=(its, self._order, self._devices[worker]), daemon=True
        )
        process.start()
        its.close()
        self._processes[worker], self._ends[worker] = process, mine
        self._answered[worker] = False
        return mine

    def _end(self, worker: int) -> int | None:
        """Stop a worker; its exit code, negative for a signal."""
        process, end = self._processes[worker], self._ends[worker]
        self._processes[worker] = self._ends[worker] = None
        if end is not None:
            end.close()
        if process is None:
            return None
        process.join(0.2)  # one that died by itself has a code of its own
        process.kill()
        process.join()
        return process.exitcode


def _serve(end: Connection, order: Order, device: str) -> None:
    """The life of a worker: until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    worker = Worker(order, device)
    while True:
        try:
            job = end.recv()
        except EOFError:
            return
        answer = worker(job)
        try:
            end.send(answer)
        except OSError:
            return
