"""Where a bypass stands in a block: what it replaces, what it costs, what an export must know.

A block site is bypassed at its feed-forward, with the attention removed, so that the block's own
``forward`` still runs and norms after the residual sums (BERT) stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from evo.errors import ConfigError

from .layouts import get, without_attention
from .models import Block
from .sites import Cost, Place, Replacements


def replacements(
    block: Block, kind: str, module: nn.Module, *, normalised: bool = False
) -> Replacements:
    """Modules by path with which a bypass takes a submodule's or a block's place.

    Args:
        block: The dense block; not modified.
        kind: ``attention``, ``feed_forward`` or ``block``.
        module: The bypass.
        normalised: Whether the norm before the submodule stays and the bypass reads its output.

    Raises:
        ConfigError: The feed-forward's activation cannot be taken out of the block.
    """
    place, passed = _paths(block, kind, normalised)
    made: dict[str, nn.Module] = {place: module}
    made |= {path: nn.Identity() for path in passed}
    return (without_attention(block.module, block.layout) | made) if kind == "block" else made


def shape(
    block: Block, kind: str, type_: str, sizes: Mapping[str, Any], *, normalised: bool = False
) -> Mapping[str, Any]:
    """What an exported model must know of a bypass; see :class:`problems.pruning.sites.Variant`."""
    place, passed = _paths(block, kind, normalised)
    modules: dict[str, Any] = {place: {"type": type_, **sizes}}
    modules |= {path: {"type": "identity"} for path in passed}
    return {"modules": modules} | ({"skip": ["attention"]} if kind == "block" else {})


def cost(
    place: Place, weights: int, macs: int, *, offsets: int = 0, normalised: bool = False
) -> Cost:
    """Cost of a bypass with the norms that stay; keys and values are no longer kept.

    Args:
        place: Where it stands.
        weights: Entries of its matrices.
        macs: Multiply-accumulates per token.
        offsets: Entries of its constant.
        normalised: Whether the norm before the submodule stays.
    """
    total = weights + offsets + _staying(place, normalised)
    return Cost(total, float(macs), total * place.itemsize, 0, weights)


def type_of(kind: str) -> str:
    """Type of the module in an export."""
    return "attention-bypass" if kind == "attention" else "bypass"


def _paths(block: Block, kind: str, normalised: bool) -> tuple[str, list[str]]:
    """Where the bypass stands, and what must pass its input or output on unchanged."""
    layout = block.layout
    if kind == "attention":
        place, norms = layout.attention, layout.attention_norms
        inside = layout.output.startswith(layout.attention + ".")
        passed = [] if inside else [layout.output]
    else:
        norms = layout.feed_forward_norms
        place = layout.feed_forward or layout.ups[0]
        passed = [] if layout.feed_forward else [_activation(block), layout.down]
    return place, [*passed, *(norms[1:] if normalised else norms)]


def _activation(block: Block) -> str:
    path = block.layout.activation
    if path is None or path not in dict(block.module.named_modules()):
        raise ConfigError(
            f"block {block.index} has its feed-forward's activation in its own code, so nothing "
            "linear can take the feed-forward's place",
            hint="choose removal or width there",
        )
    return path


def _staying(place: Place, normalised: bool) -> int:
    """Parameters of the site's norms that a bypass leaves in place."""
    block = place.block
    norms = block.layout.attention_norms
    if place.kind == "feed_forward":
        norms = block.layout.feed_forward_norms
    if place.kind != "block":
        kept = norms[:1] if normalised else ()
        return sum(p.numel() for path in kept for p in get(block.module, path).parameters())
    gone = replacements(block, "block", nn.Identity(), normalised=normalised)
    staying = {
        id(p): p.numel()
        for name, p in block.module.named_parameters()
        if not any(name.startswith(path + ".") for path in gone)
    }
    return sum(staying.values())
