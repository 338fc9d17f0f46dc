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
from .racing import Race, Raced, Rivals

ChunkListener = Callable[[NDArray[np.intp], Evaluation], None]
"""Called once per judged chunk: rows of the genomes asked for, and their results."""

_SYSTEMIC = (ConfigError, DataError, DeviceError, ModelError)  # never the fault of one candidate


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is known about one genome: values (columns,), violations (c,), failure.

    ``share`` of the samples was judged; ``samples`` (q, b) are kept where a run races.
    """

    values: Array
    violations: Array
    ok: bool
    reason: str
    share: float = 1.0
    samples: Array | None = None


class LocalEvaluator:
    """Judges genomes in this process; nothing is judged twice.

    Args:
        problem: Decodes genomes into batches.
        judges: What each batch is judged by.
        context: Device, seed and split.
        planner: Decides and remembers the chunk size.
        known: Verdicts by the exact bytes of a genome; shared with the caller and added to.
        race: How candidates are raced; None judges all of them on all samples.
    """

    def __init__(
        self,
        problem: Problem,
        judges: Judges,
        context: Context,
        planner: Planner,
        known: dict[bytes, Verdict] | None = None,
        race: Race | None = None,
    ) -> None:
        self.problem = problem
        self.judges = judges
        self.context = context
        self.planner = planner
        self.known = {} if known is None else known
        self.race = race
        self.rivals: Sequence[bytes] = ()  # exact bytes of genomes that were judged whole

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
            raced = self._judge(genomes, index)
            reasons = [""] * len(index)
        except Exception as error:
            if is_out_of_memory(error) and self.planner.halve(len(index)):
                error.__traceback__ = None  # frames hold on to the arrays that did not fit
                del error
                release()
                return None
            _raise_systemic(error)
            raced, reasons = self._one_by_one(genomes, index, error)
        judged = zip(reasons, raced.values, raced.violations, strict=True)
        reasons = [reason or self._unusable(v, c) for reason, v, c in judged]
        each = (time.perf_counter() - begun) / len(index)
        ok = np.array([not r for r in reasons], dtype=np.bool_)
        return Evaluation(
            raced.values, raced.violations, ok, np.full(len(index), each), tuple(reasons),
            raced.shares, raced.samples,
        )  # fmt: skip

    def _judge(self, genomes: Genomes, index: NDArray[np.intp]) -> Raced:
        batch = self.problem.batch(genomes.take(index), self.context)  # take copies the rows
        if len(batch) != len(index):
            raise ShapeError(
                f"the problem made a batch of {len(batch)} candidates from {len(index)} genomes"
            )
        if self.race is not None:
            return self.race(batch, self._rivals(self.race))
        values, violations = self.judges(batch)
        return Raced(values, violations, np.ones(len(index)), None)

    def _rivals(self, race: Race) -> Rivals:
        kept = [v for row in self.rivals if (v := self.known[row]).samples is not None]
        samples = np.array([v.samples for v in kept])
        values = np.array([v.values for v in kept]).reshape(-1, len(self.judges.objectives))
        return Rivals(values, samples)

    def _one_by_one(
        self, genomes: Genomes, index: NDArray[np.intp], error: Exception
    ) -> tuple[Raced, list[str]]:
        """Judge each candidate of a failed chunk alone, so that only culprits fail."""
        found: list[Raced] = []
        reasons = [""] * len(index)
        for i in range(len(index)):
            if len(index) == 1:
                reasons[i] = _sentence(error)
                break
            try:
                found.append(self._judge(genomes, index[i : i + 1]))
            except Exception as again:
                _raise_systemic(again)
                reasons[i] = _sentence(again)
                if is_out_of_memory(again):
                    release()
        return _joined(found, reasons, self.judges), reasons

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
                float(evaluation.shares[i]),
                None if evaluation.samples is None else evaluation.samples[i],
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
        shares=np.array([v.share for v in verdicts], dtype=np.float64),
        samples=_stacked([v.samples for v in verdicts]),
    )


def _joined(found: list[Raced], reasons: list[str], judges: Judges) -> Raced:
    """Results of candidates judged alone; nothing is known of those with a reason."""
    n, rows = len(reasons), [i for i, reason in enumerate(reasons) if not reason]
    values = np.full((n, len(judges.objectives)), np.nan)
    violations, shares = np.full((n, judges.n_constraints), np.nan), np.ones(n)
    samples: list[Array | None] = [None] * n
    for row, one in zip(rows, found, strict=True):
        values[row], violations[row], shares[row] = one.values[0], one.violations[0], one.shares[0]
        samples[row] = None if one.samples is None else one.samples[0]
    return Raced(values, violations, shares, _stacked(samples))


def _stacked(samples: Sequence[Array | None]) -> Array | None:
    """One array with NaN where there is nothing; None where there is nothing at all."""
    known = next((s for s in samples if s is not None), None)
    if known is None:
        return None
    return np.array([np.full_like(known, np.nan) if s is None else s for s in samples])


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
