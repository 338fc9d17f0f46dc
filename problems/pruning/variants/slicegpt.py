"""Fewer channels in a rotated basis, as in SliceGPT (Ashkboos et al., arXiv 2401.15024), per site.

Q are the principal directions of what a submodule reads, Q' those of what it adds. The layers that
read get W Q[:, :k], the last one Q'[:, :k]ᵀ W; Q[:, :k]ᵀ leads into the submodule and Q'[:, :k] out
of it, both always. With all channels, nothing changes.

The paper narrows the residual sum itself, and pays k × k matrices on the shortcut wherever the
basis changes. Here the sum keeps its width and its basis, and each submodule brings two d × k
matrices. So every site is free to choose for itself beside all other choices, nothing on the
shortcut is lost, embeddings and norms stay, and every width is a prefix of one rotation that is
learnt once. It costs more parameters. In a block of LLaMA-2-7B (d = 4096, h = 11008), widths
rounded down to multiples of 8, slicing changes the number of weights by

| channels dropped | paper | attention here | feed-forward here | block here, both sliced |
|---|---|---|---|---|
| 10 % | +3.2 % | +34.8 % | +12.1 % | +19.6 % |
| 20 % | -9.5 % | +19.8 % | -0.3 % | +6.4 % |
| 25 % | -15.7 % | +12.5 % | -6.4 % | -0.1 % |
| 30 % | -22.0 % | +4.9 % | -12.7 % | -6.9 % |
| 40 % | -34.1 % | -10.1 % | -25.2 % | -20.2 % |
| 50 % | -45.9 % | -25.0 % | -37.6 % | -33.4 % |

Where the change is no saving, there is no variant.

The paper learns each basis behind what is sliced already. Bases here are those of the dense model;
polishing a chosen candidate learns them again block by block on its pruned prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evo.errors import ConfigError

from ..bases import PrincipalBases, names
from ..layouts import Layout, get
from ..library import Library
from ..sites import Cost, Place, Replacements, Variant
from ..sliced import sliced
from .low_rank import require_multiple

PARTS = {
    "attention": ("attention",),
    "feed_forward": ("feed_forward",),
    "block": ("attention", "feed_forward"),
}
"""Submodules of each kind of site; single linear layers have no choice of this kind."""


@dataclass(frozen=True)
class SliceGPT:
    """Levels are shares of the hidden channels that are dropped.

    Args:
        multiple: Numbers of channels are rounded down to multiples of it.
    """

    name: str = "slicegpt"
    levels: tuple[float, ...] = (0.25, 0.375, 0.5, 0.625, 0.75)
    scorer: str | None = None
    multiple: int = 8

    def __post_init__(self) -> None:
        require_multiple(self.name, self.multiple)

    @property
    def learner(self) -> PrincipalBases:
        """What learns from the text, shared by all kinds that want the same."""
        return PrincipalBases()

    def variants(self, place: Place, library: Library, levels: Sequence[float]) -> list[Variant]:
        """One variant per distinct width at attentions, feed-forwards and blocks that is smaller.

        Raises:
            ConfigError: A level leaves no channel.
        """
        if place.kind not in PARTS:
            return []
        found: dict[int, Variant] = {}
        for level in levels:
            width = self._width(level, channels(place))
            smaller = width * weights_per_channel(place) < place.weight_count()
            if smaller and width not in found:
                found[width] = self._variant(place, library, level, width)
        return list(found.values())

    def _width(self, level: float, hidden: int) -> int:
        width = kept(level, hidden, self.multiple)
        if not width:
            raise ConfigError(
                f"variant {self.name!r} at level {level:g} keeps {kept(level, hidden, 1)} of "
                f"{hidden} channels, which rounds down to none in multiples of {self.multiple}",
                hint="ask for a lower level, or a smaller multiple, as in slicegpt(multiple=1)",
            )
        return width

    def _variant(self, place: Place, library: Library, level: float, width: int) -> Variant:
        block = place.block
        stands = {part: wrappers(block.layout, part) for part in PARTS[place.kind]}

        def build() -> Replacements:
            made = {}
            for part, found in stands.items():
                read, given = (library.fitted(self)[name][:width] for name in names(block, part))
                for path, inside in found.items():
                    made[path] = sliced(get(block.module, path), read, given, *inside)
            return made

        modules = {
            path: {"type": "sliced", "width": width, "entering": entering, "leaving": leaving}
            for found in stands.values()
            for path, (entering, leaving) in found.items()
        }
        cost = _cost(place, width)
        return Variant(f"{self.name}-{level:g}", "slicegpt", cost, build, {"modules": modules})


def kept(level: float, hidden: int, multiple: int = 8) -> int:
    """int((1 - level) · hidden), rounded down to a multiple.

    A product that misses a whole number by the rounding of floats counts as that number.
    """
    width = int(round((1 - level) * hidden, 6))
    return width - width % multiple


def channels(place: Place) -> int:
    """Channels of the residual sum."""
    layout = place.block.layout
    return place.shapes()[layout.down if place.kind == "feed_forward" else layout.output][0]


def wrappers(layout: Layout, part: str) -> Mapping[str, tuple[tuple[str, ...], str | None]]:
    """Where a submodule's entry and exit stand: one module, or two if none holds all its layers.

    Returns:
        By path in the block, paths below it of the layers that read and of the one that gives.
    """
    module, first, last = layout.attention, layout.queries, layout.output
    if part == "feed_forward":
        if layout.feed_forward is None:
            return dict.fromkeys(layout.ups, (("",), None)) | {layout.down: ((), "")}
        module, first, last = layout.feed_forward, layout.ups, layout.down
    prefix = f"{module}."
    entering = tuple(path.removeprefix(prefix) for path in first)
    if last.startswith(prefix):
        return {module: (entering, last.removeprefix(prefix))}
    return {module: (entering, None), last: ((), "")}


def weights_per_channel(place: Place) -> int:
    """Weights that each channel kept takes: in the layers' matrices, and in those around them."""
    layout, shapes, total = place.block.layout, place.shapes(), 0
    for part in PARTS[place.kind]:
        attends = part == "attention"
        reading = layout.queries if attends else layout.ups
        total += sum(shapes[path][0] for path in reading)
        total += shapes[layout.output if attends else layout.down][1]
        total += _matrices(layout, part) * channels(place)
    return total


def _matrices(layout: Layout, part: str) -> int:
    """Entries and exits of a submodule."""
    found = wrappers(layout, part).values()
    return sum(bool(entering) + (leaving is not None) for entering, leaving in found)


def _cost(place: Place, width: int) -> Cost:
    layout, dense, hidden = place.block.layout, place.shapes(), channels(place)
    shapes: dict[str, tuple[int, int]] = {}
    extra = 0
    for part in PARTS[place.kind]:
        attends = part == "attention"
        reading = layout.queries if attends else layout.ups
        last = layout.output if attends else layout.down
        shapes |= {path: (dense[path][0], width) for path in reading}
        shapes[last] = (width, dense[last][1])
        extra += _matrices(layout, part) * hidden * width
    return place.cost(shapes, sizes={"entries and exits": (extra, extra)})


SLICEGPT = SliceGPT()
