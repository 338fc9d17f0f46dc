"""N:M sparsity: n of every m neighbouring inputs of a row are zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from evo.errors import ConfigError

from .. import brackets
from ..importance import base_name, find, n_of_m, require_multiples
from ..library import Library
from ..sites import Place, Variant
from .dsnot import DSNOT, DSnoT
from .sparsity import masked
from .updates import SPARSEGPT, SparseGPT


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


def n_of_m_kind(n: int, m: int, scorer: str) -> NofM | SparseGPT | DSnoT:
    """N:M sparsity under a scorer, refined by DSnoT, or with the weights that SparseGPT updates.

    Raises:
        ConfigError: n is not between 1 and m - 1, or the scorer is unknown or has a setting that
            means nothing here.
    """
    if not 0 < n < m:
        raise ConfigError(f"{n}:{m} is not a sparsity pattern: n weights of every m go, 0 < n < m")
    name = f"{n}:{m}@{scorer}"
    if scorer == SPARSEGPT.name:
        return SparseGPT(name, (), (n, m))
    if brackets.split(scorer)[0] == DSNOT.name:
        return _refined(name, (n, m), brackets.split(scorer)[1])
    try:
        find(scorer, [SPARSEGPT.name, DSNOT.name])
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.message}") from error
    if "(counts=" in scorer:
        raise ConfigError(
            f"{name}: counts plays no part, since {n} of every {m} weights go",
            hint=f"say {n}:{m}@{base_name(scorer)}",
        )
    return NofM(f"{n}:{m}" if scorer == "wanda" else name, n, m, scorer)


def _refined(name: str, pattern: tuple[int, int], settings: str | None) -> DSnoT:
    """DSnoT under a pattern, whose rows always stop before their error changes sign."""
    hidden, changed = ("name", "levels", "scorer", "same_sign"), {}
    if settings is not None:
        changed = brackets.read(f"variant {name!r}", DSNOT, settings, hidden)
    return replace(DSNOT, name=name, levels=(), pattern=pattern, **changed)
