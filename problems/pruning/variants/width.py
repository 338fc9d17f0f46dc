"""Width: a feed-forward keeps its most important neurons, physically fewer rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evo.errors import ConfigError

from ..layouts import get, keep_neurons
from ..library import Library
from ..sites import Place, Replacements, Variant, shape_of


@dataclass(frozen=True)
class Width:
    """Levels are shares of neurons kept, rounded to multiples where there are 64 neurons or more.

    Args:
        name: Id.
        levels: Shares kept.
        scorer: None; neurons are ranked by the library.
        multiple: What widths are multiples of; 8 suits most hardware, 1 rounds to single neurons.
    """

    name: str = "width"
    levels: tuple[float, ...] = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
    scorer: str | None = None
    multiple: int = 8

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise ConfigError(
                f"multiple of variant 'width' must be at least 1, got {self.multiple}"
            )

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct width at feed-forwards; nothing elsewhere."""
        if place.kind != "feed_forward":
            return []
        _, full = shape_of(get(place.block.module, place.block.layout.down))
        found = {}
        for level in levels:
            width = rounded(full * level, full, self.multiple)
            if 0 < width < full:
                found.setdefault(width, _variant(place, library, level, width))
        return list(found.values())


def rounded(width: float, full: int, multiple: int = 8) -> int:
    """Nearest multiple (of 1 below 64 neurons), at least one step."""
    step = multiple if full >= 64 else 1
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
