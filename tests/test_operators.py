"""Moves on arrays: legality, repeatability, untouched arguments, and promised distributions."""

from __future__ import annotations

import importlib
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import operators
from operators import Bounds
from operators.discrete import (
    LevelStep,
    LevelSwap,
    OnePoint,
    Reset,
    Swap,
    TwoPoint,
    UniformCrossover,
    drawn_at,
    pick_genes,
    tossed,
)
from operators.real import SBX, Blend, Differential, Gaussian, Polynomial
from operators.sample import LatinHypercube, LevelSpread, Uniform, WarmStart
from operators.subset import SubsetMove, SubsetUnion

CROSSOVERS = [UniformCrossover(), OnePoint(), TwoPoint(), SBX(), Blend(), Differential()]
MUTATIONS = [
    LevelStep(), LevelStep(reset=1.0), LevelStep(reach=0.5), LevelSwap(), Reset(), Swap(),
    Polynomial(), Gaussian(),
]  # fmt: skip
SAMPLINGS = [Uniform(), LatinHypercube(), LevelSpread()]
KINDS = ("real", "integer", "choice", "mask")


def box(kind: str, d: int, seed: int) -> Bounds:
    rng = np.random.default_rng(seed)
    ordered = rng.random(d) < 0.7
    if kind == "real":
        low = rng.normal(size=d)
        return Bounds(low, low + rng.random(d) * (rng.random(d) < 0.9), np.ones(d, bool))
    if kind == "integer":
        low = rng.integers(-20, 20, d)
        return Bounds(low, low + rng.integers(0, 40, d), np.ones(d, bool))
    if kind == "choice":
        high = rng.integers(0, 7, d).astype(np.int16)
        return Bounds(np.zeros(d, np.int16), high, ordered)
    return Bounds(np.zeros(d, bool), np.ones(d, bool), np.ones(d, bool))


def legal_rows(n: int, bounds: Bounds, seed: int) -> np.ndarray:
    rows = Uniform()(n, bounds, np.random.default_rng(seed))
    rows.flags.writeable = False  # an operator that writes into its arguments raises
    return rows


def assert_legal(rows: np.ndarray, like: np.ndarray, bounds: Bounds) -> None:
    assert rows.shape == like.shape
    assert rows.dtype == like.dtype
    assert (rows >= bounds.low).all()
    assert (rows <= bounds.high).all()


anything = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 6), st.integers(1, 9), st.integers(0, 10**6)
)


@pytest.mark.parametrize("crossover", CROSSOVERS, ids=lambda c: type(c).__name__)
@settings(max_examples=25, deadline=None)
@given(anything)
def test_crossover_keeps_bounds_dtype_and_repeats_itself(crossover, drawn):
    kind, n, d, seed = drawn
    if kind not in crossover.kinds:
        return
    bounds = box(kind, d, seed)
    first, second = legal_rows(n, bounds, seed + 1), legal_rows(n, bounds, seed + 2)

    one, two = crossover(first, second, bounds, np.random.default_rng(seed))
    again = crossover(first, second, bounds, np.random.default_rng(seed))

    assert_legal(one, first, bounds)
    assert_legal(two, second, bounds)
    assert one.tobytes() == again[0].tobytes()
    assert two.tobytes() == again[1].tobytes()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(anything)
def test_mutation_keeps_bounds_dtype_and_repeats_itself(mutation, drawn):
    kind, n, d, seed = drawn
    if kind not in mutation.kinds:
        return
    bounds = box(kind, d, seed)
    rows = legal_rows(n, bounds, seed + 1)

    out = mutation(rows, bounds, np.random.default_rng(seed))

    assert_legal(out, rows, bounds)
    assert out.tobytes() == mutation(rows, bounds, np.random.default_rng(seed)).tobytes()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: type(s).__name__)
@settings(max_examples=25, deadline=None)
@given(anything)
def test_sampling_is_legal_and_repeats_itself(sampling, drawn):
    kind, n, d, seed = drawn
    bounds = box(kind, d, seed)

    rows = sampling(n, bounds, np.random.default_rng(seed))

    assert_legal(rows, np.empty((n, d), bounds.low.dtype), bounds)
    assert rows.tobytes() == sampling(n, bounds, np.random.default_rng(seed)).tobytes()


@pytest.mark.parametrize("crossover", [UniformCrossover(), OnePoint(), TwoPoint()], ids=repr)
def test_exchange_deals_every_gene_to_exactly_one_child(crossover):
    bounds = box("integer", 12, 3)
    first, second = legal_rows(50, bounds, 1), legal_rows(50, bounds, 2)

    one, two = crossover(first, second, bounds, np.random.default_rng(0))

    straight = (one == first) & (two == second)
    crossed = (one == second) & (two == first)
    assert (straight | crossed).all()
    assert (one != first).any()


def test_one_point_moves_a_tail_and_every_cut_occurs():
    bounds = Bounds(np.zeros(6, int), np.ones(6, int), np.ones(6, bool))
    first, second = np.zeros((4000, 6), int), np.ones((4000, 6), int)

    one, _ = OnePoint()(first, second, bounds, np.random.default_rng(0))

    cuts = 6 - one.sum(axis=1)
    assert (np.diff(one, axis=1) >= 0).all()
    counts = np.bincount(cuts, minlength=7)
    assert counts[0] == counts[6] == 0
    assert (np.abs(counts[1:6] - 800) < 120).all()  # about five standard deviations


@pytest.mark.parametrize(("late", "share"), [(1.0, 1.0), (0.5, 0.5 + 0.5 * 3 / 8), (0.0, 3 / 8)])
def test_late_cuts_lie_in_the_last_third(late: float, share: float):
    bounds = Bounds(np.zeros(9, int), np.ones(9, int), np.ones(9, bool))

    one, _ = OnePoint(late=late)(
        np.zeros((6000, 9), int), np.ones((6000, 9), int), bounds, np.random.default_rng(0)
    )

    cuts = 9 - one.sum(axis=1)
    assert abs((cuts >= 6).mean() - share) < 0.03  # of the eight cuts 6, 7 and 8 are late
    counts = np.bincount(cuts, minlength=10)[6:9]
    assert (np.abs(counts - 2000 * share) < 250).all()


@pytest.mark.parametrize("d", [1, 2])
def test_late_cuts_of_few_genes(d: int):
    bounds = Bounds(np.zeros(d, int), np.ones(d, int), np.ones(d, bool))
    first, second = np.zeros((50, d), int), np.ones((50, d), int)

    one, two = OnePoint(late=1.0)(first, second, bounds, np.random.default_rng(0))

    assert (one == [[0], [0, 1]][d - 1]).all()
    assert (one + two == 1).all()


def test_two_point_moves_one_stretch():
    bounds = Bounds(np.zeros(8, int), np.ones(8, int), np.ones(8, bool))

    one, _ = TwoPoint()(
        np.zeros((500, 8), int), np.ones((500, 8), int), bounds, np.random.default_rng(0)
    )

    padded = np.pad(one, ((0, 0), (1, 1)))
    assert (np.abs(np.diff(padded, axis=1)).sum(axis=1) == 2).all()


def test_uniform_crossover_moves_the_stated_share():
    bounds = Bounds(np.zeros(40, int), np.ones(40, int), np.ones(40, bool))

    one, _ = UniformCrossover(share=0.25)(
        np.zeros((500, 40), int), np.ones((500, 40), int), bounds, np.random.default_rng(0)
    )

    assert abs(one.mean() - 0.25) < 0.02


def test_level_step_moves_ordered_genes_by_one_and_changes_every_row():
    bounds = Bounds(np.zeros(10, np.int16), np.full(10, 5, np.int16), np.ones(10, bool))
    rows = legal_rows(3000, bounds, 0)

    out = LevelStep(reset=0.0)(rows, bounds, np.random.default_rng(1))

    moved = (out != rows).sum(axis=1)
    assert (np.abs(out - rows.astype(int)) <= 1).all()
    assert moved.min() >= 1
    # 1 expected from the rate, and (1 - 1/d)**d rows get their one gene on top
    assert abs(moved.mean() - (1 + 0.9**10)) < 0.07


def test_level_step_reaches_far_values_by_resets():
    bounds = Bounds(np.zeros(1, int), np.full(1, 9), np.ones(1, bool))
    rows = np.zeros((5000, 1), int)

    out = LevelStep(reset=0.2)(rows, bounds, np.random.default_rng(0))

    far = (out > 1).mean()
    assert abs(far - 0.2 * 8 / 9) < 0.03
    assert set(np.unique(out)) == set(range(1, 10))


def test_level_step_resets_unordered_genes_evenly():
    bounds = Bounds(np.zeros(1, int), np.full(1, 3), np.zeros(1, bool))

    out = LevelStep()(np.full((6000, 1), 2), bounds, np.random.default_rng(0))

    counts = np.bincount(out[:, 0], minlength=4)
    assert counts[2] == 0
    assert (np.abs(counts[[0, 1, 3]] - 2000) < 200).all()


def test_level_step_turns_back_at_the_bounds():
    bounds = Bounds(np.zeros(1, int), np.full(1, 4), np.ones(1, bool))

    out = LevelStep(reset=0.0)(np.array([[0], [4]] * 50), bounds, np.random.default_rng(0))

    assert set(out[::2, 0]) == {1}
    assert set(out[1::2, 0]) == {3}


def test_level_step_reach_widens_steps():
    bounds = Bounds(np.zeros(1, int), np.full(1, 100), np.ones(1, bool))

    out = LevelStep(reset=0.0, reach=0.1)(np.full((2000, 1), 50), bounds, np.random.default_rng(0))

    assert set(np.abs(out[:, 0] - 50)) == set(range(1, 11))


def test_mutations_leave_single_valued_genes_alone():
    bounds = Bounds(np.array([0, 3, 0]), np.array([0, 3, 5]), np.ones(3, bool))
    rows = legal_rows(200, bounds, 0)

    for mutation in (LevelStep(), LevelSwap(), Reset(), Polynomial(), Gaussian()):
        out = mutation(rows, bounds, np.random.default_rng(0))
        assert (out[:, :2] == rows[:, :2]).all(), mutation


def test_mutations_of_a_box_of_one_point_return_it():
    bounds = Bounds(np.array([1, 2]), np.array([1, 2]), np.array([True, False]))

    for mutation in (LevelStep(), LevelSwap(), Reset(), Polynomial(), Gaussian()):
        out = mutation(np.array([[1, 2]]), bounds, np.random.default_rng(0))
        assert (out == [[1, 2]]).all()


def test_reset_flips_bits_of_a_mask():
    bounds = box("mask", 20, 0)
    rows = legal_rows(1000, bounds, 0)

    out = Reset(rate=0.3)(rows, bounds, np.random.default_rng(0))

    assert out.dtype == bool
    assert abs((out ^ rows).mean() - 0.3) < 0.02


def test_swap_keeps_the_values_of_a_row():
    bounds = Bounds(np.zeros(9, int), np.full(9, 6), np.ones(9, bool))
    rows = legal_rows(200, bounds, 0)

    out = Swap(times=2)(rows, bounds, np.random.default_rng(0))

    assert (np.sort(out, axis=1) == np.sort(rows, axis=1)).all()
    assert (out != rows).any()


def test_level_swap_without_halves_keeps_the_sum_of_levels():
    bounds = Bounds(np.zeros(12, np.int16), np.full(12, 8, np.int16), np.ones(12, bool))
    rows = np.full((4000, 12), 4, np.int16)

    out = LevelSwap(half=0.0)(rows, bounds, np.random.default_rng(0))

    change = np.abs(out.astype(int) - rows).sum(axis=1)
    assert (out.sum(axis=1) == rows.sum(axis=1)).all()
    # min(U1, U2) on 1..3: one move in 5/9 of the rows; later moves may undo part of the first
    assert abs((change == 2).mean() - 5 / 9) < 0.08
    assert change.max() == 6


def test_level_swap_halves_let_the_sum_drift_both_ways():
    bounds = Bounds(np.zeros(12, int), np.full(12, 8), np.ones(12, bool))
    rows = np.full((2000, 12), 4)

    drift = LevelSwap(half=1.0)(rows, bounds, np.random.default_rng(0)).sum(axis=1) - 48

    assert {-1, 1} <= set(drift)
    assert abs(drift.mean()) < 0.1


def test_sbx_keeps_the_mean_of_a_pair_away_from_the_bounds():
    bounds = Bounds(np.full(4, -100.0), np.full(4, 100.0), np.ones(4, bool))
    first, second = np.full((4000, 4), -1.0), np.full((4000, 4), 1.0)

    one, two = SBX(eta=15.0, share=1.0)(first, second, bounds, np.random.default_rng(0))

    assert np.abs(one + two).max() < 1e-4  # bounded form: symmetric up to the far bounds
    assert abs((np.abs(one) < 1.0).mean() - 0.5) < 0.02  # contracting as often as expanding


@pytest.mark.parametrize(("left", "right"), [(0.3, 0.7), (0.02, 0.06), (0.95, 0.97)])
def test_sbx_spreads_like_pymoos(left, right):
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX as Stock

    bounds = Bounds(np.zeros(1), np.ones(1), np.ones(1, bool))
    n = 20_000
    first, second = np.full((n, 1), left), np.full((n, 1), right)
    stock = Stock(eta=3, prob=1.0, prob_var=1.0)
    theirs = stock._do(
        Problem(n_var=1, n_obj=1, xl=0.0, xu=1.0),
        np.stack([first, second]),
        random_state=np.random.default_rng(1),
    )

    ours = np.stack(SBX(eta=3.0, share=1.0)(first, second, bounds, np.random.default_rng(0)))

    grid = np.linspace(0.05, 0.95, 19)
    gap = np.abs(np.quantile(ours, grid) - np.quantile(theirs, grid)).max()
    assert gap < 0.02 * (right - left)


def test_polynomial_spreads_like_pymoos():
    from pymoo.core.problem import Problem
    from pymoo.operators.mutation.pm import PM

    bounds = Bounds(np.zeros(1), np.ones(1), np.ones(1, bool))
    rows = np.full((20_000, 1), 0.2)
    theirs = PM(eta=20, prob=1.0, prob_var=1.0)._do(
        Problem(n_var=1, n_obj=1, xl=0.0, xu=1.0), rows, random_state=np.random.default_rng(1)
    )

    ours = Polynomial(eta=20.0, rate=1.0)(rows, bounds, np.random.default_rng(0))

    grid = np.linspace(0.05, 0.95, 19)
    assert np.abs(np.quantile(ours, grid) - np.quantile(theirs, grid)).max() < 0.01


def test_blend_fills_the_widened_interval_evenly():
    bounds = Bounds(np.full(1, -10.0), np.full(1, 10.0), np.ones(1, bool))

    one, two = Blend(alpha=0.5)(
        np.zeros((5000, 1)), np.ones((5000, 1)), bounds, np.random.default_rng(0)
    )

    both = np.concatenate([one, two])
    assert both.min() >= -0.5
    assert both.max() <= 1.5
    assert abs(both.mean() - 0.5) < 0.02
    assert abs(both.std() - 2 / np.sqrt(12)) < 0.02


def test_differential_moves_along_differences():
    bounds = Bounds(np.full(2, -10.0), np.full(2, 10.0), np.ones(2, bool))

    one, two = Differential(scale=0.5, share=1.0)(
        np.zeros((1, 2)), np.array([[2.0, 4.0]]), bounds, np.random.default_rng(0)
    )

    assert one.tolist() == [[1.0, 2.0]]
    assert two.tolist() == [[1.0, 2.0]]


def test_gaussian_has_the_stated_size():
    bounds = Bounds(np.zeros(1), np.full(1, 10.0), np.ones(1, bool))

    out = Gaussian(size=0.05, rate=1.0)(np.full((8000, 1), 5.0), bounds, np.random.default_rng(0))

    assert abs(out.std() - 0.5) < 0.02


def test_latin_hypercube_puts_one_row_in_each_slice():
    bounds = Bounds(np.zeros(5), np.ones(5), np.ones(5, bool))

    rows = LatinHypercube()(17, bounds, np.random.default_rng(0))

    assert (np.sort(np.floor(rows * 17), axis=0) == np.arange(17)[:, None]).all()


def test_level_spread_covers_the_cost_axis_where_uniform_piles_up():
    bounds = Bounds(np.zeros(60, np.int16), np.full(60, 7, np.int16), np.ones(60, bool))

    spread = LevelSpread()(100, bounds, np.random.default_rng(0)).mean(axis=1) / 7
    piled = Uniform()(100, bounds, np.random.default_rng(0)).mean(axis=1) / 7

    assert spread.min() < 0.1
    assert spread.max() > 0.9
    assert piled.min() > 0.35
    assert piled.max() < 0.65


def test_uniform_gives_every_choice_its_share():
    bounds = Bounds(np.array([2]), np.array([6]), np.ones(1, bool))

    counts = np.bincount(Uniform()(10_000, bounds, np.random.default_rng(0))[:, 0])

    assert (counts[:2] == 0).all()
    assert (np.abs(counts[2:] - 2000) < 200).all()


def test_warm_start_puts_given_rows_first():
    bounds = box("choice", 4, 1)
    given_rows = legal_rows(3, bounds, 0)

    many = WarmStart(given_rows)(5, bounds, np.random.default_rng(0))
    few = WarmStart(given_rows)(2, bounds, np.random.default_rng(0))

    assert (many[:3] == given_rows).all()
    assert len(many) == 5
    assert (few == given_rows[:2]).all()


def sets(n: int, universe: int, most: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.full((n, most), -1, np.int32)
    for i in range(n):
        k = rng.integers(1, most + 1)
        out[i, :k] = np.sort(rng.choice(universe, k, replace=False))
    out.flags.writeable = False
    return out


def members(row: np.ndarray) -> set[int]:
    return {int(v) for v in row if v >= 0}


def subset_box(universe: int, most: int) -> Bounds:
    return Bounds(
        np.full(most, -1, np.int32), np.full(most, universe - 1, np.int32), np.zeros(most, bool)
    )


subsets = st.tuples(st.integers(1, 30), st.integers(1, 8), st.integers(0, 10**6)).filter(
    lambda t: t[1] <= t[0]
)


@settings(max_examples=60, deadline=None)
@given(subsets)
def test_subset_union_shares_what_both_hold_and_deals_out_the_rest(drawn):
    universe, most, seed = drawn
    first, second = sets(6, universe, most, seed), sets(6, universe, most, seed + 1)
    bounds = subset_box(universe, most)

    one, two = SubsetUnion()(first, second, bounds, np.random.default_rng(seed))

    for a, b, c, d in zip(first, second, one, two, strict=True):
        assert members(c) | members(d) == members(a) | members(b)
        assert members(c) & members(d) == members(a) & members(b)
        assert len(members(c)) == (a >= 0).sum()
        assert len(members(d)) == (b >= 0).sum()
        assert_packed(c)
        assert_packed(d)


def assert_packed(row: np.ndarray) -> None:
    k = int((row >= 0).sum())
    assert row.dtype == np.int32
    assert (np.diff(row[:k]) > 0).all()
    assert (row[k:] == -1).all()


@settings(max_examples=60, deadline=None)
@given(subsets)
def test_subset_move_changes_one_member_and_keeps_the_size_legal(drawn):
    universe, most, seed = drawn
    rows = sets(8, universe, most, seed)

    out = SubsetMove()(rows, subset_box(universe, most), np.random.default_rng(seed))

    for a, b in zip(rows, out, strict=True):
        assert_packed(b)
        assert 1 <= len(members(b)) <= most
        gone, come = members(a) - members(b), members(b) - members(a)
        assert len(gone) <= 1
        assert len(come) <= 1
        assert members(b) < set(range(universe)) or len(members(b)) == universe
        if len(members(a)) < universe:
            assert gone or come


def test_subset_move_draws_outsiders_evenly():
    rows = np.tile(np.array([[1, 3, -1, -1]], np.int32), (9000, 1))

    out = SubsetMove(grow=1.0, shrink=0.0)(rows, subset_box(5, 4), np.random.default_rng(0))

    new = out.sum(axis=1) + 1 - 4  # the row holds 1, 3, the new item and one -1
    counts = np.bincount(new, minlength=5)
    assert counts[[1, 3]].sum() == 0
    assert (np.abs(counts[[0, 2, 4]] - 3000) < 250).all()


def test_subset_move_respects_the_least_size():
    rows = np.tile(np.array([[0, 1, -1]], np.int32), (300, 1))

    out = SubsetMove(grow=0.0, shrink=1.0, least=2)(
        rows, subset_box(9, 3), np.random.default_rng(0)
    )

    assert ((out >= 0).sum(axis=1) == 2).all()
    assert (out != rows).any(axis=1).all()


@pytest.mark.parametrize("operator_id", operators.CATALOGUE)
def test_catalogue_leads_to_frozen_operators_that_say_what_they_fit(operator_id):
    module, attribute = operators.CATALOGUE[operator_id].split(":")

    operator = getattr(importlib.import_module(module), attribute)()

    assert operator.kinds
    names = [f.name for f in fields(operator)]
    if names:
        with pytest.raises(FrozenInstanceError):
            setattr(operator, names[0], 0)


def test_no_rows_give_no_rows():
    bounds = box("choice", 3, 0)
    nothing = np.empty((0, 3), np.int16)

    for mutation in MUTATIONS:
        if "choice" in mutation.kinds:
            assert mutation(nothing, bounds, np.random.default_rng(0)).shape == (0, 3)
    none = np.empty((0, 4), np.int32)
    assert SubsetMove()(none, subset_box(9, 4), np.random.default_rng(0)).shape == (0, 4)
    assert SubsetUnion()(none, none, subset_box(9, 4), np.random.default_rng(0))[0].shape == (0, 4)


def slow_sbx(first, second, bounds, rng, eta=15.0, share=0.5):
    """Every gene worked out, also those that are not crossed."""
    a, b, low, high = (v.astype(float) for v in (first, second, bounds.low, bounds.high))
    small, large = np.minimum(a, b), np.maximum(a, b)
    gap = large - small
    crossed = (rng.random(a.shape) < share) & (gap > 1e-14)
    draw, flip = rng.random(a.shape), rng.random(a.shape) < 0.5
    safe = np.where(gap > 1e-14, gap, 1.0)

    def spread(beta):
        alpha = 2.0 - np.maximum(beta, 1.0) ** -(eta + 1.0)
        inner = draw <= 1.0 / alpha
        outer = np.where(inner, 0.5, 2.0 - draw * alpha)
        return np.where(inner, (draw * alpha) ** (1 / (eta + 1)), (1.0 / outer) ** (1 / (eta + 1)))

    left = 0.5 * (small + large - spread(1.0 + 2.0 * (small - low) / safe) * gap)
    right = 0.5 * (small + large + spread(1.0 + 2.0 * (high - large) / safe) * gap)
    one, two = np.where(flip, right, left), np.where(flip, left, right)
    pair = np.where(crossed, one, a), np.where(crossed, two, b)
    if np.issubdtype(first.dtype, np.integer):
        pair = tuple(np.floor(child + 0.5) for child in pair)
    return tuple(np.clip(child, low, high).astype(first.dtype) for child in pair)


@pytest.mark.parametrize("block", [1, 7, 20, 2**15])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (11, 6), (3, 40)])
def test_draws_in_blocks_are_those_of_all_genes_at_once(shape, block, monkeypatch):
    monkeypatch.setattr("operators.discrete.BLOCK", block)
    places = np.flatnonzero(np.random.default_rng(1).random(shape) < 0.4)
    rng, whole = np.random.default_rng(2), np.random.default_rng(2)

    kept, heads = drawn_at(places, shape, rng), tossed(shape, 0.3, rng)

    np.testing.assert_array_equal(kept, whole.random(shape).take(places))
    np.testing.assert_array_equal(heads, whole.random(shape) < 0.3)
    assert rng.random() == whole.random()


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
@pytest.mark.parametrize(("eta", "block"), [(15.0, 2**15), (15.0, 20), (2.0, 20), (31.0, 1)])
def test_sbx_of_crossed_genes_is_that_of_all_genes(dtype, eta, block, monkeypatch):
    monkeypatch.setattr("operators.discrete.BLOCK", block)
    rng = np.random.default_rng(4)
    low, high = np.full(9, -3), np.array([4] * 8 + [-3])  # the last gene is fixed
    bounds = Bounds(low.astype(dtype), high.astype(dtype), np.ones(9, dtype=bool))
    first, second = (rng.uniform(low, high + 0.5, (40, 9)).clip(low, high) for _ in range(2))
    second[::3] = first[::3]  # nothing to cross
    first, second = first.astype(dtype), second.astype(dtype)

    found = SBX(eta)(first, second, bounds, np.random.default_rng(8))
    expected = slow_sbx(first, second, bounds, np.random.default_rng(8), eta)

    for child, slow in zip(found, expected, strict=True):
        assert child.dtype == dtype
        np.testing.assert_allclose(child, slow, rtol=1e-14, atol=0)


def test_polynomial_mutation_of_chosen_genes_is_that_of_all_genes():
    rng, eta = np.random.default_rng(5), 20.0
    bounds = Bounds(np.full(6, -1.0), np.full(6, 3.0), np.ones(6, dtype=bool))
    x = rng.uniform(-1.0, 3.0, (50, 6))

    found = Polynomial(eta=eta, rate=0.3)(x, bounds, np.random.default_rng(9))

    draws = np.random.default_rng(9)
    chosen = pick_genes(x.shape, 0.3, np.ones(6, dtype=bool), draws)
    u = draws.random(x.shape)
    below = 2 * u + (1 - 2 * u) * (1 - (x + 1.0) / 4) ** (eta + 1)
    above = 2 * (1 - u) + (2 * u - 1) * (1 - (3.0 - x) / 4) ** (eta + 1)
    delta = np.where(u <= 0.5, below ** (1 / (eta + 1)) - 1, 1 - above ** (1 / (eta + 1)))
    np.testing.assert_allclose(found, np.where(chosen, x + 4 * delta, x).clip(-1, 3), rtol=1e-13)
    assert 0 < chosen.sum() < x.size
