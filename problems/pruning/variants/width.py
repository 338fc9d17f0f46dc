"""Width: a feed-forward keeps its most important neurons, physically fewer rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..layouts import get, keep_neurons
from ..library import Library
from ..sites import Place, Replacements, Variant, shape_of


@dataclass(frozen=True)
class Width:
    """Levels are shares of neurons kept, rounded to multiples of 8 where there are that many."""

    name: str = "width"
    levels: tuple[float, ...] = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
    scorer: str | None = None

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct width at feed-forwards; nothing elsewhere."""
        if place.kind != "feed_forward":
            return []
        _, full = shape_of(get(place.block.module, place.block.layout.down))
        found = {}
        for level in levels:
            width = rounded(full * level, full)
            if 0 < width < full:
                found.setdefault(width, _variant(place, library, level, width))
        return list(found.values())


def rounded(width: float, full: int) -> int:
    """Nearest multiple of 8 (of 1 below 64 neurons), at least one step."""
    step = 8 if full >= 64 else 1
    return max(step, step * int(width / step + 0.5))


def _variant(place: Place, library: Library, level: float, width: int) -> Variant:
    layout = place.block.layout
    model_width = place.shapes()[layout.down][0]
    rows = 2 * width if layout.gated_in_one else width
    shapes = dict.fromkeys(layout.ups, (rows, model_width)) | {layout.down: (model_width, width)}

    def build() -> Replacements:
        kept = library.neurons(place.block)[:width].sort().values
        return keep_neurons(place.block.module, layout, kept)

    return Variant(
        f"width-{level:g}", "width", place.cost(shapes), build, {"intermediate_size": width}
    )


WIDTH = Width()
