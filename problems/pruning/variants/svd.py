"""Low rank: linear layers as products of two thin ones, truncated as in SVD-LLM.

Whitened by the inputs that layers have on calibration text (arXiv 2403.07378), or, with
``svd(whiten=false)``, the plain singular value decomposition of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..layouts import get
from ..library import Library
from ..modules import Factors
from ..sites import Place, Variant
from ..whitening import Spectra, names
from .low_rank import FactorsForm, at_densities


@dataclass(frozen=True)
class SVD:
    """Levels are densities: shares of a linear layer's weights that its two factors may take.

    Args:
        whiten: Weigh by the inputs.
    """

    name: str = "svd"
    levels: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    scorer: str | None = None
    whiten: bool = True

    @property
    def learner(self) -> Spectra:
        """What learns from the text, shared by all kinds that want the same."""
        return Spectra(self.whiten)

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct set of ranks; none where nothing gets smaller."""

        def module(path: str, rank: int) -> nn.Module:
            layer: Any = get(place.block.module, path)
            first, second = (library.fitted(self)[name] for name in names(place.block, path))
            first, second = first[:rank].clone(), second[:, :rank].contiguous()
            return Factors(
                first.to(layer.weight.device), second.to(layer.weight.device), layer.bias
            )

        return at_densities(place, self.name, FactorsForm(), levels, module)


SVD_LLM = SVD()
