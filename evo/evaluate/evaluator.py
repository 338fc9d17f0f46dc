"""From genomes to results: known ones from the cache, new ones in chunks, here or by workers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..genomes import Genomes
from ..problem import Array, Context, Evaluation, Problem, work_of
from .chunk import ChunkJudge, stacked
from .crew import Crew
from .judges import Judges
from .memory import Planner
from .racing import Race, Rivals

ChunkListener = Callable[[NDArray[np.intp], Evaluation], None]
"""Called once per judged chunk: rows of the genomes asked for, and their results."""


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


class Evaluator:
    """Judges genomes; nothing is judged twice.

    Args:
        problem: Decodes genomes into batches.
        judges: What each batch is judged by.
        context: Device, seed and split.
        planner: Decides and remembers the chunk size.
        known: Verdicts by the key of a genome; shared with the caller and added to.
        race: How candidates are raced; None judges all of them on all samples.
        crew: Workers that judge instead of this process, in the same way.
    """

    def __init__(
        self,
        problem: Problem,
        judges: Judges,
        context: Context,
        planner: Planner,
        known: dict[bytes, Verdict] | None = None,
        race: Race | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.problem = problem
        self.judges = judges
        self.context = context
        self.planner = planner
        self.known = {} if known is None else known
        self.race = race
        self.crew = crew
        self.rivals: Sequence[bytes] = ()  # keys of genomes that were judged whole

    def __call__(self, genomes: Genomes, on_chunk: ChunkListener | None = None) -> Evaluation:
        """Results of n legal genomes, in their order; arguments are not modified.

        Args:
            genomes: n rows; rows that occur twice are judged once.
            on_chunk: Told about each new chunk as soon as it is judged, rows ascending.

        Raises:
            ObjectiveError: An objective returned the wrong shape or no numbers.
            EvoError: The device, the model or the data cannot be used by any candidate.
        """
        keys = genomes.keys()
        new = [i for i in first_rows(keys) if keys[i] not in self.known]
        seconds = np.zeros(len(keys))
        for index, evaluation in self._chunks(genomes, new):
            self._remember([keys[i] for i in index], evaluation)
            seconds[index] = evaluation.seconds
            if on_chunk:
                on_chunk(index, evaluation)
        return gather([self.known[key] for key in keys], self.judges, seconds)

    def work(self) -> dict[str, float]:
        """What the problem counts of its work so far, here and in all workers, by name."""
        counts = dict(work_of(self.problem))
        for name, value in (self.crew.work if self.crew else {}).items():
            counts[name] = counts.get(name, 0.0) + value
        return counts

    def _chunks(
        self, genomes: Genomes, new: Sequence[int]
    ) -> Iterator[tuple[NDArray[np.intp], Evaluation]]:
        """Chunks of the rows to be judged, in their order, with their results."""
        rivals = None if self.race is None else self._rivals()
        if self.crew is not None:
            yield from self.crew(genomes, new, self.context, rivals)
            return
        judge, start = ChunkJudge(self.problem, self.judges, self.race), 0
        while start < len(new):
            index = np.array(new[start : start + self.planner.chunk], dtype=np.intp)
            evaluation = judge(genomes.take(index), self.context, rivals)
            if evaluation is None:
                self.planner.halve(len(index))
                continue
            yield index, evaluation
            start += len(index)

    def _rivals(self) -> Rivals:
        kept = [v for key in self.rivals if (v := self.known[key]).samples is not None]
        samples = np.array([v.samples for v in kept])
        values = np.array([v.values for v in kept]).reshape(-1, len(self.judges.objectives))
        return Rivals(values, samples)

    def _remember(self, keys: list[bytes], evaluation: Evaluation) -> None:
        samples = [None] * len(keys) if evaluation.samples is None else evaluation.samples
        columns = (
            evaluation.values, evaluation.violations, evaluation.ok.tolist(), evaluation.reasons,
            evaluation.shares.tolist(), samples,
        )  # fmt: skip
        self.known.update(zip(keys, map(Verdict, *columns), strict=True))


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
        samples=stacked([v.samples for v in verdicts]),
    )
