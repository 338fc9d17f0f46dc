"""What an exported model looks like: which blocks stay, what differs in them, and its config."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from evo.errors import ModelError

from ..models import Pretrained
from ..modules import CACHELESS, MODULES
from ..sites import SiteTable, Variant
from .shim import WIDTHS, Pruned, own_name

PREFIX = "Pruned"


@dataclass(frozen=True)
class BlockPlan:
    """One block of the dense model and what is chosen there.

    Args:
        index: Its position in the dense model.
        chosen: Variant per site name of this block, in order.
        dropped: Whether the block leaves the list: it would pass its input on.
        skip: Submodules that are gone from a block that stays.
        groups: Key/value groups kept, or None for all.
        width: Neurons kept, or None for all.
        modules: Path → type and sizes of what stands where a linear layer or submodule was.
    """

    index: int
    chosen: Mapping[str, Variant]
    dropped: bool = False
    skip: tuple[str, ...] = ()
    groups: int | None = None
    width: int | None = None
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[Any, ...]:
        """What decides the shapes of the block's tensors."""
        other = tuple((path, tuple(said.items())) for path, said in sorted(self.modules.items()))
        return self.skip, self.groups, self.width, other

    @property
    def caches(self) -> bool:
        """Whether it has an attention that keeps keys and values."""
        bypassed = any(said["type"] in CACHELESS for said in self.modules.values())
        return "attention" not in self.skip and not bypassed


@dataclass(frozen=True)
class Plan:
    """A candidate as blocks, and the config that rebuilds it."""

    blocks: tuple[BlockPlan, ...]
    plain: bool
    config: Any
    packed: Mapping[str, int] = field(default_factory=dict)  # linear layer → weights not zero

    @property
    def kept(self) -> list[BlockPlan]:
        """Blocks that stay in the list."""
        return [b for b in self.blocks if not b.dropped]

    def model_class(self, pretrained: Pretrained) -> Any:
        """The class that opens the export."""
        base = type(pretrained.model)
        if self.plain:
            return base
        own = {"blocks_path": pretrained.blocks_path}
        return type(PREFIX + base.__name__, (Pruned, base), own)

    def empty_model(self, pretrained: Pretrained) -> Any:
        """The exported model without weights, on the meta device."""
        with torch.device("meta"):
            return self.model_class(pretrained)(copy.deepcopy(self.config))


def plan_blocks(
    pretrained: Pretrained, table: SiteTable, choices: Sequence[int]
) -> tuple[BlockPlan, ...]:
    """Every block with its choices read as shapes.

    Raises:
        ModelError: A variant has a shape that exports do not know.
    """
    columns = table.by_block()
    plans = []
    for block in pretrained.blocks:
        chosen = {
            table.sites[c].name: table.sites[c].variants[int(choices[c])]
            for c in columns.get(block.index, [])
        }
        told: dict[str, Any] = {"skip": [], "modules": {}}
        for variant in chosen.values():
            shape = dict(variant.shape)
            told["skip"] = [*told["skip"], *shape.pop("skip", [])]
            told["modules"] = told["modules"] | dict(shape.pop("modules", {}))
            told.update(shape)
        plans.append(_block(pretrained, block.index, chosen, told))
    return _at_least_one(pretrained, plans)


def _block(
    pretrained: Pretrained, index: int, chosen: Mapping[str, Variant], told: dict[str, Any]
) -> BlockPlan:
    skip = set(told.pop("skip"))
    width, groups = told.pop("intermediate_size", None), told.pop("num_key_value_heads", None)
    told.pop("num_attention_heads", None)
    modules = told.pop("modules")
    unknown = sorted({said["type"] for said in modules.values()} - MODULES.keys())
    if unknown:
        raise ModelError(
            f"block {index} has a module of a type that exports do not know: {unknown[0]}",
            hint=f"exports know {', '.join(MODULES)}, and the model's own layers",
        )
    if told or not skip <= {"attention", "feed_forward", "block"}:
        names = ", ".join(sorted(told) or sorted(skip))
        raise ModelError(
            f"block {index} has a variant of a shape that exports do not know: {names}"
        )
    whole = "block" in skip
    both = {"attention", "feed_forward"} if whole else skip
    passes = whole or (len(both) == 2 and bool(pretrained.blocks[index].layout.attention_norms))
    dropped = passes and not getattr(
        pretrained.config, "scale_attn_by_inverse_layer_idx", False
    )  # GPT-2 may compute with a block's position
    return BlockPlan(index, chosen, dropped, tuple(sorted(both)), groups, width, modules)


def _at_least_one(pretrained: Pretrained, plans: list[BlockPlan]) -> tuple[BlockPlan, ...]:
    """Keep an empty first block when no other is left: somebody must count positions."""
    if all(p.dropped for p in plans):
        if not pretrained.blocks[0].layout.attention_norms:
            raise ModelError("nothing is left of this candidate: every block is removed")
        first = plans[0]
        plans[0] = BlockPlan(first.index, first.chosen, False, first.skip)
    return tuple(plans)


def make_plan(
    pretrained: Pretrained,
    blocks: tuple[BlockPlan, ...],
    state: Mapping[str, torch.Tensor],
    packed: Mapping[str, int],
    facts: Mapping[str, Any],
) -> Plan:
    """The plain form if the model's own config can say it, else the form with a loader beside it.

    Args:
        pretrained: The dense model.
        blocks: What is chosen.
        state: Tensors of the pruned model, blocks renumbered.
        packed: Linear layers that are stored packed, and how many weights each keeps.
        facts: Said in the config under ``evo_pruning``.
    """
    kept = [b for b in blocks if not b.dropped]
    simple = not kept[0].skip and not kept[0].modules
    if not packed and len({b.shape for b in kept}) == 1 and simple:
        plan = _plain(pretrained, blocks, kept[0], facts)
        if plan is not None and _fits(plan, pretrained, state):
            return plan
    config = _config(pretrained, kept, _architecture(pretrained, plain=False), {})
    facts = dict(facts) | ({"packed": dict(packed)} if packed else {})
    other = {str(i): {p: dict(m) for p, m in b.modules.items()} for i, b in enumerate(kept)}
    facts |= {"modules": {i: m for i, m in other.items() if m}} if any(other.values()) else {}
    layers = {i: _layer(config, b, pretrained) for i, b in enumerate(kept)}
    layers = {i: layer for i, layer in layers.items() if layer}
    said = {**config, "evo_pruning": facts, "auto_map": _auto_map(pretrained)}
    said |= {"per_layer_config": layers} if layers else {}
    return Plan(blocks, False, _read(pretrained, said), packed)


def _read(pretrained: Pretrained, said: dict[str, Any]) -> Any:
    """The config object; dense numbers can be read off it only where something insists.

    Where they cannot, a library without the loader stops before it builds the dense shapes. But a
    decoder's positions are made from the dense number of heads, also while it runs.
    """
    heads = own_name(pretrained.config, "num_attention_heads")
    read = any(heads in layer for layer in said.get("per_layer_config", {}).values())
    lenient = said | {"allow_global_per_layer_attribute_access": True}
    if pretrained.kind == "lm" and read:
        return type(pretrained.config).from_dict(lenient)
    try:
        return type(pretrained.config).from_dict(said)
    except Exception:  # the config's own checks read such a number
        return type(pretrained.config).from_dict(lenient)


def _plain(
    pretrained: Pretrained, blocks: tuple[BlockPlan, ...], like: BlockPlan, facts: Mapping[str, Any]
) -> Plan | None:
    kept = [b for b in blocks if not b.dropped]
    config = _config(pretrained, kept, _architecture(pretrained, plain=True), facts)
    try:
        config |= _layer(config, like, pretrained)
        return Plan(blocks, True, type(pretrained.config).from_dict(config))
    except Exception:  # the config refuses such numbers, for example 3 heads of 32 features
        return None


def _fits(plan: Plan, pretrained: Pretrained, state: Mapping[str, torch.Tensor]) -> bool:
    """Whether the class builds exactly the pruned model's tensors from the config."""
    try:
        empty = plan.empty_model(pretrained).state_dict()
    except Exception:  # so does the model, for example heads that do not divide
        return False
    return {k: v.shape for k, v in empty.items()} == {k: v.shape for k, v in state.items()}


def _config(
    pretrained: Pretrained, kept: Sequence[BlockPlan], architecture: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The dense config for the blocks that stay, as JSON."""
    dense = pretrained.config.to_dict()
    n, indices = len(pretrained.blocks), [b.index for b in kept]
    said: dict[str, Any] = {
        key: [value[i] for i in indices]
        if isinstance(value, (list, tuple)) and len(value) == n and "layer" in key
        else value
        for key, value in dense.items()
    }
    if said.get("layer_types"):
        said["layer_types"] = _layer_types(said["layer_types"], kept)
    said[own_name(pretrained.config, "num_hidden_layers")] = len(kept)
    said |= {
        "architectures": [architecture],
        "dtype": str(pretrained.dtype).removeprefix("torch."),
    }
    return said | ({"evo_pruning": dict(facts)} if facts else {})


def _layer_types(types: Sequence[str], kept: Sequence[BlockPlan]) -> list[str]:
    """Layer types; a block without attention takes that of the first attention that is left.

    It has no use for its own, and each type must have an attention whose cache tells positions.
    """
    left = [t for t, b in zip(types, kept, strict=True) if b.caches]
    other = (left or list(types))[0]
    return [t if b.caches else other for t, b in zip(types, kept, strict=True)]


def _layer(config: Mapping[str, Any], block: BlockPlan, pretrained: Pretrained) -> dict[str, Any]:
    """What a block's config says otherwise than the dense one, under the config's own names."""
    said: dict[str, Any] = {"skip": list(block.skip)} if block.skip else {}
    if block.width is not None and "feed_forward" not in block.skip:
        name = next((n for n in WIDTHS if n in config), None)
        if name is None:
            raise ModelError(f"the config of {pretrained.name} has no name for its inner width")
        said[name] = block.width
    if block.groups is not None and "attention" not in block.skip:
        per_group = pretrained.blocks[block.index].heads.per_group
        said[own_name(pretrained.config, "num_attention_heads")] = block.groups * per_group
        if "num_key_value_heads" in config:
            said["num_key_value_heads"] = block.groups
    return said


def _architecture(pretrained: Pretrained, *, plain: bool) -> str:
    name = type(pretrained.model).__name__
    return name if plain else PREFIX + name


def _auto_map(pretrained: Pretrained) -> dict[str, str]:
    auto = "AutoModelForCausalLM" if pretrained.kind == "lm" else "AutoModel"
    return {auto: f"modeling_evo.{_architecture(pretrained, plain=False)}"}
