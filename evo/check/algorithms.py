"""Tries what an algorithm promises, on a small search space with a known cost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..algorithms import Algorithm, Factory, Settings, create
from ..errors import ConfigError, OrderError
from ..genomes import Genomes
from ..indicators import nondominated
from ..problem import Array
from ..space import Choice, Mask, Real, SearchSpace
from ..streams import stream
from .findings import Finding, Findings, copy_genomes, same_genomes, watching_chance

_GENES = 8


@dataclass(frozen=True, slots=True)
class _Trial:
    """How to make the algorithm and how long to drive it."""

    algorithm: str | Factory
    population: int
    generations: int
    seed: int
    constrained: bool = True
    objectives: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)

    def make(self, *, seed: int | None = None, space: SearchSpace | None = None) -> Algorithm:
        settings = Settings(
            population=self.population,
            seed=self.seed if seed is None else seed,
            generations=self.generations,
            extra=self.settings,
        )
        return create(
            self.algorithm, space or _space(), n_objectives=self.objectives,
            constrained=self.constrained, settings=settings, starts=_start(space or _space()),
        )  # fmt: skip

    def judge(self, genomes: Genomes) -> tuple[Array, Array]:
        """Fitness (n, m) and violation (n,), all 0 for an algorithm without constraints."""
        fitness, violation = _judge(genomes)
        if self.objectives == 1:
            fitness = fitness.sum(axis=1, keepdims=True)
        if self.objectives == 3:  # the third is opposed to the sum of the others
            third = 1e4 / (1.0 + fitness.sum(axis=1, keepdims=True))
            fitness = np.concatenate([fitness, third], axis=1)
        return fitness, violation * self.constrained

    def drive(self, algorithm: Algorithm, fail: bool = False) -> Iterator[Genomes]:
        """Ask and tell; yields each batch after it was told."""
        for number in range(self.generations):
            asked = algorithm.ask()
            if not len(asked):
                return
            fitness, violation = self.judge(asked)
            if fail:
                fitness[(np.arange(len(asked)) + number) % 3 == 0] = np.nan
            algorithm.tell(asked, fitness, violation)
            yield asked


def check_algorithm(
    algorithm: str | Factory, *, population: int = 12, generations: int = 5, seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Finding]:  # fmt: skip
    """Try one algorithm: legal and new genomes, order, repeatability, failures, constraints.

    Args:
        algorithm: An id, or a factory as :func:`evo.algorithms.create` takes it.
        population: Candidates per generation.
        generations: Generations to drive it for each item.
        seed: Root seed.
        settings: Of the algorithm's own.
    """
    found = Findings()
    own = dict(settings or {})
    trial = _suited(_Trial(algorithm, population, generations, seed, settings=own), found)
    with watching_chance(found):
        asked = found.attempt("searching", lambda: list(trial.drive(trial.make())))
        if asked is None:
            return found
        _check_asked(trial, asked, found)
        for item in (
            _check_repeats, _check_neighbours, _check_order, _check_inputs, _check_kept,
            _check_failures, _check_exhausted, _check_three,
        ):  # fmt: skip
            found.attempt(
                item.__name__.removeprefix("_check_"), lambda item=item: item(trial, found)
            )
    found.attempt("outside chance", lambda: _check_outside_chance(trial, asked, found))
    return found


def drive(
    algorithm: str | Factory, *, population: int = 12, generations: int = 5, seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Genomes]:  # fmt: skip
    """Every batch that an algorithm asks for on the space it is tried on, of which it is told."""
    own = dict(settings or {})
    trial = _suited(_Trial(algorithm, population, generations, seed, settings=own), Findings())
    return list(trial.drive(trial.make()))


def _suited(trial: _Trial, found: Findings) -> _Trial:
    """The same trial, with one objective or without constraints when the algorithm says so."""
    try:
        trial.make()
    except ConfigError as error:
        single, free = replace(trial, objectives=1), replace(trial, constrained=False)
        if _makes(single):
            found.append(Finding("several objectives are refused", True, error.message))
            return single
        if found.attempt("refusing constraints only", free.make) is not None:
            found.append(Finding("constraints are refused", True, error.message))
        return free
    except Exception:  # whatever it is, the first item meets it again and reports it
        return trial
    return trial


def _makes(trial: _Trial) -> bool:
    try:
        trial.make()
    except ConfigError:
        return False
    return True


def _space() -> SearchSpace:
    """Levels, switches and real numbers together."""
    return SearchSpace((Choice("levels", [4] * _GENES), Mask("on", 3), Real("share", [0.0], [1.0])))


def _start(space: SearchSpace) -> Genomes:
    return Genomes({p.name: p.repair(np.zeros((1, *p.shape))) for p in space.parts})


def _judge(genomes: Genomes) -> tuple[Array, Array]:
    """Two opposed objectives and one limit; fitness (n, 2), violation (n,)."""
    levels = genomes["levels"].astype(np.float64)
    weights = 1.0 + np.arange(levels.shape[1])
    rest = sum(
        (genomes[k].astype(np.float64).sum(axis=1) for k in genomes.parts if k != "levels"),
        np.zeros(len(genomes)),
    )
    cost = levels @ weights + rest
    damage = ((levels.max(initial=3.0) - levels) ** 2) @ weights[::-1] + (3.0 - rest) ** 2
    return np.stack([cost, damage], axis=1), np.maximum(0.0, cost - 3.0 * weights.sum() * 0.6)


def _check_asked(trial: _Trial, asked: list[Genomes], found: Findings) -> None:
    space, sizes = _space(), [len(genomes) for genomes in asked]
    if not found.expect(asked, "asks for candidates", "asks for nothing at first"):
        return
    detail = f"{sizes} of a population of {trial.population}"
    full = sizes[0] == trial.population and max(sizes) <= trial.population
    found.expect(full, "asks for a population", "asks for more or less than a population", detail)
    on = len(sizes) == trial.generations
    found.expect(on, "goes on asking", "stops asking in a space that is not used up", detail)
    found.legal("asked genomes", lambda: space.check(Genomes.concat(*asked)))
    keys = Genomes.concat(*asked).keys()
    twice = len(keys) - len(set(keys))
    found.expect(not twice, "never asks twice for one genome", "asks again", f"{twice} genomes")
    starts = _start(space).rows()[0]
    found.expect(starts in asked[0].rows(), "begins with the warm starts", "drops the warm starts")


def _check_repeats(trial: _Trial, found: Findings) -> None:
    first, again = list(trial.drive(trial.make())), list(trial.drive(trial.make()))
    found.expect(_same(first, again), "repeats for the same seed", "differs for the same seed")
    if trial.algorithm == "greedy":  # its descents draw nothing; only later restarts do
        return
    other = list(trial.drive(trial.make(seed=trial.seed + 1)))
    found.expect(not _same(first, other), "listens to its seed", "ignores its seed")


def _check_neighbours(trial: _Trial, found: Findings) -> None:
    """Two in turn behave like each alone."""
    alone = list(trial.drive(trial.make()))
    pair = zip(
        trial.drive(trial.make()), trial.drive(trial.make(seed=trial.seed + 1)), strict=False
    )
    good, bad = "two do not disturb each other", "two in one process disturb each other"
    found.expect(_same(alone, [mine for mine, _ in pair]), good, bad)


def _check_order(trial: _Trial, found: Findings) -> None:
    algorithm = trial.make()
    strange = _space().sample(3, stream(trial.seed, "strange"))
    _expect_order(found, "tell before ask", lambda: algorithm.tell(strange, *trial.judge(strange)))
    algorithm.ask()
    _expect_order(
        found, "tell of other genomes", lambda: algorithm.tell(strange, *trial.judge(strange))
    )


def _expect_order(found: Findings, what: str, act: Callable[[], Any]) -> None:
    try:
        act()
    except OrderError:
        found.append(Finding(f"{what} is refused", True))
    else:
        found.append(Finding(f"{what} is accepted", False, "raise OrderError"))


def _check_inputs(trial: _Trial, found: Findings) -> None:
    algorithm = trial.make()
    untouched = True
    for _ in range(2):
        asked = algorithm.ask()
        fitness, violation = trial.judge(asked)
        kept = copy_genomes(asked), fitness.copy(), violation.copy()
        algorithm.tell(asked, fitness, violation)
        untouched &= same_genomes(kept[0], asked)
        untouched &= np.array_equal(kept[1], fitness) and np.array_equal(kept[2], violation)
    found.expect(untouched, "leaves what it is told alone", "changes what it is told")


def _check_kept(trial: _Trial, found: Findings) -> None:
    """Each genome it keeps has the values that were told of it."""
    algorithm = trial.make()
    list(trial.drive(algorithm))
    kept = algorithm.population
    fitness, violation = trial.judge(kept.genomes)
    good = np.array_equal(kept.fitness, fitness) and np.array_equal(kept.violation, violation)
    found.expect(good, "keeps what it was told", "keeps other values than it was told")


def _check_three(trial: _Trial, found: Findings) -> None:
    """Three objectives are searched like two, or refused with a sentence."""
    three = replace(trial, objectives=3)
    if trial.objectives == 1:
        return
    try:
        algorithm = three.make()
    except ConfigError as error:
        found.append(Finding("three objectives are refused", True, error.message))
        return
    asked = found.attempt("searching three objectives", lambda: list(three.drive(algorithm)))
    if asked is not None:
        found.append(Finding("searches three objectives", True))


def _check_failures(trial: _Trial, found: Findings) -> None:
    """With a third of all candidates failed: nothing failed is kept, feasible before infeasible."""
    algorithm = trial.make()
    told = len(list(trial.drive(algorithm, fail=True)))
    found.expect(told == trial.generations, "goes on when candidates fail", "stops when some fail")
    kept = algorithm.population
    finite = len(kept.rank) > 0 and np.isfinite(kept.fitness).all()
    found.expect(finite, "keeps no failed candidate", "keeps failed candidates or nothing")
    front = kept.front
    some = bool((kept.violation <= 0).any())
    wrong = some and bool((front.violation > 0).any())
    found.expect(not wrong, "puts feasible candidates first", "has infeasible ones on its front")
    good = bool(len(front.rank)) and bool(nondominated(front.fitness).all())
    found.expect(good or not some, "keeps a non-dominated front", "has dominated ones on its front")


def _check_exhausted(trial: _Trial, found: Findings) -> None:
    """A space of four genomes ends in an empty ask, not in a repeat or a hang."""
    space = SearchSpace((Choice("levels", [2, 2]),))
    algorithm = trial.make(space=space)
    keys, ended = [], False
    for _ in range(12):
        asked = algorithm.ask()
        ended = not len(asked)
        if ended:
            break
        keys += asked.keys()
        algorithm.tell(asked, *trial.judge(asked))
    ended = ended and len(keys) == len(set(keys)) <= 4
    found.expect(ended, "ends when the space is used up", "goes on in a space that is used up")


def _check_outside_chance(trial: _Trial, asked: list[Genomes], found: Findings) -> None:
    """Other states of the global generators change nothing; they are put back afterwards."""
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - put back below
    try:
        random.seed(12345)
        np.random.seed(12345)  # noqa: NPY002 - to prove that it has no influence
        again = list(trial.drive(trial.make()))
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
    good, bad = "ignores the global generators", "depends on the global generators"
    found.expect(_same(asked, again), good, bad)


def _same(first: list[Genomes], second: list[Genomes]) -> bool:
    return len(first) == len(second) and all(map(same_genomes, first, second))
