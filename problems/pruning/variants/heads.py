"""Heads: an attention keeps its most important key/value groups with the query heads they serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..layouts import keep_groups
from ..library import Library
from ..sites import Place, Replacements, Variant


@dataclass(frozen=True)
class HeadGroups:
    """Levels are shares of groups kept, rounded to whole groups."""

    name: str = "heads"
    levels: tuple[float, ...] = (0.25, 0.5, 0.75)
    scorer: str | None = None

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct number of groups at attentions; nothing elsewhere."""
        if place.kind != "attention":
            return []
        full = place.block.heads.groups
        found = {}
        for level in levels:
            kept = max(1, int(full * level + 0.5))
            if kept < full:
                found.setdefault(kept, _variant(place, library, kept))
        return list(found.values())


def _variant(place: Place, library: Library, kept: int) -> Variant:
    layout, heads = place.block.layout, place.block.heads
    query, keys = kept * heads.per_group * heads.size, kept * heads.size
    dense = place.shapes()
    rows = (query, keys, keys) if len(layout.queries) == 3 else (query + 2 * keys,)
    shapes = {p: (r, dense[p][1]) for p, r in zip(layout.queries, rows, strict=True)}
    shapes[layout.output] = (dense[layout.output][0], query)

    def build() -> Replacements:
        chosen = library.groups(place.block)[:kept].sort().values
        return keep_groups(place.block.module, layout, heads, chosen)

    count = kept * heads.per_group
    shape = {"num_attention_heads": count, "num_key_value_heads": kept}
    return Variant(f"heads-{count}", "heads", place.cost(shapes, groups=kept), build, shape)


HEADS = HeadGroups()
