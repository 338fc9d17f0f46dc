"""Known traps of the libraries underneath, each with a test that fails when the trap is open."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

from evo import Choice, Genomes, Mask, SearchSpace
from evo.algorithms import CATALOGUE, Settings, create
from evo.algorithms.deap import global_random
from evo.algorithms.engine import Individuals, PymooSearch, tournament
from evo.algorithms.guard import Guard
from evo.indicators import igd_plus, nondominated

SPACE = SearchSpace((Choice("c", [6] * 16),))
PYMOO = [name for name, target in CATALOGUE.items() if "algorithms.pymoo" in target]
DEAP = [name for name, target in CATALOGUE.items() if "algorithms.deap" in target]


def make(name, m=2, *, population=20, space=SPACE, constrained=False, seed=0):
    settings = Settings(population, seed, 6)
    return create(name, space, n_objectives=m, constrained=constrained, settings=settings)


def engine_of(algorithm):
    assert isinstance(algorithm, Guard)
    inner = algorithm._inner
    assert isinstance(inner, PymooSearch)
    return inner


def values(genomes: Genomes, m: int) -> np.ndarray:
    x = genomes[next(iter(genomes.parts))].astype(float)
    weights = np.abs(np.sin(np.outer(np.arange(1, m + 1), np.arange(1, x.shape[1] + 1) * 1.7)))
    columns = [(weights[j] * (x if j % 2 else 5.0 - x)).sum(axis=1) for j in range(m)]
    return np.stack(columns, axis=1)


def play(algorithm, m, generations, bend=lambda g, f, v: (f, v)):
    asked = []
    for _ in range(generations):
        genomes = algorithm.ask()
        told = bend(genomes, values(genomes, m), np.zeros(len(genomes)))
        algorithm.tell(genomes, *told)
        asked.append(genomes.rows())
    return asked


@pytest.mark.parametrize("name", PYMOO)
def test_default_termination_never_ends_a_stalled_search(name):
    """pymoo's default stops when nothing moves for 50 generations."""
    algorithm = make(name, population=4)

    asked = play(algorithm, 2, 80, lambda g, f, v: (np.ones_like(f), v))

    assert all(len(rows) == 4 for rows in asked)


@pytest.mark.parametrize("name", PYMOO)
def test_duplicates_are_found_by_content_also_among_the_dead(name):
    """pymoo's hash check keeps every copy; its distance check knows only the living."""
    starts = Genomes({"m": np.eye(8, dtype=bool)[[0, 1, 0, 1, 2]]})
    space = SearchSpace((Mask("m", 8),))
    settings = Settings(10, 0, 6)
    algorithm = create(
        name, space, n_objectives=2, constrained=False, settings=settings, starts=starts
    )

    rows = [row for batch in play(algorithm, 2, 15) for row in batch]

    assert len(rows) == len(set(rows)) == 150


@pytest.mark.parametrize("m", [2, 3, 5])
def test_crowding_of_tied_values_neither_crashes_nor_prefers(m):
    """pymoo's pcd crowding crashes the process with three objectives, or with many ties."""
    algorithm = make("nsga2", m)

    play(algorithm, m, 8, lambda g, f, v: (np.round(f / 40), v))

    assert len(algorithm.population) == 20


@pytest.mark.parametrize("name", [n for n in PYMOO if n != "moead"])
def test_infeasible_ties_are_broken_by_the_seed_alone(name):
    """pymoo's NSGA-III tournament draws from a fresh unseeded generator here."""

    def tie(genomes, fitness, violation):
        return fitness, np.ones_like(violation)

    runs = [play(make(name, 3, constrained=True), 3, 6, tie) for _ in range(2)]

    assert runs[0] == runs[1]


def test_tournament_draws_from_the_given_generator_only_and_equally_often():
    people = Individuals({"number": np.arange(6), "violation": np.ones(6)})
    pairs = np.array([[0, 1], [2, 3], [4, 5]] * 30)
    rngs = [np.random.default_rng(3) for _ in range(3)]
    compare = tournament("rank").func_comp

    tied = [compare(people, pairs, random_state=rng) for rng in rngs[:2]]
    people.set("rank", np.arange(6))
    decided = compare(people, pairs, random_state=rngs[2])

    assert (tied[0] == tied[1]).all()
    assert 20 < (tied[0][:, 0] == pairs[:, 0]).sum() < 70
    assert (decided[:, 0] == pairs[:, 0]).all()
    assert rngs[0].random() == rngs[2].random()


@pytest.mark.parametrize("name", PYMOO)
def test_an_ask_that_finds_nothing_is_an_empty_batch(name):
    """pymoo gives None and, when told None, ends the run."""
    algorithm = make(name, population=20, space=SearchSpace((Mask("m", 4),)))

    sizes = [len(rows) for rows in play(algorithm, 2, 5)]

    assert sum(sizes) == 16
    assert sizes[-1] == 0
    assert len(algorithm.population) >= 1


@pytest.mark.parametrize("name", PYMOO)
@pytest.mark.parametrize("junk", [np.nan, -np.inf])
def test_values_that_are_not_finite_never_reach_a_front(name, junk):
    """pymoo keeps rows with NaN as non-dominated, and -inf as best."""
    algorithm = make(name)

    def spoil(genomes, fitness, violation):
        fitness[genomes["c"][:, 0] < 2, 0] = junk
        return fitness, violation

    play(algorithm, 2, 6, spoil)

    assert (algorithm.population.genomes["c"][:, 0] >= 2).all()
    assert len(engine_of(algorithm)._alive) > 0


@pytest.mark.parametrize("name", [*PYMOO, *DEAP, "evopress"])
def test_objectives_far_apart_in_size_share_the_front(name):
    """Decomposition on raw values follows the larger objective only."""
    algorithm = make(name, population=30)
    wide = np.array([1e-6, 1e9])

    play(algorithm, 2, 15, lambda g, f, v: (f * wide, v))

    front = algorithm.population.front.fitness / wide
    ends = values(Genomes({"c": np.array([[0] * 16, [5] * 16], np.int16)}), 2)
    assert (np.ptp(front, axis=0) > 0.3 * np.ptp(ends, axis=0)).all()


@pytest.mark.parametrize("name", PYMOO)
def test_nothing_is_shared_between_searches(name):
    """pymoo's default operators are shared objects; SPEA2's keeps its normalisation."""
    first = play(make(name, 2), 2, 4)
    play(make(name, 5), 5, 4)

    assert play(make(name, 2), 2, 4) == first


@pytest.mark.parametrize("name", DEAP)
def test_deap_neither_reads_nor_moves_the_global_generators(name):
    """DEAP draws from random and numpy.random; both have to be seeded and put back."""
    quiet = play(make(name, 3), 3, 5)

    def stir(genomes, fitness, violation):
        random.seed(len(genomes) + int(fitness[0, 0]))
        np.random.seed(int(fitness[0, 0]) % 1000)  # noqa: NPY002
        return fitness, violation

    assert play(make(name, 3), 3, 5, stir) == quiet
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    play(make(name, 3), 3, 5)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_both_global_generators_are_seeded_inside():
    draws = []
    for _ in range(2):
        random.random()
        np.random.random()  # noqa: NPY002
        with global_random(7):
            draws.append((random.random(), np.random.random()))  # noqa: NPY002

    assert draws[0] == draws[1]


def test_global_generators_come_back_after_an_error():
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    def stumble():
        with global_random(5):
            return random.random() + np.random.random() + 1 // 0  # noqa: NPY002

    with pytest.raises(ZeroDivisionError):
        stumble()

    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


@pytest.mark.parametrize("name", ["nsga3", "unsga3"])
def test_warning_filters_stay_as_they_were(name):
    """pymoo's NSGA-III silences all warnings of the process."""
    before = list(warnings.filters)

    play(make(name, 3), 3, 4)

    assert warnings.filters == before


@pytest.mark.parametrize("name", [n for n in PYMOO if n not in ("moead", "ctaea")])
def test_violations_are_not_cached_before_they_are_set(name):
    """An individual whose violation is read too early counts as feasible for ever."""
    algorithm = make(name, constrained=True, population=16)

    play(algorithm, 2, 5, lambda g, f, v: (f, (g["c"][:, 0] > 1).astype(float)))

    people = engine_of(algorithm)._alive
    kept = algorithm.population
    assert people.get("violation").tolist() == kept.violation.tolist()
    assert (kept.violation == (kept.genomes["c"][:, 0] > 1)).all()
    assert kept.violation.min() == 0


def test_dead_genomes_are_forgotten():
    """Histories and archives of whole populations grow without bound."""
    algorithm = make("nsga2")

    play(algorithm, 2, 30)

    assert len(engine_of(algorithm)._genomes) == 20


def test_columns_of_merged_individuals_are_unknown_where_they_were_never_set():
    old = Individuals({"number": np.array([3, 5]), "violation": np.zeros(2)})
    old.set("rank", np.array([0, 1]))

    both = old.merge(Individuals({"number": np.array([7]), "violation": np.ones(1)}))

    assert both.get("number").tolist() == [3, 5, 7]
    assert np.array_equal(both.get("rank"), [0, 1, np.nan], equal_nan=True)
    assert np.isnan(both.get("niche")).all()
    assert both[[]].get("violation").shape == (0,)
    assert both[np.array([2, 0])].get("violation").tolist() == [1.0, 0.0]


def test_archives_accept_batches_shorter_than_the_population():
    """pymoo's C-TAEA never returns when fewer candidates than places come back."""
    algorithm = make("ctaea", population=25, space=SearchSpace((Mask("m", 5),)))

    sizes = [len(rows) for rows in play(algorithm, 2, 4)]

    assert sizes[:2] == [25, 7]


def test_what_ctaea_keeps_for_spread_alone_is_not_shown():
    algorithm = make("ctaea", population=12, constrained=True)
    play(algorithm, 2, 6)

    alive = engine_of(algorithm)._alive
    only_diverse = (alive.get("diverse") == 1) & (alive.get("converged") != 1)

    assert only_diverse.any()
    assert len(algorithm.population) == len(alive) - only_diverse.sum()
    assert len(algorithm.population) <= 12


def test_sms_emoa_needs_no_exact_contributions_for_many_objectives(monkeypatch):
    """One exact removal among 400 rows of six objectives takes half a minute."""
    import moocore

    def refuse(*_, **__):
        raise AssertionError("exact contributions of many objectives")

    monkeypatch.setattr(moocore, "hv_contributions", refuse)
    algorithm = make("sms-emoa", 6, population=60)

    play(algorithm, 6, 3)

    assert len(algorithm.population) == 60


@pytest.mark.parametrize("name", PYMOO)
def test_a_front_of_one_repeated_point_is_survived(name):
    """Zero extents and zero distances divide, and cosines leave [-1, 1] by rounding."""
    algorithm = make(name, 3, population=10)

    with np.errstate(all="raise", under="ignore"):
        play(algorithm, 3, 5, lambda g, f, v: (np.tile([0.1, 0.2, 0.3], (len(f), 1)), v))

    assert len(algorithm.population) >= 1
    assert nondominated(algorithm.population.fitness).all()


def test_distances_of_many_columns_are_right():
    """moocore before 0.3.2 gave 0 for IGD of more than 32 columns."""
    rows, target = np.zeros((3, 256)), -np.ones((2, 256))

    assert igd_plus(rows, target) == pytest.approx(16.0)
