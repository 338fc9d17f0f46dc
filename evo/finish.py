"""After the search: baselines with the same number of evaluations, and the front judged again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .algorithms import Algorithm, Population
from .archive import compare_origins
from .configured import build_algorithm
from .errors import ConfigError
from .evaluate import Evaluator
from .genomes import Genomes
from .phase import Phase
from .problem import Array, Baseline, Evaluation, Tell
from .store import LOW, SEARCH, read_run
from .streams import derive, stream
from .view import low_worth

if TYPE_CHECKING:
    from .run import Run

Progress = Callable[[str, int, int], None]
"""Told what is going on, how much of it is done, and out of how much."""

RIVALS = ("random", "greedy")


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    Args:
        folder: Where everything is recorded.
        reason: Why the search stopped, as a clause.
        generations: Of the search.
        evaluations: Candidates judged by the search.
        failed: How many of them failed.
        front_size: Candidates on its front.
        hypervolume: Of its front in the box of the run.
        seconds: Active time of the search.
        comparison: Hypervolume per origin in one common box; without baselines only ``"search"``,
            in the box of the run.
        share: Of the data that candidates of the search were judged on, mean; below 1 where races
            ended early.
    """

    folder: Path
    reason: str
    generations: int
    evaluations: int
    failed: int
    front_size: int
    hypervolume: float
    seconds: float
    comparison: dict[str, float]
    share: float = 1.0


def finish(run: Run, on_progress: Progress | None = None) -> Result:
    """Do what is missing of the aftermath, mark the run finished, and sum it up."""
    tell = on_progress or (lambda what, done, total: None)
    if run.config.baseline:
        for origin, algorithm in _baselines(run):
            _compete(run, origin, algorithm, tell)
        _own(run, tell)
    if run.config.validate and getattr(run.problem, "validation", False):
        _validate(run, tell)
    if hasattr(run.problem, "confirm"):
        _confirm(run, tell)
    if hasattr(run.problem, "drawing"):
        _draw(run, tell)
    run.file.set_meta(status="finished", reason=run.reason)
    return summary(run.folder)


def summary(folder: Path) -> Result:
    """Sum up a run from its file."""
    view = read_run(folder, genomes=False)
    c = view.candidates
    mine = c.origin == SEARCH
    volume = next((g.hypervolume or 0.0 for g in reversed(view.generations)), 0.0)
    return Result(
        folder=folder,
        reason=str(view.meta.get("reason", "")),
        generations=len(view.generations),
        evaluations=int(mine.sum()),
        failed=int((mine & ~c.ok).sum()),
        front_size=int(c.on_front.sum()),
        hypervolume=volume,
        seconds=view.seconds,
        comparison={SEARCH: volume} if mine.all() else compare_origins(view),
        share=float(c.share[mine].mean()) if mine.any() else 1.0,
    )


class Ladder:
    """An algorithm that asks once, for a fixed list of genomes."""

    def __init__(self, rungs: Genomes) -> None:
        self._rungs = rungs
        self._asked = False
        self.population = _nobody(rungs)

    def ask(self) -> Genomes:
        """All rungs at first, nothing afterwards."""
        rows = self._rungs.take(slice(0, 0) if self._asked else slice(None))
        self._asked = True
        return rows

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Nothing is learnt."""


def _baselines(run: Run) -> list[tuple[str, Algorithm]]:
    found: list[tuple[str, Algorithm]] = []
    if hasattr(run.problem, "ladder"):
        rungs = run.problem.ladder()  # type: ignore[attr-defined]
        run.problem.space.check(rungs)
        found.append(("baseline:uniform", Ladder(rungs)))
    for name in RIVALS:
        seed = derive(run.config.seed, "baseline", name) % 2**32
        try:
            algorithm = build_algorithm(
                run.config, run.problem.space, run.judges, None, id_=name, seed=seed
            )
        except ConfigError as error:  # e.g. greedy needs levels to climb
            run.file.event("baseline", f"no {name} baseline: {error.message}")
            continue
        found.append((f"baseline:{name}", algorithm))
    return found


def _compete(run: Run, origin: str, algorithm: Algorithm, tell: Progress) -> None:
    """Let a baseline spend as much as the search did, on a part of the data and on all of it."""
    phase, total = Phase(run.desk, origin, algorithm), run.search.evaluations + _worth(run)
    while phase.evaluations < total:
        tell(origin, phase.evaluations, total)
        if phase.advance(total - phase.evaluations) is None:
            break
    tell(origin, phase.evaluations, total)


def _worth(run: Run) -> int:
    """Evaluations on all data that cost as much as the search on a part of the data."""
    return low_worth(run.file.meta(), run.file.generations(LOW))


def _own(run: Run, tell: Progress) -> None:
    """Judge what the problem's own methods find; what is recorded is not looked for again."""
    offer: Any = getattr(run.problem, "baselines", dict)
    for name, find in offer().items():
        origin = f"baseline:{name}"
        phase = Phase(run.desk, origin, Method(run, find, partial(tell, origin)))
        try:
            if name in ("uniform", *RIVALS):
                raise ConfigError("the name is that of a baseline of every problem")
            phase.advance()
        except ConfigError as error:
            run.file.event("baseline", f"no {name} baseline: {error.message}")
        else:
            tell(origin, phase.evaluations, phase.evaluations)


class Method:
    """An algorithm that asks once, for what a method of the problem finds or what is known of it.

    Args:
        run: Its run.
        find: The method.
        tell: Told how far it is.
    """

    def __init__(self, run: Run, find: Callable[[Tell], Baseline], tell: Tell) -> None:
        self._run, self._find, self._tell = run, find, tell
        self.population = _nobody(run.problem.space.sample(0, stream(0, "nobody")))

    def recall(self, stored: Genomes) -> bool:
        """What is recorded is all of it."""
        return True

    def ask(self) -> Genomes:
        """All that the method finds."""
        found = self._find(self._tell)
        self._run.problem.space.check(found.genomes)
        if found.note:
            self._run.file.event("baseline", found.note)
        self._tell(0, len(found.genomes))
        return found.genomes

    def tell(self, genomes: Genomes, fitness: Array, violation: Array) -> None:
        """Nothing is learnt."""


def _nobody(genomes: Genomes) -> Population:
    """A population of none such."""
    nothing = np.zeros(0)
    return Population(
        genomes.take(slice(0, 0)), nothing.reshape(0, 1), nothing, nothing.astype(np.intp)
    )


def _fronts(run: Run) -> tuple[NDArray[np.int64], Genomes, Array]:
    """Ids, genomes and values of the front of the search, in the order of their ids."""
    c = read_run(run.folder).candidates
    rows = np.flatnonzero(c.on_front)
    return c.id[rows], c.genomes.take(rows), c.values[rows]


def _validate(run: Run, tell: Progress) -> None:
    """Judge the front on data the search never saw; what is recorded is not judged again."""
    ids, genomes, _ = _fronts(run)
    done = run.file.judged("validation")
    todo = np.array([i for i, k in enumerate(ids) if int(k) not in done], dtype=np.intp)
    names = [o.name for o in run.judges.objectives]
    seen = Evaluator(
        run.problem, run.judges, replace(run.context, split="validation"),
        run.desk.evaluator.planner, crew=run.crew,
    )  # fmt: skip
    count = len(ids) - len(todo)

    def record(index: NDArray[np.intp], evaluation: Evaluation) -> None:
        nonlocal count
        run.file.judge("validation", ids[todo[index]].tolist(), names, evaluation.values)
        count += len(index)
        tell("validation", count, len(ids))

    if len(todo):
        with _counted(run, "validation"):
            seen(genomes.take(todo), record)


def _confirm(run: Run, tell: Progress) -> None:
    """Let the problem measure some objectives of the front more slowly and more truly."""
    ids, genomes, values = _fronts(run)
    done = run.file.judged("confirmed")
    todo = np.array([i for i, k in enumerate(ids) if int(k) not in done], dtype=np.intp)
    if not len(todo):
        return
    tell("confirm", 0, len(todo))
    names = [o.name for o in run.judges.objectives]
    given = {name: values[todo, j] for j, name in enumerate(names)}
    with _counted(run, "confirm"):
        found = run.problem.confirm(genomes.take(todo), given)  # type: ignore[attr-defined]
    known = [name for name in found if name in names]
    if known:
        columns = np.stack([np.asarray(found[n], dtype=np.float64) for n in known], axis=1)
        run.file.judge("confirmed", ids[todo].tolist(), known, columns)
    tell("confirm", len(todo), len(todo))


def _draw(run: Run, tell: Progress) -> None:
    """Record a picture with what the members of the front chose in it."""
    ids, genomes, _ = _fronts(run)
    if len(ids):
        tell("drawing", 0, len(ids))
        told = run.problem.drawing(genomes)  # type: ignore[attr-defined]
        run.file.set_meta(drawing={**told, "ids": ids.tolist()})


@contextlib.contextmanager
def _counted(run: Run, origin: str) -> Iterator[None]:
    """Record the work and the time of what happens inside."""
    start = time.perf_counter()
    run.desk.worked()
    yield
    spent = {"seconds.total": time.perf_counter() - start}
    run.file.add_work(origin, 0, run.desk.worked() | spent)
