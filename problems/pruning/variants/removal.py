"""Removal: an attention, a feed-forward or a whole block goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..layouts import without_attention, without_feed_forward
from ..library import Library
from ..sites import Place, Replacements, Variant


class Skip(nn.Module):
    """Stands where a block was: passes the hidden states on."""

    def forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """The input itself."""
        return hidden_states


@dataclass(frozen=True)
class Removal:
    """One choice: gone."""

    name: str = "removal"
    levels: tuple[float, ...] = ()
    scorer: str | None = None

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """``removed`` for attentions, feed-forwards and blocks; nothing for single layers."""
        if place.kind == "linear":
            return []
        shape = {"skip": [place.kind]}
        return [Variant("removed", "removal", place.nothing(), lambda: _gone(place), shape)]


def _gone(place: Place) -> Replacements:
    block, layout = place.block.module, place.block.layout
    if place.kind == "block":
        return {"": Skip()}
    return (
        without_attention(block, layout)
        if place.kind == "attention"
        else without_feed_forward(block, layout)
    )


REMOVAL = Removal()
