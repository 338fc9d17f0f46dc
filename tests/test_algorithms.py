"""The promise of every algorithm: repeatable, isolated, no repeats, failures last, good fronts."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo import Choice, Genomes, Integer, Mask, Real, SearchSpace, Subset
from evo.algorithms import CATALOGUE, SINGLE, Algorithm, Settings, create
from evo.algorithms.directions import directions, exactly, lattice
from evo.algorithms.guard import FAILED, feasible_ranks
from evo.algorithms.nursery import Nursery
from evo.errors import ConfigError, OrderError, RegistryError, ShapeError
from evo.indicators import nondominated, unit_hypervolume
from operators.discrete import OnePoint, Reset
from operators.sample import Uniform

GENERATIONS = 5
MANY = [name for name in CATALOGUE if name not in SINGLE]  # the others: test_strategies.py
UNCONSTRAINED = {"moead"}  # refuses constraints
LEVELS, SITES = 5, 12


def levels(sites: int = SITES, choices: int = LEVELS) -> SearchSpace:
    return SearchSpace((Choice("c", [choices] * sites),))


def mixed() -> SearchSpace:
    return SearchSpace(
        (
            Choice("c", [3, 4, 1], ordered=[True, False, True]),
            Integer("i", [0, -5], [10, 5]),
            Mask("m", 4),
            Real("r", np.zeros(3), np.ones(3)),
            Subset("s", 9, 3),
        )
    )


def numbers(genomes: Genomes) -> np.ndarray:
    return np.concatenate([v.astype(float) for v in genomes.parts.values()], axis=1)


def judge(genomes: Genomes, m: int) -> np.ndarray:
    """m objectives in units far apart, conflicting, deterministic; shape (n, m)."""
    x = numbers(genomes)
    d = x.shape[1]
    weights = np.abs(np.sin(np.outer(np.arange(1, m + 1), np.arange(1, d + 1) * 1.7)))
    goals = np.cos(np.outer(np.arange(m), np.arange(d)) * 0.9) * 2 + 2
    scale = 10.0 ** np.linspace(-3, 6, m)
    return np.stack([(weights[j] * (x - goals[j]) ** 2).sum(axis=1) for j in range(m)], 1) * scale


def make(
    name: str,
    space: SearchSpace,
    m: int = 2,
    *,
    seed: int = 0,
    population: int = 12,
    constrained: bool = False,
    starts: Genomes | None = None,
    **extra,
) -> Algorithm:
    settings = Settings(population, seed, GENERATIONS, **extra)
    return create(
        name, space, n_objectives=m, constrained=constrained, settings=settings, starts=starts
    )


def step(algorithm: Algorithm, m: int, bend=None) -> Genomes:
    genomes = algorithm.ask()
    fitness, violation = judge(genomes, m), np.zeros(len(genomes))
    if bend is not None:
        fitness, violation = bend(genomes, fitness, violation)
    algorithm.tell(genomes, fitness, violation)
    return genomes


def digest(name: str, m: int = 3) -> str:
    """What an algorithm asked and kept, as one hash."""
    out = hashlib.sha256()
    constrained = name not in UNCONSTRAINED
    algorithm = make(name, mixed(), m, constrained=constrained)

    def bend(genomes, fitness, violation):
        fitness[1::7] = np.nan
        # round, so that objectives tie, and let many be infeasible by equal amounts
        tight = (numbers(genomes).sum(axis=1) > 18).astype(float)
        return np.round(fitness, 1), tight if constrained else violation

    for _ in range(GENERATIONS):
        out.update(b"".join(step(algorithm, m, bend).rows()))
    out.update(b"".join(algorithm.population.genomes.rows()))
    out.update(algorithm.population.fitness.tobytes())
    return out.hexdigest()


def elsewhere(hash_seed: str) -> subprocess.Popen[str]:
    code = (
        "import importlib.util as u, sys; spec = u.spec_from_file_location('t', sys.argv[1]); "
        "t = u.module_from_spec(spec); spec.loader.exec_module(t); "
        "print(*(f'{n}={t.digest(n)}' for n in t.MANY), sep='\\n')"
    )
    env = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).resolve())],
        env=env, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip


@pytest.fixture(scope="module")
def other_processes() -> list[dict[str, str]]:
    """Digests of all algorithms from two fresh interpreters with other hash seeds."""
    running = [elsewhere("1"), elsewhere("4242")]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    return [dict(line.split("=") for line in out.splitlines()) for out in outputs]


every = pytest.mark.parametrize("name", MANY)


@every
def test_other_processes_with_other_hash_seeds_ask_the_same(name, other_processes):
    first, second = other_processes

    assert first[name] == second[name] == digest(name)


@every
def test_another_seed_asks_otherwise(name):
    if name == "greedy":
        pytest.skip("greedy draws nothing before its first restart")

    first, second = (make(name, levels(), seed=s).ask().rows() for s in (0, 1))

    assert first != second


@every
def test_replay_asks_the_same_again(name):
    straight = make(name, mixed())
    log = []
    for _ in range(GENERATIONS):
        genomes = straight.ask()
        fitness = judge(genomes, 2)
        log.append((genomes, fitness))
        straight.tell(genomes, fitness, np.zeros(len(genomes)))

    again = make(name, mixed())
    for genomes, fitness in log:
        asked = again.ask()
        assert asked.rows() == genomes.rows()
        again.tell(genomes, fitness, np.zeros(len(genomes)))  # recorded genomes, equal bytes

    assert again.ask().rows() == straight.ask().rows()


@every
def test_global_generators_neither_matter_nor_change(name):
    random.seed(11)
    np.random.seed(11)  # noqa: NPY002
    expected = digest(name)
    random.seed(5)
    np.random.seed(6)  # noqa: NPY002
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002

    assert digest(name) == expected
    assert random.getstate() == python
    now = np.random.get_state()  # noqa: NPY002
    assert (now[1] == numpy[1]).all()
    assert now[2:] == numpy[2:]


@every
def test_two_searches_in_one_process_do_not_interfere(name):
    alone = make(name, levels(), seed=3)
    expected = [step(alone, 2).rows() for _ in range(GENERATIONS)]

    first, second = make(name, levels(), seed=3), make(name, levels(9, 3), m=4, seed=8)
    asked = []
    for _ in range(GENERATIONS):
        step(second, 4)
        asked.append(step(first, 2).rows())

    assert asked == expected


@every
def test_nothing_is_asked_twice_and_everything_is_legal(name):
    space = mixed()
    algorithm = make(name, space, 3)
    asked: list[bytes] = []

    for _ in range(GENERATIONS):
        genomes = step(algorithm, 3)
        space.check(genomes)
        asked += genomes.rows()

    assert len(set(asked)) == len(asked) > 12


@every
def test_rules_of_the_space_hold_for_everything_asked(name):
    def even_total(genomes):
        c = genomes["c"].copy()
        odd = c.sum(axis=1) % 2 == 1
        c[odd, 0] ^= 1
        return Genomes({"c": c})

    space = SearchSpace((Choice("c", [4] * 6),), (even_total,))
    algorithm = make(name, space)

    for _ in range(GENERATIONS):
        assert (step(algorithm, 2)["c"].sum(axis=1) % 2 == 0).all()


@every
@pytest.mark.parametrize("population", [1, 7, 40])
def test_small_spaces_run_dry_without_a_sound(name, population):
    space = SearchSpace((Choice("c", [2, 4, 1]), Mask("m", 1)))  # 16 genomes
    algorithm = make(name, space, population=population)
    asked: list[bytes] = []

    for _ in range(60):
        genomes = step(algorithm, 2)
        if len(genomes) == 0:
            break
        asked += genomes.rows()

    assert len(asked) == len(set(asked)) == 16
    assert len(algorithm.ask()) == 0
    assert 1 <= len(algorithm.population) <= 16


@every
def test_population_of_one_improves(name):
    algorithm = make(name, levels(), m=1, population=1)
    first = judge(step(algorithm, 1), 1)[0, 0]
    asked = {1}
    for _ in range(60):
        asked.add(len(step(algorithm, 1)))

    assert asked == {1}
    assert len(algorithm.population) == 1
    assert algorithm.population.fitness[0, 0] < first


@every
def test_one_genome_spaces_are_asked_once(name):
    algorithm = make(name, SearchSpace((Choice("c", [1, 1]),)))

    assert len(step(algorithm, 2)) == 1
    assert len(algorithm.ask()) == 0


@every
def test_failed_candidates_never_stay_ahead_of_good_ones(name):
    algorithm = make(name, levels())
    failed: set[bytes] = set()

    def bend(genomes, fitness, violation):
        bad = np.flatnonzero(genomes["c"][:, 0] % 2 == 1)
        failed.update(genomes.take(bad).rows())
        # failures that look better than anything: a sign or a NaN away from first place
        junk = np.resize([np.nan, -np.inf, np.inf], (len(bad), 2)) - np.array([0.0, 1.0])
        fitness[bad] = junk
        fitness[bad[np.isfinite(junk).all(axis=1)]] = np.nan
        return fitness, violation

    for _ in range(GENERATIONS):
        step(algorithm, 2, bend)

    kept = algorithm.population
    assert failed
    assert len(kept) >= 1
    assert not failed & set(kept.genomes.rows())
    assert np.isfinite(kept.fitness).all()


@every
def test_a_generation_of_failures_is_survived(name):
    algorithm = make(name, levels())
    for _ in range(2):
        step(algorithm, 2, lambda g, f, v: (np.full_like(f, np.nan), v))
    assert len(algorithm.population) == 0

    for _ in range(3):
        step(algorithm, 2)

    assert len(algorithm.population) >= 1
    assert (algorithm.population.violation == 0).all()


@every
def test_violations_that_are_not_finite_are_failures(name):
    algorithm = make(name, levels())

    step(algorithm, 2, lambda g, f, v: (f, np.where(np.arange(len(f)) % 2, np.nan, v)))

    assert 1 <= len(algorithm.population) <= 6


@every
def test_constraints_are_met_or_refused(name):
    if name in UNCONSTRAINED:
        with pytest.raises(ConfigError, match="cannot handle constraints") as caught:
            make(name, levels(), constrained=True)
        assert "nsga3" in (caught.value.hint or "")
        return
    algorithm = make(name, levels(), constrained=True)

    def bend(genomes, fitness, violation):
        return fitness, np.maximum(0.0, genomes["c"].sum(axis=1) - 18.0)

    for _ in range(GENERATIONS + 3):
        step(algorithm, 2, bend)

    front = algorithm.population.front
    assert len(front) >= 1
    assert (front.violation == 0).all()
    assert (front.genomes["c"].sum(axis=1) <= 18).all()


@every
def test_without_feasible_candidates_violation_falls(name):
    if name in UNCONSTRAINED | {"random", "greedy"}:
        pytest.skip("no selection by violation")
    algorithm = make(name, levels(), constrained=True)
    goal = np.resize([0, 4, 2], SITES)
    bend = lambda g, f, v: (f, 100.0 + np.abs(g["c"] - goal).sum(axis=1))  # noqa: E731
    step(algorithm, 2, bend)
    first = algorithm.population.violation.min()

    for _ in range(12):
        step(algorithm, 2, bend)

    assert algorithm.population.violation.min() < first
    assert (algorithm.population.front.violation == algorithm.population.violation.min()).all()


@every
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
def test_one_to_ten_objectives_work(name, m):
    algorithm = make(name, levels(), m, population=9)

    for _ in range(3):
        assert len(step(algorithm, m)) >= 1

    kept = algorithm.population
    assert kept.fitness.shape == (len(kept), m)
    assert (kept.rank >= 0).all()
    assert (nondominated(kept.fitness) == (kept.rank == 0)).all()
    assert np.allclose(kept.fitness, judge(kept.genomes, m))


@every
def test_constant_and_equal_objectives_are_harmless(name):
    algorithm = make(name, levels(), 3)

    for _ in range(GENERATIONS):
        step(algorithm, 3, lambda g, f, v: (np.stack([f[:, 0], f[:, 0] * 0 + 4, f[:, 0]], 1), v))

    assert len(algorithm.population) >= 1
    assert np.ptp(algorithm.population.fitness[:, 1]) == 0


@every
def test_warm_starts_head_the_first_population(name):
    space = levels()
    start = Genomes({"c": np.repeat(np.array([[1], [2], [1], [9]], np.int16), SITES, axis=1)})

    first = make(name, space, starts=start).ask()

    assert (first["c"][0] == 1).all()
    if name != "greedy":  # which takes one start and looks around it
        assert (first["c"][1] == 2).all()
        assert (first["c"][2] == LEVELS - 1).all()  # repaired; the repeat was dropped
        assert len(first) == 12
    assert len(set(first.rows())) == len(first)


@every
def test_more_warm_starts_than_places_are_cut(name):
    rows = Uniform()(30, levels().parts[0].bounds, np.random.default_rng(0))

    first = make(name, levels(), starts=Genomes({"c": rows}), population=5).ask()

    assert len(first) <= 5
    assert first["c"][0].tolist() == rows[0].tolist()


@pytest.mark.parametrize("name", [n for n in MANY if n != "moeim"])  # its crowding has units
def test_units_of_the_objectives_do_not_matter(name):
    """Powers of two: scaling is then exact, so the searches must agree to the byte."""
    plain, scaled = make(name, levels(), 3), make(name, levels(), 3)

    for _ in range(GENERATIONS):
        first = step(plain, 3)
        second = step(scaled, 3, lambda g, f, v: (f * [2.0**20, 2.0**-12, 1.0], v))
        assert first.rows() == second.rows()


@pytest.mark.parametrize("name", ["age-moea", "age-moea2", "moead", "rvea", "ctaea", "deap-spea2"])
def test_without_scaling_units_matter_but_not_where_the_objectives_begin(name):
    plain, moved, longer = (make(name, levels(), 3, population=10, scaling=False) for _ in range(3))
    same = True

    for _ in range(GENERATIONS):
        first = step(plain, 3)
        second = step(moved, 3, lambda g, f, v: (np.add(f, [8.0, 0.0, 64.0]), v))
        third = step(longer, 3, lambda g, f, v: (f * [2.0**20, 1.0, 2.0**-30], v))
        assert first.rows() == second.rows()
        same = same and first.rows() == third.rows()
    assert not same


@pytest.mark.parametrize("scaling", [0, "no", None])
def test_scaling_is_true_or_false(scaling: Any) -> None:
    with pytest.raises(ConfigError, match="scaling must be true or false, got"):
        Settings(scaling=scaling)


def front_quality(name: str, seed: int, population: int = 40, generations: int = 25) -> float:
    """Hypervolume of all that was asked on an additive problem with two objectives."""
    space = levels(20, 6)
    rng = np.random.default_rng(99)
    loss, cost = rng.random(20) ** 2, rng.random(20)
    settings = Settings(population, seed, generations)
    algorithm = create(name, space, n_objectives=2, constrained=False, settings=settings)
    seen: list[np.ndarray] = []
    while sum(map(len, seen)) < population * generations:
        genomes = algorithm.ask()
        x = genomes["c"] / 5.0
        fitness = np.stack([(loss * x**2).sum(axis=1), (cost * (1 - x)).sum(axis=1)], 1)
        algorithm.tell(genomes, fitness, np.zeros(len(genomes)))
        seen.append(fitness)
    return unit_hypervolume(np.concatenate(seen), [0.0, 0.0], [loss.sum(), cost.sum()])


@pytest.fixture(scope="module")
def random_quality() -> float:
    return float(np.mean([front_quality("random", s) for s in range(3)]))


@pytest.mark.parametrize("name", [n for n in MANY if n != "random"])
def test_every_search_beats_random(name, random_quality):
    margin = 0.005 if name == "evopress" else 0.02  # a (1+λ) search has no crossover to help it

    assert np.mean([front_quality(name, s) for s in range(2)]) > random_quality + margin


def test_nsga2_comes_close_to_the_true_front_of_a_knapsack():
    """All 4096 subsets are judged, so the best hypervolume is known."""
    rng = np.random.default_rng(5)
    value, weight = rng.integers(1, 30, 12), rng.integers(1, 30, 12)
    every_bag = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    score = lambda bags: np.stack([-(bags @ value), bags @ weight], 1).astype(float)  # noqa: E731
    box = [-value.sum(), 0], [0, weight.sum()]
    best = unit_hypervolume(score(every_bag), *box)
    got = []
    for name in ("nsga2", "random"):
        settings = Settings(population=40, seed=1)
        algorithm = create(
            name, SearchSpace((Mask("m", 12),)), n_objectives=2, constrained=False,
            settings=settings,
        )  # fmt: skip
        for _ in range(20):
            genomes = algorithm.ask()
            algorithm.tell(genomes, score(genomes["m"].astype(int)), np.zeros(len(genomes)))
        got.append(unit_hypervolume(algorithm.population.fitness, *box))

    assert got[0] > 0.99 * best
    assert got[0] > got[1]


def zdt1(x: np.ndarray) -> np.ndarray:
    g = 1 + 9 * x[:, 1:].mean(axis=1)
    return np.stack([x[:, 0], g * (1 - np.sqrt(x[:, 0] / g))], 1)


def test_moead_reaches_what_pymoos_version_for_batches_reaches_on_dtlz2():
    from pymoo.algorithms.moo.moead import ParallelMOEAD
    from pymoo.optimize import minimize
    from pymoo.problems import get_problem

    problem, rays = get_problem("dtlz2", n_var=14, n_obj=5), exactly(5, 40)
    space = SearchSpace((Real("x", np.zeros(14), np.ones(14)),))
    volumes: dict[str, list[float]] = {"ours": [], "pymoo": []}
    for seed in range(5):
        settings = Settings(40, seed)
        algorithm = create("moead", space, n_objectives=5, constrained=False, settings=settings)
        for _ in range(25):
            genomes = algorithm.ask()
            fitness = problem.evaluate(genomes["x"], return_values_of=["F"])
            algorithm.tell(genomes, fitness, np.zeros(len(genomes)))
        stock = ParallelMOEAD(ref_dirs=rays, n_offsprings=40)
        found = minimize(problem, stock, ("n_eval", 1000), seed=seed).pop.get("F")
        for name, rows in (("ours", algorithm.population.fitness), ("pymoo", found)):
            volumes[name].append(unit_hypervolume(rows, np.zeros(5), np.ones(5)))

    assert np.median(volumes["ours"]) > 0.95 * np.median(volumes["pymoo"]) > 0.2


@pytest.mark.parametrize(("extra", "left"), [({}, 1), ({"replacements": 2}, 9)])
def test_who_is_best_everywhere_takes_all_neighbouring_directions_of_moead(extra, left):
    space = SearchSpace((Real("x", [0.0], [1.0]),))
    settings = Settings(10, 0, extra=extra)
    algorithm = create("moead", space, n_objectives=2, constrained=False, settings=settings)
    place = np.linspace(0, 1, 10)
    first, worse = np.stack([1 + place, 2 - place], axis=1), np.full((9, 2), 9.0)

    algorithm.tell(algorithm.ask(), first, np.zeros(10))
    algorithm.tell(algorithm.ask(), np.concatenate([[[0.0, 0.0]], worse]), np.zeros(10))

    fitness = algorithm.population.fitness
    assert fitness.min(axis=0).tolist() == [0.0, 0.0]
    assert len(fitness) == left


def test_deap_mates_by_what_its_algorithms_choose():
    from evo.algorithms import Population, deap

    rng = np.random.default_rng(0)
    fitness = np.array([[0.0, 4.0], [1.0, 1.0], [1.1, 0.9], [4.0, 0.0], [5.0, 5.0]])
    people = Population(levels().sample(5, rng), fitness, np.zeros(5), np.array([0, 0, 0, 0, 1]))

    everybody = deap._everybody(people, 12, rng)
    assert sorted(everybody[:5]) == sorted(everybody[5:10]) == [0, 1, 2, 3, 4]

    ranked = np.bincount(deap._ranked(people, 20_000, rng), minlength=5) / 20_000
    # the last wins only against itself; the others share what is left
    np.testing.assert_allclose(ranked, [0.24] * 4 + [0.04], atol=0.01)

    firsts = np.bincount(deap._first(people, 20_000, rng), minlength=5) / 20_000
    # a row wins against itself and all that come after it by the first objective
    np.testing.assert_allclose(firsts, [9 / 25, 7 / 25, 5 / 25, 3 / 25, 1 / 25], atol=0.012)
    tied = replace(people, fitness=fitness[:, ::-1] * [0, 1], violation=np.array([0, 0, 9, 0, 0]))
    firsts = np.bincount(deap._first(tied, 20_000, rng), minlength=5) / 20_000
    # less violation first, then the second objective, where the first is the same
    np.testing.assert_allclose(firsts, [9 / 25, 7 / 25, 1 / 25, 5 / 25, 3 / 25], atol=0.012)

    crowded = np.bincount(deap._crowded(people, 20_000, rng), minlength=5) / 20_000
    # of 25 pairs: both ends win against all but one another, row 1 against 2, 4 and itself
    np.testing.assert_allclose(crowded, [8 / 25, 5 / 25, 3 / 25, 8 / 25, 1 / 25], atol=0.012)


@pytest.mark.parametrize(("n", "size"), [(300, 2), (300, 7), (5, 1)])
def test_two_parents_are_two_where_there_are_two(n, size):
    from evo.algorithms.holders import _two

    pairs = _two(n, size, np.random.default_rng(0))

    assert pairs.shape == (n, 2)
    assert {tuple(pair) for pair in pairs.tolist()} == (
        {(a, b) for a in range(size) for b in range(size) if a != b} or {(0, 0)}
    )


def test_nsga2_reaches_what_stock_pymoo_reaches_on_zdt1():
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.optimize import minimize

    class Stock(Problem):
        def __init__(self):
            super().__init__(n_var=10, n_obj=2, xl=0.0, xu=1.0)

        def _evaluate(self, x, out, *_, **__):
            out["F"] = zdt1(x)

    ours, theirs = [], []
    for seed in range(2):
        stock = minimize(Stock(), NSGA2(pop_size=40), ("n_gen", 40), seed=seed)
        theirs.append(unit_hypervolume(np.atleast_2d(stock.F), [0, 0], [1, 1]))
        algorithm = create(
            "nsga2", SearchSpace((Real("x", np.zeros(10), np.ones(10)),)), n_objectives=2,
            constrained=False, settings=Settings(population=40, seed=seed),
        )  # fmt: skip
        for _ in range(40):
            genomes = algorithm.ask()
            algorithm.tell(genomes, zdt1(genomes["x"]), np.zeros(len(genomes)))
        ours.append(unit_hypervolume(algorithm.population.fitness, [0, 0], [1, 1]))

    assert np.mean(ours) > np.mean(theirs) - 0.01


def test_tell_before_ask_names_both_lengths():
    algorithm = make("nsga2", levels())
    rows = levels().sample(3, np.random.default_rng(0))

    with pytest.raises(OrderError, match="got 3 genomes, but 0"):
        algorithm.tell(rows, np.zeros((3, 2)), np.zeros(3))


def test_tell_of_other_genomes_names_both_lengths():
    algorithm = make("nsga2", levels())
    asked = algorithm.ask()

    with pytest.raises(OrderError, match="got 4 genomes, but the last ask gave 12"):
        algorithm.tell(asked.take(slice(4)), np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(OrderError, match="gave 12, and they differ"):
        algorithm.tell(asked.take(np.arange(12)[::-1]), np.zeros((12, 2)), np.zeros(12))
    algorithm.tell(asked, judge(asked, 2), np.zeros(12))
    with pytest.raises(OrderError, match="got 12 genomes, but 0"):
        algorithm.tell(asked, judge(asked, 2), np.zeros(12))


def test_asking_twice_is_refused():
    algorithm = make("nsga2", levels())
    algorithm.ask()

    with pytest.raises(OrderError, match="12 genomes of the last ask") as caught:
        algorithm.ask()
    assert caught.value.hint is not None


def test_values_of_the_wrong_shape_are_refused_and_can_be_told_again():
    algorithm = make("nsga2", levels())
    asked = algorithm.ask()

    with pytest.raises(ShapeError, match=r"fitness needs shape .* \(12, 2\), got \(12, 3\)"):
        algorithm.tell(asked, np.zeros((12, 3)), np.zeros(12))
    with pytest.raises(ShapeError, match=r"violation needs shape .* got \(12, 1\)"):
        algorithm.tell(asked, np.zeros((12, 2)), np.zeros((12, 1)))
    algorithm.tell(asked, judge(asked, 2), np.zeros(12))

    assert len(algorithm.population) == 12


def test_told_arrays_stay_untouched_and_unshared():
    algorithm = make("nsga2", levels())
    asked = algorithm.ask()
    fitness, violation = judge(asked, 2), np.zeros(12)
    fitness[0] = np.nan
    before = fitness.copy()

    algorithm.tell(asked, fitness, violation)

    assert np.array_equal(fitness, before, equal_nan=True)
    fitness[:] = -1.0
    assert (algorithm.population.fitness >= 0).all()


def test_before_the_first_tell_the_population_is_empty():
    for name in MANY:
        algorithm = make(name, mixed(), 3)
        algorithm.ask()
        assert len(algorithm.population) == 0
        assert algorithm.population.fitness.shape == (0, 3)
        assert len(algorithm.population.front) == 0


def test_front_is_feasible_first():
    fitness = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [9.0, 9.0]])

    assert feasible_ranks(fitness, np.array([5.0, 0, 0, 0, 2.0])).tolist() == [3, 0, 0, 1, 2]
    assert feasible_ranks(fitness, np.array([5.0, 1, 2, 1, 5])).tolist() == [2, 0, 1, 0, 2]
    assert FAILED > 1e20


def test_unknown_ids_suggest_and_list():
    with pytest.raises(RegistryError, match="no algorithm called 'nsga22'; did you mean 'nsga2'"):
        make("nsga22", levels())
    with pytest.raises(RegistryError, match="there are nsga2, nsga3"):
        make("xyzzy", levels())


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="population must be at least 1, got 0"):
        Settings(population=0)
    with pytest.raises(ConfigError, match="seed must be 0 or larger, got -1"):
        Settings(seed=-1)
    with pytest.raises(ConfigError, match="generations must be at least 1"):
        Settings(generations=0)
    with pytest.raises(ConfigError, match="at least 1 objective"):
        make("nsga2", levels(), 0)


@every
def test_unknown_settings_are_refused(name):
    with pytest.raises(ConfigError, match=f"algorithm {name!r} has no setting 'nonsense'"):
        make(name, levels(), extra={"nonsense": 1})


def test_settings_of_an_algorithm_are_typed_and_suggested():
    with pytest.raises(ConfigError, match="did you mean 'neighbours'"):
        make("moead", levels(), extra={"neighbors": 3})
    with pytest.raises(ConfigError, match="did you mean 'population'"):
        make("nsga2", levels(), extra={"populatoin": 3})
    with pytest.raises(ConfigError, match="must be of type int, got"):
        make("moead", levels(), extra={"neighbours": 2.5})
    with pytest.raises(ConfigError, match="decomposition must be"):
        make("moead", levels(), extra={"decomposition": "sum"})
    for choice in ("pbi", "chebyshev"):
        assert len(step(make("moead", levels(), 3, extra={"decomposition": choice}), 3)) == 12


def test_rvea_needs_planned_generations():
    settings = Settings(population=10)

    with pytest.raises(ConfigError, match="planned number of generations") as caught:
        create("rvea", levels(), n_objectives=3, constrained=False, settings=settings)
    assert "stop.generations" in (caught.value.hint or "")


def test_rvea_goes_on_beyond_its_plan():
    algorithm = make("rvea", levels(), 3)

    for _ in range(GENERATIONS + 5):
        assert len(step(algorithm, 3)) > 0


def test_operators_can_be_replaced_for_all_parts_or_by_name_or_kind():
    class Zero:
        def __call__(self, genomes, bounds, rng):
            return np.zeros_like(genomes)

    everywhere = make("nsga2", levels(), mutation=Zero())
    by_kind = make("nsga2", mixed(), mutation={"mask": Zero()})
    by_name = make("nsga2", mixed(), mutation={"i": Zero(), "mask": Reset()})
    for algorithm in (everywhere, by_kind, by_name):
        step(algorithm, 2)

    assert len(everywhere.ask()["c"]) > 0
    assert set(by_kind.ask()["m"].sum(axis=1)) >= {0}
    assert (by_name.ask()["i"] == 0).any()


def test_a_bare_operator_applies_only_where_it_fits():
    nursery = Nursery(mixed(), Settings(crossover=OnePoint()), None)

    chosen = nursery.variation.crossover

    assert all(isinstance(chosen[name], OnePoint) for name in ("c", "i", "m", "r"))
    assert type(chosen["s"]).__name__ == "SubsetUnion"


def test_operators_for_missing_parts_are_refused():
    with pytest.raises(ConfigError, match="mutation is set for 'nowhere'"):
        make("nsga2", levels(), mutation={"nowhere": Reset()})
    with pytest.raises(ConfigError, match="fits no part of this space"):
        make("nsga2", SearchSpace((Subset("s", 9, 3),)), crossover=OnePoint())


def test_any_factory_is_welcome():
    class Sweep:
        def __init__(self, nursery, *, n_objectives, constrained, settings):
            from evo.algorithms.baselines import Kept

            self.kept = Kept(nursery, n_objectives, settings.population)
            self.nursery = nursery
            self.told = []

        @property
        def population(self):
            return self.kept.population

        def ask(self):
            return self.nursery.initial(3)

        def tell(self, genomes, fitness, violation):
            self.told.append((fitness, violation))
            self.kept.add(genomes, fitness, violation)

    made = []
    factory = lambda nursery, **kw: made.append(Sweep(nursery, **kw)) or made[0]  # noqa: E731
    algorithm = create(
        factory, levels(), n_objectives=2, constrained=False, settings=Settings(population=3)
    )

    asked = algorithm.ask()
    algorithm.tell(asked, [[1.0, 2.0], [np.nan, 0.0], [2.0, 1.0]], [0.0, 0.0, 0.0])

    fitness, violation = made[0].told[0]
    assert fitness.tolist() == [[1.0, 2.0], [2.0, 2.0], [2.0, 1.0]]  # the worst so far
    assert violation.tolist() == [0.0, FAILED, 0.0]
    assert len(algorithm.population) == 2


def greedy_asks(space: SearchSpace, values, evaluations: int, m: int = 2) -> list[list[list[int]]]:
    """All batches of choices that greedy asks for, up to a number of evaluations."""
    algorithm, asked, done = make("greedy", space, m, population=50), [], 0
    while done < evaluations and len(genomes := algorithm.ask()):
        asked.append(genomes["c"].tolist())
        fitness = np.array(values(genomes["c"]), dtype=float)
        algorithm.tell(genomes, fitness, np.zeros(len(genomes)))
        done += len(genomes)
    return asked


def test_greedy_follows_the_best_ratio_and_measures_little_else():
    """Four sites, two levels: loss rises and cost falls per site are known."""
    loss, cost = np.array([1.0, 12.0, 2.0, 9.0]), np.array([1.0, 8.0, 3.0, 4.0])

    asked = greedy_asks(levels(4, 2), lambda x: np.stack([x @ loss, (1 - x) @ cost], 1), 11)

    assert asked == [
        [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        # ratios 1, 3/2, 2/3, 9/4: site 2 goes first, though site 0 loses less and site 1 saves more
        [[1, 0, 1, 0]],
        [[1, 1, 1, 0]],
        [[1, 1, 1, 1]],
        # the same path again, with the four best changes measured at each genome
        [[0, 1, 1, 0], [0, 0, 1, 1]],
        [[1, 0, 1, 1]],
    ]


def test_greedy_measures_again_before_it_trusts_an_old_gain():
    """Sites 0 and 1 are cheap to lose, but not both: after site 0 goes site 2, then site 1."""
    loss = np.array([1.0, 2.0, 3.0])
    both = lambda x: 10.0 * x[:, 0] * x[:, 1]  # noqa: E731

    asked = greedy_asks(levels(3, 2), lambda x: np.stack([x @ loss + both(x), 3 - x.sum(1)], 1), 8)

    assert asked[1:4] == [[[1, 1, 0]], [[1, 0, 1]], [[1, 1, 1]]]


def full_greedy(losses: np.ndarray, costs: np.ndarray) -> list[list[int]]:
    """The path of a greedy that measures every change everywhere; tables (sites, levels)."""
    here, path = [0] * len(losses), []
    while True:
        ratios = {
            (rise / fall, site, level): level
            for site, now in enumerate(here)
            for level in range(losses.shape[1])
            if (fall := costs[site, now] - costs[site, level]) > 0
            for rise in [losses[site, level] - losses[site, now]]
        }
        if not ratios:
            return path
        _, site, level = min(ratios)
        here[site] = level
        path.append(here.copy())


@pytest.mark.parametrize("seed", range(8))
def test_lazy_greedy_takes_the_path_of_full_greedy_where_losses_add_up(seed):
    """Losses per level are not convex, so some sites are removed in one jump."""
    rng = np.random.default_rng(seed)
    losses = np.cumsum(np.c_[np.zeros(6), rng.random((6, 4)) ** 3], axis=1)
    costs = np.cumsum(rng.random((6, 5)), axis=1)[:, ::-1]
    sites = np.arange(6)
    path = full_greedy(losses, costs)

    total = lambda x: np.stack([t[sites, x].sum(axis=1) for t in (losses, costs)], 1)  # noqa: E731
    first = [row for row in path if np.count_nonzero(row) > 1]
    asked = [row for batch in greedy_asks(levels(6, 5), total, 25 + len(first)) for row in batch]

    assert asked[25:] == first  # 25: the start and its neighbours
    assert asked[-1] == [4] * 6
    assert len(path) < 6 * 4


def tangled(x: np.ndarray) -> np.ndarray:
    """A loss that grows where neighbours shrink together, and two costs; shape (n, 3)."""
    x = x / 8.0
    weight, size = 1 + np.arange(16) % 5, 1 + np.arange(16) % 3
    loss = (weight * x**2).sum(1) + 3 * (x[:, 1:] * x[:, :-1]).sum(1)
    return np.stack([loss, ((1 - x) * size).sum(1), (1 - x[:, ::2]).sum(1)], axis=1)


def test_greedy_reaches_the_smallest_genome_with_the_evaluations_of_a_search():
    """Measuring all 128 changes at each of some hundred steps would take 12,800 evaluations."""
    asked = [tuple(row) for batch in greedy_asks(levels(16, 9), tangled, 384, 3) for row in batch]

    assert (8,) * 16 in asked[:256]
    assert len(set(asked)) == len(asked) >= 384


def test_greedy_descends_again_with_every_cost_heavy_in_turn():
    """Sites 0 and 2 save the first cost, sites 1 and 3 the second; all lose about as much."""
    loss, first = np.array([1.0, 1.1, 1.05, 1.15]), np.array([4.0, 0.0, 4.0, 0.0])
    values = lambda x: np.stack([x @ loss, (1 - x) @ first, (1 - x) @ (4 - first)], 1)  # noqa: E731

    asked = greedy_asks(levels(4, 2), values, 10, 3)

    alike, second = [[1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]], [[0, 1, 0, 1], [1, 1, 0, 1]]
    assert asked[1:] == [[row] for row in alike + second]


def test_greedy_tries_what_fails_once_in_a_descent_and_goes_on():
    """Site 1 goes first; then site 0 would be next, but fails beside it."""

    def values(x):
        good = np.stack([x @ [2.0, 1.0, 4.0], 9.0 - x.sum(1)], 1)
        return np.where((x[:, :1] > 0) & (x[:, 1:2] > 0), np.nan, good)

    asked = [row for batch in greedy_asks(levels(3, 4), values, 16) for row in batch]

    assert asked[10:13] == [[1, 3, 0], [2, 3, 0], [3, 3, 0]]  # 10: the start and its neighbours
    assert asked[13:] == [[0, 3, 1], [0, 3, 2], [0, 3, 3]]


def test_greedy_restarts_at_random_until_the_space_is_empty():
    algorithm = make("greedy", levels(3, 3), population=50)
    asked = [row for _ in range(40) for row in step(algorithm, 2).rows()]

    assert len(asked) == len(set(asked)) == 27


def test_random_search_keeps_the_best():
    algorithm = make("random", levels())
    every_one = [judge(step(algorithm, 2), 2) for _ in range(4)]

    fitness = np.concatenate(every_one)
    front = fitness[nondominated(fitness)]

    kept = algorithm.population.front.fitness
    assert len(kept) == min(12, len(front))
    assert {tuple(r) for r in kept} <= {tuple(r) for r in front}


def test_evopress_with_one_objective_never_gets_worse():
    algorithm = make("evopress", levels(), 1, population=8)
    best = np.inf
    for _ in range(15):
        step(algorithm, 1)
        now = algorithm.population.fitness.min()
        assert now <= best
        best = now


@pytest.mark.parametrize(("m", "p"), [(2, 4), (3, 3), (4, 2), (5, 3)])
def test_lattice_equals_pymoos_das_dennis(m, p):
    from pymoo.util.ref_dirs import get_reference_directions

    theirs = get_reference_directions("das-dennis", m, n_partitions=p)

    assert sorted(map(tuple, lattice(m, p).round(12))) == sorted(map(tuple, theirs.round(12)))


@pytest.mark.parametrize("m", range(1, 11))
@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, 500])
def test_directions_lie_on_the_simplex_and_fit(m, n):
    some, all_of = directions(m, n), exactly(m, n)

    assert 1 <= len(some) <= n
    assert all_of.shape == (n, m)
    for rows in (some, all_of):
        assert np.allclose(rows.sum(axis=1), 1.0)
        assert (rows >= 0).all()
    assert len(np.unique(some.round(9), axis=0)) == len(some)
    if m > 1:
        assert len(np.unique(all_of.round(9), axis=0)) == n
    if m <= n:
        assert {tuple(row) for row in np.eye(m)} <= {tuple(row) for row in some}


def test_directions_get_a_second_layer_where_the_first_has_no_inside():
    rows = directions(8, 44)

    assert len(rows) == 44  # 36 from two steps, 8 from one step shrunk by half
    assert (rows.min(axis=1) > 0).sum() == 8


@pytest.mark.parametrize(("rate", "least", "most"), [(None, 0.85, 0.95), (1.0, 1, 1), (0.0, 0, 0)])
def test_the_share_of_crossed_pairs_is_a_setting(
    rate: float | None, least: float, most: float
) -> None:
    class Marks:
        """Crosses by giving both children a gene that no parent has; mutation keeps it."""

        def __call__(self, first: Any, second: Any, bounds: Any, rng: Any) -> tuple[Any, Any]:
            marked = np.where(np.arange(first.shape[1]) == 0, 2, first)
            return marked, marked.copy()

    space = SearchSpace((Integer("x", np.zeros(60), np.array([2] + [9] * 59)),))
    free = lambda genomes, bounds, rng: genomes  # noqa: E731
    settings = Settings(crossover=Marks(), mutation=free, crossover_rate=rate)
    nursery = Nursery(space, settings, None)
    rows = np.zeros((1000, 60), dtype=np.int64)
    parents = Genomes({"x": rows})

    children = nursery.pairs(parents, parents)

    share = (children["x"][:, 0] == 2).mean()
    assert least <= share <= most


@pytest.mark.parametrize(("rate", "least", "most"), [(1.0, 1, 1), (0.3, 0.26, 0.34), (0.0, 0, 0)])
def test_the_share_of_crossed_children_that_are_mutated_is_a_setting(
    rate: float, least: float, most: float
) -> None:
    """Those that equal a parent, because nothing was crossed or nothing changed, always are."""
    space = SearchSpace((Integer("x", np.zeros(8), np.full(8, 9)), Choice("y", (9,) * 4)))
    swapped = lambda a, b, bounds, rng: (b.copy(), a.copy())  # noqa: E731
    marked = lambda genomes, bounds, rng: np.full_like(genomes, 8)  # noqa: E731
    one, two = np.zeros((1000, 8), np.int64), np.full((1000, 8), 3)
    two[:500] = 0  # these pairs are alike in x
    first = Genomes({"x": one, "y": np.zeros((1000, 4), np.int16)})
    second = Genomes({"x": two, "y": np.full((1000, 4), 5, np.int16)})
    kept = lambda a, b, bounds, rng: (a.copy(), b.copy())  # noqa: E731
    settings = Settings(
        crossover={"x": swapped, "y": kept}, mutation=marked, mutation_rate=rate, crossover_rate=1.0
    )
    nursery = Nursery(space, settings, None)

    children = nursery.pairs(first, second)

    changed = (children["x"] == 8).any(axis=1) | (children["y"] == 8).any(axis=1)
    assert changed[:1000].all()  # x alike: both children equal a parent
    assert least <= changed[1000:].mean() <= most
    untouched = np.flatnonzero(~changed[1000::2])  # first children of pairs: x of the second parent
    assert (children["x"][1000::2][untouched] == 3).all()
    assert (children["y"][1000::2][untouched] == 0).all()


@pytest.mark.parametrize("name", ["crossover_rate", "mutation_rate"])
@pytest.mark.parametrize("rate", [1.5, -0.1, True, "0.5"])
def test_a_share_lies_between_nothing_and_all(name: str, rate: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be a number in \[0, 1\], got"):
        Settings(**{name: rate})


def test_a_share_of_mutated_children_is_a_number() -> None:
    with pytest.raises(ConfigError, match=r"mutation_rate must be a number in \[0, 1\], got None"):
        Settings(mutation_rate=None)  # type: ignore[arg-type]
