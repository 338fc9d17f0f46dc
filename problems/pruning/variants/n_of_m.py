"""N:M sparsity: n of every m neighbouring inputs of a row are zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from evo.errors import ConfigError

from .. import brackets
from ..importance import base_name, find, n_of_m, require_multiples
from ..layouts import cut, get, matrix, with_weight
from ..library import Library
from ..permutation import UNCHANGED, Order, orders
from ..sites import Place, Replacements, Variant
from .dsnot import DSNOT, DSnoT
from .sparsity import masked
from .updates import SPARSEGPT, SparseGPT

HIDDEN = ("name", "n", "m", "by", "levels", "scorer")  # fields that are no settings


@dataclass(frozen=True)
class NofM:
    """n of every m neighbouring inputs of a row are zero, under one scorer.

    Args:
        name: Id.
        n: Weights of a group that go.
        m: Inputs of a group.
        by: The scorer.
        permute: Whether neurons, and values within heads, change places so that more of the scores
            stay; see :mod:`..permutation`.
    """

    name: str
    n: int
    m: int
    by: str
    levels: tuple[float, ...] = ()
    scorer: str | None = None
    permute: bool = False

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant.

        Raises:
            ConfigError: m does not divide the inputs of a layer, or a single layer should be
                permuted.
        """
        for path, (_, inputs) in place.shapes().items():
            require_multiples(self.name, self.m, inputs, place.block, path)
        if self.permute and place.kind == "linear":
            raise ConfigError(
                f"{self.name} permutes what two linear layers have in common, but sites are "
                "single ones",
                hint="choose other sites (submodule, block), or leave permute out",
            )
        zeros = place.weight_count() * self.n // self.m
        plain = masked(
            place, self.name, "n:m", zeros, lambda path: self._gone(place, path, library)
        )
        if not self.permute:
            return [plain]
        return [replace(plain, build=lambda: self._permuted(place, library))]

    def _gone(
        self, place: Place, path: str, library: Library, order: Order = UNCHANGED
    ) -> torch.Tensor:
        """What goes once the layer is in an order."""
        scores = library.scores(self.by, place.block, path)
        scores = scores if order.columns is None else scores[:, order.columns]
        gone = n_of_m(scores, self.n, self.m)
        return gone if order.rows is None else gone[order.rows]

    def _permuted(self, place: Place, library: Library) -> Replacements:
        """Layers in their orders, with zeros in groups of what are neighbours then."""
        scores = partial(library.scores, self.by, place.block)
        found, made = orders(place, scores, self.n, self.m), {}
        for path in place.linears:
            order = found.get(path, UNCHANGED)
            layer = cut(get(place.block.module, path), order.rows, order.columns)
            weight = matrix(layer).detach()
            gone = self._gone(place, path, library, order).to(weight.device)
            made[path] = with_weight(layer, weight.masked_fill(gone, 0), None)
        return made


def n_of_m_kind(
    n: int, m: int, scorer: str, settings: str | None = None
) -> NofM | SparseGPT | DSnoT:
    """N:M sparsity under a scorer, refined by DSnoT, or with the weights that SparseGPT updates.

    Args:
        n: Weights of a group that go.
        m: Inputs of a group.
        scorer: Its name, with settings in brackets.
        settings: What stands in brackets behind the pattern: ``permute=true``.

    Raises:
        ConfigError: n is not between 1 and m - 1, or the scorer is unknown, or a setting is or
            means nothing here.
    """
    if not 0 < n < m:
        raise ConfigError(f"{n}:{m} is not a sparsity pattern: n weights of every m go, 0 < n < m")
    pattern = f"{n}:{m}" if settings is None else f"{n}:{m}({settings})"
    name, (base, inner) = f"{pattern}@{scorer}", brackets.split(scorer)
    updates = scorer == SPARSEGPT.name
    if updates or base == DSNOT.name:
        if settings is not None:
            brackets.read(f"variant {name!r}", None, settings)  # has none
        return SparseGPT(name, (), (n, m)) if updates else _refined(name, (n, m), inner)
    try:
        find(scorer, [SPARSEGPT.name, DSNOT.name])
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.message}") from error
    if "(counts=" in scorer:
        raise ConfigError(
            f"{name}: counts plays no part, since {n} of every {m} weights go",
            hint=f"say {pattern}@{base_name(scorer)}",
        )
    kind = NofM(pattern if scorer == "wanda" else name, n, m, scorer)
    if settings is None:
        return kind
    return replace(kind, **brackets.read(f"variant {name!r}", kind, settings, HIDDEN))


def _refined(name: str, pattern: tuple[int, int], settings: str | None) -> DSnoT:
    """DSnoT under a pattern, whose rows always stop before their error changes sign."""
    hidden, changed = ("name", "levels", "scorer", "same_sign"), {}
    if settings is not None:
        changed = brackets.read(f"variant {name!r}", DSNOT, settings, hidden)
    return replace(DSNOT, name=name, levels=(), pattern=pattern, **changed)
