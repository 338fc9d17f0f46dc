"""What judging takes of memory whatever the number of candidates, mapped weights left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .models import Pretrained
from .pieces import LOGITS, POSITIONS
from .quality import TEACHER_LOGITS, TEACHER_TOP
from .sites import SiteTable
from .sweep import BUILT

ALLOCATOR = 8 << 20  # what the C library keeps of what was freed, and Python's own growth


def beside(
    pretrained: Pretrained,
    table: SiteTable,
    texts: Sequence[Sequence[Any]],
    tokens_at_once: int,
    *,
    states: int,
    by_layer: bool,
) -> int:
    """Bytes: text that entered the model, its teacher, variants, and what a forward pass needs.

    Args:
        pretrained: The dense model.
        table: Its sites.
        texts: Micro-batches of every split that is judged on.
        tokens_at_once: Most tokens of a micro-batch.
        states: Bytes of hidden states that are kept between calls.
        by_layer: Whether variants are built for one block at a time.
    """
    config, itemsize = pretrained.config, pretrained.dtype.itemsize
    tokens = sum(batch.ids.numel() for many in texts for batch in many)
    entered = tokens * int(config.hidden_size) * itemsize
    known = tokens * TEACHER_TOP * 12 if pretrained.kind == "lm" else 0
    asking = 4 * 3 * TEACHER_LOGITS if pretrained.kind == "lm" else 0
    layers = [s.place.shapes() for s in table.sites]
    widest = max(out for shapes in layers for out, _ in shapes.values())
    forward = tokens_at_once * (3 * widest + 8 * int(config.hidden_size)) * itemsize
    if pretrained.kind == "lm":  # the logits that are read at once
        forward += 4 * max(POSITIONS * int(config.vocab_size), LOGITS["cpu"])
    judging = max(asking, forward + _built(table, by_layer))  # the dense model is asked before
    return entered + known + judging + states + ALLOCATOR


def _built(table: SiteTable, by_layer: bool) -> int:
    """Most bytes of variants that are in memory at once; removed submodules take none."""
    per_block: dict[int, float] = {}
    for site in table.sites:
        dense = site.variants[0].cost.weight_bytes
        own = [v.cost.weight_bytes if v.shape else dense for v in site.variants[1:]]
        own = [b for b, v in zip(own, site.variants[1:], strict=True) if v.kind != "removal"]
        per_block[site.depth] = per_block.get(site.depth, 0.0) + sum(own)
    held = max(per_block.values()) if by_layer else sum(per_block.values())
    return int(min(held, BUILT))
