"""NSGA-II, NSGA-III, U-NSGA-III, AGE-MOEA(-II), SMS-EMOA, SPEA2, RVEA, MOEA/D and C-TAEA.

Each factory pairs a way to choose parents with a way to choose survivors on pymoo's loop. With one
objective all of them reduce to elitist searches; with a population smaller than the number of
objectives, directions are the centre of the simplex and as many axes as fit.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival

from ..errors import ConfigError
from . import Settings, read_extra
from .decomposed import Angles, Archives
from .directions import directions, exactly
from .engine import PymooSearch, Select, feasible_first, tournament
from .geometry import by_geometry
from .holders import Slots, Twins
from .nursery import Nursery
from .survival import by_hypervolume, by_rank_and_crowding, by_strength


def nsga2(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """NSGA-II (Deb et al. 2002): rank, then crowding; tournaments on both."""
    read_extra(settings, "nsga2", {})

    def select(pop: Any, n: int, _: Any) -> Any:
        kept, rank, distance = by_rank_and_crowding(pop.get("F"), n)
        pop.set("rank", rank, "burden", -np.minimum(distance, 1e300))
        return pop[kept]

    parts = tournament("rank", "burden"), feasible_first(select)
    return PymooSearch(nursery, *parts, n_objectives, settings)


def nsga3(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """NSGA-III (Deb and Jain 2014) with at most as many directions as the population has places."""
    read_extra(settings, "nsga3", {})
    parts = tournament(), _niching(n_objectives, settings)
    return PymooSearch(nursery, *parts, n_objectives, settings)


def unsga3(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """U-NSGA-III (Seada and Deb 2016): tournaments by rank and distance inside a niche."""
    read_extra(settings, "unsga3", {})
    choice = tournament("rank", "dist_to_niche", within="niche")
    return PymooSearch(nursery, choice, _niching(n_objectives, settings), n_objectives, settings)


def age_moea(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """AGE-MOEA (Panichella 2019): the curvature of the front is estimated as the search goes on."""
    read_extra(settings, "age-moea", {})
    return _age(nursery, n_objectives, settings, geodesic=False)


def age_moea2(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """AGE-MOEA-II (Panichella 2022): curvature by Newton's method, distances along the front."""
    read_extra(settings, "age-moea2", {})
    return _age(nursery, n_objectives, settings, geodesic=True)


def sms_emoa(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """SMS-EMOA (Beume, Naujoks and Emmerich 2007) in whole generations.

    With many objectives and large fronts, contributions are estimated: see ``by_hypervolume``.
    """
    read_extra(settings, "sms-emoa", {})

    def select(pop: Any, n: int, rng: Any) -> Any:
        kept, rank = by_hypervolume(pop.get("F"), n, rng)
        pop.set("rank", rank)
        return pop[kept]

    parts = tournament("rank"), feasible_first(select)
    return PymooSearch(nursery, *parts, n_objectives, settings)


def spea2(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """SPEA2 (Zitzler, Laumanns and Thiele 2001), distances scaled by the box of the front."""
    read_extra(settings, "spea2", {})

    def select(pop: Any, n: int, _: Any) -> Any:
        kept, strength = by_strength(pop.get("F"), n)
        pop.set("strength", strength)
        return pop[kept]

    parts = tournament("strength"), feasible_first(select)
    return PymooSearch(nursery, *parts, n_objectives, settings)


def rvea(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """RVEA (Cheng et al. 2016); its penalty needs the planned number of generations.

    Raises:
        ConfigError: No number of generations is planned.
    """
    extra = read_extra(settings, "rvea", {"alpha": 2.0, "adapt_every": 0.1})
    if settings.generations is None:
        raise ConfigError(
            "algorithm 'rvea' needs the planned number of generations, got none",
            hint="set stop.generations, or take another algorithm",
        )
    weights = exactly(n_objectives, settings.population)
    angles = Angles(weights, settings.generations, extra["alpha"], extra["adapt_every"])

    def select(pop: Any, n: int, _: Any) -> Any:
        return pop[angles(pop.get("F"))[:n]]

    return PymooSearch(nursery, tournament(), feasible_first(select), n_objectives, settings)


def moead(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """MOEA/D in whole generations (Zhang and Li 2007), objectives scaled online.

    Every candidate goes to the direction it serves best and may replace there (the global
    replacement of Wang et al. 2014), so batches of any length work. Costs are Chebyshev distances
    with two objectives and penalised boundary intersections with more (``decomposition="auto"``).

    Raises:
        ConfigError: The search is constrained; MOEA/D has no place for violations.
    """
    defaults = {"neighbours": 20, "mating": 0.9, "replacements": 20, "decomposition": "auto"}
    extra = read_extra(settings, "moead", defaults)
    if constrained:
        raise ConfigError(
            "algorithm 'moead' cannot handle constraints, and this search has some",
            hint="take 'nsga3' or 'ctaea', or make the constraint an objective",
        )
    weights = exactly(n_objectives, settings.population)
    slots = Slots(weights, **extra, scaling=settings.scaling)
    return PymooSearch(nursery, slots, slots.survive, n_objectives, settings)


def ctaea(
    nursery: Nursery, *, n_objectives: int, constrained: bool, settings: Settings
) -> PymooSearch:
    """C-TAEA (Li et al. 2019): one archive for convergence and feasibility, one for spread."""
    read_extra(settings, "ctaea", {})
    weights = exactly(n_objectives, settings.population)
    twins = Twins(Archives(weights, settings.population, scaling=settings.scaling))
    return PymooSearch(nursery, twins, twins.survive, n_objectives, settings)


def _niching(m: int, settings: Settings) -> Select:
    niching = ReferenceDirectionSurvival(directions(m, settings.population))

    def select(pop: Any, n: int, rng: Any) -> Any:
        with warnings.catch_warnings():  # pymoo adds an "ignore" filter and leaves it there
            return niching._do(None, pop, n_survive=n, random_state=rng)

    return feasible_first(select)


def _age(nursery: Nursery, m: int, settings: Settings, *, geodesic: bool) -> PymooSearch:
    def select(pop: Any, n: int, _: Any) -> Any:
        kept, rank, score = by_geometry(pop.get("F"), n, geodesic=geodesic)
        pop.set("rank", rank, "burden", -np.clip(score, -1e300, 1e300))
        return pop[kept]

    return PymooSearch(nursery, tournament("rank", "burden"), feasible_first(select), m, settings)
