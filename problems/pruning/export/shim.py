"""Rebuilds the pruned blocks of an exported model when it is opened.

Exported models carry a copy of this file and of those beside it that it needs
(:mod:`problems.pruning.layouts`, :mod:`problems.pruning.modules`), so that they open with torch and
transformers alone. The model is built with the dense shapes that its ``config.json`` states, then
cut as ``per_layer_config`` says, then the weights are read into what is left.

What was removed keeps a tensor without elements under its old name. Nothing else has such shapes:
a library that ignores this file stops at the first of them instead of inventing random weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..layouts import (
    Layout,
    NoAttention,
    count_heads,
    find_layout,
    get,
    keep_groups,
    keep_neurons,
    without_attention,
    without_feed_forward,
)
from ..modules import MODULES, AttentionBypass, share
from ..sliced import Sliced

CACHES = ("cache", "past_key_values", "layer_past")
"""What versions and families of transformers call the cache that an attention is given."""

WIDTHS = ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim")


class Pruned:
    """Mixin before a transformers model class: cuts the blocks of what that class builds."""

    blocks_path: str
    config: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        model: Any = self
        base: Any = super()
        with _dense(config) as layers:
            base.__init__(config, *args, **kwargs)
            for index, made in facts(config).get("modules", {}).items():
                layers.setdefault(int(index), {})["modules"] = made
            cut_blocks(get(model, self.blocks_path), layers, config)
            share(model)
        for path, count in facts(config).get("packed", {}).items():
            _put(model, path, Packed(get(model, path), count))
        for p in model.parameters():
            p.requires_grad_(p.is_floating_point())  # indices of rows are no weights

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Open as usual; sparse weights are unpacked once they are read."""
        base: Any = super()
        found = base.from_pretrained(*args, **kwargs)
        unpack(found[0] if isinstance(found, tuple) else found)
        return found

    def _get_static_cache_init_shape(self) -> None:
        """Static caches are laid out as each attention fills them: their head counts differ."""
        return


class Packed(nn.Module):
    """A sparse linear layer as it is stored: one bit per weight, and the weights that are not zero.

    Args:
        layer: The layer with its full shape; its weight may be on the meta device.
        count: Number of weights that are not zero.
    """

    weight: torch.Tensor
    mask: torch.Tensor
    values: torch.Tensor

    def __init__(self, layer: nn.Module, count: int) -> None:
        super().__init__()
        weight: Any = layer.weight
        self.__dict__["layer"] = layer  # no submodule: its weight is not in the file
        self.register_buffer("weight", weight.new_empty((0, *weight.shape[1:])))
        bits = (weight.numel() + 7) // 8
        self.register_buffer("mask", weight.new_zeros(bits, dtype=torch.uint8))
        self.register_buffer("values", weight.new_zeros(count))
        self.bias = layer.bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the layer gives; for models that were not opened with ``from_pretrained``."""
        return self.unpacked()(hidden_states)

    def unpacked(self) -> nn.Module:
        """The ordinary layer, zeros in place."""
        layer: Any = self.__dict__["layer"]
        shape = layer.weight.shape
        kept = unpack_bits(self.mask, shape.numel()).reshape(shape)
        weight = self.values.new_zeros(shape).masked_scatter_(kept, self.values)
        layer.weight, layer.bias = nn.Parameter(weight), self.bias
        return layer


def facts(config: Any) -> dict[str, Any]:
    """What an export says of itself beside the shapes that the library's own config can state."""
    return dict(getattr(config, "evo_pruning", None) or {})


def pack_bits(kept: torch.Tensor) -> torch.Tensor:
    """A boolean tensor as bytes, eight per byte, lowest bit first; (ceil(elements / 8),)."""
    flat = kept.reshape(-1).to(torch.uint8)
    flat = nn.functional.pad(flat, (0, -len(flat) % 8)).reshape(-1, 8)
    powers = 2 ** torch.arange(8, dtype=torch.uint8, device=flat.device)
    return (flat * powers).sum(1, dtype=torch.uint8)


def unpack_bits(packed: torch.Tensor, count: int) -> torch.Tensor:
    """The first ``count`` bits as booleans, (count,)."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (packed[:, None] >> shifts).bitwise_and(1).reshape(-1)[:count].bool()


def unpack(model: Any) -> None:
    """Replace every packed layer by the ordinary one, in place."""
    packed = {path: m for path, m in model.named_modules() if isinstance(m, Packed)}
    for path, module in packed.items():
        _put(model, path, module.unpacked())
    if packed:  # saved again, the weights are ordinary ones
        facts = dict(model.config.evo_pruning)
        facts.pop("packed")
        model.config.evo_pruning = facts


def cut_blocks(blocks: Any, layers: Mapping[int, Mapping[str, Any]], config: Any) -> None:
    """Cut the blocks of a freshly built dense model in place, and number the caches that remain.

    Args:
        blocks: List of blocks.
        layers: What differs, by position of the block: ``skip``, width and head counts under the
            config's own names, and ``modules``, path → type and sizes.
        config: The dense config.
    """
    attentions = []
    for index, block in enumerate(blocks):
        layout = find_layout(block)
        if layout is None:
            raise ValueError(f"block {index} has a structure that this file does not know")
        dense = block.state_dict()
        for path, module in _replacements(block, layout, layers.get(index, {}), config).items():
            _put(block, path, module)
        _leave_empty(block, dense)
        attention = get(block, layout.attention)
        attentions.append(attention.inner if isinstance(attention, Sliced) else attention)
    _number_caches(attentions, getattr(config, "layer_types", None))


def _replacements(
    block: nn.Module, layout: Layout, layer: Mapping[str, Any], config: Any
) -> dict[str, nn.Module]:
    made: dict[str, nn.Module] = {}
    heads = count_heads(block, layout, config)
    groups = layer.get("num_key_value_heads")
    if groups is None:
        query = layer.get(own_name(config, "num_attention_heads"))
        groups = None if query is None else query // heads.per_group
    width = next((layer[name] for name in WIDTHS if name in layer), None)
    if "attention" in layer.get("skip", ()):
        made |= without_attention(block, layout)
    elif groups is not None:
        made |= keep_groups(block, layout, heads, torch.arange(groups))
    if "feed_forward" in layer.get("skip", ()):
        made |= without_feed_forward(block, layout)
    elif width is not None:
        made |= keep_neurons(block, layout, torch.arange(width))
    for path, said in layer.get("modules", {}).items():
        sizes = {key: value for key, value in said.items() if key != "type"}
        made[path] = MODULES[said["type"]](get(block, path), **sizes)
    return made


def own_name(config: Any, name: str) -> str:
    """What a config calls an attribute itself: GPT-2 says ``n_head``."""
    return getattr(config, "attribute_map", {}).get(name, name)


def _leave_empty(block: nn.Module, dense: Mapping[str, torch.Tensor]) -> None:
    """Give every tensor that a block lost an empty buffer under its old name."""
    left = block.state_dict()
    for key, tensor in dense.items():
        if key not in left:
            path, _, name = key.rpartition(".")
            empty = tensor.new_empty((0, *tensor.shape[1:]))
            _holder(block, path).register_buffer(name, empty)


def _holder(block: nn.Module, path: str) -> nn.Module:
    for name in path.split("."):
        if name not in block._modules:
            block.add_module(name, nn.Module())
        block = block.get_submodule(name)
    return block


def _number_caches(attentions: list[nn.Module], types: list[str] | None) -> None:
    """Let the attentions that remain fill the first places of a cache, apart for each layer type.

    Masks and positions are made from the first place of each type, which must therefore be filled.
    """
    taken: Counter[str | None] = Counter()
    kinds = list(types or [None] * len(attentions))
    for kind, attention in zip(kinds, attentions, strict=True):
        if isinstance(getattr(attention, "layer_idx", None), int):
            places = [i for i, other in enumerate(kinds) if other == kind]
            attention.layer_idx = places[taken[kind]]  # type: ignore[assignment]
            taken[kind] += 1
    if attentions and all(isinstance(a, (NoAttention, AttentionBypass)) for a in attentions):
        bypassed = isinstance(attentions[0], AttentionBypass)
        attentions[0].__class__ = BypassClock if bypassed else Clock  # keeps the tensors it holds


class Ticking:
    """Mixin of what stands where the first attention was in a model without any."""

    def forward(
        self, hidden_states: torch.Tensor, *args: object, **kwargs: Any
    ) -> tuple[torch.Tensor, None]:
        """What it gives anyway; one number per position goes to the cache, which tells time."""
        cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
        if cache is not None:
            ticks = hidden_states.new_zeros((hidden_states.shape[0], 1, hidden_states.shape[1], 1))
            cache.update(ticks, ticks, 0)
        inner: Any = super()
        return inner.forward(hidden_states, *args, **kwargs)


class Clock(Ticking, NoAttention):
    """Contributes nothing to the residual sum, and caches how far the text is."""


class BypassClock(Ticking, AttentionBypass):
    """Contributes a linear map of the residual sum, and caches how far the text is."""


@contextmanager
def _dense(config: Any) -> Iterator[dict[int, dict[str, Any]]]:
    """What differs per layer; meanwhile the config reads as that of the dense model."""
    said = config.to_dict().get("per_layer_config")
    if said:
        config.per_layer_config = None
    try:
        yield {int(index): dict(layer) for index, layer in (said or {}).items()}
    finally:
        if said:
            config.per_layer_config = said


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(get(root, parent), name, module)
