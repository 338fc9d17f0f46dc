"""Before the search: a search on a part of the data, which the search proper begins from.

Source: Peherstorfer, Willcox and Gunzburger, "Survey of multifidelity methods", SIAM Review 2018.
The first generation is then no blind sample: it is what the part promises. Where the search
predicts, it predicts from what was found on the part, too, brought to the scale of the whole as in
Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations
are available", Biometrika 2000. Where it does not, the part is searched for longer, and only a
population of the best there, spread over their front, is judged whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .algorithms import Algorithm
from .algorithms.guard import feasible_ranks
from .archive import spread_order
from .config import RunConfig
from .configured import build_algorithm
from .errors import ConfigError
from .evaluate import Evaluator, Verdict
from .genomes import Genomes
from .phase import Phase
from .problem import Array, Problem
from .store import LOW, SEARCH
from .streams import derive

if TYPE_CHECKING:
    from .run import Run

ENOUGH = 128  # predicted candidates: with more, choosing them takes longer than they save
WORTH = 0.5  # of judging a population on all data: what it may cost where the search predicts
PLAIN_WORTH = 1.0  # where it does not
PATIENCE = 0.5  # of the minutes: what it may take
SMALL = 0.125  # share of the data up to which a part is worth it unless it is asked for
LARGEST = 0.5  # that may be asked for


def low_share(config: RunConfig, problem: Problem, names: Sequence[str], able: bool) -> float:
    """Share of the data that a run begins on; 0 where it begins on all of it.

    Args:
        config: Its ``algorithm.low_fidelity`` decides, else the problem does.
        problem: May offer ``low_fidelity``.
        names: Objectives and metrics candidates are judged by.
        able: Whether the algorithm predicts from results on a part of the data; others begin on
            all of it unless they are asked to.

    Raises:
        ConfigError: A share is asked for that is none, or that cannot be had.
    """
    asked = config.algorithm.settings.get("low_fidelity")
    offers: Any = getattr(problem, "low_fidelity", None)
    if asked is None:
        share = float(offers(names, 0.0)) if able and offers else 1.0
        return share if share <= SMALL else 0.0
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked <= LARGEST:
        raise ConfigError(
            f"algorithm.low_fidelity must be a share of the data, at most {LARGEST}, or 0 to begin "
            f"on all of it, got {asked!r}"
        )
    if asked and not offers:
        raise ConfigError(
            f"algorithm.low_fidelity needs a problem that can judge on a part of its data, and "
            f"{type(problem).__name__} cannot",
            hint="leave algorithm.low_fidelity out",
        )
    if not asked:
        return 0.0
    share = float(offers(names, asked))
    if share > LARGEST:
        raise ConfigError(
            f"algorithm.low_fidelity is {asked:g}, but the least part of the data that can be "
            f"judged by {', '.join(names)} is {share:g} of it, more than {LARGEST}",
            hint="give more data, or leave algorithm.low_fidelity out",
        )
    return share


@dataclass(slots=True)
class LowSearch:
    """The search on a part of the data: how far it is, and what each of its generations told.

    Args:
        phase: Its generations.
        share: Of the data.
        planned: Generations after which it ends.
        told: What each of them asked for, with fitness and violation.
    """

    phase: Phase
    share: float
    planned: int
    told: list[tuple[Genomes, Array, Array]] = field(default_factory=list)


def low_search(
    run: Run, share: float, known: dict[bytes, Verdict], starts: Genomes | None
) -> LowSearch | None:
    """The search on a part of the data, as long as a run has not searched it; None without one.

    Args:
        run: Its problem, algorithm and log are used.
        share: Of the data.
        known: What is recorded of candidates on that part.
        starts: Warm starts of the run.
    """
    if not share:
        return None
    planned = _planned(run, share)
    algorithm = _algorithm(
        run, run.config.override("stop.generations", planned), starts,
        seed=derive(run.config.seed, LOW) % 2**32,
    )  # fmt: skip
    judge = Evaluator(
        run.problem, run.judges, replace(run.context, fidelity=share),
        run.desk.evaluator.planner, known, crew=run.crew,
    )  # fmt: skip
    return LowSearch(Phase(run.desk, LOW, algorithm, judge), share, planned)


def search_low(run: Run) -> None:
    """Search the part of the data, once, and let the search proper begin from what was found."""
    if run.low is None:
        return
    phase, told, size = run.low.phase, run.low.told, run.config.algorithm.population
    try:
        while phase.number < run.low.planned and not _over(run, phase.number):
            if run.on_low:
                what = f"a search on {run.low.share:.1%} of the data"
                run.on_low(what, phase.number * size, run.low.planned * size)
            step = phase.advance()
            if step is None:
                break
            told.append((step.genomes, *phase.told(step.evaluation)))
    except KeyboardInterrupt:
        run.file.event("interrupted", f"in generation {phase.number} of {LOW}")
        raise
    run.low = None
    if not told:  # nothing was asked for
        return
    asked, *results = zip(*told, strict=True)
    genomes, (fitness, violation) = Genomes.concat(*asked), map(np.concatenate, results)
    if predicts(run.search.algorithm):
        run.search.algorithm.inform(genomes, fitness, violation)  # type: ignore[attr-defined]
    else:
        good = np.flatnonzero(np.isfinite(fitness).all(axis=1))
        best = good[_spread(fitness[good], violation[good], size)]
        run.search.algorithm = _algorithm(run, run.config, genomes.take(best))


def _spread(fitness: Array, violation: Array, n: int) -> NDArray[np.intp]:
    """At most n rows by rank; where not all of a rank have a place, those spread over it."""
    rank, rows = feasible_ranks(fitness, violation), np.zeros(0, dtype=np.intp)
    for level in np.unique(rank):
        alike = np.flatnonzero(rank == level)
        rows = np.concatenate([rows, alike[spread_order(fitness[alike])]])
        if len(rows) >= n:
            break
    return rows[:n]


def predicts(algorithm: Algorithm) -> bool:
    """Whether an algorithm predicts from results on a part of the data."""
    return getattr(algorithm, "informed", False)


def _planned(run: Run, share: float) -> int:
    """Generations of the search on a part of the data."""
    if not predicts(run.search.algorithm):
        return round(PLAIN_WORTH / share)
    enough = max(2, math.ceil(ENOUGH / run.config.algorithm.population))
    return max(1, min(round(WORTH / share), enough))


def _algorithm(
    run: Run, config: RunConfig, starts: Genomes | None, seed: int | None = None
) -> Algorithm:
    suited = getattr(run.problem, "variation", None)
    return build_algorithm(
        config, run.problem.space, run.judges, starts, seed=seed, variation=suited
    )


def _over(run: Run, number: int) -> bool:
    """Whether the part was left after so many generations, as the log and its minutes have it."""
    if run.file.generation(SEARCH, 0) is not None:
        return run.file.generation(LOW, number) is None
    spent = sum(row.seconds for row in run.file.generations(LOW)[:number]) / 60
    return number > 0 and run.stop.minutes is not None and spent >= PATIENCE * run.stop.minutes
