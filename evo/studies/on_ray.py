"""Cells of a study run wherever Ray puts them (extra ``ray``), each as an ordinary run."""

from __future__ import annotations

import importlib
import sys
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ..evaluate.ray_workers import connect, require_ray
from .attempt import Event, attempt
from .folder import RECORD
from .plan import Cell

_OFTEN = 0.5  # seconds between two looks at what runs under way have told


class Cluster:
    """A Ray to run studies on; a local one ends with it.

    Args:
        address: ``local``, or a cluster's as in ``ray.init``.
        jobs: How many runs at a time, by default as many as the cluster has cores.

    Raises:
        WorkerError: Ray is not installed, or not there.
    """

    def __init__(self, address: str, jobs: int | None = None) -> None:
        require_ray("evo study --ray", "leave --ray out")
        self._ray: Any = importlib.import_module("ray")
        self._own = not self._ray.is_initialized()
        if self._own:
            connect(self._ray, address, jobs, "--ray local")
        self.jobs = jobs or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def conduct(self, cells: Sequence[Cell], folder: Path) -> Generator[Event, None, None]:
        """Run the cells in order, as :func:`evo.studies.processes.conduct` does.

        Each is a task that takes one core. All machines must see the folder under the same name;
        that is checked where a cell begins. Tasks are cancelled when the iterator is closed; those
        of a driver that dies are ended by Ray.

        Args:
            cells: Runs that exist are continued.
            folder: Of the study, recorded.
        """
        ray, queue = self._ray, importlib.import_module("ray.util.queue")
        heard: Any = queue.Queue(actor_options={"num_cpus": 0})
        task = ray.remote(num_cpus=1, max_retries=0)(_attempted)
        waiting, running, folder = deque(cells), dict[Any, Cell](), folder.resolve()
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    cell = waiting.popleft()
                    job = (str(folder), cell.name, cell.config.to_mapping(), sys.argv, heard)
                    running[task.remote(*job)] = cell
                    yield Event("begun", cell)
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_OFTEN)
                under_way = {cell.name: cell for cell in running.values()}
                for name, (kind, told) in heard.get_nowait_batch(heard.qsize()):
                    if name in under_way:
                        yield Event(kind, under_way[name], **told)
                for ended in ready:
                    yield self._outcome(ended, running.pop(ended))
        finally:
            for left in running:
                ray.cancel(left, force=True)
            heard.shutdown(force=True)

    def _outcome(self, task: Any, cell: Cell) -> Event:
        try:
            kind, told = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            why = f"its task died: {' '.join(str(error).split())[:200]}"
            return Event("failed", cell, why=why)
        return Event(kind, cell, **told)

    def close(self) -> None:
        """End the local one."""
        if self._own:
            self._ray.shutdown()


def _attempted(
    folder: str, name: str, config: dict[str, Any], command: list[str], heard: Any
) -> tuple[str, dict[str, Any]]:
    """What a task does, on whatever machine."""
    import socket

    if not (Path(folder) / RECORD).is_file():
        why = f"machine {socket.gethostname()} does not see the study in {folder!r}"
        return "failed", {"why": f"{why} (put it where all machines of the cluster do: --out)"}
    return attempt(
        Path(folder) / name, config, command, lambda step: heard.put_nowait((name, step))
    )
