"""Who survives: against the libraries' own selections, known shapes, and stable ties."""

from __future__ import annotations

import numpy as np
import pytest

from evo.algorithms.decomposed import Angles, Archives, Box, boundary, chebyshev, nearest_direction
from evo.algorithms.directions import directions
from evo.algorithms.geometry import _central_curvature, _newton_curvature, by_geometry, norm
from evo.algorithms.survival import (
    _sampled_cut,
    by_hypervolume,
    by_rank_and_crowding,
    by_strength,
    crowding,
    dominance,
)
from evo.indicators import hypervolume, nondominated


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def curved_front(n: int, m: int, p: float, seed: int = 0) -> np.ndarray:
    """Rows whose p-norm is 1, so none dominates another."""
    rows = rng(seed).random((n, m)) + 1e-3
    return rows / norm(rows, p)[:, None]


def individuals(fitness: np.ndarray):
    from pymoo.core.population import Population

    people = Population.new("X", np.arange(len(fitness))[:, None])
    people.set("F", fitness, "G", np.zeros((len(fitness), 0)), "H", np.zeros((len(fitness), 0)))
    return people


def survivors_of(survival, fitness, n, **more) -> set[int]:
    kept = survival._do(None, individuals(fitness), n_survive=n, random_state=rng(), **more)
    return {int(one.X[0]) for one in kept}


def test_crowding_by_hand():
    front = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]])

    assert crowding(front).tolist() == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf]
    assert crowding(front[:2]).tolist() == [np.inf, np.inf]
    assert crowding(np.ones((5, 2))).tolist() == [0.0] * 5


@pytest.mark.parametrize(("m", "n"), [(2, 33), (3, 33), (5, 25)])
def test_rank_and_crowding_keeps_whom_pymoo_keeps(m, n):
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    fitness = rng(m).random((80, m))

    kept, _, _ = by_rank_and_crowding(fitness, n)

    assert set(kept.tolist()) == survivors_of(RankAndCrowding(), fitness, n)


@pytest.mark.parametrize("m", [2, 3])
def test_strength_cuts_whom_pymoo_cuts(m):
    """Where the front is too large; the box is the unit box, so scaling changes nothing."""
    from pymoo.algorithms.moo.spea2 import SPEA2Survival

    front = np.concatenate([np.eye(m), curved_front(40, m, 2.0)])
    front = np.concatenate([front, front[:10] + 0.5])

    kept, _ = by_strength(front, 17)

    assert set(kept.tolist()) == survivors_of(SPEA2Survival(normalize=False), front, 17)


def test_strength_orders_the_dominated_by_who_dominates_them():
    fitness = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [9.0, 0.5]])

    kept, score = by_strength(fitness, 2)

    # strengths 3, 1, 0, 0: raw fitness 0, 3, 4, 3, plus a density below 1/2
    assert np.floor(score).tolist() == [0, 3, 4, 3]
    assert kept.tolist()[0] == 0
    assert set(kept.tolist()) == {0, 3}  # the far one is less dense than the near one


def test_dominance_by_definition():
    fitness = rng().integers(0, 3, (12, 3)).astype(float)

    slow = [[bool((a <= b).all() and (a < b).any()) for b in fitness] for a in fitness]

    assert dominance(fitness).tolist() == slow


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_cut_keeps_as_much_as_pymoos(m):
    from pymoo.algorithms.moo.sms import LeastHypervolumeContributionSurvival

    class Sized:
        n_obj = m

    front = np.concatenate([np.eye(m), curved_front(40, m, 2.0)])
    people = individuals(front)
    theirs = LeastHypervolumeContributionSurvival()._do(Sized, people, n_survive=15)

    kept, _ = by_hypervolume(front, 15, rng())

    ours, stock = (hypervolume(rows, 1.5) for rows in (front[kept], theirs.get("F")))
    assert ours == pytest.approx(stock, rel=2e-3)


@pytest.mark.parametrize(("m", "n", "exact"), [(3, 300, 1), (5, 60, 1), (5, 300, 0), (6, 60, 0)])
def test_contributions_are_exact_where_that_is_quick(m, n, exact, monkeypatch):
    import moocore

    calls, real = [], moocore.hv_contributions
    monkeypatch.setattr(
        moocore, "hv_contributions", lambda *a, **k: calls.append(1) or real(*a, **k)
    )

    by_hypervolume(curved_front(n, m, 1.0), n - 1, rng())

    assert len(calls) == exact


@pytest.mark.parametrize("m", [3, 4, 6])
def test_sampled_hypervolume_cut_is_nearly_as_good_as_exact_greedy(m):
    from moocore import hv_contributions

    front = curved_front(45, m, 1.0, seed=m)
    left = front
    while len(left) > 20:
        left = np.delete(left, hv_contributions(left, ref=np.full(m, 1.2)).argmin(), axis=0)
    exact = hypervolume(left, 1.2)

    sampled = hypervolume(front[_sampled_cut(front, 20, rng())], 1.2)
    blind = np.mean([hypervolume(rng(s).permutation(front)[:20], 1.2) for s in range(20)])

    assert sampled > blind
    assert sampled > 0.98 * exact
    assert (exact - sampled) < 0.35 * (exact - blind)


def test_ties_keep_their_input_order():
    """Unstable sorts scramble beyond 16 equal values, differently on other processors."""
    tied = np.tile([[2.0, 2.0], [1.0, 1.0]], (250, 1))  # two points, taking turns
    good, bad = list(range(1, 500, 2)), list(range(0, 500, 2))

    assert by_rank_and_crowding(tied, 300)[0].tolist() == good + bad[:50]
    assert by_strength(tied, 300)[0].tolist() == good + bad[:50]
    assert by_hypervolume(tied, 300, rng())[0].tolist() == good + bad[:50]
    assert sorted(by_strength(tied, 200)[0].tolist()) == good[:200]
    assert set(by_geometry(tied, 300, geodesic=False)[0].tolist()) >= set(good)


def test_every_survival_returns_the_number_asked_for_without_repeats():
    for seed in range(8):
        m = seed % 4 + 1
        fitness = np.round(rng(seed).random((30, m)) * 5)
        for n in (1, 2, 7, 30):
            for kept in (
                by_rank_and_crowding(fitness, n)[0],
                by_strength(fitness, n)[0],
                by_hypervolume(fitness, n, rng())[0],
                by_geometry(fitness, n, geodesic=False)[0],
                by_geometry(fitness, n, geodesic=True)[0],
            ):
                assert len(set(kept.tolist())) == len(kept) == n


def test_better_fronts_survive_first():
    fitness = np.concatenate([curved_front(10, 3, 2.0), 2 + curved_front(10, 3, 2.0)])

    for kept in (
        by_rank_and_crowding(fitness, 10)[0],
        by_strength(fitness, 10)[0],
        by_hypervolume(fitness, 10, rng())[0],
        by_geometry(fitness, 10, geodesic=False)[0],
        by_geometry(fitness, 10, geodesic=True)[0],
    ):
        assert set(kept.tolist()) == set(range(10))


@pytest.mark.parametrize("p", [0.6, 1.0, 2.0, 4.0])
def test_curvature_is_recovered_from_the_front(p):
    front = np.concatenate([curved_front(400, 3, p), np.full((1, 3), 3 ** (-1 / p))])

    assert _central_curvature(front) == pytest.approx(p, rel=0.02)
    assert _newton_curvature(front) == pytest.approx(p, rel=0.02)


@pytest.mark.parametrize("geodesic", [False, True])
def test_geometry_keeps_the_corners_and_spreads(geodesic):
    front = np.concatenate([np.eye(3), curved_front(200, 3, 2.0)])

    kept, _, score = by_geometry(front, 20, geodesic=geodesic)

    assert {0, 1, 2} <= set(kept.tolist())
    assert np.isinf(score[:3]).all()
    gaps = np.linalg.norm(front[kept][:, None] - front[kept][None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    random_gaps = []
    for seed in range(20):
        rows = rng(seed).permutation(front)[:20]
        away = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        np.fill_diagonal(away, np.inf)
        random_gaps.append(away.min())
    assert gaps.min() > 2 * np.mean(random_gaps)


def test_minkowski_norm_does_not_overflow():
    assert norm(np.array([[1e300, 0.0]]), 20.0).tolist() == [1e300]
    assert norm(np.array([[3.0, 4.0]]), 2.0)[0] == pytest.approx(5.0)
    assert norm(np.zeros((1, 3)), 0.5).tolist() == [0.0]


def test_angles_keep_whom_pymoo_keeps():
    from pymoo.algorithms.moo.rvea import APDSurvival

    weights, fitness = directions(3, 36), rng(2).random((70, 3))

    class Sized:
        n_obj = 3

    angles = Angles(weights, generations=10, every=1.0)
    for _ in range(4):
        angles(fitness)
    theirs = APDSurvival(weights)
    kept = theirs._do(Sized, individuals(fitness), n_survive=36, n_gen=4, n_max_gen=10)

    assert set(angles(fitness).tolist()) == {int(one.X[0]) for one in kept}


def test_angles_turn_their_directions_to_the_scale_of_the_front():
    weights = directions(2, 11)
    front = curved_front(300, 2, 1.0) * [1.0, 100.0]
    still = Angles(weights, generations=100, every=1.0)
    turning = Angles(weights, generations=100, every=0.01)

    turning(front)

    assert len(turning(front)) == 11
    assert len(still(front)) < 8
    with np.errstate(all="raise", under="ignore"):
        for _ in range(2):  # directions fall together
            assert len(turning(front * [1.0, 1e14])) >= 1


def test_decompositions_by_hand():
    rows, weights = np.array([[1.0, 2.0]]), np.array([[0.5, 0.5], [1.0, 0.0]])

    assert chebyshev(rows, weights)[0].tolist() == [1.0, 1.0]
    # along the diagonal: 3/sqrt(2) ahead, 1/sqrt(2) aside; along the axis: 1 ahead, 2 aside
    expected = [3 / np.sqrt(2) + 5 / np.sqrt(2), 1 + 10]
    assert boundary(rows, weights)[0] == pytest.approx(expected)
    assert nearest_direction(rows, weights).tolist() == [0]


def test_box_scales_by_the_front_and_survives_flat_objectives():
    box = Box(3)
    rows = np.array([[0.0, 4.0, 7.0], [2.0, 0.0, 7.0], [9.0, 9.0, 7.0]])
    box.update(rows)

    assert box.scale(rows).tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [4.5, 2.25, 0.0]]
    box.update(np.zeros((0, 3)))
    assert box.ideal.tolist() == [0.0, 0.0, 7.0]
    bare = Box(3, scaling=False)
    bare.update(rows)
    assert bare.scale(rows).tolist() == [[0.0, 4.0, 0.0], [2.0, 0.0, 0.0], [9.0, 9.0, 0.0]]


def test_archives_part_feasible_convergence_from_spread():
    weights = directions(2, 5)
    front = np.stack([np.linspace(0, 1, 9), 1 - np.linspace(0, 1, 9)], 1)
    fitness = np.concatenate([front, front + 0.2, front - 0.3])
    violation = np.repeat([0.0, 0.0, 1.0], 9)
    none = np.zeros(0, dtype=np.intp)

    converged, diverse = Archives(weights, 5)(fitness, violation, none, none, np.arange(27))

    assert len(converged) == len(diverse) == 5
    assert (converged < 9).all()  # feasible and non-dominated
    assert len(set(nearest_direction(np.maximum(fitness[converged], 0), weights))) == 5
    assert (diverse >= 18).any()  # better, though infeasible


def test_archives_fill_up_with_the_least_violating():
    fitness = rng().random((12, 2))
    violation = np.array([0.0, 0.0, *range(1, 11)], dtype=float)
    none = np.zeros(0, dtype=np.intp)

    converged, diverse = Archives(directions(2, 6), 6)(
        fitness, violation, none, none, np.arange(12)
    )

    assert {0, 1} <= set(converged.tolist())
    assert 2 in converged  # no other has so small a violation, so nothing dominates it
    assert len(set(converged.tolist())) == len(set(diverse.tolist())) == 6


def test_thinned_fronts_are_still_fronts():
    front = curved_front(50, 4, 1.0)

    for kept in (by_strength(front, 20)[0], by_hypervolume(front, 20, rng())[0]):
        assert nondominated(front[kept]).all()
