"""Suites by pymoo: sizes, constraints, and fronts against what is known to be optimal."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.problems import get_problem

from evo.config import RunConfig
from evo.errors import ConfigError
from evo.evaluate import Judges
from evo.genomes import Genomes
from evo.indicators import epsilon_additive, igd_plus, nondominated
from evo.problem import Context
from evo.registry import build_problem
from evo.streams import stream
from problems.suites import MOST, Suite


def test_ids_lead_to_the_problem_they_name():
    for suite, k in (("dtlz", 7), ("wfg", 9), ("mw", 14), ("zdt", 5)):
        problem = build_problem(RunConfig.from_mapping({"problem": f"synthetic/{suite}{k}"}))
        assert isinstance(problem, Suite)
        assert (problem.suite, problem.number) == (suite, k)


@pytest.mark.parametrize("m", [2, 3, 5, 10, MOST])
@pytest.mark.parametrize("suite", ["dtlz", "wfg"])
def test_suites_scale_up_to_fifteen_objectives(suite, m):
    for number in range(1, 8):
        problem = Suite(suite, number, m)
        batch = problem.batch(problem.space.sample(5, stream(0)), Context())

        values = [o(batch) for o in problem.objectives]

        assert len(values) == m
        assert np.isfinite(values).all()


def test_dtlz3_worked_by_hand():
    problem = Suite(
        "dtlz", 3, 2, 3
    )  # g = 100 (2 + Σ (x − ½)² − cos 20π(x − ½)), f = (1 + g)·(cos, sin)
    x = np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.55]])

    (low, away), _ = problem.evaluate(x)

    assert np.allclose(low, [1.0, 0.0])
    assert np.allclose(away, [0.0, 1 + 100 * (1 + 0.05**2 + 1)], atol=1e-9)


def test_zdt5_worked_by_hand():
    problem = Suite("zdt", 5)
    ones, none = np.ones((1, 80), bool), np.zeros((1, 80), bool)

    both = np.concatenate([problem.evaluate(ones)[0], problem.evaluate(none)[0]])

    # 31 and g = 10; then 1 and g = 10 times 2: (0, 20), scaled by 10/31 and 10
    assert np.allclose(both, [[1, 0], [0, (20 - 10 / 31) / (10 - 10 / 31)]])
    assert len(problem.front()) == 31
    assert nondominated(problem.front()).all()


def test_constraints_of_mw_hold_up_to_zero():
    problem = Suite("mw", 3)
    genomes = problem.space.sample(200, stream(1))
    judges = Judges.of(problem, RunConfig())

    _, violations = judges(problem.batch(genomes, Context()))

    expected = get_problem("mw3").evaluate(genomes["x"], return_values_of=["G"])
    assert np.allclose(violations, np.maximum(expected, 0))
    assert (violations > 0).any()


def optimal(problem, n):
    """Values of n random points that are known to be optimal."""
    draw, m = stream(3, "optimal"), len(problem.objectives)
    if problem.suite == "wfg":
        k = problem._pymoo.k
        alike = np.repeat(draw.random((n // 2, m - 1)), k // (m - 1), axis=1)
        place = np.concatenate([alike, draw.random((n - n // 2, k))])
        place = place ** (50 if problem.number == 1 else 1)
        return problem.evaluate(problem._pymoo._positional_to_optimal(place))[0]
    x = np.full((n, problem.space.length), 0.0 if problem.number > 5 else 0.5)
    x[:, : m - 1] = draw.random((n, m - 1))
    return problem.evaluate(x)[0]


FRONTS = [("dtlz", k, m) for k in range(1, 8) for m in (2, 3)]
FRONTS += [("wfg", k, m) for k in (1, 2, 4, 5, 6, 7, 8, 9) for m in (2, 3)] + [("wfg", 3, 2)]
FRONTS += [("dtlz", 2, 8), ("wfg", 4, 8), ("dtlz", 1, 5)]


@pytest.mark.parametrize(("suite", "number", "m"), FRONTS)
def test_fronts_are_reached_by_optimal_points_and_beaten_by_none(suite, number, m):
    problem = Suite(suite, number, m)
    front = problem.front(2000 if m > 2 else 1000)
    best = optimal(problem, 1000)
    random = problem.evaluate(problem.space.sample(1000, stream(4))["x"])[0]
    extent = np.ptp(front, axis=0)

    assert nondominated(front).all()
    # what is optimal lies on the front, up to the gaps between its points
    rows = best[nondominated(best)]
    gap = 0.004 if m == 2 else 0.06 if m == 3 else 0.2
    assert igd_plus(front / extent, rows / extent) < gap
    # nothing dominates a point of the front, rounding and the ends of its pieces aside
    slack = gap if (suite, number) in (("dtlz", 7), ("wfg", 2)) else 1e-6
    for others in (best, random):
        for point in front[:: len(front) // 100 + 1]:
            assert not (others < point - slack * extent).all(axis=1).any()
    # in two objectives optimal points come near every point of the front
    if m == 2:
        assert igd_plus(rows / extent, front / extent) < 0.04


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 6, 12])
def test_fronts_of_mw_are_pymoos_where_it_needs_no_network(number):
    with np.errstate(divide="ignore"):
        known = get_problem(f"mw{number}").pareto_front()

    front = Suite("mw", number).front(2000)

    assert epsilon_additive(front, known) < 0.003
    assert igd_plus(known, front) < 0.005  # pymoo tells a hundred points
    assert nondominated(front).all()


def test_an_equal_share_of_the_front_is_far_from_a_random_one():
    front = Suite("dtlz", 2, 3).front(300)

    assert len(front) == 300
    assert np.allclose((front**2).sum(axis=1), 1)
    assert epsilon_additive(front, Suite("dtlz", 2, 3).front(3000)) < 0.15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Suite("dtlz", 8), "no problem 8 in suite 'dtlz'"),
        (lambda: Suite("uf", 1), "no problem 1 in suite 'uf'"),
        (lambda: Suite("wfg", 1, 16), "WFG1 has 2 to 15 objectives, got 16"),
        (lambda: Suite("mw", 1, 3), "MW1 has 2 objectives, got 3"),
        (lambda: Suite("dtlz", 3, 4, 3), "DTLZ3 needs at least 4 variables, got 3"),
        (lambda: Suite("wfg", 2, 3, 9), "an even number more, got 9"),
        (lambda: Suite("zdt", 5, None, 30), "ZDT5 has 80 bits, got 30"),
        (lambda: Suite("dtlz", 5, 4).front(), "front of DTLZ5 with 4 objectives is not known"),
        (lambda: Suite("mw", 8).front(), "front of MW8 with 3 objectives is not known"),
    ],
)
def test_what_there_is_not_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_batch_is_judged_once():
    problem = Suite("dtlz", 3)
    batch = problem.batch(Genomes({"x": np.full((2, 12), 0.5)}), Context())

    assert batch.judged is batch.judged
    assert [float(o(batch)[0]) for o in problem.objectives] == pytest.approx([0.5, 0.5, 0.5**0.5])
