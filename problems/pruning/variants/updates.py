"""SparseGPT's zeros, unstructured or N:M: the weights that stay are changed to make up for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..importance.sparsegpt import Pattern
from ..layouts import get, matrix, with_weight
from ..library import Library
from ..sites import Place, Replacements, Variant


@dataclass(frozen=True)
class SparseGPT:
    """Levels are shares of zeros in each linear layer; a fixed pattern n:m has no levels.

    Args:
        name: Id.
        levels: Shares of zeros.
        pattern: n and m, set by names such as ``2:4@sparsegpt``; else None.
        scorer: None; weights are chosen by their inverse Hessian.
    """

    name: str = "sparsegpt"
    levels: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    pattern: tuple[int, int] | None = None
    scorer: str | None = None

    def updates(self, levels: Sequence[float]) -> list[Pattern]:
        """Patterns of which the library must hold updated weights."""
        return [self.pattern] if self.pattern else list(levels)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per level, or the one of the pattern; every place has linear layers."""
        return [self._variant(place, library, pattern) for pattern in self.updates(levels)]

    def _variant(self, place: Place, library: Library, pattern: Pattern) -> Variant:
        def build() -> Replacements:
            made = {}
            for path in place.linears:
                layer = get(place.block.module, path)
                weight = library.updated(pattern, place.block, path).to(matrix(layer).device)
                made[path] = with_weight(layer, weight, None)
            return made

        zeros = sum(library.updated_zeros(pattern, place.block, path) for path in place.linears)
        fixed = isinstance(pattern, tuple)
        name = self.name if fixed else f"{self.name}-{pattern:g}"
        kind = "n:m" if fixed else self.name
        share = zeros / place.weight_count()
        return Variant(name, kind, place.cost(zeros=zeros), build, {}, share)


SPARSEGPT = SparseGPT()
