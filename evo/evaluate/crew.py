"""Chunks spread over workers: in processes of this machine, or wherever Ray puts them.

Results are handed out in the order of the rows, whoever finishes first, so that a run file does not
depend on the number of workers. A worker that dies costs the chunk it was judging, which is given
out again; a chunk that kills twice is halved, and a candidate that kills twice has failed.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..config import RunConfig
from ..errors import WorkerError
from ..genomes import Genomes
from ..problem import Context, Evaluation, Problem
from ..provenance import fingerprints
from .chunk import lost
from .judges import Judges
from .memory import Planner
from .racing import Rivals
from .worker import Answer, Job, Order

Piece = tuple[int, ...]  # rows of a chunk
DEADLY = 2  # deaths of a chunk before it is divided


class Workers(Protocol):
    """Processes that judge, numbered from 0; one that died is replaced when it is next sent to."""

    count: int

    def send(self, worker: int, job: Job) -> None:
        """Give an idle worker a chunk.

        Raises:
            WorkerError: It cannot be started.
        """
        ...

    def receive(self) -> tuple[int, Answer | None]:
        """Wait until a busy worker has answered; None where it died instead."""
        ...

    def close(self) -> None:
        """Stop all of them, at once; may be called twice."""
        ...


class Crew:
    """Workers that judge the chunks of a run.

    Args:
        problem: Of the run, in this process.
        judges: What candidates are judged by.
        planner: Decides and remembers the chunk size.
        start: Makes the workers, given what they are set up with.

    Attributes:
        work: Counts of what all workers did, by name.
    """

    def __init__(
        self, problem: Problem, judges: Judges, planner: Planner, start: Callable[[], Workers]
    ) -> None:
        self._problem, self._judges, self._planner, self._start = problem, judges, planner, start
        self._workers: Workers | None = None
        self.work: dict[str, float] = {}
        self.on_death: Callable[[str], None] | None = None  # told what it was doing

    def __call__(
        self, genomes: Genomes, new: Sequence[int], context: Context, rivals: Rivals | None
    ) -> Iterator[tuple[NDArray[np.intp], Evaluation]]:
        """Chunks of the rows to be judged, in their order, with their results.

        Raises:
            EvoError: No candidate can be judged, or no worker be started.
        """
        if not new:
            return
        self._measure(context)
        self._workers = self._workers or self._start()
        try:
            yield from self._spread(self._workers, genomes, new, context, rivals)
        except BaseException:
            self.close()  # what is under way is of no use to anyone
            raise

    def _spread(
        self, workers: Workers, genomes: Genomes, new: Sequence[int], context: Context,
        rivals: Rivals | None,
    ) -> Iterator[tuple[NDArray[np.intp], Evaluation]]:  # fmt: skip
        waiting = deque(self._pieces(new, workers.count))
        idle, under_way = deque(range(workers.count)), dict[int, Piece]()
        deaths, done, at = dict[Piece, int](), dict[int, tuple[Piece, Evaluation]](), 0
        against = None if rivals is None else (rivals.values, rivals.samples)
        while at < len(new):
            while idle and waiting:
                worker, piece = idle.popleft(), waiting.popleft()
                part = genomes.take(np.array(piece, dtype=np.intp))
                workers.send(worker, Job(dict(part.parts), context, against))
                under_way[worker] = piece
            worker, answer = workers.receive()
            piece = under_way.pop(worker)
            idle.append(worker)
            evaluation = None
            if answer is None:
                deaths[piece] = deaths.get(piece, 0) + 1
                self._mourn(worker, piece)
            elif answer.error is not None:
                raise answer.error
            else:
                self._add(answer.work, workers.count)
                evaluation = answer.evaluation
            if answer is None and deaths[piece] < DEADLY:
                waiting.appendleft(piece)
            elif evaluation is not None:
                done[piece[0]] = (piece, evaluation)
            elif len(piece) == 1:
                why = f"its worker died {DEADLY} times while judging it"
                done[piece[0]] = (piece, lost([why], self._judges))
            else:
                if answer is not None and len(piece) <= self._planner.chunk:  # else it is known
                    self._planner.halve(len(piece))
                half = (len(piece) + 1) // 2
                parts = piece[:half], piece[half:]
                deaths |= dict.fromkeys(parts, deaths.get(piece, 1) - 1)
                waiting.extendleft(reversed(parts))
            while at < len(new) and new[at] in done:
                piece, evaluation = done.pop(new[at])
                at += len(piece)
                yield np.array(piece, dtype=np.intp), evaluation

    def _pieces(self, new: Sequence[int], count: int) -> list[Piece]:
        """One chunk per worker, or more where they would not fit."""
        size = min(self._planner.chunk, -(-len(new) // count))
        return [tuple(new[i : i + size]) for i in range(0, len(new), size)]

    def _mourn(self, worker: int, piece: Piece) -> None:
        if self.on_death:
            self.on_death(f"worker {worker} died with a chunk of {len(piece)}; it is judged anew")

    def _add(self, work: Mapping[str, float], workers: int) -> None:
        """Count what a worker did; as all work at the same time, seconds are shared by them."""
        for name, value in work.items():
            share = value / workers if name.startswith("seconds.") else value
            self.work[name] = self.work.get(name, 0.0) + share

    def _measure(self, context: Context) -> None:
        """Measure in this process, once, while no worker disturbs it."""
        measure: Any = getattr(self._problem, "measure", None)
        if self._workers is None and measure:
            measure([o.name for o in self._judges.objectives], context.device)

    def close(self) -> None:
        """Stop the workers; they are started again when they are needed."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None


def crew_of(
    config: RunConfig, problem: Problem, judges: Judges, planner: Planner, device: str
) -> Crew | None:
    """The workers a configuration asks for; None where this process judges.

    Raises:
        WorkerError: Ray is asked for and not installed.
    """
    settings = config.evaluator
    count = settings.workers or (1 if settings.ray else 0)
    if not count:
        return None

    def order() -> Order:
        tell: Any = getattr(problem, "measurements", None)
        threads = os.environ.get("OMP_NUM_THREADS", "")
        return Order(
            config.to_mapping(), fingerprints(problem), dict(tell()) if tell else {},
            int(threads) if threads.isdigit() else max(1, (os.cpu_count() or 1) // count),
            tuple(os.path.abspath(path) for path in sys.path),
        )  # fmt: skip

    if settings.ray:
        from .ray_workers import RayWorkers, require_ray

        require_ray("evaluator.ray", "set evaluator.workers alone")
        return Crew(
            problem, judges, planner, lambda: RayWorkers(order(), count, device, settings.ray)
        )
    from .processes import Processes

    return Crew(problem, judges, planner, lambda: Processes(order(), devices_for(count, device)))


def devices_for(count: int, device: str) -> list[str]:
    """One device per worker; all GPUs in turn where a run was given the first one."""
    torch: Any = sys.modules.get("torch")
    if device == "cuda:0" and torch is not None:
        return [f"cuda:{i % max(1, torch.cuda.device_count())}" for i in range(count)]
    return [device] * count


__all__ = ["Crew", "WorkerError", "Workers", "crew_of"]
