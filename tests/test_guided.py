"""Search on predictions: surrogate, choice of what to judge, and the search around them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evo import Choice, Genomes, SearchSpace
from evo.algorithms import Algorithm, Settings, create
from evo.algorithms.guard import FAILED
from evo.algorithms.guided import Guided, agreement, regret
from evo.algorithms.infill import most_improving
from evo.algorithms.predictor import Predictor
from evo.algorithms.surrogate import Known, Processes, Surrogate, Warp
from evo.config import RunConfig
from evo.configured import build_algorithm
from evo.indicators import hypervolume, unit_hypervolume

SITES, LEVELS = 14, 9
RNG = np.random.default_rng(5)
LOSS = np.cumsum(RNG.exponential(1, (SITES, LEVELS)), axis=1)
COST = np.cumsum(RNG.exponential(1, (SITES, LEVELS))[:, ::-1], axis=1)[:, ::-1]
SPACE = SearchSpace((Choice("choices", [LEVELS] * SITES),))
SLOW = pytest.mark.slow


def judged(genomes: Genomes) -> np.ndarray:
    """A loss that grows faster than the sum of its parts, and an additive cost, (n, 2)."""
    rows, genes = genomes["choices"].astype(int), np.arange(SITES)
    loss = LOSS[genes, rows].sum(1)
    return np.stack([np.exp(loss / 20), COST[genes, rows].sum(1)], axis=1)


def begun(
    algorithm: str = "nsga2", surrogate: bool = True, seed: int = 1, constrained: bool = False,
    population: int = 24,
) -> Algorithm:  # fmt: skip
    dense = Genomes({"choices": np.zeros((1, SITES), dtype=np.int16)})
    settings = Settings(population=population, seed=seed, generations=6, surrogate=surrogate)
    return create(
        algorithm, SPACE, n_objectives=2, constrained=constrained, settings=settings, starts=dense
    )


def searched(algorithm: Algorithm, asks: int, judge=judged) -> tuple[list[Genomes], np.ndarray]:
    asked, values = [], []
    for _ in range(asks):
        genomes = algorithm.ask()
        fitness = judge(genomes)
        algorithm.tell(genomes, fitness, np.zeros(len(genomes)))
        asked.append(genomes)
        values.append(fitness)
    return asked, np.concatenate(values)


# -- surrogate -------------------------------------------------------------------------------------


def test_mean_and_deviation_are_those_of_scikit_learn() -> None:
    process = pytest.importorskip("sklearn.gaussian_process")
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    rng = np.random.default_rng(0)
    x, new = rng.random((40, 1)), rng.random((9, 1))
    y = np.stack([np.sin(6 * x[:, 0]) - 2], axis=1)

    processes = Processes(x, y, (0.0,))

    ((reach, alone, _, noise, _),) = processes.kernels
    matern = kernels.Matern(length_scale=reach, nu=0.5)  # exp(-distance / reach)

    class Shared(kernels.Kernel):
        """alone * min(a, b), Brownian motion."""

        def __init__(self) -> None:
            super().__init__()

        def __call__(self, a, b=None, eval_gradient=False):
            return alone * np.minimum.outer(a[:, 0], (a if b is None else b)[:, 0])

        def diag(self, a):
            return alone * a[:, 0]

        def is_stationary(self):
            return False

    reference = process.GaussianProcessRegressor(
        matern + Shared(), alpha=noise, optimizer=None, normalize_y=True
    ).fit(x, y[:, 0])
    mean, deviation = reference.predict(new, return_std=True)
    z = (y[:, 0] - y.mean()) / y.std()
    deviation *= np.sqrt(z @ reference.alpha_ / 40)  # scikit-learn leaves the amplitude at 1
    assert np.allclose(processes(new)[:, 0], mean, atol=1e-9)
    assert np.allclose(processes(new, np.array([2.0]))[:, 0], mean - 2 * deviation, atol=1e-9)


def test_deviations_tell_how_far_off_predictions_are() -> None:
    rng = np.random.default_rng(3)
    genomes = Genomes({"choices": rng.integers(0, LEVELS, (200, SITES)).astype(np.int16)})
    x, y = genomes["choices"] / (LEVELS - 1), judged(genomes)[:, :1]
    surrogate = Surrogate(x[:80], y[:80], unordered=False)

    mean, low = surrogate(x[80:]), surrogate(x[80:], np.array([1.0]))

    above = (y[80:] > low).mean()
    assert 0.7 < above < 0.95  # of a normal distribution 0.84
    assert (low < mean).all()
    assert np.abs(surrogate(x[:80], np.array([1.0])) - y[:80]).mean() < 0.3 * (mean - low).mean()


@pytest.mark.parametrize("differ", [0.0, 0.5, 1.0])
def test_genomes_are_compared_gene_by_gene(differ: float) -> None:
    rng = np.random.default_rng(6)
    x = np.column_stack([rng.integers(0, 4, (50, 3)) / 3, rng.random((50, 2))])
    others = np.vstack([x[:5], np.column_stack([rng.integers(0, 7, (20, 3)) / 6, x[:20, 3:]])])

    distance, shared = Known(x).compare(others, differ)

    for i, j in itertools.product(range(25), range(50)):
        pairs = list(zip(others[i], x[j], strict=True))
        far = np.mean([(1 - differ) * abs(a - b) + differ * (a != b) for a, b in pairs])
        both = [(1 - differ) * min(a, b) + differ * (a == b and a > 0) for a, b in pairs]
        assert distance[i, j] == pytest.approx(far, abs=1e-12)
        assert shared[i, j] == pytest.approx(np.mean(both), abs=1e-12)


def test_sums_and_products_of_effects_are_predicted() -> None:
    rng = np.random.default_rng(1)
    genomes = Genomes({"choices": rng.integers(0, LEVELS, (160, SITES)).astype(np.int16)})
    x, y = genomes["choices"] / (LEVELS - 1), judged(genomes)

    predicted = Surrogate(x[:120], y[:120], unordered=True)(x[120:])

    for j in (0, 1):
        error = np.abs(predicted[:, j] - y[120:, j]).mean()
        assert error < 0.25 * np.abs(y[120:, j] - y[:120, j].mean()).mean()


def test_levels_without_order_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 5, (140, 6))
    effects = np.array([4.0, 0.0, 3.0, 1.0, 2.0])
    y = effects[rows].sum(1)[:, None]
    x = rows / 4

    errors = [
        np.abs(Surrogate(x[:100], y[:100], unordered).plain(x[100:]) - y[100:]).mean()
        for unordered in (True, False)
    ]

    assert errors[0] < 0.85 * errors[1]


def test_genes_are_moved_apart_by_their_effects() -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(0, 3, (60, 2)) / 2
    y = np.where(x[:, 0] == 1, 6.0, 0.0)[:, None] + x[:, 1:] * 2  # 0, 0, 6 and 0, 1, 2

    warp = Warp(Processes(x, y, (0.0,)), 0, x)

    places = warp(np.array([[0, 0], [0.5, 0.5], [1, 1]]))
    assert places[:, 0] == pytest.approx([0, 0, 1.5], abs=0.03)  # 6 of 8, times two genes
    assert places[:, 1] == pytest.approx([0, 0.25, 0.5], abs=0.03)


@pytest.mark.parametrize("seed", [0, 2])
def test_effects_tell_which_genes_and_levels_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 5, (170, 8))
    effects = np.array([0, 0.1, 0.2, 3, 3.1])[rows] * [3, 2, 1, 1, 0.2, 0.1, 0, 0]
    y = (effects.max(axis=1) + rng.normal(0, 0.1, 170))[:, None]
    x = rows / 4

    surrogate = Surrogate(x[:110], y[:110], unordered=False)

    errors = [np.abs(p(x[110:]) - y[110:]).mean() for p in (surrogate, surrogate.plain)]
    assert errors[0] < 0.6 * errors[1]


def test_errors_are_those_of_leaving_one_out() -> None:
    rng = np.random.default_rng(8)
    x = rng.random((30, 2))
    y = np.sin(4 * x[:, :1]) + x[:, 1:]
    processes = Processes(x, y, (0.0,))
    reach, alone, _, noise, _ = processes.kernels[0]
    z = processes.scales[0].forth(y[:, 0])
    distance = np.abs(x[:, None] - x[None]).mean(2)
    covariance = np.exp(-distance / reach) + alone * np.minimum(x[:, None], x[None]).mean(2)
    left = []
    for i in range(30):
        others = np.delete(np.arange(30), i)
        inner = covariance[np.ix_(others, others)] + noise * np.eye(29)
        left.append(z[i] - covariance[i, others] @ np.linalg.solve(inner, z[others]))

    assert processes.errors[0] == pytest.approx(np.sqrt(np.mean(np.square(left))), rel=1e-6)


def test_a_part_of_the_data_is_another_output_of_the_process() -> None:
    rng = np.random.default_rng(5)
    x, new, part = rng.random((50, 2)), rng.random((9, 2)), np.arange(50) >= 20
    y = (np.sin(4 * x[:, 0]) + x[:, 1] + np.where(part, np.cos(5 * x[:, 1]), 0))[:, None]

    processes = Processes(x, y, (0.0,), part)

    (kernel,), (scale,) = processes.kernels, processes.scales
    alike = np.array([[1.0, kernel.agree], [kernel.agree, 1.0]])

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        distance = np.abs(a[:, None] - b[None]).mean(2)
        return np.exp(-distance / kernel.reach) + kernel.alone * np.minimum(a[:, None], b).mean(2)

    among = covariance(x, x) * alike[np.ix_(part * 1, part * 1)] + kernel.noise * np.eye(50)
    mean = covariance(new, x) * alike[0, part * 1] @ np.linalg.solve(among, scale.forth(y[:, 0]))
    assert kernel.agree < 0.97
    assert np.allclose(processes(new)[:, 0], scale.back(mean), atol=1e-8)


def test_what_a_part_gets_wrong_is_learnt() -> None:
    rng = np.random.default_rng(7)
    rows = rng.integers(0, LEVELS, (300, SITES))
    y, part = judged(Genomes({"choices": rows.astype(np.int16)})), np.arange(200) >= 30
    wrong = 1 + (0.6 * rows[:200, 0] - 0.4 * rows[:200, 1]) / (LEVELS - 1)
    told = np.column_stack([np.where(part, y[:200, 0] * wrong, y[:200, 0]), y[:200, 1], 0 * wrong])

    def error(known: slice, part: np.ndarray | None) -> float:
        predictor = Predictor(SPACE, rows[known].astype(float), told[known], None, part)
        return float(np.abs(predictor(rows[200:].astype(float))[:, 0] - y[200:, 0]).mean())

    beside = error(slice(0, 200), part)
    assert beside < 0.7 * error(slice(0, 200), None)
    assert beside < 0.7 * error(slice(0, 30), None)


# -- what to judge ---------------------------------------------------------------------------------


def test_the_candidate_that_adds_most_comes_first_and_its_double_last() -> None:
    front = np.array([[0.0, 1.0], [1.0, 0.0]])
    predicted = np.array([[0.9, 0.9], [0.3, 0.3], [0.31, 0.31], [0.1, 0.8], [2.0, 2.0]])

    chosen = most_improving(front, predicted, 5, np.random.default_rng(0))

    assert chosen.tolist() == [1, 3, 2, 0, 4]


def test_a_front_grows_beyond_its_ends() -> None:
    front = np.array([[0.0, 1.0], [1.0, 0.5]])
    predicted = np.array([[0.5, 0.74], [1.9, 0.0], [1.3, 0.25], [2.5, 0.1]])

    chosen = most_improving(front, predicted, 4, np.random.default_rng(0))

    assert chosen.tolist() == [2, 0, 1, 3]  # in a box of 2 by 1; the last is dominated


def test_a_front_at_most_triples_its_range_at_once() -> None:
    front = np.array([[0.0, 1.0], [1.0, 0.0]])
    predicted = np.array([[0.4, 0.4], [1e3, -1e3]])  # alone would leave the middle a speck

    chosen = most_improving(front, predicted, 1, np.random.default_rng(0))

    assert chosen.tolist() == [0]


def test_an_end_far_beyond_the_box_gets_one_place_in_eight() -> None:
    rng = np.random.default_rng(0)
    front = np.array([[0.0, 1.0], [1.0, 0.0]])
    middle = np.linspace(0.1, 0.8, 12)
    far = np.array([[1e3, -0.2], [9e2, -0.1], [-1e3, 50.0]])  # the second is not the end
    predicted = np.vstack([far, np.column_stack([middle, 0.9 - middle])])

    assert not set(most_improving(front, predicted, 7, rng)) & {0, 1, 2}
    assert set(most_improving(front, predicted, 8, rng)) & {0, 1, 2} == {2}
    assert set(most_improving(front, predicted, 15, rng)[:12]) & {0, 1, 2} == set()
    assert set(most_improving(front, predicted, 16, rng)[:14]) >= {0, 2}


def test_the_chosen_add_nearly_as_much_as_exact_greedy_choice() -> None:
    rng = np.random.default_rng(3)
    points = rng.random((80, 3)) ** 2
    front, predicted = np.eye(3), points / points.sum(1, keepdims=True)
    reference = np.full(3, 1.1)
    exact: list[int] = []
    for _ in range(8):
        volumes = [
            hypervolume(np.concatenate([front, predicted[[*exact, i]]]), reference)
            for i in range(len(predicted))
        ]
        exact.append(int(np.argmax(volumes)))

    chosen = most_improving(front, predicted, 8, rng)

    base, best, ours = (
        hypervolume(np.concatenate([front, predicted[rows]]), reference)
        for rows in ([], exact, chosen)
    )
    assert ours - base > 0.97 * (best - base)


def test_agreement_is_the_least_rank_correlation() -> None:
    steps = np.arange(10.0)
    found = np.stack([steps, steps], axis=1)

    assert agreement(np.stack([steps**3, np.exp(steps)], axis=1), found) == pytest.approx(1)
    assert agreement(np.stack([steps, -steps], axis=1), found) == pytest.approx(-1)
    assert agreement(np.stack([steps, 0 * steps], axis=1), found) == pytest.approx(1)


def test_regret_is_the_hypervolume_that_was_promised_and_did_not_come() -> None:
    known = np.array([[0.0, 1.0], [1.0, 0.0]])  # the box, whose unit volume has 1.1 a side
    promised, found = np.array([[0.25, 0.25]]), np.array([[0.5, 0.5]])
    corners = 2 * 0.1 * 1.1 - 0.1 * 0.1  # of the two known points
    now, hoped = corners + 0.5**2, corners + 0.75**2

    assert regret(known, promised, found) == pytest.approx((hoped - now) / now)
    assert regret(known, found, promised) == pytest.approx((now - hoped) / hoped)
    assert regret(known, found, found) == 0.0
    assert regret(known[:0], promised, found[:0]) == 0.0


def test_a_guided_search_tells_how_well_it_predicted() -> None:
    algorithm: Any = begun()
    told = []
    for _ in range(4):
        genomes = algorithm.ask()
        algorithm.tell(genomes, judged(genomes), np.zeros(len(genomes)))
        told.append(dict(algorithm.facts))

    assert algorithm.predicts
    assert told[0] == {}  # nothing was known before
    for facts in told[1:]:
        assert 0.5 < facts["agreement"] <= 1
        assert facts["screened"] > 150
        assert abs(facts["regret"]) < 0.2
    plain: Any = begun(surrogate=False)
    genomes = plain.ask()
    plain.tell(genomes, judged(genomes), np.zeros(len(genomes)))
    assert not plain.predicts
    assert plain.facts == {}


def test_what_was_recalled_was_not_predicted() -> None:
    algorithm: Any = begun()
    asked, values = searched(begun(), 2)
    for k, genomes in enumerate(asked):
        algorithm.recall(genomes)
        algorithm.tell(genomes, values[24 * k : 24 * (k + 1)], np.zeros(24))

    assert algorithm.facts == {}


# -- the search ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_predictions_pay() -> None:
    corner = judged(Genomes({"choices": np.array([[LEVELS - 1] * SITES], dtype=np.int16)}))[0]
    nadir = np.array([corner[0], COST[:, 0].sum()])
    ideal = np.array([1.0, COST[:, -1].sum()])
    volumes = {
        surrogate: [
            unit_hypervolume(searched(begun(surrogate=surrogate, seed=s), 5)[1], ideal, nadir)
            for s in range(2)
        ]
        for surrogate in (True, False)
    }
    assert min(volumes[True]) > max(volumes[False]) + 0.02


@pytest.mark.parametrize(
    "algorithm", ["nsga2", *(pytest.param(a, marks=SLOW) for a in ("moead", "deap-nsga3"))]
)
def test_nothing_is_asked_twice(algorithm: str) -> None:
    asked, _ = searched(begun(algorithm, population=12), 4)

    rows = [row for genomes in asked for row in genomes.rows()]
    assert len(set(rows)) == len(rows) >= 40


def test_the_first_generation_is_that_of_the_algorithm() -> None:
    guided, plain = begun().ask(), begun(surrogate=False).ask()

    assert guided.rows() == plain.rows()


@pytest.mark.parametrize("population", [pytest.param(24, marks=SLOW), 5])
def test_a_recalled_search_goes_on_the_same(population: int) -> None:
    asked, values = searched(begun(population=population), 5)
    again, start = begun(population=population), 0
    for genomes in asked[:4]:
        assert again.recall(genomes)  # type: ignore[attr-defined]
        again.tell(genomes, values[start : start + len(genomes)], np.zeros(len(genomes)))
        start += len(genomes)

    assert again.ask().rows() == asked[4].rows()


def test_a_search_of_predictions_begins_once_at_a_genome_judged_twice() -> None:
    begun_at: list[Genomes] = []

    def begin(starts: Genomes | None, settings: Settings) -> Algorithm:
        begun_at.extend([starts] if starts is not None else [])
        return create(
            "nsga2", SPACE, n_objectives=2, constrained=False, starts=starts,
            settings=replace(settings, surrogate=False),
        )  # fmt: skip

    rows = SPACE.sample(20, np.random.default_rng(3))
    guided = Guided(begin, SPACE, Settings(population=8, seed=1, surrogate=True), None)
    guided.inform(rows, judged(rows), np.zeros(20))
    for start in (0, 6):  # twelve are judged on all data, too
        whole = rows.take(slice(start, start + 6))
        guided.tell(whole, judged(whole), np.zeros(6))

    guided.ask()

    assert sorted(begun_at[-1].rows()) == sorted(rows.rows())


def test_noise_is_found_out_over_several_small_generations() -> None:
    rng = np.random.default_rng(7)

    def noise(genomes: Genomes) -> np.ndarray:
        return rng.random((len(genomes), 2))

    algorithm: Any = begun(population=4)
    searched(algorithm, 3, noise)
    assert algorithm._inner._trusted()  # four predicted candidates tell nothing
    searched(algorithm, 4, noise)
    assert not algorithm._inner._trusted()
    assert len(algorithm.ask()) == 4


def test_a_plain_algorithm_is_not_recalled() -> None:
    plain = begun(surrogate=False)
    assert not plain.recall(plain.ask())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("algorithm", "own", "guided"),
    [
        ("nsga2", {}, True),
        ("nsga2", {"surrogate": False}, False),
        ("random", {}, False),  # a yardstick is not helped unless asked for
        ("random", {"surrogate": True}, True),
    ],
)
def test_what_suits_a_problem_gives_way_to_the_configuration(algorithm, own, guided) -> None:
    config = RunConfig.from_mapping({"algorithm": {"id": algorithm, "population": 8, **own}})
    judges = SimpleNamespace(n_searched=2, n_constraints=0)

    made: Any = build_algorithm(config, SPACE, judges, None, variation={"surrogate": True})  # type: ignore[arg-type]

    assert isinstance(made._inner, Guided) is guided


@pytest.mark.parametrize(
    ("own", "late", "mutated"),
    [
        ({"surrogate": False}, 0.5, 0.0),
        ({"surrogate": False, "mutation_rate": 0.25}, 0.5, 0.25),
        ({"surrogate": False, "crossover": "one-point"}, 0.0, 0.0),
        ({}, 0.0, 1.0),
    ],
)
def test_what_suits_searches_that_do_not_predict(own, late: float, mutated: float) -> None:
    config = RunConfig.from_mapping({"algorithm": {"id": "nsga2", "population": 8, **own}})
    judges = SimpleNamespace(n_searched=2, n_constraints=0)
    suits = {
        "crossover": "one-point", "surrogate": True,
        "unguided": {"crossover": {"id": "one-point", "late": 0.5}, "mutation_rate": 0.0},
    }  # fmt: skip

    made: Any = build_algorithm(config, SPACE, judges, None, variation=suits)  # type: ignore[arg-type]
    inner = made._inner
    crossover, rate = (
        (inner._settings.crossover, inner._settings.mutation_rate)
        if isinstance(inner, Guided)
        else (inner._nursery.variation.crossover["choices"], inner._nursery.variation.mutated)
    )

    assert (crossover.late, rate) == (late, mutated)


def test_wrong_predictions_are_given_up() -> None:
    rng = np.random.default_rng(7)

    def noise(genomes: Genomes) -> np.ndarray:
        return rng.random((len(genomes), 2))

    algorithm = begun()
    asked, _ = searched(algorithm, 4, noise)
    inner = algorithm._inner  # type: ignore[attr-defined]
    assert not inner._trusted()
    genomes = algorithm.ask()
    children = genomes.rows()
    algorithm.tell(genomes, noise(genomes), np.zeros(len(genomes)))
    assert "agreement" in algorithm.facts  # type: ignore[attr-defined]
    assert "regret" not in algorithm.facts  # type: ignore[attr-defined]
    assert len(children) > 0
    assert not set(children) & {row for genomes in asked for row in genomes.rows()}


def test_failed_candidates_are_stepped_around() -> None:
    def fragile(genomes: Genomes) -> np.ndarray:
        values = judged(genomes)
        values[genomes["choices"][:, 0] > 4] = np.nan
        return values

    algorithm = begun()
    asked, values = searched(algorithm, 6, fragile)
    late = np.concatenate([g["choices"] for g in asked[3:]])
    assert np.isnan(values).any()
    assert (late[:, 0] > 4).mean() < 0.1
    assert np.isfinite(algorithm.population.fitness).all()


def test_constraints_are_learnt() -> None:
    algorithm = begun(constrained=True)
    limit = 0.5 * COST[:, 0].sum()
    feasible = []
    for _ in range(6):
        genomes = algorithm.ask()
        fitness = judged(genomes)
        violation = np.maximum(fitness[:, 1] - limit, 0) / limit
        algorithm.tell(genomes, fitness, violation)
        feasible.append((violation == 0).mean())
    assert feasible[0] < 0.5
    assert min(feasible[-2:]) > 0.8  # the best of one objective lie at the limit
    assert (algorithm.population.front.violation == 0).all()


def free_cost(limit: float) -> Any:
    """What needs no judging: the cost, and how far it lies beyond a limit."""

    def known(genomes: Genomes) -> tuple[np.ndarray, np.ndarray]:
        cost = judged(genomes)[:, 1]
        return np.column_stack([np.full(len(cost), np.nan), cost]), np.maximum(cost / limit - 1, 0)

    return known


def test_free_constraints_are_not_learnt() -> None:
    algorithm: Any = begun(constrained=True)
    limit = 0.5 * COST[:, 0].sum()
    known = free_cost(limit)
    algorithm.foresee(known)
    feasible = []
    for _ in range(4):
        genomes = algorithm.ask()
        violation = known(genomes)[1]
        algorithm.tell(genomes, judged(genomes), violation)
        feasible.append((violation == 0).mean())

    assert feasible[0] < 0.5
    assert feasible[1:] == [1, 1, 1]  # where they are learnt, some lie beyond the limit


def test_predictions_of_what_is_free_are_exact() -> None:
    rows = SPACE.sample(60, np.random.default_rng(3))
    flat, values = SPACE.flat(rows), np.column_stack([judged(rows), np.zeros(60)])
    known = free_cost(0.5 * COST[:, 0].sum())
    values[:, 2] = known(rows)[1]
    fresh = SPACE.sample(40, np.random.default_rng(4))

    found = Predictor(SPACE, flat, values, known)(SPACE.flat(fresh))

    truth = judged(fresh)
    assert np.array_equal(found[:, 1], truth[:, 1])
    assert np.array_equal(found[:, 2], known(fresh)[1])
    assert np.corrcoef(found[:, 0], truth[:, 0])[0, 1] > 0.9
    alone = Predictor(SPACE, flat, values, None)(SPACE.flat(fresh))
    assert np.allclose(found[:, 0], alone[:, 0])  # predicted as without the others
    assert (alone[:, 1] != truth[:, 1]).any()


def test_failures_are_predicted_where_constraints_are_free() -> None:
    rows = SPACE.sample(200, np.random.default_rng(3))
    known, failed = free_cost(0.5 * COST[:, 0].sum()), rows["choices"][:, 0] > 4
    violation = np.where(failed, FAILED, known(rows)[1])
    values = np.column_stack([judged(rows), violation])
    fresh = SPACE.sample(200, np.random.default_rng(4))

    found = Predictor(SPACE, SPACE.flat(rows), values, known)(SPACE.flat(fresh))[:, 2]

    fails = fresh["choices"][:, 0] > 4
    assert ((found == FAILED) == fails).mean() > 0.8
    told = found < FAILED
    assert np.array_equal(found[told], known(fresh)[1][told])


def test_hope_is_for_fitness_and_where_little_is_known() -> None:
    rows = SPACE.sample(60, np.random.default_rng(3))
    violation = np.maximum(rows["choices"].mean(1) - 4, 0)
    flat, values = SPACE.flat(rows), np.column_stack([judged(rows), violation])
    fresh = SPACE.flat(SPACE.sample(200, np.random.default_rng(4)))
    predictor = Predictor(SPACE, flat, values, None)

    mean, hoped = predictor(fresh), predictor(fresh, 1.0)

    assert (hoped[:, :2] < mean[:, :2]).all()
    assert np.array_equal(hoped[:, 2], mean[:, 2])
    assert (mean[:, 2] > 0).any()
    near = np.abs(predictor(flat, 1.0) - predictor(flat))[:, :2].mean(0)
    assert (near < 0.5 * np.abs(hoped - mean)[:, :2].mean(0)).all()


def test_predictions_are_searched_until_their_front_no_longer_grows() -> None:
    space = SearchSpace((Choice("choices", [5] * 6),))
    every = space.unflat(np.array(list(itertools.product(range(5), repeat=6))))
    algorithm: Any = create(
        "nsga2", space, n_objectives=2, constrained=False,
        settings=Settings(population=32, seed=0, surrogate=True),
    )  # fmt: skip

    def values(genomes: Genomes) -> np.ndarray:
        rows = genomes["choices"].astype(int), np.arange(6)
        cost = COST[:6, 4:][rows[1], rows[0]].sum(1)
        return np.stack([np.exp(LOSS[rows[1], rows[0]].sum(1) / 9), cost], axis=1)

    shares = []
    for _ in range(4):
        genomes = algorithm.ask()
        algorithm.tell(genomes, values(genomes), np.zeros(len(genomes)))
        shares.append(algorithm.facts.get("screened", 0) / len(every))

    assert max(shares[1:]) < 0.35  # 0.57 if it went on for all rounds
    found, best = algorithm.population.front.fitness, values(every)
    box = best.min(axis=0), best.max(axis=0)
    assert unit_hypervolume(found, *box) > 0.98 * unit_hypervolume(best, *box)


def test_a_small_space_is_searched_to_its_end() -> None:
    space = SearchSpace((Choice("choices", [3, 3, 3]),))
    algorithm = create(
        "nsga2", space, n_objectives=2, constrained=False,
        settings=Settings(population=10, seed=0, surrogate=True),
    )  # fmt: skip
    seen: list[tuple[int, ...]] = []
    for _ in range(6):
        genomes = algorithm.ask()
        rows = genomes["choices"].astype(float)
        values = np.stack([rows.sum(1), (2 - rows).prod(1)], axis=1)
        if len(genomes):
            algorithm.tell(genomes, values, np.zeros(len(genomes)))
        seen += [tuple(map(int, row)) for row in rows]
    assert sorted(seen) == sorted(itertools.product(range(3), repeat=3))
