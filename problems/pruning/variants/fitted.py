"""Variants that put a fitted linear map of the residual stream where blocks or submodules were."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .. import bypass
from ..fitting.linear import by_rank, ridge
from ..fitting.moments import Moments
from ..modules import AttentionBypass, Bypass, SharedBypass
from ..sites import Place, Replacements, Shared, Variant

Map = Mapping[str, torch.Tensor]
"""``first`` and ``second``, (d, d), whose first r rows make the map of rank r, and the means ``x``
and ``u``, (d,), of what it reads and gives."""


def solved(moments: Moments, ridge: float, *, intercept: bool) -> dict[str, torch.Tensor]:
    """The map of every rank, float32.

    Args:
        moments: Sums over tokens.
        ridge: λ as a share of the mean diagonal of the regressors' second moments.
        intercept: Whether the map is fitted about the means.
    """
    first, second = by_rank(moments.centred() if intercept else moments, ridge)
    count = max(1, moments.count)
    found = {"first": first, "second": second, "x": moments.x / count, "u": moments.u / count}
    return {name: t.float().contiguous() for name, t in found.items()}


def projected(moments: Moments, basis: torch.Tensor, *, intercept: bool) -> dict[str, torch.Tensor]:
    """What a fit in the leading rows of a basis P needs, for any number of rows.

    Args:
        moments: Sums over tokens.
        basis: P, (d, d), float64.
        intercept: Whether the map is fitted about the means.

    Returns:
        ``inner``, P S Pᵀ, and ``target``, P C, float64 as they are still to be solved; and means.
    """
    about, count = moments.centred() if intercept else moments, max(1, moments.count)
    return {
        "inner": (basis @ about.xx @ basis.t()).contiguous(),
        "target": basis @ about.xu,
        "x": (moments.x / count).float(),
        "u": (moments.u / count).float(),
    }


def rank_of(share: float, width: int) -> int:
    """Rank that is a share of the width, at least 1; from half on the whole map is no larger."""
    rank = max(1, round(share * width))
    return rank if 2 * rank < width else width


def variant(
    place: Place, fitted: Map, name: str, kind: str, rank: int, *, intercept: bool, normalised: bool
) -> Variant:
    """A bypass of a rank at a place.

    Args:
        place: An attention, a feed-forward or a block.
        fitted: The map.
        name: The variant's.
        kind: The family of choices.
        rank: As :func:`rank_of` gives it.
        intercept: Whether the bypass adds a constant.
        normalised: Whether it reads the output of the submodule's norm, which then stays.
    """
    width = len(fitted["x"])
    thin = rank if rank < width else None
    macs = 2 * rank * width if thin else width * width

    def build() -> Replacements:
        module = module_of(place, fitted, rank, intercept=intercept)
        return bypass.replacements(place.block, place.kind, module, normalised=normalised)

    sizes = {"width": width, "svd_rank": thin, "offset": intercept}
    type_ = bypass.type_of(place.kind)
    shape = bypass.shape(place.block, place.kind, type_, sizes, normalised=normalised)
    cost = bypass.cost(place, macs, macs, offsets=width if intercept else 0, normalised=normalised)
    return Variant(name, kind, cost, build, shape)


def in_common(
    place: Place,
    fitted: Map,
    basis: torch.Tensor,
    name: str,
    kind: str,
    rank: int,
    strength: float,
    *,
    common: str,
    intercept: bool,
    normalised: bool,
) -> Variant:
    """A bypass through the leading rows of a basis that several sites have in common.

    Args:
        place: A feed-forward.
        fitted: ``inner``, P S Pᵀ, and ``target``, P C, (d, d), and the means ``x`` and ``u``.
        basis: P, (d, d), strongest direction first.
        name: The variant's.
        kind: The family of choices.
        rank: Rows of the basis that are used.
        strength: λ as a share of the mean diagonal of S in the basis.
        common: Name of the basis; a model holds it once.
        intercept: Whether the bypass adds a constant.
        normalised: Whether it reads the output of the submodule's norm, which then stays.
    """  # fmt: skip
    width = len(fitted["x"])

    def build() -> Replacements:
        like = next(place.block.module.parameters())
        second = ridge(fitted["inner"][:rank, :rank], fitted["target"][:rank], strength).float()
        offset = fitted["u"] - (basis[:rank] @ fitted["x"]) @ second if intercept else None
        first, second = (t.to(like.device, like.dtype) for t in (basis[:rank], second))
        offset = None if offset is None else offset.to(like.device, like.dtype)
        module = SharedBypass(common, first, second, offset)
        return bypass.replacements(place.block, place.kind, module, normalised=normalised)

    sizes = {"width": width, "svd_rank": rank, "offset": intercept, "basis": common}
    shape = bypass.shape(place.block, place.kind, "shared-bypass", sizes, normalised=normalised)
    size = rank * width  # of either factor
    cost = bypass.cost(
        place, size, 2 * size, offsets=width if intercept else 0, normalised=normalised
    )
    shared = Shared(common, size, size * place.itemsize)
    return Variant(name, kind, cost, build, shape, shared=shared)


def module_of(place: Place, fitted: Map, rank: int, *, intercept: bool) -> Bypass:
    """The module of a rank; thin factors are leading rows of what the library holds."""
    first, second = fitted["first"][:rank], fitted["second"][:rank]
    offset = fitted["u"] - (first @ fitted["x"]) @ second if intercept else None
    whole = rank == len(fitted["x"])
    like = next(place.block.module.parameters())
    made = (second.t() @ first, None, offset) if whole else (first, second, offset)
    there = [None if t is None else t.to(like.device, like.dtype) for t in made]
    return (AttentionBypass if place.kind == "attention" else Bypass)(*there)  # type: ignore[arg-type]
