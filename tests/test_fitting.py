"""Closed-form fits against stored activations, NumPy's least squares and exact cases."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from problems.pruning.fitting.linear import by_rank, common_basis, in_basis, penalty, ridge
from problems.pruning.fitting.moments import Moments


def streams(d: int = 12, e: int = 12, tokens: int = 200, seed: int = 0) -> Any:
    """Correlated regressors off the origin, and targets that are partly linear in them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)
    u = np.tanh(x @ rng.normal(size=(d, e))) + 0.3 * x[:, :e] + 2.0
    return torch.from_numpy(x), torch.from_numpy(u)


def moments_of(x: torch.Tensor, u: torch.Tensor, pieces: int = 3) -> Moments:
    found = Moments.zero(x.shape[1], u.shape[1])
    for a, b in zip(x.tensor_split(pieces), u.tensor_split(pieces), strict=True):
        found.add(a, b)
    return found


def map_of(first: torch.Tensor, second: torch.Tensor, rank: int) -> torch.Tensor:
    return first[:rank].t() @ second[:rank]


def test_errors_from_sums_are_those_of_stored_activations() -> None:
    x, u = streams()
    found = moments_of(x, u)
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=(12, 12)))

    for candidate in (weight, ridge(found.xx, found.xu, 0.01)):
        wanted = (u - x @ candidate).square().sum()
        assert float(found.error(candidate)) == pytest.approx(float(wanted), rel=1e-9)


def test_centred_sums_are_those_of_centred_activations() -> None:
    x, u = streams()

    about, wanted = moments_of(x, u).centred(), moments_of(x - x.mean(0), u - u.mean(0))

    for name in ("xx", "xu", "uu"):
        torch.testing.assert_close(getattr(about, name), getattr(wanted, name))
    assert about.count == 200


def test_ridge_without_a_penalty_is_least_squares() -> None:
    x, u = streams()
    found = moments_of(x, u)

    wanted = np.linalg.lstsq(x.numpy(), u.numpy(), rcond=None)[0]

    np.testing.assert_allclose(ridge(found.xx, found.xu, 0.0), wanted, atol=1e-8)


def test_ridge_is_least_squares_with_rows_for_the_penalty() -> None:
    x, u = streams()
    found = moments_of(x, u)
    lam = penalty(found.xx, 0.05)
    assert lam == pytest.approx(0.05 * float(x.square().sum()) / 12)

    more = torch.cat([x, lam**0.5 * torch.eye(12, dtype=torch.float64)])
    wanted = np.linalg.lstsq(more.numpy(), torch.cat([u, torch.zeros_like(u[:12])]).numpy())[0]

    np.testing.assert_allclose(ridge(found.xx, found.xu, 0.05), wanted, atol=1e-8)


def test_fewer_tokens_than_features_take_the_shortest_map() -> None:
    x, u = streams(tokens=5)
    found = moments_of(x, u)

    made = ridge(found.xx, found.xu, 0.0)

    np.testing.assert_allclose(made, np.linalg.pinv(x.numpy()) @ u.numpy(), atol=1e-6)
    assert float(found.error(made)) == pytest.approx(0.0, abs=1e-6)


def test_error_never_grows_with_the_rank() -> None:
    x, u = streams()
    found = moments_of(x, u)
    first, second = by_rank(found, 0.0)

    errors = [float(found.error(map_of(first, second, r))) for r in range(13)]

    assert errors[0] == pytest.approx(float(u.square().sum()), rel=1e-12)  # tr E
    assert all(a >= b - 1e-9 for a, b in pairwise(errors))
    assert errors[4] < 0.5 * errors[0]
    best = (u - x @ torch.from_numpy(np.linalg.lstsq(x.numpy(), u.numpy())[0])).square().sum()
    assert errors[12] == pytest.approx(float(best), rel=1e-9)


def test_each_eigenvalue_is_what_its_rank_explains() -> None:
    x, u = streams()
    found = moments_of(x, u)
    first, second = by_rank(found, 0.0)
    fitted = x @ torch.from_numpy(np.linalg.lstsq(x.numpy(), u.numpy())[0])
    explained = torch.linalg.svdvals(fitted).square()

    for rank in range(13):
        wanted = u.square().sum() - explained[:rank].sum()
        error = float(found.error(map_of(first, second, rank)))
        assert error == pytest.approx(float(wanted), rel=1e-8)


def test_no_other_map_of_the_rank_is_better() -> None:
    x, u = streams()
    found = moments_of(x, u)
    first, second = by_rank(found, 0.0)
    best, rng = float(found.error(map_of(first, second, 3))), np.random.default_rng(2)

    for _ in range(20):
        directions = torch.from_numpy(np.linalg.qr(rng.normal(size=(12, 3)))[0])
        made = torch.from_numpy(np.linalg.lstsq(x.numpy(), (u @ directions).numpy())[0])
        assert float(found.error(made @ directions.t())) > best


@pytest.mark.parametrize("strength", [0.0, 0.01])
def test_full_rank_is_the_ridge(strength: float) -> None:
    x, u = streams()
    found = moments_of(x, u)
    first, second = by_rank(found, strength)

    torch.testing.assert_close(
        map_of(first, second, 12), ridge(found.xx, found.xu, strength), atol=1e-8, rtol=1e-8
    )


def test_a_linear_stream_is_recovered() -> None:
    x, _ = streams()
    truth = torch.from_numpy(np.random.default_rng(3).normal(size=(12, 12)))
    first, second = by_rank(moments_of(x, x @ truth), 0.0)

    assert (map_of(first, second, 12) - truth).abs().max() < 1e-8


def test_a_common_basis_of_full_rank_gives_each_its_own_regression() -> None:
    pairs = [streams(seed=seed) for seed in (4, 5, 6)]
    sums = [moments_of(x, u) for x, u in pairs]
    basis = common_basis([m.xx for m in sums])

    for m in sums:
        made = basis.t() @ in_basis(m.xx, m.xu, basis, 0.01)
        torch.testing.assert_close(made, ridge(m.xx, m.xu, 0.01), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(basis @ basis.t(), torch.eye(12, dtype=torch.float64))


def test_a_common_basis_finds_the_directions_that_streams_share() -> None:
    x, u = streams()
    plane = torch.from_numpy(np.linalg.qr(np.random.default_rng(7).normal(size=(12, 2)))[0])
    sums = [moments_of(scale * x @ plane @ plane.t(), u) for scale in (1.0, 100.0)]

    basis = common_basis([m.xx for m in sums])[:2]

    torch.testing.assert_close(basis.t() @ basis, plane @ plane.t(), atol=1e-8, rtol=0)
    for m in sums:  # nothing is lost in it
        made = basis.t() @ in_basis(m.xx, m.xu, basis, 0.0)
        own = ridge(m.xx, m.xu, 0.0)
        assert float(m.error(made)) == pytest.approx(float(m.error(own)), rel=1e-8)
