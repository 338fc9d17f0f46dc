"""One chunk of candidates: decoded, judged or raced; culprits of a failure judged alone."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..errors import (
    ConfigError,
    DataError,
    DeviceError,
    EvoError,
    ModelError,
    ObjectiveError,
    ShapeError,
    WorkerError,
)
from ..genomes import Genomes
from ..problem import Array, Context, Evaluation, Problem
from .judges import Judges
from .memory import is_out_of_memory, release
from .racing import Race, Raced, Rivals

_SYSTEMIC = (  # never the fault of one candidate
    ConfigError, DataError, DeviceError, ModelError, WorkerError,
)  # fmt: skip


class ChunkJudge:
    """Judges chunks in this process.

    Args:
        problem: Decodes genomes into batches.
        judges: What each batch is judged by.
        race: How candidates are raced against rivals; None judges all of them on all samples.
    """

    def __init__(self, problem: Problem, judges: Judges, race: Race | None = None) -> None:
        self.problem, self.judges, self.race = problem, judges, race

    def __call__(
        self, genomes: Genomes, context: Context, rivals: Rivals | None = None
    ) -> Evaluation | None:
        """Results of k candidates; None where memory does not hold so many of them at once.

        Args:
            genomes: k rows.
            context: Device, seed and split.
            rivals: Whom they race against; None judges them on all samples.

        Raises:
            ObjectiveError: An objective returned the wrong shape or no numbers.
            EvoError: The device, the model or the data cannot be used by any candidate.
        """
        begun, count = time.perf_counter(), len(genomes)
        try:
            raced = self._judge(genomes, context, rivals)
            reasons = [""] * count
        except Exception as error:
            if is_out_of_memory(error) and count > 1:
                error.__traceback__ = None  # frames hold on to the arrays that did not fit
                del error
                release()
                return None
            _raise_systemic(error)
            raced, reasons = self._one_by_one(genomes, context, rivals, error)
        told = raced.told or ("",) * count
        searched = raced.values[:, : self.judges.n_searched]  # metrics may be anything
        usable = np.isfinite(searched).all(axis=1) & np.isfinite(raced.violations).all(axis=1)
        for i in np.flatnonzero(~usable):
            reasons[i] = reasons[i] or self._unusable(raced.values[i], raced.violations[i], told[i])
        each = (time.perf_counter() - begun) / count
        return evaluation_of(raced, reasons, each)

    def _judge(self, genomes: Genomes, context: Context, rivals: Rivals | None) -> Raced:
        batch = self.problem.batch(genomes.take(slice(None)), context)
        if len(batch) != len(genomes):
            raise ShapeError(
                f"the problem made a batch of {len(batch)} candidates from {len(genomes)} genomes"
            )
        if self.race is not None and rivals is not None:
            return self.race(batch, rivals)
        values, violations = self.judges(batch)
        told = tuple(getattr(batch, "failures", ()))
        return Raced(values, violations, np.full(len(genomes), context.fidelity), None, told)

    def _one_by_one(
        self, genomes: Genomes, context: Context, rivals: Rivals | None, error: Exception
    ) -> tuple[Raced, list[str]]:
        """Judge each candidate of a failed chunk alone, so that only culprits fail."""
        found: list[Raced] = []
        reasons = [""] * len(genomes)
        for i in range(len(genomes)):
            if len(genomes) == 1:
                reasons[i] = _sentence(error)
                break
            try:
                found.append(self._judge(genomes.take(slice(i, i + 1)), context, rivals))
            except Exception as again:
                _raise_systemic(again)
                reasons[i] = _sentence(again)
                if is_out_of_memory(again):
                    release()
        return _joined(found, reasons, self.judges), reasons

    def _unusable(self, values: Array, violations: Array, told: str) -> str:
        """Why a candidate whose judges all answered still fails."""
        searched = self.judges.objectives[: self.judges.n_searched]
        for objective, value in zip(searched, values, strict=False):
            if not np.isfinite(value):
                returned = f"objective {objective.name!r} returned {value}"
                return f"{returned}: {told}" if told else returned
        return f"a constraint has the value {violations[~np.isfinite(violations)][0]}"


def evaluation_of(raced: Raced, reasons: Sequence[str], each: float) -> Evaluation:
    """An evaluation of k candidates that took ``each`` seconds; those with a reason failed."""
    ok = np.array([not reason for reason in reasons], dtype=np.bool_)
    return Evaluation(
        raced.values, raced.violations, ok, np.full(len(reasons), each), tuple(reasons),
        raced.shares, raced.samples,
    )  # fmt: skip


def lost(reasons: Sequence[str], judges: Judges) -> Evaluation:
    """An evaluation of k candidates of whom nothing but the reason of failure is known."""
    return evaluation_of(_joined([], reasons, judges), reasons, 0.0)


def stacked(samples: Sequence[Array | None]) -> Array | None:
    """One array with NaN where there is nothing; None where there is nothing at all."""
    known = next((s for s in samples if s is not None), None)
    if known is None:
        return None
    return np.array([np.full_like(known, np.nan) if s is None else s for s in samples])


def _joined(found: list[Raced], reasons: Sequence[str], judges: Judges) -> Raced:
    """Results of candidates judged alone; nothing is known of those with a reason."""
    n, rows = len(reasons), [i for i, reason in enumerate(reasons) if not reason]
    values = np.full((n, len(judges.objectives)), np.nan)
    violations, shares = np.full((n, judges.n_constraints), np.nan), np.ones(n)
    samples: list[Array | None] = [None] * n
    told = [""] * n
    for row, one in zip(rows, found, strict=True):
        values[row], violations[row], shares[row] = one.values[0], one.violations[0], one.shares[0]
        samples[row] = None if one.samples is None else one.samples[0]
        told[row] = one.told[0] if one.told else ""
    return Raced(values, violations, shares, stacked(samples), tuple(told))


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
