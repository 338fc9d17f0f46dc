"""How transformer blocks are laid out, and how to cut one down to fewer heads and neurons.

This file stands alone (torch and transformers only): exported models carry a copy of it, so that
the code that judged a pruned block is the code that rebuilds it. A layout is recognised by the
linear layers a block has, never by the name of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Layout:
    """Where the parts of a block are; all paths are relative to the block.

    Args:
        name: Short name, for messages.
        shared: Module whose output depends on the attention's choice only; its result may be
            reused.
        attention: Module with the attention's forward and head counts.
        queries: Linear layers cut along their rows with the heads: (query, key, value), or one
            fused layer.
        output: Linear layer cut along its columns with the heads.
        ups: Linear layers cut along their rows with the neurons: (gate, up), (up,), or one fused
            layer.
        down: Linear layer cut along its columns with the neurons.
        feed_forward: Module that is the feed-forward, or None when its layers sit in the block
            itself.
        attention_norms: Norms that serve the attention only and vanish with it.
        feed_forward_norms: Norms that serve the feed-forward only and vanish with it.
        fused: How a fused query-key-value layer orders its rows: all queries, keys, values, or head
            by head.
        gated_in_one: Whether the single up layer stacks gate and up.
        activation: Module between the up layer and ``down`` when they sit in the block itself.
    """

    name: str
    shared: str
    attention: str
    queries: tuple[str, ...]
    output: str
    ups: tuple[str, ...]
    down: str
    feed_forward: str | None
    attention_norms: tuple[str, ...] = ()
    feed_forward_norms: tuple[str, ...] = ()
    fused: str = "concat"
    gated_in_one: bool = False
    activation: str | None = None

    @property
    def attention_linears(self) -> tuple[str, ...]:
        """Paths of the attention's linear layers."""
        return (*self.queries, self.output)

    @property
    def feed_forward_linears(self) -> tuple[str, ...]:
        """Paths of the feed-forward's linear layers."""
        return (*self.ups, self.down)


_LLAMA_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_LLAMA_FFN = ("mlp.gate_proj", "mlp.up_proj")
_SANDWICH = (
    ("input_layernorm", "post_attention_layernorm"),
    ("pre_feedforward_layernorm", "post_feedforward_layernorm"),
)

LAYOUTS: tuple[Layout, ...] = (
    Layout(  # Gemma 2, Gemma 3: norms before and after each submodule
        "gemma", "self_attn", "self_attn", _LLAMA_ATTENTION, "self_attn.o_proj",
        _LLAMA_FFN, "mlp.down_proj", "mlp", *_SANDWICH,
    ),
    Layout(  # Llama, Mistral, Qwen 2, Qwen 3, and most decoders since
        "llama", "self_attn", "self_attn", _LLAMA_ATTENTION, "self_attn.o_proj",
        _LLAMA_FFN, "mlp.down_proj", "mlp", ("input_layernorm",), ("post_attention_layernorm",),
    ),
    Layout(
        "phi3", "self_attn", "self_attn", ("self_attn.qkv_proj",), "self_attn.o_proj",
        ("mlp.gate_up_proj",), "mlp.down_proj", "mlp",
        ("input_layernorm",), ("post_attention_layernorm",), gated_in_one=True,
    ),
    Layout(
        "opt", "self_attn", "self_attn", _LLAMA_ATTENTION, "self_attn.out_proj",
        ("fc1",), "fc2", None, ("self_attn_layer_norm",), ("final_layer_norm",),
        activation="activation_fn",
    ),
    Layout(
        "gpt2", "attn", "attn", ("attn.c_attn",), "attn.c_proj",
        ("mlp.c_fc",), "mlp.c_proj", "mlp", ("ln_1",), ("ln_2",),
    ),
    Layout(
        "neox", "attention", "attention", ("attention.query_key_value",), "attention.dense",
        ("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h", "mlp",
        ("input_layernorm",), ("post_attention_layernorm",), fused="by head",
    ),
    Layout(  # BERT, RoBERTa, MiniLM: a norm after each residual sum, which stays
        "bert", "attention", "attention.self",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense", ("intermediate.dense",), "output.dense", None,
        activation="intermediate.intermediate_act_fn",
    ),
    Layout(
        "distilbert", "attention", "attention",
        ("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin",
        ("ffn.lin1",), "ffn.lin2", "ffn",
    ),
)  # fmt: skip


class Zero(nn.Module):
    """Stands where a linear layer or feed-forward was: contributes nothing to the residual sum."""

    def forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        """A zero without shape, which broadcasts."""
        return hidden_states.new_zeros(())


class NoAttention(nn.Module):
    """Stands where an attention was: contributes nothing and keeps no keys or values."""

    def forward(
        self, hidden_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, None]:
        """A zero without shape, and no attention weights."""
        return hidden_states.new_zeros(()), None


def linear_paths(block: nn.Module) -> set[str]:
    """Paths of all linear layers of a block."""
    return {path for path, m in block.named_modules() if isinstance(m, (nn.Linear, Conv1D))}


def find_layout(block: nn.Module) -> Layout | None:
    """The layout that names exactly the linear layers this block has, or None."""
    linears = linear_paths(block)
    names = {path for path, _ in block.named_modules()}
    for layout in LAYOUTS:
        norms = {*layout.attention_norms, *layout.feed_forward_norms}
        if linears == {*layout.attention_linears, *layout.feed_forward_linears} and norms <= names:
            return _without_norms(layout) if _normalises_after(block) else layout
    return None


def _normalises_after(block: nn.Module) -> bool:
    """Whether the block's norms follow the residual sums (OPT-350M): then they must stay."""
    return getattr(block, "do_layer_norm_before", True) is False


def _without_norms(layout: Layout) -> Layout:
    return Layout(**{**layout.__dict__, "attention_norms": (), "feed_forward_norms": ()})


def matrix(layer: nn.Module) -> torch.Tensor:
    """The weight of a linear layer as (d_out, d_in), a view whatever the layer's own order is."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.t() if isinstance(layer, Conv1D) else weight


def cut(
    layer: nn.Module, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None
) -> nn.Module:
    """A new linear layer with the chosen output rows and input columns, in the order given.

    Args:
        layer: ``nn.Linear`` or ``Conv1D``; not modified.
        rows: Indices of outputs to keep; None keeps all.
        columns: Indices of inputs to keep; None keeps all.
    """
    weight, bias = matrix(layer).detach(), layer.bias
    if rows is not None:
        rows = rows.to(weight.device)
        weight = weight.index_select(0, rows)
        bias = None if bias is None else bias.detach().index_select(0, rows)  # type: ignore[operator]
    if columns is not None:
        weight = weight.index_select(1, columns.to(weight.device))
    return with_weight(layer, weight, bias)  # type: ignore[arg-type]


def with_weight(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    """A layer of the same type around another (d_out, d_in) weight; the bias is shared."""
    twin = copy.copy(layer)
    twin._parameters = dict(layer._parameters)
    stored = weight.t() if isinstance(layer, Conv1D) else weight
    twin._parameters["weight"] = nn.Parameter(stored.contiguous(), requires_grad=False)
    if bias is not None:
        twin._parameters["bias"] = nn.Parameter(bias, requires_grad=False)
    if isinstance(layer, Conv1D):
        twin.nf, twin.nx = weight.shape  # type: ignore[assignment]
    else:
        twin.out_features, twin.in_features = weight.shape  # type: ignore[assignment]
    return twin


def get(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path."""
    return module.get_submodule(path)


def twin(module: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """A shallow copy that shares all parameters but holds other modules at the given paths.

    The original is not modified. Paths must not lie inside one another.
    """
    if "" in replacements:
        return replacements[""]
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    heads: dict[str, dict[str, nn.Module]] = {}
    for path, replacement in replacements.items():
        head, _, rest = path.partition(".")
        heads.setdefault(head, {})[rest] = replacement
    for head, inner in heads.items():
        child = module._modules[head]
        assert child is not None
        copied._modules[head] = twin(child, inner)
    return copied


@dataclass(frozen=True)
class Heads:
    """Head counts of an attention; a group is one key/value head with the query heads it serves."""

    query: int
    groups: int
    size: int

    @property
    def per_group(self) -> int:
        """Query heads that share one key/value head."""
        return self.query // self.groups


def count_heads(block: nn.Module, layout: Layout, config: object) -> Heads:
    """Head counts of a block's attention, from the config and the width of its layers.

    Raises:
        ValueError: The numbers do not fit together.
    """
    query = int(getattr(config, "num_attention_heads"))  # noqa: B009 - a config may map the name
    groups = int(getattr(config, "num_key_value_heads", None) or query)
    width = matrix(get(block, layout.output)).shape[1]
    rows = sum(matrix(get(block, path)).shape[0] for path in layout.queries)
    size = width // query
    if size * query != width or rows != (query + 2 * groups) * size:
        raise ValueError(
            f"{query} heads on {groups} key/value heads do not fit layers of {rows} and {width} "
            "features"
        )
    return Heads(query, groups, size)


def _span(index: torch.Tensor, length: int) -> torch.Tensor:
    """Element indices of blocks: block i covers i*length … (i+1)*length - 1."""
    return (index[:, None] * length + torch.arange(length)).reshape(-1)


def keep_groups(
    block: nn.Module, layout: Layout, heads: Heads, kept: torch.Tensor
) -> dict[str, nn.Module]:
    """Replacements that keep some key/value groups (with their query heads) of the attention.

    Args:
        block: The dense block; not modified.
        layout: Its layout.
        heads: Its head counts.
        kept: Ascending indices of groups to keep, at least one.
    """
    q = _span(kept, heads.per_group * heads.size)
    kv = _span(kept, heads.size)
    if len(layout.queries) == 3:
        rows: Sequence[torch.Tensor] = (q, kv, kv)
    elif layout.fused == "by head":
        rows = (_span(kept, 3 * heads.size),)
    else:
        start = heads.query * heads.size
        rows = (torch.cat([q, start + kv, start + heads.groups * heads.size + kv]),)
    cuts = {
        path: cut(get(block, path), rows=r) for path, r in zip(layout.queries, rows, strict=True)
    }
    cuts[layout.output] = cut(get(block, layout.output), columns=q)
    inside, outside = _split(cuts, layout.attention)
    attention = twin(get(block, layout.attention), inside)
    _tell_heads(attention, Heads(len(kept) * heads.per_group, len(kept), heads.size))
    return {layout.attention: attention, **outside}


def _split(
    cuts: Mapping[str, nn.Module], parent: str
) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    prefix = parent + "."
    inside = {p.removeprefix(prefix): m for p, m in cuts.items() if p.startswith(prefix)}
    return inside, {p: m for p, m in cuts.items() if not p.startswith(prefix)}


def _tell_heads(attention: nn.Module, heads: Heads) -> None:
    """Correct the head counts that an attention's forward reads."""
    told = {
        "num_heads": heads.query, "num_attention_heads": heads.query, "n_heads": heads.query,
        "num_key_value_heads": heads.groups, "all_head_size": heads.query * heads.size,
        "split_size": heads.query * heads.size,
    }  # fmt: skip
    for name, value in told.items():
        if isinstance(attention.__dict__.get(name), int):
            attention.__dict__[name] = value
    config = attention.__dict__.get("config")
    if config is not None and "head_dim" in attention.__dict__:
        attention.__dict__["config"] = _config_with_heads(config, heads)


def _config_with_heads(config: object, heads: Heads) -> object:
    """Phi-3 reads its head count from the config while it runs."""
    told = copy.copy(config)
    told.__dict__.pop("_heterogeneity_spec", None)
    for name, value in (
        ("num_attention_heads", heads.query), ("num_key_value_heads", heads.groups)
    ):  # fmt: skip
        if name in told.__dict__:
            told.__dict__[name] = value
    return told


def keep_neurons(block: nn.Module, layout: Layout, kept: torch.Tensor) -> dict[str, nn.Module]:
    """Replacements that keep some hidden neurons of the feed-forward, in the order given.

    Args:
        block: The dense block; not modified.
        layout: Its layout.
        kept: Indices of neurons to keep, at least one.
    """
    width = matrix(get(block, layout.down)).shape[1]
    rows = torch.cat([kept, kept + width]) if layout.gated_in_one else kept
    cuts = {path: cut(get(block, path), rows=rows) for path in layout.ups}
    cuts[layout.down] = cut(get(block, layout.down), columns=kept)
    return cuts


def without_attention(block: nn.Module, layout: Layout) -> dict[str, nn.Module]:
    """Replacements that take the attention, and the norms that serve it alone, out of the block."""
    gone: dict[str, nn.Module] = {layout.attention: NoAttention()}
    if not layout.output.startswith(layout.attention + "."):
        gone[layout.output] = Zero()
    return gone | {norm: nn.Identity() for norm in layout.attention_norms}


def without_feed_forward(block: nn.Module, layout: Layout) -> dict[str, nn.Module]:
    """Replacements that take the feed-forward, and its own norms, out of the block."""
    paths = [layout.feed_forward] if layout.feed_forward else [*layout.ups, layout.down]
    gone: dict[str, nn.Module] = {path: Zero() for path in paths}
    return gone | {norm: nn.Identity() for norm in layout.feed_forward_norms}


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """Path and list of the longest run of blocks that share one layout, or None.

    Args:
        model: Any transformer; encoder-decoders are not expected here.
    """
    best: tuple[str, nn.ModuleList] | None = None
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            layouts = {find_layout(block) for block in module}
            if None not in layouts and (best is None or len(module) > len(best[1])):
                best = (path, module)
    return best
