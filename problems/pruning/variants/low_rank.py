"""What the kinds that lower the rank of linear layers have in common: ranks, costs and modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import nn

from evo.errors import ConfigError

from .. import ranks
from ..layouts import get
from ..sites import Place, Replacements, Variant

Build = Callable[[str, int], nn.Module]
"""(path of a linear layer, svd_rank) → the module in its place."""


class Form(Protocol):
    """How a layer of low rank is stored."""

    @property
    def type(self) -> str:
        """Its name in :data:`..modules.MODULES`."""
        ...

    def rank(self, density: float, rows: int, columns: int) -> int:
        """Rank at a density, 0 where even rank 1 takes more."""
        ...

    def weights(self, svd_rank: int, rows: int, columns: int) -> int:
        """Numbers stored, also multiply-accumulates per token."""
        ...

    def indices(self, svd_rank: int) -> int:
        """Indices stored beside them; they count as parameters."""
        ...


@dataclass(frozen=True)
class FactorsForm:
    """Two thin factors."""

    type: str = "factors"

    def rank(self, density: float, rows: int, columns: int) -> int:
        """See :func:`..ranks.factors_rank`."""
        return ranks.factors_rank(density, rows, columns)

    def weights(self, svd_rank: int, rows: int, columns: int) -> int:
        """See :func:`..ranks.factors_weights`."""
        return ranks.factors_weights(svd_rank, rows, columns)

    def indices(self, svd_rank: int) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class PivotForm:
    """Pivot rows and how the others are mixed from them.

    Args:
        multiple: Ranks are rounded up to multiples of it.
    """

    multiple: int = 1
    type: str = "pivot"

    def rank(self, density: float, rows: int, columns: int) -> int:
        """See :func:`..ranks.pivot_rank`."""
        return ranks.pivot_rank(density, rows, columns, self.multiple)

    def weights(self, svd_rank: int, rows: int, columns: int) -> int:
        """See :func:`..ranks.pivot_weights`."""
        return ranks.pivot_weights(svd_rank, rows, columns)

    def indices(self, svd_rank: int) -> int:
        """One per pivot."""
        return svd_rank


def require_multiple(kind: str, multiple: int) -> None:
    """Stop at a rounding that is none.

    Raises:
        ConfigError: ``multiple`` is below 1.
    """
    if multiple < 1:
        raise ConfigError(f"multiple of variant {kind!r} must be at least 1, got {multiple}")


def layer_rank(form: Form, density: float, shape: tuple[int, int]) -> int | None:
    """Rank of a layer of (d_out, d_in); None where no rank makes it smaller at that density.

    Where the density is too low for rank 1, it is rank 1.
    """
    rank = max(1, form.rank(density, *shape))
    taken = form.weights(rank, *shape) + form.indices(rank)
    return rank if taken < shape[0] * shape[1] else None


def site_ranks(place: Place, form: Form, density: float) -> dict[str, int]:
    """Rank of every linear layer of a place that gets smaller; the others stay dense."""
    ranks_of = {p: layer_rank(form, density, shape) for p, shape in place.shapes().items()}
    return {path: rank for path, rank in ranks_of.items() if rank is not None}


def factored(
    place: Place, names: tuple[str, str], form: Form, found: Mapping[str, int], module: Build
) -> Variant:
    """A variant whose linear layers have the given ranks.

    Args:
        place: Where.
        names: Of the variant, and of its kind.
        form: How layers are stored.
        found: Rank by path; the other layers stay dense.
        module: Builds one layer.
    """
    shapes, sizes, indices = place.shapes(), {}, 0
    for path, rank in found.items():
        weights = form.weights(rank, *shapes[path])
        bias = shapes[path][0] if get(place.block.module, path).bias is not None else 0
        indices += form.indices(rank)
        sizes[path] = (weights + form.indices(rank) + bias, weights)
    cost = place.cost(sizes=sizes)
    wider = indices * (ranks.INDEX_BYTES - place.itemsize)  # indices keep their size in any dtype
    cost = replace(cost, weight_bytes=cost.weight_bytes + wider)

    def build() -> Replacements:
        return {path: module(path, rank) for path, rank in found.items()}

    shape = {"modules": {p: {"type": form.type, "svd_rank": r} for p, r in found.items()}}
    return Variant(*names, cost, build, shape)


def at_densities(
    place: Place, kind: str, form: Form, levels: Sequence[float], module: Build
) -> list[Variant]:
    """One variant per density that gives other ranks than those before it."""
    variants = {}
    for density in levels:
        found = site_ranks(place, form, density)
        key = tuple(found.items())
        if found and key not in variants:
            variants[key] = factored(place, (f"{kind}-{density:g}", kind), form, found, module)
    return list(variants.values())
