"""Unstructured and N:M sparsity: the lowest-scored weights of a site's linear layers are zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from evo.errors import ConfigError

from ..importance import base_name, find, n_of_m, require_multiples
from ..layouts import get, matrix, with_weight
from ..library import Library
from ..sites import Place, Replacements, Variant
from .updates import SPARSEGPT, SparseGPT


@dataclass(frozen=True)
class Sparsity:
    """Levels are shares of weights set to zero in each linear layer, under one scorer."""

    name: str
    scorer: str | None
    levels: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per level; every place has linear layers."""
        return [self._variant(place, library, level) for level in levels]

    def _variant(self, place: Place, library: Library, level: float) -> Variant:
        scorer = str(self.scorer)
        index = library.sparsities[scorer].index(level)

        def gone(path: str) -> torch.Tensor:
            return library.codes(scorer, place.block, path) <= index

        zeros = sum(int(gone(path).sum()) for path in place.linears)
        return masked(place, f"{self.name}-{level:g}", self.name, zeros, gone)


@dataclass(frozen=True)
class NofM:
    """n of every m neighbouring inputs of a row are zero, under one scorer."""

    name: str
    n: int
    m: int
    by: str
    levels: tuple[float, ...] = ()
    scorer: str | None = None

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant.

        Raises:
            ConfigError: m does not divide the inputs of a layer.
        """
        for path, (_, inputs) in place.shapes().items():
            require_multiples(self.name, self.m, inputs, place.block, path)

        def gone(path: str) -> torch.Tensor:
            return n_of_m(library.scores(self.by, place.block, path), self.n, self.m)

        zeros = place.weight_count() * self.n // self.m
        return [masked(place, self.name, "n:m", zeros, gone)]


def kind_of_scorer(name: str) -> Sparsity:
    """The kind of sparsity that a scorer gives.

    Raises:
        ConfigError: The scorer is unknown, or has no such setting.
    """
    return Sparsity(name, find(name).name)


def n_of_m_kind(n: int, m: int, scorer: str) -> NofM | SparseGPT:
    """N:M sparsity under a scorer, or with the weights that SparseGPT updates.

    Raises:
        ConfigError: n is not between 1 and m - 1, or the scorer is unknown or has a setting that
            means nothing here.
    """
    if not 0 < n < m:
        raise ConfigError(f"{n}:{m} is not a sparsity pattern: n weights of every m go, 0 < n < m")
    if scorer == SPARSEGPT.name:
        return SparseGPT(f"{n}:{m}@{scorer}", (), (n, m))
    try:
        find(scorer, [SPARSEGPT.name])
    except ConfigError as error:
        raise ConfigError(f"{n}:{m}@{scorer}: {error.message}") from error
    if "(counts=" in scorer:
        raise ConfigError(
            f"{n}:{m}@{scorer}: counts plays no part, since {n} of every {m} weights go",
            hint=f"say {n}:{m}@{base_name(scorer)}",
        )
    return NofM(f"{n}:{m}" if scorer == "wanda" else f"{n}:{m}@{scorer}", n, m, scorer)


def masked(
    place: Place, name: str, kind: str, zeros: int, gone: Callable[[str], torch.Tensor]
) -> Variant:
    """The variant of a place whose linear layers have zeros where ``gone`` says by path.

    Args:
        place: Where.
        name: Of the variant.
        kind: Of the variant.
        zeros: How many there are in all of its linear layers.
        gone: Path → bool, (d_out, d_in).
    """

    def build() -> Replacements:
        made = {}
        for path in place.linears:
            layer = get(place.block.module, path)
            weight = matrix(layer).detach()
            mask = gone(path).to(weight.device)
            made[path] = with_weight(layer, weight.masked_fill(mask, 0), None)
        return made

    share = zeros / place.weight_count()
    return Variant(name, kind, place.cost(zeros=zeros), build, {}, share)
