"""Low rank without the waste: the same matrices as ``svd``, in the pivot form of PIFA.

PIFA (arXiv 2501.19090) stores a matrix of rank r exactly in r² numbers less than two factors take,
so that at one density it keeps a higher rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..layouts import get, matrix
from ..library import Library
from ..modules import Pivot
from ..pivoting import pivot_form
from ..sites import Place, Variant
from ..whitening import Spectra, names
from .low_rank import PivotForm, at_densities, require_multiple


@dataclass(frozen=True)
class PIFA:
    """Levels are densities: shares of a linear layer's weights that the pivot form may take.

    Args:
        whiten: Weigh by the inputs.
        multiple: Ranks are rounded up to multiples of it (the published code takes 16), at a little
            more than the density asked for.
    """

    name: str = "pifa"
    levels: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    scorer: str | None = None
    whiten: bool = True
    multiple: int = 1

    def __post_init__(self) -> None:
        require_multiple(self.name, self.multiple)

    @property
    def learner(self) -> Spectra:
        """What learns from the text, shared by all kinds that want the same."""
        return Spectra(self.whiten)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct set of ranks; none where nothing gets smaller."""

        def module(path: str, rank: int) -> nn.Module:
            layer: Any = get(place.block.module, path)
            weight = matrix(layer)
            first, second = (library.fitted(self)[name] for name in names(place.block, path))
            form = pivot_form(first[:rank].to(weight.device), second[:, :rank].to(weight.device))
            return Pivot(
                form.pivots, form.kept.to(weight.dtype), form.mix.to(weight.dtype), layer.bias
            )

        return at_densities(place, self.name, PivotForm(self.multiple), levels, module)


PIVOTED = PIFA()
