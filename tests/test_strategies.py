"""Searches of one objective: their promises, and that they find what is known."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import cma
import numpy as np
import pytest

from evo import Choice, Genomes, Integer, Mask, Real, SearchSpace, Subset
from evo.algorithms import SINGLE, Algorithm, Settings, create
from evo.algorithms.covariance import MOST, Pycma
from evo.algorithms.strategies import Isotropic, Separable
from evo.errors import ConfigError

every = pytest.mark.parametrize("name", SINGLE)


def box(d: int = 6, far: float = 3.0) -> SearchSpace:
    return SearchSpace((Real("x", np.full(d, -far), far),))


def make(name: str, space: SearchSpace, population: int = 12, starts=None, **more) -> Algorithm:
    settings = Settings(population, more.pop("seed", 0), extra=more)
    return create(
        name, space, n_objectives=1, constrained=True, settings=settings, starts=starts
    )  # fmt: skip


def sphere(genomes: Genomes) -> np.ndarray:
    x = np.concatenate([v.astype(float) for v in genomes.parts.values()], axis=1)
    return ((x - 1.0) ** 2).sum(axis=1, keepdims=True)


def steps(algorithm: Algorithm, count: int, bend=lambda g, f: (f, np.zeros(len(f)))) -> list[bytes]:
    asked = []
    for _ in range(count):
        genomes = algorithm.ask()
        asked += genomes.rows()
        algorithm.tell(genomes, *bend(genomes, sphere(genomes)))
    return asked


@every
def test_spheres_are_solved(name: str) -> None:
    steps(algorithm := make(name, box()), 60)

    assert algorithm.population.fitness.min() < (0.2 if name == "openai-es" else 1e-4)


@every
def test_thousands_of_genes_get_better(name: str) -> None:
    settings = {"sigma": 0.05} | ({"rate": 0.002} if name == "openai-es" else {})
    algorithm = make(name, box(100 if name == "cma-es" else 1000), population=20, **settings)

    steps(algorithm, 1)
    first = algorithm.population.fitness.min()
    steps(algorithm, 60)

    assert algorithm.population.fitness.min() < 0.9 * first


@every
def test_switches_and_levels_are_searched_with_real_genes(name: str) -> None:
    space = SearchSpace((Mask("on", 5), Integer("level", [0] * 3, [4] * 3), Real("x", [-2], [2])))
    algorithm = make(name, space, population=16, sigma=0.3)

    asked = steps(algorithm, 60)

    best = algorithm.population.genomes
    assert len(set(asked)) == len(asked)
    assert best["on"][0].sum() >= 4
    assert np.abs(best["level"][0] - 1).sum() <= 1
    space.check(best)


@every
def test_the_first_warm_start_is_where_the_search_begins(name: str) -> None:
    starts = Genomes({"x": np.array([[2.9] * 6, [-2.9] * 6])})
    algorithm = make(name, box(), starts=starts, sigma=0.01)

    asked = algorithm.ask()

    assert asked.rows()[0] == starts.rows()[0]
    assert starts.rows()[1] not in asked.rows()
    assert np.abs(asked["x"] - 2.9).max() < 0.2
    assert len(asked) == 12


@every
def test_some_switches_of_the_warm_start_turn_at_once(name: str) -> None:
    space = SearchSpace((Mask("on", 40), Real("x", [-1], [1])))
    starts = Genomes({"on": np.arange(40)[None] < 20, "x": np.zeros((1, 1))})

    asked = make(name, space, starts=starts, sigma=0.2).ask()["on"]

    assert (asked[0] == (np.arange(40) < 20)).all()
    turned = (asked[1:] != asked[0]).mean(axis=0)
    assert 0.02 < turned[:20].mean() < 0.25
    assert 0.02 < turned[20:].mean() < 0.25


@every
def test_without_warm_starts_it_begins_in_the_middle(name: str) -> None:
    space = SearchSpace((Real("x", np.full(40, 2.0), 10.0),))

    asked = make(name, space, sigma=0.01).ask()

    assert np.abs(asked["x"] - 6.0).max() < 0.3


@every
def test_failed_and_infeasible_candidates_do_not_lead(name: str) -> None:
    """The better half of the box fails or is forbidden; the search stays in the other one."""

    def bend(genomes: Genomes, fitness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = genomes["x"]
        fitness = fitness.copy()
        fitness[x[:, 0] > 0.2] = np.nan
        return fitness, np.maximum(0.0, x[:, 1] - 0.3)

    algorithm = make(name, box(), sigma=0.1)
    steps(algorithm, 80, bend)

    kept = algorithm.population
    assert np.isfinite(kept.fitness).all()
    assert (kept.violation[kept.rank == 0] == 0).all()
    best = kept.genomes["x"][kept.fitness[:, 0].argmin()]
    assert best[0] <= 0.2
    assert best[1] <= 0.3
    last = algorithm.ask()["x"]
    assert np.median(last[:, 0]) < 0.5
    assert np.median(last[:, 1]) < 0.5


@every
def test_a_generation_of_failures_is_survived(name: str) -> None:
    algorithm = make(name, box())
    steps(algorithm, 2, lambda g, f: (np.full_like(f, np.nan), np.zeros(len(f))))
    assert len(algorithm.population) == 0

    steps(algorithm, 5)

    assert len(algorithm.population) > 0


@every
def test_global_generators_neither_matter_nor_change(name: str) -> None:
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    first = steps(make(name, box()), 4)
    before = random.getstate(), np.random.get_state()  # noqa: NPY002

    again = steps(make(name, box()), 4)

    after = random.getstate(), np.random.get_state()  # noqa: NPY002
    assert first == again
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert first != steps(make(name, box(), seed=1), 4)


def digest() -> str:
    import hashlib

    found = b"".join(b"".join(steps(make(name, box(20)), 12)) for name in SINGLE)
    return hashlib.sha256(found).hexdigest()


def test_other_processes_ask_the_same(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, sys; spec = u.spec_from_file_location('t', sys.argv[1]); "
        "t = u.module_from_spec(spec); spec.loader.exec_module(t); print(t.digest())"
    )
    (tmp_path / "cma_signals.in").write_text("{'timeout': 0}")  # pycma would read it
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).resolve())], capture_output=True,
        text=True, cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": "11", "OMP_NUM_THREADS": "1"},
        check=True,
    )  # fmt: skip

    assert done.stdout.split()[-1] == digest()
    assert [p.name for p in tmp_path.iterdir()] == ["cma_signals.in"]  # nothing is logged


def test_two_searches_do_not_interfere() -> None:
    alone = steps(make("cma-es", box()), 5)
    one, two, asked = make("cma-es", box()), make("sep-cma-es", box(9), seed=4), []
    for _ in range(5):
        steps(two, 1)
        asked += steps(one, 1)

    assert asked == alone


@pytest.mark.parametrize("diagonal", [False, True])
def test_pycma_is_driven_as_it_drives_itself(diagonal: bool) -> None:
    """The same numbers as pycma's own loop with the same normal deviates."""
    mean, cost = np.full(5, 0.3), lambda x: ((x - np.arange(5)) ** 2).sum(axis=1)
    rng = np.random.default_rng(8)
    engine = cma.CMAEvolutionStrategy(
        mean, 0.2,
        {"popsize": 8, "CMA_diagonal": diagonal, "CMA_mirrors": 0, "seed": np.nan, "verbose": -9,
         "randn": lambda *s: rng.standard_normal(s), "verb_log": 0},
    )  # fmt: skip
    ours = Pycma(mean, 0.2, 8, np.random.default_rng(8), diagonal)

    for _ in range(30):
        theirs = engine.ask()
        points = ours.draw(8)
        np.testing.assert_array_equal(points, np.array(theirs))
        engine.tell(theirs, cost(np.array(theirs)).tolist())
        ours.learn(points, cost(points))


def test_a_step_of_openai_es_by_hand() -> None:
    given = Isotropic(np.zeros(2), np.random.default_rng(0), 0.5, 0.1, 0.9, 0.8, 1e-3, 1e-3)
    points = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 1.0], [0.0, -1.0]])
    cost = np.array([1.0, 4.0, 2.0, 2.0])  # ranks 1, 4, 2.5, 2.5

    given.learn(points, cost)

    # standardised: 1.5, -1.5, 0, 0 over the deviation √(2·2.25/4); noise ±1 along the first gene
    deviation = np.sqrt(2 * 1.5**2 / 4)
    np.testing.assert_allclose(given.mean, [0.1 / (4 * 0.5) * 3 / deviation, 0.0])
    assert given._sigma == pytest.approx(0.45)
    assert given._rate == pytest.approx(0.08)


def test_pairs_of_openai_es_mirror_each_other() -> None:
    given = Isotropic(np.ones(3), np.random.default_rng(0), 0.5, 0.1, 1, 1, 1e-3, 1e-3)

    points = given.draw(7)

    np.testing.assert_allclose(points[0::2][:3] + points[1::2], 2.0)
    assert len(points) == 7


def test_a_step_of_snes_by_hand() -> None:
    given = Separable(np.zeros(1), np.random.default_rng(0), 0.5)
    points, cost = np.array([[0.5], [-0.5], [1.0], [0.0]]), np.array([1.0, 2.0, 3.0, 4.0])

    given.learn(points, cost)

    raw = np.maximum(0, np.log(3) - np.log([1, 2, 3, 4]))
    utility = raw / raw.sum() - 0.25
    noise = np.array([1.0, -1.0, 2.0, 0.0])
    rate = 3 / 5
    np.testing.assert_allclose(given.mean, [0.5 * (utility @ noise)])
    np.testing.assert_allclose(given._sigma, [0.5 * np.exp(rate / 2 * (utility @ (noise**2 - 1)))])


def test_points_beyond_an_end_are_folded_back() -> None:
    starts = Genomes({"x": np.full((1, 1), 3.0)})
    algorithm = make("snes", box(1), starts=starts, sigma=0.2, population=400)

    asked = algorithm.ask()["x"][1:]

    assert (asked < 3.0).all()  # clipped ones would lie on the end
    assert asked.std() < 0.6


def test_what_cannot_be_searched_is_told() -> None:
    for name in SINGLE:
        with pytest.raises(ConfigError, match="searches one objective, got 2"):
            create(name, box(), n_objectives=2, constrained=False, settings=Settings(12))
        with pytest.raises(ConfigError, match="needs ordered genes, and part 's'"):
            make(name, SearchSpace((Subset("s", 9, 3),)))
        with pytest.raises(ConfigError, match="needs ordered genes, and part 'c'"):
            make(name, SearchSpace((Choice("c", [3], ordered=False),)))
        with pytest.raises(ConfigError, match="population of at least"):
            make(name, box(), population=1)
        with pytest.raises(ConfigError, match=r"'sigma' of algorithm .* must be above 0"):
            make(name, box(), sigma=-1.0)
    with pytest.raises(ConfigError, match=f"at most {MOST} of them, got 5000"):
        make("cma-es", box(5000))
