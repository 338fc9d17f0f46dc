"""The tensors of an exported model: cut, renumbered, and packed where that is smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from evo.errors import ModelError

from ..cost import pruned_model
from ..layouts import get, twin
from ..models import Pretrained
from ..sites import SiteTable
from .plan import BlockPlan, Plan
from .shim import pack_bits


def smaller_model(
    pretrained: Pretrained, table: SiteTable, choices: Sequence[int], blocks: Sequence[BlockPlan]
) -> Any:
    """The candidate without the blocks that leave the list; shares the dense model's weights."""
    model = pruned_model(pretrained, table, choices)
    listed: Any = get(model, pretrained.blocks_path)
    left = nn.ModuleList(m for m, plan in zip(listed, blocks, strict=True) if not plan.dropped)
    return twin(model, {pretrained.blocks_path: left})


def sparse_layers(blocks_path: str, blocks: Sequence[BlockPlan], table: SiteTable) -> list[str]:
    """Paths of the linear layers with chosen zeros, blocks numbered as in the export."""
    linears = {site.name: site.place.linears for site in table.sites}
    kept = [b for b in blocks if not b.dropped]
    return [
        f"{blocks_path}.{position}.{path}"
        for position, block in enumerate(kept)
        for name, variant in block.chosen.items()
        if variant.sparsity
        for path in linears[name]
    ]


def worth_packing(state: Mapping[str, torch.Tensor], layers: Sequence[str]) -> dict[str, int]:
    """Sparse layers that take fewer bytes as a bitmap and values, with their number of values."""
    found = {}
    for path in layers:
        weight = state[f"{path}.weight"]
        values = int(torch.count_nonzero(weight))
        if (weight.numel() + 7) // 8 + values * weight.element_size() < weight.nbytes:
            found[path] = values
    return found


def file_tensors(
    plan: Plan, pretrained: Pretrained, state: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Every tensor of the export's files by name.

    Args:
        plan: The export.
        pretrained: The dense model.
        state: Tensors of the pruned model, blocks renumbered.

    Raises:
        ModelError: What the export would build is not what was pruned.
    """
    wanted = plan.empty_model(pretrained).state_dict()
    made = dict(state)
    for path in plan.packed:
        weight = made.pop(f"{path}.weight")
        kept = weight != 0
        made[f"{path}.mask"], made[f"{path}.values"] = pack_bits(kept), weight[kept]
    for name in wanted.keys() - made.keys():
        plain = name.replace(".inner.", ".")
        if plain != name and plain in made:  # see modules.Behind
            made[name] = made.pop(plain)
    for name, tensor in wanted.items():
        if not tensor.numel() and name not in made:
            made[name] = torch.empty(tensor.shape, dtype=pretrained.dtype)
    wrong = sorted(
        {k for k in wanted if k not in made or wanted[k].shape != made[k].shape}
        | (made.keys() - wanted.keys())
    )
    if wrong:
        raise ModelError(
            f"a chosen variant cannot be exported: its tensor {wrong[0]!r} is not what the shape "
            "that it declares would build"
        )
    return {name: made[name] for name in wanted}
