"""What a worker is told, what it does, and what it answers; the same in a process and on Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..config import RunConfig
from ..errors import EvoError, WorkerError
from ..genomes import Genomes
from ..problem import Array, Context, Evaluation, Problem, work_of
from ..provenance import fingerprints
from ..registry import build_problem
from .chunk import ChunkJudge
from .judges import Judges
from .memory import offer
from .racing import Race, Rivals


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is set up with.

    Args:
        config: The run's.
        fingerprints: What the problem stands on; a worker that finds something else is of no use.
        measurements: What the run measured and its values depend on.
        threads: Of the processor, for this worker.
        paths: Where modules of plug-ins are found.
    """

    config: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    measurements: Mapping[str, Any]
    threads: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A chunk: k genomes by part, where they are judged, and whom they race against."""

    genomes: Mapping[str, Array]
    context: Context
    rivals: tuple[Array, Array] | None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a worker made of a chunk.

    Args:
        evaluation: Results; None where memory does not hold so many candidates, or of an error.
        error: What no candidate can be judged for.
        work: Counts of what was done for it, by name.
    """

    evaluation: Evaluation | None
    error: EvoError | None = None
    work: Mapping[str, float] = field(default_factory=dict)


class Worker:
    """The problem of a run, built once in another process; judges chunks of it.

    Args:
        order: What it is set up with.
        device: Where it judges.
    """

    def __init__(self, order: Order, device: str) -> None:
        self._order, self._device = order, device
        self._judge: ChunkJudge | None = None

    def __call__(self, job: Job) -> Answer:
        """Judge a chunk; whatever goes wrong is part of the answer."""
        try:
            if self._judge is None:
                self._judge = self._set_up()
            before = work_of(self._judge.problem)
            rivals = None if job.rivals is None else Rivals(*job.rivals)
            context = replace(job.context, device=self._device)
            evaluation = self._judge(Genomes(job.genomes), context, rivals)
            after = work_of(self._judge.problem)
        except EvoError as error:
            return Answer(None, error)
        except Exception as error:
            told = f"a worker failed with {type(error).__name__}: {error}"
            return Answer(None, WorkerError(told))
        return Answer(evaluation, None, {k: v - before.get(k, 0.0) for k, v in after.items()})

    def _set_up(self) -> ChunkJudge:
        os.environ.setdefault("OMP_NUM_THREADS", str(self._order.threads))
        sys.path += [path for path in self._order.paths if path not in sys.path]
        config = RunConfig.from_mapping(self._order.config)
        problem = build_problem(config)
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(self._order.threads)
        self._compare(problem)
        if self._order.measurements:
            problem.restore(self._order.measurements)  # type: ignore[attr-defined]
        offer(problem, config.evaluator, self._device)
        judges, confidence = Judges.of(problem, config), config.evaluator.racing
        return ChunkJudge(problem, judges, Race(judges, confidence) if confidence else None)

    def _compare(self, problem: Problem) -> None:
        found = fingerprints(problem)
        changed = [k for k, v in self._order.fingerprints.items() if found.get(k) != v]
        if changed:
            raise WorkerError(
                f"a worker found another {changed[0]} than the run stands on",
                hint="give all machines the same model, text and versions",
            )
