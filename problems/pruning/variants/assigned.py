"""Assigned sparsity: every linear layer has the one share that an allocator gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import updates
from ..allocate import Layer, Share
from ..calibration import Calibration
from ..importance import find, gone_by_count, gone_by_row, gone_from, row_zeros
from ..layouts import get, matrix, with_weight
from ..library import Library
from ..models import Block
from ..sites import Place, Replacements, Variant
from .sparsity import masked
from .updates import SPARSEGPT


@dataclass(frozen=True, eq=False)
class Assigned:
    """The lowest-scored weights of each linear layer are zero, as many as it was assigned.

    One share for a layer counts by the scorer's own rule, where ``pooled`` takes exactly
    int(numel·s); shares of single rows count as the ``row`` rule does.

    Args:
        by: The scorer.
        shares: Share removed of every linear layer, or of each of its rows.
    """

    by: str
    shares: Mapping[Layer, Share]
    levels: tuple[float, ...] = ()
    scorer: str | None = None

    @property
    def name(self) -> str:
        """That of the scorer."""
        return self.by

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant; every place has linear layers."""

        def gone(path: str) -> torch.Tensor:
            return self._gone(place.block, path, library)

        zeros = sum(self._zeros(place, path, gone) for path in place.linears)
        return [masked(place, name_of(self.by, place, self.shares), self.by, zeros, gone)]

    def _gone(self, block: Block, path: str, library: Library) -> torch.Tensor:
        scores, chosen = library.scores(self.by, block, path), find(self.by)
        share = self.shares[block.index, path]
        if isinstance(share, np.ndarray):
            return gone_by_row(scores, share, chosen.counts)
        if chosen.rule == "pooled":
            return gone_by_count(scores, [int(scores.numel() * share)]) == 0
        return gone_from(scores, chosen.rule, [share], chosen.counts) == 0

    def _zeros(self, place: Place, path: str, gone: Any) -> int:
        """Zeros of one layer; without its mask where the rule alone says how many."""
        share, (out, into) = self.shares[place.block.index, path], place.shapes()[path]
        chosen = find(self.by)
        if isinstance(share, np.ndarray) or chosen.rule == "row":
            return row_zeros(into, np.broadcast_to(share, out), chosen.counts)
        return int(gone(path).sum())


@dataclass(frozen=True, eq=False)
class AssignedUpdates:
    """SparseGPT's weights of each linear layer at the share it was assigned.

    Only these are computed, so memory and disk hold the model once whatever the number of
    different shares.

    Args:
        shares: Share removed of every linear layer; 0 leaves it as it is.
    """

    shares: Mapping[Layer, float]
    name: str = SPARSEGPT.name
    levels: tuple[float, ...] = ()
    scorer: str | None = None
    version: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What the weights depend on besides model and text."""
        return {"shares": {f"{block}.{path}": s for (block, path), s in self.shares.items()}}

    def fit(self, calibration: Calibration) -> Iterator[dict[str, torch.Tensor]]:
        """New weights of each linear layer and the number of their zeros, a layer at a time."""
        pretrained, batches = calibration.pretrained, calibration.batches
        layers = updates.factored(pretrained, batches, calibration.blocks)
        for block, path, upper, dead in layers:
            share = self.shares[block.index, path]
            if share > 0:
                weight = matrix(get(block.module, path)).detach()
                changed = updates.prune(weight, upper, dead, share).cpu().contiguous()
                key = f"{block.index}.{path}"
                yield {key: changed, f"{key}.zeros": (changed == 0).sum()}

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant; every place has linear layers."""
        fitted, index = library.fitted(self), place.block.index
        changed = {p: f"{index}.{p}" for p in place.linears if self.shares[index, p] > 0}

        def build() -> Replacements:
            made = {}
            for path, key in changed.items():
                layer = get(place.block.module, path)
                made[path] = with_weight(layer, fitted[key].to(matrix(layer).device), None)
            return made

        zeros = sum(int(fitted[f"{key}.zeros"]) for key in changed.values())
        name, share = name_of(self.name, place, self.shares), zeros / place.weight_count()
        return [Variant(name, self.name, place.cost(zeros=zeros), build, {}, share)]


def of_scorer(scorer: str, shares: Mapping[Layer, Share]) -> Assigned | AssignedUpdates:
    """The kind that removes assigned shares under a scorer, or with SparseGPT's updates.

    SparseGPT has no shares of single rows; it takes their mean.

    Raises:
        ConfigError: No such scorer.
    """
    if scorer == SPARSEGPT.name:
        means = {layer: float(np.mean(share)) for layer, share in shares.items()}
        return AssignedUpdates(means)
    return Assigned(find(scorer, [SPARSEGPT.name]).name, shares)


def name_of(kind: str, place: Place, shares: Mapping[Layer, Share]) -> str:
    """Kind and mean share of a place's weights, e.g. ``wanda-0.55``."""
    sizes = {path: out * into for path, (out, into) in place.shapes().items()}
    removed = sum(n * float(np.mean(shares[place.block.index, p])) for p, n in sizes.items())
    return f"{kind}-{removed / sum(sizes.values()):g}"
