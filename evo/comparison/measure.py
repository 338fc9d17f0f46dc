"""Runs measured by several indicators on one normalisation, and what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import ConfigError, StoreError
from ..indicators import (
    REFERENCE,
    epsilon_additive,
    igd_plus,
    nondominated,
    normalise,
    r2,
    spacing,
    unit_hypervolume,
)
from ..problem import Array, Goal
from ..report.facts import Box, Facts, front_of, gather
from ..statistics import Pair, Ranking, pairs, ranking
from ..view import SEARCH, RunView, read_run

TARGET = 10_000
"""Points of all fronts that the common target is chosen from, at most."""

Measure = Callable[[Array, Array], float]


@dataclass(frozen=True, slots=True)
class Indicator:
    """A number that tells how good a front is.

    Args:
        name: Its key in tables and JSON.
        title: For people.
        goal: Whether less or more is better.
        fn: Normalised front, shape (n, m), and normalised target, shape (t, m) → value; NaN where
            it means nothing.
        meaning: In one sentence.
    """

    name: str
    title: str
    goal: Goal
    fn: Measure
    meaning: str


INDICATORS: Mapping[str, Indicator] = {
    row.name: row
    for row in (
        Indicator(
            "hypervolume", "hypervolume", "max", lambda f, _: unit_hypervolume(f, 0.0, 1.0),
            "Share of the box up to the reference point that a front dominates.",
        ),
        Indicator(
            "igd_plus", "IGD+", "min", igd_plus,
            "Mean distance by which a front falls short of each target point.",
        ),
        Indicator(
            "epsilon", "additive epsilon", "min", epsilon_additive,
            "Least shift with which a front weakly dominates every target point.",
        ),
        Indicator(
            "r2", "R2", "min", lambda f, _: r2(np.maximum(f, 0.0)),
            "Mean weighted Chebyshev distance to the ideal over all weights.",
        ),
        Indicator(
            "spacing", "spacing", "min", lambda f, _: spacing(f) if len(f) > 1 else float("nan"),
            "How unevenly the points of a front lie; it says nothing of how good they are.",
        ),
    )
}  # fmt: skip
"""Key → indicator, the main one first."""


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One front measured: that of a run, or of a baseline inside it.

    Args:
        run: Folder.
        contestant: What it stands for in tests.
        label: Configuration of the run.
        origin: ``"search"`` or a baseline.
        seed: Of the run; None where it is not recorded.
        evaluations: Candidates judged.
        failed: How many of them failed.
        front: Its feasible non-dominated members, minimised raw fitness, shape (k, m).
        values: Indicator → value.
    """

    run: Path
    contestant: str
    label: str
    origin: str
    seed: int | None
    evaluations: int
    failed: int
    front: Array
    values: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Compared:
    """All fronts of one problem.

    Args:
        name: Of the problem.
        facts: Its runs pooled, with the common box.
        scores: One per run and origin.
        target: How many points the common target has.
        step: It is made of every step-th point of the fronts; 1 unless there are very many.
        paired: Whether values of one seed are pairs.
        known: Whether target and box are those of the front that the problem knows.
    """

    name: str
    facts: Facts
    scores: tuple[Score, ...]
    target: int
    step: int = 1
    paired: bool = False
    known: bool = False

    @property
    def contestants(self) -> tuple[str, ...]:
        """In the order of first appearance."""
        return tuple(dict.fromkeys(score.contestant for score in self.scores))

    def sample(self, indicator: str, contestant: str) -> Array:
        """Values of one contestant by ascending seed; values that mean nothing are left out."""
        rows = [s for s in self.scores if s.contestant == contestant]
        rows.sort(key=lambda s: (s.seed is None, s.seed or 0))
        values = np.array([s.values[indicator] for s in rows], dtype=np.float64)
        return values[~np.isnan(values)]

    @cached_property
    def tests(self) -> dict[str, list[Pair]]:
        """Indicator → every two contestants of at least two values each, Holm over the pairs."""
        return {name: self._tested(row) for name, row in INDICATORS.items()}

    def _tested(self, row: Indicator) -> list[Pair]:
        if self.paired:
            return pairs(self._by_seed(row.name), row.goal, paired=True)
        samples = {c: self.sample(row.name, c) for c in self.contestants}
        return pairs({c: v for c, v in samples.items() if len(v) > 1}, row.goal)

    def _by_seed(self, indicator: str) -> dict[str, Array]:
        """Values of the seeds that every contestant has."""
        found: dict[str, dict[int | None, float]] = {}
        for s in self.scores:
            if not np.isnan(s.values[indicator]):
                found.setdefault(s.contestant, {})[s.seed] = s.values[indicator]
        shared = set.intersection(*(set(v) for v in found.values())) - {None} if found else set()
        if len(shared) < 2:
            return {}
        seeds = sorted(seed for seed in shared if seed is not None)
        return {c: np.array([values[seed] for seed in seeds]) for c, values in found.items()}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that is told of some runs or of a study.

    Args:
        name: Of the study; empty for plain runs.
        problems: One per problem.
        left_out: Folders of runs that are not finished, or not begun.
    """

    name: str
    problems: tuple[Compared, ...]
    left_out: tuple[Path, ...] = ()

    @property
    def contestants(self) -> tuple[str, ...]:
        """Those of all problems, in the order of first appearance."""
        return tuple(dict.fromkeys(c for p in self.problems for c in p.contestants))

    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Indicator → medians ranked over the problems that all contestants have values of.

        Nothing for fewer than two such problems or contestants.
        """
        out: dict[str, Ranking] = {}
        for name, row in INDICATORS.items():
            table = np.array([
                [_median(p.sample(name, c)) for c in self.contestants] for p in self.problems
            ])  # fmt: skip
            table = table[~np.isnan(table).any(axis=1)]
            if min(table.shape) > 1:
                out[name] = ranking(self.contestants, table, row.goal)
        return out


def compare_runs(
    folders: Sequence[Path], *, paired: bool = False, known: bool = False
) -> Comparison:
    """Compare runs that search the same objectives; equal configurations belong together.

    Args:
        folders: Of the runs.
        paired: Test pairs of equal seeds instead of independent runs.
        known: Measure against the front that the problem of the first run knows, which is built
            for it, instead of the best of all fronts compared.

    Raises:
        ConfigError: No run, different objectives, no pairs, or no known front.
        StoreError: A folder holds no readable run.
    """
    views = [read_run(folder) for folder in _once(folders)]
    name = _title(views[0]) if views else ""
    return Comparison("", (_compared(name, views, None, paired=paired, known=known),))


def compare_study(folder: Path, *, paired: bool = False, known: bool = False) -> Comparison:
    """Compare the finished runs of a study, problem by problem.

    Args:
        folder: Of the study.
        paired: As in :func:`compare_runs`.
        known: As in :func:`compare_runs`.

    Raises:
        ConfigError: No pairs, or no known front.
        StoreError: The folder holds no readable study, or none of its runs is finished.
    """
    from ..studies import read_study

    name, cells = read_study(folder)
    views: dict[str, list[tuple[str, RunView]]] = {}
    left_out: list[Path] = []
    for cell in cells:
        view = read_run(cell.folder) if cell.begun else None
        if view is None or not view.complete:
            left_out.append(cell.folder)
        else:
            views.setdefault(cell.problem, []).append((cell.label, view))
    if not views:
        raise StoreError(
            f"no run of the study in {str(folder)!r} is finished",
            hint="evo study FILE.toml goes on with it",
        )
    problems = tuple(
        _compared(problem, [v for _, v in rows], [n for n, _ in rows], paired=paired, known=known)
        for problem, rows in views.items()
    )
    return Comparison(name, problems, tuple(left_out))


def _compared(
    name: str, views: Sequence[RunView], labels: Sequence[str] | None, *, paired: bool, known: bool
) -> Compared:
    truth = _known_front(name, views[0]) if known and views else None
    box = None if truth is None else Box(truth.min(axis=0), truth.max(axis=0), "the known front")
    facts = gather(views, labels, box)
    fronts = [
        (i, label, o) for label, runs in facts.groups for i in runs for o in _origins(facts, i)
    ]
    rows = [front_of(facts.pool, origin, runs=[i]) for i, _, origin in fronts]
    fitness = [facts.pool.fitness[row] for row in rows]
    step = 1 if truth is not None else -(-sum(map(len, fitness)) // TARGET) or 1
    every = np.concatenate([np.empty((0, len(facts.objectives))), *(f[::step] for f in fitness)])
    every = every if truth is None else truth
    box = facts.box
    target = every[nondominated(every)] if len(every) else every
    goal = normalise(target, box.ideal, box.nadir) if box is not None else target
    scores = []
    for (i, label, origin), front in zip(fronts, fitness, strict=True):
        scaled = normalise(front, box.ideal, box.nadir) if box is not None else front
        values = {k: _value(row, scaled, goal) for k, row in INDICATORS.items()}
        mine = (facts.pool.run == i) & (facts.pool.origin == origin)
        scores.append(Score(
            facts.runs[i].folder, _contestant(facts, label, origin), label, origin,
            (facts.runs[i].meta.get("config") or {}).get("seed"), int(mine.sum()),
            int((mine & ~facts.pool.ok).sum()), front, values,
        ))  # fmt: skip
    count = len(np.unique(target, axis=0))
    found = Compared(name, facts, tuple(scores), count, step, paired, known)
    if paired and not any(found.tests.values()):
        raise ConfigError(
            f"{name}: pairs need two seeds at least that all configurations share",
            hint="leave --paired out",
        )
    return found


def _known_front(name: str, view: RunView) -> Array:
    """Minimised values of the front that a problem knows, shape (k, m).

    Raises:
        ConfigError: It knows none, or one of other objectives.
    """
    from ..config import RunConfig
    from ..registry import build_problem

    problem = build_problem(RunConfig.from_mapping(view.meta["config"]))
    tell = getattr(problem, "front", None)
    if not callable(tell):
        raise ConfigError(f"problem {name!r} knows no front", hint="leave --known out")
    values = np.asarray(tell(), dtype=np.float64)
    searched = [c for c in view.columns if c.searched]
    offered = [o.name for o in problem.objectives][: values.shape[1]]
    if [c.name for c in searched] != offered:
        raise ConfigError(
            f"problem {name!r} knows the front of {', '.join(offered)}, but the run searched "
            f"{', '.join(c.name for c in searched)}",
            hint="leave --known out",
        )
    return values * np.array([1.0 if c.goal == "min" else -1.0 for c in searched])


def _value(row: Indicator, front: Array, target: Array) -> float:
    if not len(front):
        return (
            0.0 if row.name == "hypervolume" else float("inf" if row.name != "spacing" else "nan")
        )
    return float(row.fn(front, target))


def _origins(facts: Facts, run: int) -> list[str]:
    """The search first, then the baselines of the run."""
    names = set(facts.pool.origin[facts.pool.run == run].tolist()) | {SEARCH}
    return sorted(names, key=lambda n: (n != SEARCH, n))


def _contestant(facts: Facts, label: str, origin: str) -> str:
    """The configuration, or the baseline in it."""
    if origin == SEARCH:
        return label
    baseline = f"{origin.removeprefix('baseline:')} baseline"
    return baseline if len(facts.groups) == 1 else f"{baseline} of {label}"


def _title(view: RunView) -> str:
    from ..config import DEFAULT_PROBLEM

    problem = (view.meta.get("config") or {}).get("problem") or {}
    return str(problem.get("id") or DEFAULT_PROBLEM)


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _once(folders: Sequence[Path]) -> list[Path]:
    """Each folder once, however it is named."""
    return list({folder.resolve(): folder for folder in folders}.values())


def setting(compared: Compared) -> str:
    """What all indicators of a problem stand on, in one sentence."""
    box = compared.facts.box
    if box is None:
        return "No candidate is feasible, so nothing is measured."
    sides = [
        f"{c.name} {low:.4g} to {high:.4g}"
        for c, low, high in zip(
            compared.facts.objectives, *_raw(compared.facts, box.ideal, box.nadir), strict=True
        )
    ]
    thin = "" if compared.step == 1 else f" from every {compared.step}th of their points"
    by = "the known front" if compared.known else "best and worst of all fronts compared"
    goal = "the known front" if compared.known else f"the best of all fronts together{thin}"
    return (
        f"Objectives are scaled by {by} ({', '.join(sides)}); "
        f"the reference point of the hypervolume lies at {REFERENCE} in every objective; volume is "
        "given as a share of that box, and what lies beyond it does not count; the target of IGD+ "
        f"and epsilon is {goal} ({compared.target:,} points); the ideal of R2 is 0."
    )


def _raw(facts: Facts, *corners: Array) -> list[list[float]]:
    """Corners of the box in raw units."""
    signs = np.array([1.0 if c.goal == "min" else -1.0 for c in facts.objectives])
    return [(corner * signs + 0.0).tolist() for corner in corners]
