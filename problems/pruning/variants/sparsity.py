"""Unstructured sparsity: the lowest-scored weights of a site's linear layers are zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..importance import find
from ..layouts import get, matrix, with_weight
from ..library import Library
from ..sites import Place, Replacements, Variant


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


def kind_of_scorer(name: str) -> Sparsity:
    """The kind of sparsity that a scorer gives.

    Raises:
        ConfigError: The scorer is unknown, or has no such setting.
    """
    return Sparsity(name, find(name).name)


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
