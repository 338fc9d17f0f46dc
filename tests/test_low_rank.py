"""Low rank against worked cases, plain products, scipy's pivoting and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.errors import ConfigError
from problems.pruning.modules import MODULES, Factors, Pivot
from problems.pruning.pivoting import PivotForm, pivot_form, pivot_rows
from problems.pruning.ranks import (
    factors_rank,
    factors_weights,
    pivot_rank,
    pivot_weights,
    require_rank,
)
from problems.pruning.refit import refit, targets, unbounded
from problems.pruning.whitening import spectrum, whitener


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def inputs(width: int, tokens: int, seed: int = 1) -> torch.Tensor:
    """Inputs with a few strong common directions, (width, tokens)."""
    return random(width, tokens, seed=seed) + 3 * random(width, 3, seed=2) @ random(3, tokens)


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


# ---- ranks


@pytest.mark.parametrize(
    ("shape", "density", "pivot", "factors"),
    [
        ((4096, 4096), 0.5, 1199, 1024),
        ((4096, 4096), 0.55, 1348, 1126),
        ((4096, 4096), 0.8, 2263, 1638),
        ((11008, 4096), 0.5, 1679, 1492),
        ((4096, 11008), 0.5, 1679, 1492),
        ((1024, 4096), 0.5, 448, 409),
    ],
)
def test_ranks_are_those_of_the_published_code(
    shape: Any, density: float, pivot: int, factors: int
) -> None:
    assert pivot_rank(density, *shape) == pivot
    assert factors_rank(density, *shape) == factors


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.0, 1.0, exclude_max=True))
def test_ranks_are_the_largest_that_fit(rows: int, columns: int, density: float) -> None:
    allowed = int(density * rows * columns)

    def takes(rank: int) -> int:
        return pivot_weights(rank, rows, columns) + rank

    pivot, factors = pivot_rank(density, rows, columns), factors_rank(density, rows, columns)

    assert 0 <= pivot <= min(rows, columns)
    assert takes(pivot) <= allowed
    assert pivot == min(rows, columns) or takes(pivot + 1) > allowed
    assert factors_weights(factors, rows, columns) <= density * rows * columns
    assert factors_weights(factors + 1, rows, columns) > density * rows * columns - 1e-6
    assert pivot_weights(pivot, rows, columns) == factors_weights(pivot, rows, columns) - pivot**2


def test_ranks_are_rounded_up_to_multiples_within_the_matrix() -> None:
    assert pivot_rank(0.5, 4096, 4096, 16) == 1200
    assert pivot_rank(0.8, 4096, 4096, 16) == 2272
    assert pivot_rank(0.5, 10, 10, 16) == 10


def test_the_pivot_form_saves_half_the_rank_share_of_two_factors() -> None:
    width, rank = 4096, 2048

    saved = 1 - pivot_weights(rank, width, width) / factors_weights(rank, width, width)

    assert saved == rank / width / 2 == 0.25


@pytest.mark.parametrize("rank", [0, 4, -1])
def test_ranks_that_a_matrix_cannot_have(rank: int) -> None:
    with pytest.raises(ConfigError, match=rf"ranks from 1 to 3, got svd_rank {rank}"):
        require_rank(rank, 3, 5)


# ---- pivots


def dense_of(form: PivotForm, rows: int) -> torch.Tensor:
    """The matrix row by row, by the definition."""
    found = torch.full((rows, form.kept.shape[1]), torch.nan, dtype=form.kept.dtype)
    others = [i for i in range(rows) if i not in form.pivots.tolist()]
    for position, row in enumerate(form.pivots.tolist()):
        found[row] = form.kept[position]
    for position, row in enumerate(others):
        found[row] = form.mix[position] @ form.kept
    return found


def test_a_matrix_of_rank_two_by_hand() -> None:
    weight = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 2], [2, 1, 3]], dtype=torch.float64)
    found = spectrum(weight)

    form = pivot_form(found.first[:2], found.second[:, :2])

    assert form.pivots.tolist() == [1, 3]
    torch.testing.assert_close(form.kept, weight[[1, 3]])
    wanted = torch.tensor([[-0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(form.mix, wanted)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5), (40, 24), (24, 40), (64, 64)])
@pytest.mark.parametrize("spread", [0.0, 8.0])
def test_pivots_are_those_of_scipy(shape: Any, spread: float) -> None:
    rows, columns = shape
    weight = random(rows, columns, seed=rows) * 10 ** -torch.linspace(0, spread, columns).double()
    order = scipy.linalg.qr(weight.numpy().T, pivoting=True)[2]

    for count in range(1, min(shape) + 1):
        assert pivot_rows(weight, count).tolist() == sorted(order[:count])


def test_pivots_of_equal_rows_and_of_zeros_are_the_first() -> None:
    assert pivot_rows(torch.ones(4, 2), 1).tolist() == [0]
    assert pivot_rows(torch.zeros(4, 2), 2).tolist() == [0, 1]
    assert pivot_rows(torch.eye(4), 2).tolist() == [0, 1]


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("shape", [(48, 32, 12), (32, 48, 31), (96, 96, 48), (20, 20, 1)])
def test_the_pivot_form_is_lossless(shape: Any, dtype: torch.dtype, within: float) -> None:
    rows, columns, rank = shape
    scale = (rank * columns) ** -0.25  # outputs of about one, as layers have
    first, second = scale * random(rank, columns, seed=3), scale * random(rows, rank, seed=4)
    weight, x, bias = second @ first, random(7, 5, columns), random(rows)

    form = pivot_form(first, second)

    module = Pivot(form.pivots, form.kept.to(dtype), form.mix.to(dtype), bias.to(dtype))
    got = module(x.to(dtype))
    assert got.shape == (7, 5, rows)
    assert float((got.double() - (x @ weight.t() + bias)).abs().max()) < within
    torch.testing.assert_close(dense_of(form, rows), weight)
    numbers = sum(p.numel() for p in module.parameters()) - rows
    assert numbers == pivot_weights(rank, rows, columns) + rank
    assert form.mix.abs().max() < 10  # rows far from independent would give large numbers


def test_pivots_of_a_product_are_those_of_the_matrix() -> None:
    first = random(8, 20, seed=1) * 10 ** -torch.linspace(0, 4, 8).double()[:, None]
    second = random(30, 8, seed=2)
    order = scipy.linalg.qr((second @ first).numpy().T, pivoting=True)[2]

    assert pivot_form(first, second).pivots.tolist() == sorted(order[:8])
    assert pivot_rows(second, 8).tolist() != sorted(order[:8])  # the second factor says otherwise


@pytest.mark.parametrize("noise", [0.0, 1e-16, 1e-9])
@pytest.mark.parametrize("factor", ["first", "second", "both"])
def test_products_of_a_lower_rank_have_a_pivot_form_too(factor: str, noise: float) -> None:
    first, second = random(6, 20, seed=1), random(15, 6, seed=2)
    if factor != "second":
        first[3:] = first[:3] + noise * random(3, 20, seed=3)
    if factor != "first":
        second[:, 3:] = second[:, :3] + noise * random(15, 3, seed=4)

    form = pivot_form(first, second)

    assert form.mix.abs().max() < 1e3
    torch.testing.assert_close(dense_of(form, 15), second @ first)
    nothing = pivot_form(torch.zeros(2, 5), torch.zeros(4, 2))
    assert (dense_of(nothing, 4) == 0).all()


def test_a_rank_above_the_matrix_has_no_pivot_form() -> None:
    with pytest.raises(ConfigError, match="ranks from 1 to 3, got svd_rank 4"):
        pivot_form(random(4, 6), random(3, 4))


@pytest.mark.parametrize("layer", ["linear", "conv1d"])
@pytest.mark.parametrize("kind", ["factors", "pivot"])
def test_empty_modules_take_the_state_of_full_ones(kind: str, layer: str) -> None:
    from transformers.pytorch_utils import Conv1D

    dense: Any = torch.nn.Linear(6, 9) if layer == "linear" else Conv1D(9, 6)
    first, second, bias = random(2, 6).float(), random(9, 2).float(), random(9).float()
    full: Any = Factors(first, second, bias)
    if kind == "pivot":
        form = pivot_form(first, second)
        full = Pivot(form.pivots, form.kept.float(), form.mix.float(), bias)
    x = random(4, 6).float()

    empty = MODULES[kind](dense, svd_rank=2)
    empty(x)  # what it makes of its first state is forgotten with that state
    empty.load_state_dict(full.state_dict())

    torch.testing.assert_close(empty(x), x @ (second @ first).t() + bias)
    assert not any(p.requires_grad for p in full.parameters())


def test_a_pivot_layer_can_be_trained_after_it_was_judged() -> None:
    form = pivot_form(random(2, 6), random(9, 2))
    module = Pivot(form.pivots, form.kept, form.mix, None)
    with torch.inference_mode():
        module(random(4, 6))

    module.kept.requires_grad_(True)
    module(random(4, 6)).sum().backward()

    assert module.kept.grad is not None


# ---- whitening


@pytest.mark.parametrize("rank", [1, 5, 11])
def test_the_loss_of_a_truncation_is_the_sum_of_the_squares_left_out(rank: int) -> None:
    weight, x = random(12, 16), inputs(16, 200)
    found = spectrum(weight, whitener(x @ x.t()))

    truncated = found.second[:, :rank] @ found.first[:rank]

    loss = float(((weight - truncated) @ x).square().sum())
    assert loss == pytest.approx(float(found.values[rank:].square().sum()), rel=1e-8)
    # the best rank-r fit to the outputs, by projecting them on their own singular vectors
    left = torch.linalg.svd(weight @ x, full_matrices=False).U[:, :rank]
    best = float((weight @ x - left @ (left.t() @ weight @ x)).square().sum())
    assert loss == pytest.approx(best, rel=1e-8)


def test_all_of_a_spectrum_is_the_matrix_and_without_inputs_it_is_the_plain_one() -> None:
    weight = random(9, 16)
    root = whitener(inputs(16, 200) @ inputs(16, 200).t())

    for found in (spectrum(weight, root), spectrum(weight)):
        torch.testing.assert_close(found.second @ found.first, weight)
    torch.testing.assert_close(spectrum(weight).values, torch.linalg.svdvals(weight))


def test_the_first_factor_is_the_right_singular_vectors_divided_by_the_whitener() -> None:
    weight, gram = random(9, 16), inputs(16, 200) @ inputs(16, 200).t()
    root = whitener(gram)

    found = spectrum(weight, root)

    _, values, right = torch.linalg.svd(weight @ root, full_matrices=False)
    wanted = values[:, None] * torch.linalg.solve(root.t(), right.t()).t()
    torch.testing.assert_close(found.first.abs(), wanted.abs())
    torch.testing.assert_close(root @ root.t(), gram)


def test_factors_do_not_grow_with_the_inputs() -> None:
    weight, gram = random(9, 16), inputs(16, 200) @ inputs(16, 200).t()

    small, large = (spectrum(weight, whitener(scale * gram)) for scale in (1.0, 1e12))

    torch.testing.assert_close(large.first.abs(), small.first.abs())
    torch.testing.assert_close(large.second.abs(), small.second.abs())
    torch.testing.assert_close(large.values, 1e6 * small.values)


@pytest.mark.parametrize("tokens", [3, 0])
def test_fewer_tokens_than_inputs_are_repaired(tokens: int) -> None:
    x = 100 * inputs(16, 200)[:, :tokens]

    root = whitener(x @ x.t())

    assert root.isfinite().all()
    torch.testing.assert_close(root @ root.t(), x @ x.t(), atol=1e-5, rtol=1e-9)
    found = spectrum(random(8, 16), root)
    kept = found.second[:, : max(1, tokens)] @ found.first[: max(1, tokens)]
    assert relative(kept @ x, random(8, 16) @ x) < 1e-5 if tokens else kept.isfinite().all()


def test_matrices_with_nothing_in_them_have_no_infinite_factors() -> None:
    found = spectrum(torch.zeros(4, 6))

    assert (found.second @ found.first == 0).all()


# ---- reconstruction


def case() -> tuple[torch.Tensor, ...]:
    """W, V, X, X_dense, T for a mu of a quarter."""
    weight, dense = random(12, 16), inputs(16, 300)
    pruned = dense + 0.3 * random(16, 300, seed=8)
    first = spectrum(weight, whitener(dense @ dense.t())).first[:5]
    return weight, first, pruned, dense, 0.75 * weight @ pruned + 0.25 * weight @ dense


def test_targets_are_products_of_mixed_outputs() -> None:
    weight, _, x, dense, mixed = case()

    found = targets(weight, x @ x.t(), dense @ x.t(), 0.25)

    torch.testing.assert_close(found, mixed @ x.t())


def test_the_refitted_second_factor_meets_the_normal_equations() -> None:
    weight, first, x, _, mixed = case()
    found = spectrum(weight, whitener(x @ x.t()))

    second, same = refit(weight, first, x @ x.t(), mixed @ x.t(), steps=1)

    left = (mixed - second @ first @ x) @ x.t() @ first.t()
    assert float(left.norm() / (mixed @ x.t() @ first.t()).norm()) < 1e-8
    assert torch.equal(same, first)
    before = (mixed - found.second[:, :5] @ first @ x).square().sum()
    assert (mixed - second @ first @ x).square().sum() <= before
    wanted = torch.linalg.lstsq((first @ x).t(), mixed.t()).solution.t()
    torch.testing.assert_close(second, wanted)


@pytest.mark.parametrize("mu", [0.0, 0.25, 1.0])
def test_dense_inputs_leave_the_unbounded_layer_as_it_is(mu: float) -> None:
    weight, _, _, dense, _ = case()
    gram = dense @ dense.t()

    found = unbounded(weight, gram, targets(weight, gram, gram, mu))

    assert relative(found, weight) < 1e-8


def test_the_unbounded_layer_is_ridge_regression_towards_the_weights() -> None:
    weight, _, x, _, mixed = case()

    found = unbounded(weight, x @ x.t(), mixed @ x.t(), 0.5)

    stacked = torch.cat([x.t(), 0.5**0.5 * torch.eye(16).double()])
    wished = torch.cat([mixed.t(), 0.5**0.5 * weight.t()])
    torch.testing.assert_close(found, torch.linalg.lstsq(stacked, wished).solution.t())


def test_the_refitted_first_factor_comes_closest_to_the_unbounded_layer() -> None:
    weight, first, x, _, mixed = case()
    gram, target = x @ x.t(), mixed @ x.t()

    second, refitted = refit(weight, first, gram, target)

    alone, _ = refit(weight, first, gram, target, steps=1)
    wanted = torch.linalg.lstsq(second, unbounded(weight, gram, target)).solution
    torch.testing.assert_close(second, alone)
    torch.testing.assert_close(refitted, wanted)


def test_refits_on_fewer_tokens_than_the_rank_stay_finite() -> None:
    weight, first, x, _, _ = case()
    x = x[:, :3]

    second, refitted = refit(weight, first, x @ x.t(), weight @ x @ x.t())

    assert relative(second @ first @ x, weight @ x) < 1e-6
    assert refitted.isfinite().all()


def test_steps_of_which_there_are_none() -> None:
    with pytest.raises(ConfigError, match="must be 1 or 2, got 3"):
        refit(*(random(2, 2),) * 4, steps=3)


def test_arguments_are_left_alone() -> None:
    weight, first, x, _, mixed = case()
    gram, target = x @ x.t(), mixed @ x.t()
    before = [t.clone() for t in (weight, first, gram, target)]

    refit(weight, first, gram, target)
    pivot_form(first, weight[:, :5])
    pivot_rows(weight, 3)
    whitener(gram)

    assert all(
        torch.equal(*pair) for pair in zip(before, (weight, first, gram, target), strict=True)
    )
    np.testing.assert_allclose(gram, gram.t())
