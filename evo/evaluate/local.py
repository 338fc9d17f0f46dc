"""Judging in this process: known genomes from the cache, new ones in chunks, culprits alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import (
    ConfigError,
    DataError,
    DeviceError,
    EvoError,
    ModelError,
    ObjectiveError,
    ShapeError,
)
from ..genomes import Genomes
from ..problem import Array, Context, Evaluation, Problem
from .judges import Judges
from .memory import Planner, is_out_of_memory, release

ChunkListener = Callable[[NDArray[np.intp], Evaluation], None]
"""Called once per judged chunk: rows of the genomes asked for, and their results."""

_SYSTEMIC = (ConfigError, DataError, DeviceError, ModelError)  # never the fault of one candidate


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is known about one genome: values (columns,), violations (c,), failure."""

    values: Array
    violations: Array
    ok: bool
    reason: str


class LocalEvaluator:
    """Judges genomes in this process; nothing is judged twice.

    Args:
        problem: Decodes genomes into batches.
        judges: What each batch is judged by.
        context: Device, seed and split.
        planner: Decides and remembers the chunk size.
        known: Verdicts by the exact bytes of a genome; shared with the caller and added to.
    """

    def __init__(
        self,
        problem: Problem,
        judges: Judges,
        context: Context,
        planner: Planner,
        known: dict[bytes, Verdict] | None = None,
    ) -> None:
        self.problem = problem
        self.judges = judges
        self.context = context
        self.planner = planner
        self.known = {} if known is None else known

    def __call__(self, genomes: Genomes, on_chunk: ChunkListener | None = None) -> Evaluation:
        """Results of n legal genomes, in their order; arguments are not modified.

        Args:
            genomes: n rows; rows that occur twice are judged once.
            on_chunk: Told about each new chunk as soon as it is judged, rows ascending.

        Raises:
            ObjectiveError: An objective returned the wrong shape or no numbers.
            EvoError: The device, the model or the data cannot be used by any candidate.
        """
        rows = genomes.rows()
        new = [i for i in first_rows(rows) if rows[i] not in self.known]
        start = 0
        seconds = np.zeros(len(rows))
        while start < len(new):
            index = np.array(new[start : start + self.planner.chunk], dtype=np.intp)
            evaluation = self._attempt(genomes, index)
            if evaluation is None:
                continue
            self._remember([rows[i] for i in index], evaluation)
            seconds[index] = evaluation.seconds
            if on_chunk:
                on_chunk(index, evaluation)
            start += len(index)
        return gather([self.known[row] for row in rows], self.judges, seconds)

    def _attempt(self, genomes: Genomes, index: NDArray[np.intp]) -> Evaluation | None:
        """Judge one chunk; None when memory ran out and a smaller chunk shall be tried."""
        begun = time.perf_counter()
        try:
            values, violations = self._judge(genomes, index)
            reasons = [""] * len(index)
        except Exception as error:
            if is_out_of_memory(error) and self.planner.halve(len(index)):
                error.__traceback__ = None  # frames hold on to the arrays that did not fit
                del error
                release()
                return None
            _raise_systemic(error)
            values, violations, reasons = self._one_by_one(genomes, index, error)
        judged = zip(reasons, values, violations, strict=True)
        reasons = [reason or self._unusable(v, c) for reason, v, c in judged]
        share = (time.perf_counter() - begun) / len(index)
        ok = np.array([not r for r in reasons], dtype=np.bool_)
        return Evaluation(values, violations, ok, np.full(len(index), share), tuple(reasons))

    def _judge(self, genomes: Genomes, index: NDArray[np.intp]) -> tuple[Array, Array]:
        batch = self.problem.batch(genomes.take(index), self.context)  # take copies the rows
        if len(batch) != len(index):
            raise ShapeError(
                f"the problem made a batch of {len(batch)} candidates from {len(index)} genomes"
            )
        return self.judges(batch)

    def _one_by_one(
        self, genomes: Genomes, index: NDArray[np.intp], error: Exception
    ) -> tuple[Array, Array, list[str]]:
        """Judge each candidate of a failed chunk alone, so that only culprits fail."""
        values = np.full((len(index), len(self.judges.objectives)), np.nan)
        violations = np.full((len(index), self.judges.n_constraints), np.nan)
        reasons = [""] * len(index)
        for i in range(len(index)):
            if len(index) == 1:
                reasons[i] = _sentence(error)
                break
            try:
                alone, beyond = self._judge(genomes, index[i : i + 1])
                values[i], violations[i] = alone[0], beyond[0]
            except Exception as again:
                _raise_systemic(again)
                reasons[i] = _sentence(again)
                if is_out_of_memory(again):
                    release()
        return values, violations, reasons

    def _unusable(self, values: Array, violations: Array) -> str:
        """Why a candidate whose judges all answered still fails, or nothing."""
        searched = self.judges.objectives[: self.judges.n_searched]
        for objective, value in zip(searched, values, strict=False):  # metrics may be anything
            if not np.isfinite(value):
                return f"objective {objective.name!r} returned {value}"
        if not np.isfinite(violations).all():
            return f"a constraint has the value {violations[~np.isfinite(violations)][0]}"
        return ""

    def _remember(self, rows: list[bytes], evaluation: Evaluation) -> None:
        for i, row in enumerate(rows):
            self.known[row] = Verdict(
                evaluation.values[i],
                evaluation.violations[i],
                bool(evaluation.ok[i]),
                evaluation.reasons[i],
            )


def first_rows(rows: Sequence[Hashable]) -> list[int]:
    """Index of the first occurrence of each distinct row, ascending."""
    seen: dict[Hashable, int] = {}
    for i, row in enumerate(rows):
        seen.setdefault(row, i)
    return list(seen.values())


def gather(verdicts: list[Verdict], judges: Judges, seconds: Array) -> Evaluation:
    """Join verdicts of n candidates into one evaluation."""
    shape = (len(verdicts), len(judges.objectives))
    return Evaluation(
        values=np.array([v.values for v in verdicts], dtype=np.float64).reshape(shape),
        violations=np.array([v.violations for v in verdicts], dtype=np.float64).reshape(
            len(verdicts), judges.n_constraints
        ),
        ok=np.array([v.ok for v in verdicts], dtype=np.bool_),
        seconds=seconds,
        reasons=tuple(v.reason for v in verdicts),
    )


def _raise_systemic(error: Exception) -> None:
    """Raise what is wrong with the set-up rather than with a candidate."""
    if isinstance(error, ShapeError) or (isinstance(error, ObjectiveError) and not error.__cause__):
        raise error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _SYSTEMIC):
            raise cause
        cause = cause.__cause__


def _sentence(error: Exception) -> str:
    if is_out_of_memory(error):
        return "memory ran out for this candidate alone"
    if isinstance(error, EvoError):
        return error.message
    return f"{type(error).__name__}: {error}"
