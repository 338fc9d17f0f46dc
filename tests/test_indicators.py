"""Indicators: worked by hand, against slow versions, against pymoo, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evo import indicators
from evo.errors import ObjectiveError, ShapeError
from evo.indicators import (
    UnitVolume,
    epsilon_additive,
    hypervolume,
    igd_plus,
    knee,
    nondominated,
    normalise,
    r2,
    ranks,
    reach,
    spacing,
    unit_hypervolume,
)


def slow_dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


def slow_front(values):
    return np.array([not any(slow_dominates(o, v) for o in values) for v in values], dtype=bool)


def slow_ranks(values):
    rank, left, level = np.full(len(values), -1), np.arange(len(values)), 0
    while len(left):
        front = left[slow_front(values[left])]
        rank[front], level = level, level + 1
        left = np.setdiff1d(left, front)
    return rank


def slow_hypervolume(values, reference):
    """Inclusion and exclusion over all subsets; fine for a handful of rows."""
    total = 0.0
    for bits in range(1, 2 ** len(values)):
        rows = [values[i] for i in range(len(values)) if bits >> i & 1]
        edge = np.clip(reference - np.max(rows, axis=0), 0, None)
        total += (-1) ** (len(rows) + 1) * edge.prod()
    return total


# Few distinct values, so that ties and repeated rows are common.
small = st.integers(1, 4).flatmap(
    lambda m: arrays(
        np.float64, st.tuples(st.integers(0, 9), st.just(m)), elements=st.integers(0, 4).map(float)
    )
)


@settings(max_examples=150, deadline=None)
@given(small)
def test_front_and_ranks_agree_with_the_definition(values):
    assert nondominated(values).tolist() == slow_front(values).tolist()
    assert ranks(values).tolist() == slow_ranks(values).tolist()


@settings(max_examples=60, deadline=None)
@given(small)
def test_hypervolume_agrees_with_inclusion_and_exclusion(values):
    reference = np.full(values.shape[1], 4.0)

    assert hypervolume(values, 4.0) == pytest.approx(slow_hypervolume(values, reference))


def test_hypervolume_by_hand():
    assert hypervolume([[1.0, 3.0], [2.0, 2.0]], [4.0, 4.0]) == 5.0
    assert hypervolume([[1.0, 3.0], [2.0, 2.0], [2.0, 2.0], [3.0, 3.0]], [4.0, 4.0]) == 5.0
    assert hypervolume([[0.25, 0.5, 0.0]], 1.0) == 0.375
    assert hypervolume([[2.0], [3.0]], 5.0) == 3.0


def test_hypervolume_ignores_rows_beyond_the_reference():
    assert hypervolume([[5.0, 0.0]], [4.0, 4.0]) == 0.0
    assert hypervolume([[4.0, 0.0]], [4.0, 4.0]) == 0.0
    assert hypervolume([[1.0, 1.0], [np.inf, 0.0]], [2.0, 2.0]) == 1.0
    assert hypervolume(np.zeros((0, 3)), 1.0) == 0.0


def test_hypervolume_agrees_with_pymoo():
    from pymoo.indicators.hv import HV

    values = np.random.default_rng(0).random((40, 4))

    assert hypervolume(values, 1.1) == pytest.approx(HV(ref_point=np.full(4, 1.1))(values))


@pytest.mark.parametrize("m", [6, 8, 10])
def test_many_objective_hypervolume_is_close_and_repeatable(m):
    values = np.random.default_rng(m).random((7, m))

    first = hypervolume(values, 1.1)

    assert first == pytest.approx(slow_hypervolume(values, np.full(m, 1.1)), rel=1e-2)
    assert first == hypervolume(values.copy(), 1.1)


def test_exact_hypervolume_ends_at_five_objectives(monkeypatch):
    import moocore

    calls = []
    monkeypatch.setattr(moocore, "hypervolume", lambda *_, **__: calls.append("exact") or 0.0)

    assert hypervolume(np.zeros((2, 5)), 1.0) == 0.0
    assert hypervolume(np.zeros((2, 6)), 1.0) == pytest.approx(1.0)

    assert calls == ["exact"]


@pytest.mark.parametrize(("m", "n"), [(6, 60), (7, 40)])
def test_swept_hypervolume_of_whole_fronts_is_close_to_the_exact_one(m, n):
    import moocore

    rng = np.random.default_rng(m)
    ball = np.abs(rng.normal(size=(n, m)))
    fronts = [ball / np.linalg.norm(ball, axis=1)[:, None], rng.dirichlet(np.ones(m), n)]

    for values in fronts:
        exact = moocore.hypervolume(values, ref=np.full(m, 1.1))
        assert hypervolume(values, 1.1) == pytest.approx(exact, rel=3e-3)


@pytest.mark.parametrize("m", [6, 15])
def test_swept_hypervolume_of_one_box_among_others_is_its_volume(m):
    corner = np.linspace(0.2, 0.6, m)
    values = np.stack([np.zeros(m) + 0.95, corner])  # the first adds nothing to speak of

    exact = np.prod(1.0 - corner)

    assert hypervolume(corner[None], 1.0) == pytest.approx(exact, rel=1e-6)
    assert hypervolume(np.vstack([values, values]), 1.0) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("m", [3, 7, 15])
def test_a_growing_volume_is_that_of_the_front_bit_for_bit(m):
    rng = np.random.default_rng(m)
    ideal, nadir = np.zeros(m), np.full(m, 2.0)
    front, grown, seen = np.zeros((0, m)), UnitVolume(ideal, nadir, np.zeros((0, m))), [0.0]

    for step in range(6):
        new = rng.random((5, m)) * (2.4 - step / 4)
        front = np.concatenate([front, new])
        front = front[nondominated(front)]
        grown.grow(front, new)
        seen.append(grown.value)
        assert grown.value == unit_hypervolume(front, ideal, nadir)
        assert UnitVolume(ideal, nadir, front).value == grown.value
        grown.grow(front, np.zeros((0, m)))
        assert grown.value == seen[-1]

    assert seen == sorted(seen)
    assert 0 < seen[-1] <= 1


def test_growing_fronts_of_five_objectives_are_exact_until_they_are_large(monkeypatch):
    monkeypatch.setattr(indicators, "MANY", 40)
    rng, found, values = np.random.default_rng(3), np.zeros((0, 5)), []
    box = np.zeros(5), np.full(5, 1.2)
    volume = None
    for n, radius in ((30, 1.0), (0, 1.0), (60, 1.0), (20, 0.3), (15, 0.3), (40, 0.3)):
        rows = np.abs(rng.normal(size=(n, 5)))
        rows *= radius / np.linalg.norm(rows, axis=1, keepdims=True)
        every = np.concatenate([found, rows])
        found = every[nondominated(every)]

        volume = volume or UnitVolume(*box, found)
        volume.grow(found, rows)

        values.append((len(found), volume.value, unit_hypervolume(found, *box)))
        assert volume.value == UnitVolume(*box, found).value  # however it grew
    (_, first, exact), again, (many, later, precise), (few, last, known), *more = values
    assert first == exact == again[1]
    assert few <= 40
    assert last == known > later
    assert more[0][0] <= 40 < more[1][0]
    assert many > 40
    assert later != precise
    assert later == pytest.approx(precise, rel=3e-3)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 40])
def test_rays_run_as_far_as_the_definition_says(n):
    rng = np.random.default_rng(n)
    gaps = rng.uniform(-0.2, 1.0, (n, 3)).astype(np.float32)
    steps = indicators._steps(3)  # lengths of a ray per side of the box

    expected = np.zeros(indicators.RAYS, dtype=np.float32)
    for row in gaps[(gaps > 0).all(axis=1)]:
        expected = np.maximum(expected, (row[:, None] * steps).min(axis=0))

    np.testing.assert_array_equal(reach(gaps), expected)


def test_unit_hypervolume_is_one_for_the_ideal_point_and_clips():
    assert unit_hypervolume([[10.0, -1.0]], [10.0, -1.0], [20.0, 0.0]) == pytest.approx(1.0)
    assert unit_hypervolume([[9.0, -2.0]], [10.0, -1.0], [20.0, 0.0]) == pytest.approx(1.0)
    # the nadir keeps a margin of 0.1 in every objective
    assert unit_hypervolume([[20.0, 0.0]], [10.0, -1.0], [20.0, 0.0]) == pytest.approx(
        0.1**2 / 1.1**2
    )
    assert unit_hypervolume(np.zeros((0, 2)), [0.0, 0.0], [1.0, 1.0]) == 0.0


def test_normalise_maps_the_box_and_survives_objectives_without_extent():
    out = normalise([[1.0, 5.0], [3.0, 7.0]], [1.0, 5.0], [5.0, 5.0])

    assert out.tolist() == [[0.0, 0.0], [0.5, 2.0]]


def test_igd_plus_and_epsilon_by_hand():
    target = [[0.0, 1.0], [1.0, 0.0]]

    # (0.5, 1) is 0.5 from the first target and 1 from the second; better coordinates do not count
    assert igd_plus([[0.5, 1.0]], target) == pytest.approx((0.5 + 1.0) / 2)
    assert igd_plus(target, target) == 0.0
    assert epsilon_additive([[0.5, 1.0]], target) == 1.0
    assert epsilon_additive(np.array(target) - 0.25, target) == -0.25


def test_igd_plus_agrees_with_pymoo():
    from pymoo.indicators.igd_plus import IGDPlus

    rng = np.random.default_rng(0)
    values, target = rng.random((30, 3)), rng.random((50, 3)) * 0.5

    assert igd_plus(values, target) == pytest.approx(IGDPlus(target)(values))


def test_distances_of_nothing_are_infinite():
    assert igd_plus(np.zeros((0, 2)), [[0.0, 0.0]]) == np.inf
    assert epsilon_additive(np.zeros((0, 2)), [[0.0, 0.0]]) == np.inf


def test_spacing_by_hand():
    assert spacing([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0], [3.0, 0.0]]) == 0.0
    # nearest city-block distances are 2, 2 and 4
    assert spacing([[0.0, 3.0], [1.0, 2.0], [3.0, 0.0]]) == pytest.approx(np.std([2, 2, 4], ddof=1))
    assert spacing([[1.0, 1.0]]) == 0.0
    assert spacing(np.zeros((0, 2))) == 0.0


def test_knee_is_the_row_whose_worst_objective_is_least():
    front = [[0.0, 10.0], [2.0, 3.0], [6.0, 2.0], [10.0, 0.0]]

    assert knee(front) == 1
    assert knee([*front, [1.9, 11.0]]) == 1  # a dominated row is never a knee
    assert knee([[4.0, 4.0]]) == 0
    assert knee([[0.0, 1.0], [1.0, 0.0]]) == 0  # ties: the first
    costs = np.array([[0.0, 9.0, 9.0], [4.0, 5.0, 5.0], [8.0, 1.0, 1.0], [9.0, 0.0, 0.0]])
    assert knee(costs) == knee(costs[:, :2]) == 1  # a cost told twice counts once


def test_knee_does_not_depend_on_units():
    front = np.array([[0.0, 10.0], [2.0, 3.0], [6.0, 2.0], [10.0, 0.0]])

    assert knee(front * [1e-6, 1e6]) == knee(front)


def test_nondominated_puts_feasible_rows_first():
    values = [[0.0, 0.0], [1.0, 2.0], [2.0, 1.0], [3.0, 3.0]]

    assert nondominated(values, [1.0, 0.0, 0.0, 0.0]).tolist() == [False, True, True, False]
    assert nondominated(values, [3.0, 1.0, 2.0, 1.0]).tolist() == [False, True, False, True]


def test_empty_sets_have_empty_fronts():
    assert nondominated(np.zeros((0, 3))).shape == (0,)
    assert nondominated(np.zeros((0, 3)), np.zeros(0)).shape == (0,)
    assert ranks(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    "call",
    [nondominated, ranks, spacing, knee, lambda v: hypervolume(v, 1.0),
     lambda v: igd_plus(v, [[0.0, 0.0]]), lambda v: epsilon_additive([[0.0, 0.0]], v)],
)  # fmt: skip
def test_nan_is_refused_with_a_hint(call):
    with pytest.raises(ObjectiveError, match="must not be NaN") as caught:
        call([[0.0, np.nan]])

    assert caught.value.hint is not None


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[[1.0]]], np.zeros((3, 0))])
def test_wrong_shapes_are_named(bad):
    with pytest.raises(ShapeError, match=r"needs shape \(n, m\)"):
        ranks(bad)


def test_unfitting_partners_are_refused():
    with pytest.raises(ShapeError, match="3 objectives"):
        igd_plus(np.zeros((1, 3)), np.zeros((1, 2)))
    with pytest.raises(ShapeError, match="violation needs shape"):
        nondominated(np.zeros((2, 2)), [0.0])
    with pytest.raises(ObjectiveError, match="reference point must be finite"):
        hypervolume(np.zeros((1, 2)), np.inf)
    with pytest.raises(ShapeError, match="at least one row"):
        knee(np.zeros((0, 2)))


def test_arguments_stay_untouched():
    values = np.random.default_rng(0).random((9, 3))
    values.flags.writeable = False
    before = values.copy()

    for call in (nondominated, ranks, spacing, knee):
        call(values)
    hypervolume(values, 1.0)
    normalise(values, values.min(axis=0), values.max(axis=0))

    assert (values == before).all()


def test_the_reference_point_of_runs_is_one_point_one():
    assert indicators.REFERENCE == 1.1


# ---- R2


def test_r2_of_two_objectives_is_the_mean_over_a_fine_grid_of_weights():
    values = np.random.default_rng(0).random((9, 2))
    share = np.linspace(0, 1, 20_001)
    weights = np.stack([share, 1 - share], axis=1)

    expected = (weights[:, None] * values).max(axis=2).min(axis=1).mean()

    assert r2(values) == pytest.approx(expected, abs=1e-6)
    assert r2(values + 3, 3.0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_r2_of_one_point_is_the_mean_of_the_largest_weight(m):
    # the largest of m parts of a stick broken at random is H_m / m long on average
    expected = sum(1 / k for k in range(1, m + 1)) / m

    assert r2(np.full((1, m), 2.0)) == pytest.approx(2 * expected, rel=0.01)


@settings(max_examples=40)
@given(small)
def test_r2_never_gets_worse_by_more_rows(values):
    if len(values):
        assert r2(values) <= r2(values[:-1]) + 1e-12
    assert r2(values[:0]) == np.inf


def test_r2_of_three_objectives_is_the_mean_over_a_lattice():
    values = np.random.default_rng(1).random((20, 3))
    steps = 120
    grid = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)])

    expected = (grid[:, None] / steps * values).max(axis=2).min(axis=1).mean()

    assert r2(values) == pytest.approx(expected, rel=0.01)
