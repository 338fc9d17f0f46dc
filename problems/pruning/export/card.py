"""What lies beside the weights of an export: tokenizer, sentence-transformers files, model card."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import evo

from ..models import EMBEDDED, EMBEDDED_HUB, Pretrained
from .plan import BlockPlan, Plan

SENTENCE_FILES = (
    "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
)  # fmt: skip
SPARSE_CACHE = (
    "Where the table says so, attention sees keys and values without their smallest entries, but "
    "for a window of recent tokens (Mustafar, arXiv 2505.22913). The code beside it computes "
    "what such a cache gives; it saves no memory by itself, since the caches of transformers store "
    "dense tensors. Memory is lower only with a cache that stores a bitmap and the values that are "
    "left. Use `attn_implementation` `eager` or `sdpa`."
)
_SAFE = {".json", ".txt", ".safetensors"}


def write_tokenizer(pretrained: Pretrained, folder: Path) -> None:
    """Save the tokenizer, and the settings for generation where the model has some."""
    pretrained.tokenizer.save_pretrained(folder)
    settings = getattr(pretrained.model, "generation_config", None)
    if pretrained.kind == "lm" and settings is not None:
        settings.save_pretrained(folder)


def write_sentence_files(pretrained: Pretrained, pooling: str, folder: Path) -> bool:
    """Let sentence-transformers open an encoder: copy its files, or write the few it needs.

    Args:
        pretrained: The dense model.
        pooling: ``mean``, ``cls`` or ``last``; used when the dense folder has no such files.
        folder: Where to write.

    Returns:
        Whether the files are there; not so when a later module of the dense model (a projection,
        say) is stored in a format that can run code.
    """
    if pretrained.kind == "lm":
        return False
    listing = pretrained.folder / "modules.json"
    if not listing.is_file():
        _write_pooling(pretrained, pooling, folder)
        return True
    paths = [str(m.get("path") or "") for m in json.loads(listing.read_text())]
    places = [pretrained.folder / path for path in paths if path]
    found = [f for place in places if place.is_dir() for f in place.rglob("*") if f.is_file()]
    inside = all(p.resolve().is_relative_to(pretrained.folder.resolve()) for p in places)
    if not inside or any(f.suffix not in _SAFE | {".md"} for f in found):
        return False
    for file in [*(pretrained.folder / name for name in SENTENCE_FILES), *found]:
        if file.is_file():
            target = folder / file.relative_to(pretrained.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return True


def _write_pooling(pretrained: Pretrained, pooling: str, folder: Path) -> None:
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    config = {
        "word_embedding_dimension": int(pretrained.config.hidden_size),
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_lasttoken": pooling == "last",
    }
    (folder / "1_Pooling").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config, indent=2))


def how_to_load(pretrained: Pretrained, plan: Plan, name: str, *, sentences: bool) -> str:
    """The line of Python that opens an export.

    Args:
        pretrained: The dense model.
        plan: The export.
        name: The folder as a reader would type it.
        sentences: Whether sentence-transformers opens it.
    """
    trust = "" if plan.plain else ", trust_remote_code=True"
    if sentences:
        return f"SentenceTransformer({name!r}{trust})"
    auto = "AutoModelForCausalLM" if pretrained.kind == "lm" else "AutoModel"
    return f"{auto}.from_pretrained({name!r}{trust})"


def base_license(folder: Path) -> str | None:
    """The ``license`` line at the top of a model's card, or None."""
    file = folder / "README.md"
    if not file.is_file():
        return None
    head = re.match(r"---\n(.*?)\n---", file.read_text(errors="replace"), re.DOTALL)
    found = re.search(r"^license:\s*(\S+)\s*$", head[1], re.MULTILINE) if head else None
    return found[1] if found else None


def write_card(
    pretrained: Pretrained, plan: Plan, facts: Mapping[str, Any], folder: Path, name: str
) -> None:
    """Write ``README.md``: where it comes from, what was removed, what it measures, how to open it.

    Args:
        pretrained: The dense model.
        plan: The export.
        facts: What :func:`problems.pruning.export.export` returns.
        folder: Where to write.
        name: Name of the export.
    """
    licence = base_license(pretrained.folder)
    base = EMBEDDED_HUB if pretrained.name == EMBEDDED else pretrained.name
    head = [f"base_model: {base}", "tags: [pruned, evoprune]"]
    head += [f"license: {licence}"] if licence else []
    share = facts["params"] / facts["dense_params"]
    lines = [
        "---", *head, "---", "", f"# {name}", "",
        f"{pretrained.name} pruned to {share:.1%} of its parameters "
        f"({facts['params']:,} of {facts['dense_params']:,}), "
        f"made with evoprune {evo.__version__}.",
        "", "```python", *_imports(facts["load"]), f"model = {facts['load']}", "```", "",
        _reason(plan), "", "| block | in the dense model | attention | feed-forward |",
        "|---|---|---|---|", *_rows(plan, pretrained), "",
    ]  # fmt: skip
    if any(_cache(block) for block in plan.kept):
        lines += [SPARSE_CACHE, ""]
    if facts["sparsity"]:
        stored = "packed as a bitmap and values" if plan.packed else "stored as zeros"
        lines += [f"Sparsity ({stored}):", ""]
        lines += [f"- {site}: {share:.1%} of the weights are zero"
                  for site, share in facts["sparsity"].items()] + [""]  # fmt: skip
    if facts["values"]:
        lines += ["| objective | value |", "|---|---|"]
        lines += [f"| {n} | {_number(v['found'])} |" for n, v in facts["values"].items()] + [""]
    (folder / "README.md").write_text("\n".join(lines))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:.6g}"


def _imports(load: str) -> list[str]:
    name = re.split(r"\W", load)[0]
    library = "sentence_transformers" if name == "SentenceTransformer" else "transformers"
    return [f"from {library} import {name}", ""]


def _reason(plan: Plan) -> str:
    if plan.plain:
        return "It is an ordinary checkpoint of its architecture; no code comes with it."
    return (
        "Its blocks differ from one another, so the folder brings the code that rebuilds them "
        "(`modeling_evo.py` and the `evo_` files); without it, loading stops at the first tensor."
    )


def _rows(plan: Plan, pretrained: Pretrained) -> list[str]:
    rows, position = [], 0
    for block in plan.blocks:
        place = "–" if block.dropped else str(position)
        position += not block.dropped
        rows.append(
            f"| {place} | {block.index} | {_attention(block, pretrained)} | "
            f"{_width(block, pretrained)} |"
        )
    return rows


def _attention(block: BlockPlan, pretrained: Pretrained) -> str:
    if block.dropped or "attention" in block.skip:
        return "removed"
    bypassed = _bypassed(block, "attention-bypass")
    if bypassed:
        return bypassed
    heads = pretrained.blocks[block.index].heads
    kept = heads.groups if block.groups is None else block.groups
    text = f"{kept * heads.per_group} of {heads.query} heads{_cache(block)}"
    layout = pretrained.blocks[block.index].layout
    text += _channels(block, layout.attention, pretrained)
    return _with_sparsity(text, block, "attention")


def _channels(block: BlockPlan, path: str, pretrained: Pretrained) -> str:
    """In how many rotated channels a submodule computes, or nothing."""
    said = block.modules.get(path, {})
    if said.get("type") != "sliced":
        return ""
    return f" in {said['width']} of {pretrained.config.hidden_size} rotated channels"


def _cache(block: BlockPlan) -> str:
    """What an attention drops from its cache, or nothing."""
    for said in block.modules.values():
        if said["type"] == "sparse_cache":
            return (
                f", cache without {said['keys']:.0%} of keys and {said['values']:.0%} of values "
                f"older than {said['window']} tokens"
            )
    return ""


def _width(block: BlockPlan, pretrained: Pretrained) -> str:
    if block.dropped or "feed_forward" in block.skip:
        return "removed"
    bypassed = _bypassed(block, "bypass", "shared-bypass")
    if bypassed:
        return bypassed
    text = "all neurons" if block.width is None else f"{block.width} neurons"
    layout = pretrained.blocks[block.index].layout
    text += _channels(block, layout.feed_forward or layout.ups[0], pretrained)
    return _with_sparsity(text, block, "feed_forward")


def _bypassed(block: BlockPlan, *types: str) -> str | None:
    """What stands in for a submodule, or None when it is not bypassed."""
    for said in block.modules.values():
        if said["type"] in types:
            rank = said["svd_rank"]
            return f"linear bypass of rank {said['width'] if rank is None else rank}"
    return None


def _with_sparsity(text: str, block: BlockPlan, part: str) -> str:
    found = [v.name for n, v in block.chosen.items() if v.sparsity and n.endswith(part)]
    return f"{text}, {found[0]}" if found else text
