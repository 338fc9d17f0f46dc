"""One algorithm driven through the log: ask, record, judge what is missing, record, tell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .algorithms import Algorithm
from .archive import Box, Front
from .errors import ObjectiveError, ReplayError
from .evaluate import Evaluator, first_rows
from .genomes import Genomes
from .indicators import UnitVolume
from .problem import Array, Evaluation
from .store import SEARCH, RunFile


@dataclass(slots=True)
class Desk:
    """What all phases of a run share.

    Args:
        file: The log.
        evaluator: Judges; its cache holds everything recorded.
        ids: Origin → key of a genome → id of the candidate.
        anchors: Fitness of known references for the box, shape (k, m).
        diagnose: What changed since the log was begun, for error messages.
        box: Where hypervolumes are measured; fixed by the first generation.
        scales: What violations are divided by, shape (c,); fixed by the first generation.
        measurements: What the problem measured once, as the log has it.
    """

    file: RunFile
    evaluator: Evaluator
    ids: dict[str, dict[bytes, int]]
    anchors: Array
    diagnose: Callable[[], str]
    box: Box | None = None
    scales: Array | None = None
    measurements: dict[str, Any] = field(default_factory=dict)
    _counted: dict[str, float] = field(default_factory=dict)

    def worked(self) -> dict[str, float]:
        """What the problem counts of its work, by name, since this was last asked."""
        before, self._counted = self._counted, self.evaluator.work()
        return {k: v - before.get(k, 0.0) for k, v in self._counted.items()}

    def remember(self) -> None:
        """Keep what the problem measured once and judges by from then on, before its results."""
        tell: Any = getattr(self.evaluator.problem, "measurements", None)
        found = dict(tell()) if tell else {}
        if found != self.measurements:
            self.file.set_meta(measurements=found)
            self.measurements = found

    def settle(self, evaluation: Evaluation) -> None:
        """Fix the box and the scales from the first generation of all.

        Raises:
            ObjectiveError: No candidate of it could be judged.
        """
        if not evaluation.ok.any():
            raise ObjectiveError(
                f"every candidate of the first generation failed: {evaluation.reasons[0]}",
                hint="correct the cause, then start a new run",
            )
        judges = self.evaluator.judges
        self.box = Box.around(judges.fitness(evaluation.values[evaluation.ok]), self.anchors)
        self.scales = judges.scales(evaluation.violations[evaluation.ok])
        self.file.set_meta(box=self.box.to_json(), scales=self.scales.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One generation of a phase."""

    number: int
    genomes: Genomes
    evaluation: Evaluation
    hypervolume: float
    evaluated: int
    cached: int
    seconds: float
    replayed: bool
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Phase:
    """The search or one baseline: an algorithm, its origin, and how far it is.

    ``own`` judges instead of the desk's evaluator where this phase sees other data than the search.
    """

    desk: Desk
    origin: str
    algorithm: Algorithm
    own: Evaluator | None = None
    number: int = 0
    front: Front = field(init=False)
    evaluations: int = 0
    _mark: float = 0.0
    _volume: UnitVolume | None = None  # from the first generation on that is not replayed
    _late: bool = False  # whether violations are not recorded with their candidates
    _own: dict[str, float] = field(default_factory=dict)  # seconds of the algorithm, not yet kept
    _seen: set[int] = field(default_factory=set)
    _keys: dict[int, bytes] = field(default_factory=dict)  # of the front, by id

    def __post_init__(self) -> None:
        self.front = Front(self.evaluator.judges.n_searched)
        if self.evaluator.judges.any_free and getattr(self.algorithm, "foresees", False):
            self.algorithm.foresee(self._free)  # type: ignore[attr-defined]

    @property
    def evaluator(self) -> Evaluator:
        """What judges its candidates."""
        return self.own or self.desk.evaluator

    def advance(self, room: int | None = None) -> Step | None:
        """Replay or judge the next generation; None when nothing new is asked for.

        Args:
            room: Judge at most so many candidates; a generation cut short is the last one.

        Raises:
            ReplayError: The algorithm asks for other genomes than the log holds.
            ObjectiveError: The first generation failed altogether.
        """
        self._mark = time.perf_counter()
        stored = self.desk.file.asked(self.origin, self.number)
        with self._spending("seconds.ask"):
            asked = self._ask(stored)
        kept = asked if room is None else asked.take(slice(0, room))
        if stored is not None and len(stored) > len(kept):
            kept = asked.take(slice(0, len(stored)))
        if len(kept) == 0:
            return None
        recorded = self.desk.file.generation(self.origin, self.number)
        replayed = recorded is not None and recorded.complete and len(kept) == len(stored or ())
        evaluation = self.evaluator(kept) if replayed else self._judge(kept, stored)
        step = self._close(kept, evaluation, replayed)
        if len(kept) == len(asked):
            with self._spending("seconds.tell"):
                self.algorithm.tell(asked, *self.told(step.evaluation))
            step = self._with_facts(step)
        self.number += 1
        return step

    def _with_facts(self, step: Step) -> Step:
        """A generation with what the algorithm says of it, which is recorded."""
        facts = dict(getattr(self.algorithm, "facts", {}))
        if facts and not step.replayed:
            named = {f"algorithm.{name}": value for name, value in facts.items()}
            self.desk.file.add_work(self.origin, self.number, named)
        return replace(step, facts=facts)

    def _ask(self, stored: Sequence[bytes] | None) -> Genomes:
        """What the algorithm asks for; what is recorded already must be the beginning of it."""
        if stored is not None and self._recalls:
            recalled = self.desk.file.asked_whole(self.origin, self.number)
            if recalled is not None:
                self.algorithm.recall(recalled)  # type: ignore[attr-defined]
                return recalled
        asked = self.algorithm.ask()
        if stored is None or asked.keys()[: len(stored)] == stored:
            return asked
        raise ReplayError(
            f"generation {self.number} of {self.origin} asks for other candidates than the "
            f"{len(stored)} recorded ones; {self.desk.diagnose()}",
            hint=f"evo resume {self.desk.file.folder} --warm-start begins a new run from the front",
        )

    @property
    def _recalls(self) -> bool:
        return getattr(self.algorithm, "recalls", hasattr(self.algorithm, "recall"))

    def _judge(self, kept: Genomes, stored: Sequence[bytes] | None) -> Evaluation:
        """Record what is asked, then judge and record whatever the log lacks."""
        desk = self.desk
        self._late = desk.scales is None or stored is not None
        if stored is None or len(stored) < len(kept):
            plan = f"chunk {self.evaluator.planner.chunk}"
            desk.file.begin(self.origin, self.number, kept, plan, whole=self._recalls)
        self._copy(kept)
        self.evaluator.rivals = list(self._keys.values()) if self.origin == SEARCH else ()
        evaluation = self.evaluator(kept, lambda i, e: self._append(kept, i, e, copied=False))
        if desk.box is None:
            desk.settle(evaluation)
        return evaluation

    def _copy(self, kept: Genomes) -> None:
        """Record what other phases have judged already as candidates of this one, too."""
        known, mine = self.evaluator.known, self.desk.ids[self.origin]
        keys = kept.keys()
        found = [i for i in first_rows(keys) if keys[i] in known and keys[i] not in mine]
        if found:
            index = np.array(found, dtype=np.intp)
            evaluation = self.evaluator(kept.take(index))
            self._append(kept, index, evaluation, copied=True)

    def _append(
        self, kept: Genomes, index: NDArray[np.intp], evaluation: Evaluation, *, copied: bool
    ) -> None:
        self.desk.remember()
        some = kept if len(index) == len(kept) else kept.take(index)
        known = None if self.desk.scales is None else self.told(evaluation)[1]
        ids = self.desk.file.append(
            self.origin, self.number, index, some, evaluation, violation=known,
            seconds=self._lap(), copied=copied, work=self.desk.worked(),
        )  # fmt: skip
        self.desk.ids[self.origin].update(zip(some.keys(), ids, strict=True))
        failed = [reason for reason in evaluation.reasons if reason]
        if failed and not copied:
            told = f"{len(failed)} of {len(ids)} candidates failed, the first: {failed[0]}"
            self.desk.file.event("failed", f"generation {self.number} of {self.origin}: {told}")

    def _close(self, kept: Genomes, evaluation: Evaluation, replayed: bool) -> Step:
        """Take the generation into the front, and mark it complete unless it is already."""
        file, box = self.desk.file, self.desk.box
        assert box is not None
        fitness, violation = self.told(evaluation)
        keys = kept.keys()
        ids = [self.desk.ids[self.origin][key] for key in keys]
        new = [i for i in first_rows(ids) if ids[i] not in self._seen]
        self._seen.update(ids)
        feasible = evaluation.ok[new] & (violation[new] == 0)
        entered, left = self.front.add([ids[i] for i in new], fitness[new], feasible)
        mine = set(entered)
        arrived = [i for i in new if ids[i] in mine]
        self._keys |= {ids[i]: keys[i] for i in arrived}
        for gone in left:
            del self._keys[gone]
        if not replayed:
            marked = (entered, left) if self.origin == SEARCH else ((), ())
            if self._volume is None:
                self._volume = UnitVolume(box.ideal, box.nadir, self.front.fitness)
            else:
                self._volume.grow(self.front.fitness, fitness[arrived])
            late = np.flatnonzero(evaluation.ok) if self._late else ()
            file.complete(
                self.origin, self.number, asked=len(kept), seconds=self._lap(),
                hypervolume=self._volume.value,
                violation={ids[i]: float(violation[i]) for i in late},
                entered=marked[0], left=marked[1], work=self._own,
            )  # fmt: skip
        self._own = {}
        row = file.generation(self.origin, self.number)
        assert row is not None
        assert row.hypervolume is not None
        self.evaluations += row.evaluated
        return Step(
            self.number, kept, evaluation, row.hypervolume, row.evaluated, row.cached, row.seconds,
            replayed,
        )  # fmt: skip

    def told(self, evaluation: Evaluation) -> tuple[Array, Array]:
        """Fitness (n, m), NaN where failed, and scaled total violation (n,)."""
        fitness = self.evaluator.judges.fitness(evaluation.values)
        fitness[~evaluation.ok] = np.nan
        assert self.desk.scales is not None
        violation = (evaluation.violations / self.desk.scales).sum(axis=1)
        violation[~evaluation.ok] = 0.0
        return fitness, violation

    def _free(self, genomes: Genomes) -> tuple[Array, Array]:
        """Fitness (n, m) and violation (n,), NaN where only judging tells."""
        judge = self.evaluator
        batch = judge.problem.batch(genomes, judge.context)
        values, violations = judge.judges.free(batch)
        assert self.desk.scales is not None
        return judge.judges.fitness(values), (violations / self.desk.scales).sum(axis=1)

    @contextlib.contextmanager
    def _spending(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._own[name] = self._own.get(name, 0.0) + time.perf_counter() - start

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._mark = now - self._mark, now
        return lap
