"""Sparse caches: the kept entries, the attention, its costs, decoding, and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import ENCODERS, FAMILIES, checkpoint
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    StaticCache,
)

from evo import Context, Genomes
from evo.cli import main
from evo.config import Ref
from evo.errors import ConfigError
from evo.registry import build
from problems.pruning import export as exports
from problems.pruning import variants
from problems.pruning.cost import pruned_model
from problems.pruning.export import export
from problems.pruning.layouts import find_blocks, find_layout
from problems.pruning.library import Library
from problems.pruning.models import Block, count_heads
from problems.pruning.searches import Mixed
from problems.pruning.sites import places
from problems.pruning.sparse_cache import (
    SparseCache,
    attend,
    goes_through_interface,
    kept,
    pruned,
    with_sparse_cache,
)  # fmt: skip
from problems.pruning.sweep import Sweep
from problems.pruning.variants.mustafar import Mustafar

DECODERS = [f for f in FAMILIES if f not in ENCODERS]
KINDS = ["removal", "mustafar(window=4)@0.5,0.9", "mustafar(window=6,values=0)@0.7"]
SIZES = {"calibration": 4, "search": 10, "validation": 2}


# -------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize(
    ("share", "count"), [(0, 128), (0.3, 91), (0.5, 65), (0.7, 40), (0.8, 27), (0.9, 14)]
)
def test_counts_of_the_reference_at_128_entries(share, count):
    vectors = torch.randn(2, 3, 5, 128, generator=torch.Generator().manual_seed(0))

    left = pruned(vectors, share)

    assert kept(128, share) == count
    assert (left != 0).sum(-1).unique().tolist() == [count]
    assert torch.equal(left[left != 0], vectors[left != 0])
    lost = torch.where(left == 0, vectors.abs(), -1).amax(-1)
    assert (lost < torch.where(left != 0, vectors.abs(), torch.inf).amin(-1)).all()


def test_entries_as_large_as_the_last_stay():
    vector = torch.tensor([[3.0, -1.0, 1.0, 2.0, -2.0, 2.0, 5.0, -4.0]])

    assert pruned(vector, 0.5).tolist() == [[3.0, 0.0, 0.0, 2.0, -2.0, 2.0, 5.0, -4.0]]
    assert pruned(vector, 0.1).tolist() == vector.tolist()
    assert kept(8, 0.1) == 8


# -------------------------------------------------------------------------------- the attention


def module(keys: float, values: float, window: int, implementation: str = "sdpa") -> Any:
    config = LlamaConfig(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1,
        intermediate_size=16, vocab_size=8,
    )  # fmt: skip
    config._attn_implementation = implementation
    attention = LlamaForCausalLM(config).model.layers[0].self_attn.eval()
    return with_sparse_cache(attention, SparseCache(keys, values, window))


def states(length: int = 11, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = ((2, 4, length, 6), (2, 2, length, 6), (2, 2, length, 6))
    return tuple(torch.randn(*s, generator=rng, dtype=torch.float64) for s in shapes)  # type: ignore[return-value]


def smallest_gone(vector: np.ndarray, share: float) -> np.ndarray:
    """A vector without its int(share D) - 1 smallest entries, by sorting."""
    out = vector.copy()
    out[np.argsort(np.abs(vector))[: max(0, int(share * len(vector)) - 1)]] = 0
    return out


def slowly(
    q: Any, k: Any, v: Any, cache: SparseCache, *, scaling: float, softcap: float | None = None,
    sliding: int | None = None, start: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Query by query and key by key, as a decoder with a cache would do it; (B, T, H, D)."""
    q, k, v = (x.numpy() for x in (q, k, v))
    out = np.zeros((q.shape[0], q.shape[2], q.shape[1], q.shape[3]))
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            group = h // (q.shape[1] // k.shape[1])
            for t in range(q.shape[2]):
                first = max(0 if start is None else start[b], t + 1 - (sliding or t + 1))
                scores, seen = [], []
                for j in range(first, t + 1):
                    key, value = k[b, group, j], v[b, group, j]
                    if t - j >= cache.window:
                        key = smallest_gone(key, cache.keys)
                        value = smallest_gone(value, cache.values)
                    score = float(q[b, h, t] @ key) * scaling
                    scores.append(score if softcap is None else softcap * np.tanh(score / softcap))
                    seen.append(value)
                if seen:
                    weights = np.exp(np.array(scores) - max(scores))
                    out[b, t, h] = (weights / weights.sum()) @ np.array(seen)
    return out


def mask_of(length: int, sliding: int | None = None, start: Any = (0, 0)) -> torch.Tensor:
    """(2, 1, T, T): True where a query sees a key; rows of padding see themselves."""
    t = torch.arange(length)
    seen = (t[None, :] <= t[:, None]) & (t[:, None] - t[None, :] < (sliding or length))
    return torch.stack([(seen & (t >= s)) | torch.eye(length).bool() for s in start])[:, None]


@pytest.mark.parametrize(
    "cache",
    [
        SparseCache(0.5, 0.5, 3), SparseCache(0.9, 0.0, 1), SparseCache(0.0, 0.7, 4),
        SparseCache(0.4, 0.8, 10),
    ],
)  # fmt: skip
@pytest.mark.parametrize("case", ["no mask", "boolean", "additive", "sliding", "capped", "padded"])
def test_attention_equals_a_loop_over_queries_and_keys(cache, case):
    q, k, v = states()
    settings: dict[str, Any] = {"scaling": 0.4}
    mask, more, start = None, {}, np.array([0, 0])
    if case == "boolean":
        mask = mask_of(11)
    elif case == "additive":
        mask = torch.zeros(2, 1, 11, 11, dtype=q.dtype).masked_fill(
            ~mask_of(11), torch.finfo(torch.float32).min
        )
    elif case == "sliding":
        mask, more = mask_of(11, 5), {"sliding": 5}
    elif case == "capped":
        settings["softcap"] = more["softcap"] = 0.7
    elif case == "padded":
        start = np.array([0, 4])
        mask = mask_of(11, start=start)

    got, weights = attend(module(*cache.__dict__.values()), q, k, v, mask, **settings)

    wanted = slowly(q, k, v, cache, scaling=0.4, start=start, **more)
    real = np.arange(11)[None] >= start[:, None]
    np.testing.assert_allclose(got.numpy()[real], wanted[real], atol=1e-6)
    assert weights is not None
    assert torch.allclose(weights.sum(-1), torch.ones(()).double())


def test_the_default_scale_is_that_of_the_head_size():
    q, k, v = states()
    sparse = module(0.5, 0.5, 3)

    torch.testing.assert_close(
        attend(sparse, q, k, v, None)[0], attend(sparse, q, k, v, None, scaling=6**-0.5)[0]
    )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "cache", [SparseCache(0.0, 0.0, 2), SparseCache(0.9, 0.9, 11), SparseCache(0.9, 0.9, 32)]
)
def test_nothing_pruned_is_the_dense_attention_to_the_bit(implementation, cache):
    sparse = module(*cache.__dict__.values(), implementation)
    config = sparse.dense_config
    hidden = torch.randn(2, 11, 16, generator=torch.Generator().manual_seed(1))
    angles = torch.randn(1, 11, 4, generator=torch.Generator().manual_seed(2))
    mask = mask_of(11)
    if implementation == "eager":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    dense = with_sparse_cache(sparse, SparseCache(0.5, 0.5, 3))
    dense.__dict__["config"] = config  # the interface of the dense attention

    with torch.inference_mode():
        places = (angles.cos(), angles.sin())
        wanted = dense(hidden, position_embeddings=places, attention_mask=mask)[0]
        got = sparse(hidden, position_embeddings=places, attention_mask=mask)[0]

    assert torch.equal(got, wanted)


def test_a_mask_of_another_form_is_one_sentence():
    q, k, v = states()

    with pytest.raises(ValueError, match="masks of four dimensions"):
        attend(module(0.5, 0.5, 3), q, k, v, torch.ones(2, 11))
    with pytest.raises(ValueError, match="not known to work with s_aux"):
        attend(module(0.5, 0.5, 3), q, k, v, None, s_aux=torch.ones(4))


# ------------------------------------------------------------------------------ whole families


@pytest.fixture(scope="module", params=DECODERS)
def problem(request: Any, tmp_path_factory: Any) -> Mixed:
    folder = checkpoint(request.param, tmp_path_factory.mktemp("models") / request.param)
    return Mixed(model=str(folder), variants=KINDS, length=24, sizes=SIZES, cache="off")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: Any) -> Path:
    return checkpoint("llama", tmp_path_factory.mktemp("models") / "llama")


def genome(problem: Mixed, *names: str) -> np.ndarray:
    """The dense genome with the named variants at the first attentions."""
    row = np.zeros(len(problem.table), dtype=np.int16)
    attentions = [c for c, s in enumerate(problem.table.sites) if s.kind == "attention"]
    for column, name in zip(attentions, names, strict=False):
        row[column] = [v.name for v in problem.table.sites[column].variants].index(name)
    return row


def logits(problem: Mixed, model: Any) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [model(**problem.sweep()._inputs(b)).logits for b in problem.data.batches("search")]


def test_sweep_equals_one_model_at_a_time_in_both_orders(problem):
    rng = np.random.default_rng(3)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(8)]).astype(np.int16)
    rows[0] = genome(problem)
    rows[1] = genome(problem, *["mustafar-0.9-w4"] * 3)
    rows[2] = genome(problem, "mustafar-0.5-w4", "mustafar-k0.7-v0-w6", "removed")
    batches, reader = problem.data.batches("search"), problem.reader("search")

    swept = problem.sweep()(rows, batches, reader)
    breadth = Sweep(problem.pretrained, problem.table, order="breadth")(rows, batches, reader)

    np.testing.assert_allclose(breadth, swept, atol=1e-6)
    for row, got in zip(rows, swept, strict=True):
        model = pruned_model(problem.pretrained, problem.table, row)
        read = [reader(i, batches[i], one) for i, one in enumerate(logits(problem, model))]
        np.testing.assert_allclose(got, torch.cat(read).numpy(), atol=1e-6)
    assert swept[1, :, 1].mean() > 0.05
    assert len(np.unique(swept[:3, 0, 1])) == 3


def cache_name(model: Any) -> str:
    """What the installed transformers calls a cache; up to 5.23 past_key_values."""
    import inspect

    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def decoded(model: Any, ids: torch.Tensor, cache: Any, pieces: int = 1, left: int = 0) -> Any:
    """Logits of a text that comes in pieces, through a cache; the first ``left`` are padding."""
    found, stop, name = [], 0, cache_name(model)
    for part in ids.split(pieces, dim=1):
        start, stop = stop, stop + part.shape[1]
        padded = padding(left, start, stop) if left else {}
        with torch.inference_mode():
            found.append(model(part, use_cache=True, **{name: cache}, **padded).logits)
    return torch.cat(found, dim=1)


def padding(left: int, start: int, stop: int) -> dict[str, torch.Tensor]:
    """Mask up to a place and positions from another on; the rotary embedding counts from 0."""
    every = torch.arange(stop)[None]
    return {
        "attention_mask": (every >= left).long(),
        "position_ids": (every[:, start:] - left).clamp(min=0),
    }


@pytest.mark.parametrize("pieces", [1, 7])
def test_decoding_with_a_cache_gives_the_same_logits(problem, pieces):
    row = genome(problem, "mustafar-0.9-w4", "mustafar-0.5-w4", "mustafar-k0.7-v0-w6")
    model = pruned_model(problem.pretrained, problem.table, row)
    ids = problem.data.batches("search")[0].ids[:2]
    with torch.inference_mode():
        wanted = model(ids, use_cache=False).logits

    got = decoded(model, ids, DynamicCache(config=model.config), pieces)

    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_the_dense_model_is_never_changed(problem):
    before = {n: dict(m.__dict__) for n, m in problem.pretrained.model.named_modules()}
    dense = logits(problem, problem.pretrained.model)

    row = genome(problem, *["mustafar-0.9-w4"] * 3)
    sparse = logits(problem, pruned_model(problem.pretrained, problem.table, row))

    after = {n: dict(m.__dict__) for n, m in problem.pretrained.model.named_modules()}
    assert after == before
    assert not torch.equal(sparse[0], dense[0])
    for got, want in zip(logits(problem, problem.pretrained.model), dense, strict=True):
        assert torch.equal(got, want)


def test_a_static_cache_and_padding_at_the_left_change_nothing(llama):
    problem = Mixed(model=str(llama), variants=KINDS, length=24, sizes=SIZES, cache="off")
    row = genome(problem, "mustafar-0.9-w4", "mustafar-0.5-w4", "mustafar-k0.7-v0-w6")
    model = pruned_model(problem.pretrained, problem.table, row)
    ids = problem.data.batches("search")[0].ids[:1]
    with torch.inference_mode():
        wanted = model(ids, use_cache=False).logits
        padded = torch.cat([torch.zeros(1, 5, dtype=ids.dtype), ids], dim=1)
        shifted = model(padded, use_cache=False, **padding(5, 0, 29)).logits[:, 5:]

    static = decoded(model, ids, StaticCache(config=model.config, max_cache_len=40))
    at_once = decoded(model, ids, StaticCache(config=model.config, max_cache_len=40), 20)
    later = decoded(model, padded, DynamicCache(config=model.config), 9, left=5)

    for got in (shifted, static, at_once, later[:, 5:]):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


# ----------------------------------------------------------------------------------------- costs


def llama_8b(length: int | None) -> list[Any]:
    """The attentions of Llama-3-8B in half precision, without weights."""
    config = LlamaConfig(
        hidden_size=4096, num_attention_heads=32, num_key_value_heads=8, num_hidden_layers=32,
        intermediate_size=14336, vocab_size=16,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    found = find_blocks(model)
    assert found is not None
    blocks = []
    for i, one in enumerate(found[1]):
        layout = find_layout(one)
        assert layout is not None
        blocks.append(Block(i, one, layout, count_heads(one, layout, config)))
    mean = (length or 4096) / 2 + 0.5
    every = places(blocks, "submodule", itemsize=2, tokens=mean, caches=True, length=length)
    return [p for p in every if p.kind == "attention"]


def test_the_cache_of_llama_3_8b():
    attentions = llama_8b(4096)
    assert sum(p.cost().kv_bytes for p in attentions) == 131_072

    (half,) = Mustafar().variants(attentions[0], Library({}), [0.5])
    (keys,) = Mustafar(values=0.0).variants(attentions[0], Library({}), [0.5])
    (always,) = Mustafar().variants(llama_8b(None)[0], Library({}), [0.5])

    packed, whole = 16 + 65 * 2, 128 * 2  # a bitmap and values, of a key or value
    assert always.cost.kv_bytes == 8 * 2 * packed
    assert half.cost.kv_bytes == pytest.approx(8 * 2 * (32 * whole + 4064 * packed) / 4096)
    assert keys.cost.kv_bytes == pytest.approx(8 * ((32 * whole + 4064 * packed) / 4096 + whole))
    assert half.cost.params == attentions[0].cost().params
    assert half.cost.weight_bytes == attentions[0].cost().weight_bytes


def test_a_vector_that_would_not_shrink_is_stored_whole():
    (little,) = Mustafar(window=1).variants(llama_8b(None)[0], Library({}), [0.02])

    assert little.cost.kv_bytes == 4096


def test_costs_equal_counting_what_the_model_does(problem):
    """Bytes of one sequence's cache at its end, and products with entries that are not zero."""
    length, itemsize = 24, 4
    for site in problem.table.sites:
        if site.kind != "attention":
            continue
        heads, config = site.place.block.heads, problem.pretrained.config
        types = getattr(config, "layer_types", None)
        slides = types is None or types[site.depth] == "sliding_attention"
        sliding = (getattr(config, "sliding_window", None) if slides else None) or length
        rng = torch.Generator().manual_seed(0)
        keys, values = torch.randn(2, heads.groups, length, heads.size, generator=rng)
        dense = site.variants[0].cost
        for variant in site.variants:
            if variant.kind != "mustafar":
                continue
            said = variant.shape["modules"][site.place.block.layout.attention]
            left = {"keys": pruned(keys, said["keys"]), "values": pruned(values, said["values"])}
            cached = range(length - min(sliding, length), length)
            stored = 0
            for j in cached:
                for side in left.values():
                    for vector in side[:, j]:
                        compact = (heads.size + 7) // 8 + int((vector != 0).sum()) * itemsize
                        whole = heads.size * itemsize
                        old = length - 1 - j >= said["window"]
                        stored += min(compact, whole) if old else whole
            assert variant.cost.kv_bytes == pytest.approx(stored / len(cached))
            assert variant.cost.params == dense.params

    full = getattr(problem.pretrained.config, "sliding_window", None) or length
    gone = 0
    site = problem.table.sites[0]
    said = site.variants[1].shape["modules"][site.place.block.layout.attention]
    for t in range(length):
        for j in range(max(0, t + 1 - full), t + 1):
            if t - j >= said["window"]:
                for share in (said["keys"], said["values"]):
                    gone += site.place.block.heads.query * max(
                        0, int(share * site.place.block.heads.size) - 1
                    )
    assert site.variants[0].cost.macs - site.variants[1].cost.macs == pytest.approx(gone / length)


# ----------------------------------------------------------------------------------- the kind


def test_settings_and_levels_name_the_variants():
    place = llama_8b(4096)[0]

    def names(text: str) -> list[str]:
        one = variants.parse(text)
        return [v.name for v in one.kind.variants(place, Library({}), one.levels)]

    assert names("mustafar@0.5,0.7") == ["mustafar-0.5", "mustafar-0.7"]
    assert names("mustafar") == [f"mustafar-{s}" for s in (0.3, 0.5, 0.7, 0.9)]
    assert names("mustafar(values=0.0)@0.5") == ["mustafar-k0.5-v0"]
    assert names("mustafar(keys=0.7,window=64)@0.5,0.7") == [
        "mustafar-k0.7-v0.5-w64", "mustafar-0.7-w64",
    ]  # fmt: skip
    assert names("mustafar(keys=0.3,values=0.6)") == ["mustafar-k0.3-v0.6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mustafar(window=0)", "window of variant 'mustafar.window=0.' is 0"),
        ("mustafar(keys=1.0)", "keys of variant .* is 1.0; it must be a share"),
        ("mustafar(keys=0,values=0)", "drops nothing"),
        ("mustafar(value=0)", "did you mean 'values'?"),
        ("mustafar@1.5", "levels must be numbers between 0 and 1"),
        ("mustaphar", "no kind of variant called 'mustaphar'"),
    ],
)
def test_mistakes_are_one_sentence(text, message):
    with pytest.raises(ConfigError, match=message):
        variants.parse(text)


def test_models_and_texts_that_do_not_fit_are_refused(llama, tmp_path):
    def made(folder: Path, **settings: Any) -> Mixed:
        given: dict[str, Any] = {"variants": ["mustafar"], "length": 24, "sizes": SIZES}
        return Mixed(model=str(folder), cache="off", **given | settings)

    with pytest.raises(ConfigError, match=r"BertSelfAttention keeps none: the model is no decoder"):
        made(checkpoint("bert", tmp_path / "bert"))
    with pytest.raises(ConfigError, match=r"the last 32 tokens whole, and sequences have 24"):
        made(llama)
    with pytest.raises(ConfigError, match=r"applies to no site of kind 'linear'"):
        made(llama, sites="linear", length=48)
    assert [v.name for v in made(llama, length=48, sites="block").table.sites[0].variants] == [
        "dense", *(f"mustafar-{s}" for s in (0.3, 0.5, 0.7, 0.9)),
    ]  # fmt: skip


def test_an_attention_that_looks_nothing_up_is_refused(monkeypatch):
    place = llama_8b(4096)[0]
    attention = type(place.block.module.self_attn)
    assert goes_through_interface(place.block.module.self_attn)

    monkeypatch.setattr(attention, "forward", lambda self, hidden: (hidden, None))

    with pytest.raises(ConfigError, match="does not look its attention function up"):
        Mustafar().variants(place, Library({}), [0.5])


def test_a_sliding_window_shorter_than_the_recent_one_leaves_nothing_to_prune(tmp_path):
    folder = checkpoint("gemma2", tmp_path / "gemma2")

    problem = Mixed(
        model=str(folder), variants=["mustafar(window=16)@0.5", "removal"], length=24,
        sizes=SIZES, cache="off",
    )  # fmt: skip

    names = [[v.name for v in s.variants] for s in problem.table.sites if s.kind == "attention"]
    assert names == [["dense", "removed"], ["dense", "mustafar-0.5-w16", "removed"],
                     ["dense", "removed"]]  # fmt: skip


# --------------------------------------------------------------------------------------- exports


def written(problem: Mixed, row: np.ndarray, folder: Path) -> Any:
    """An export without the check in a new process, opened."""
    patch = pytest.MonkeyPatch()
    patch.setattr(exports, "reproduce", lambda *args, **kwargs: {})
    try:
        export(problem, row, folder, expected={})
    finally:
        patch.undo()
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()


def test_exports_see_the_sparse_cache_and_decode_with_it(problem, tmp_path):
    row = genome(problem, "mustafar-0.9-w4", "removed", "mustafar-k0.7-v0-w6")

    model = written(problem, row, tmp_path / "out")

    wanted = logits(problem, pruned_model(problem.pretrained, problem.table, row))
    for got, want in zip(logits(problem, model), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    ids = problem.data.batches("search")[0].ids[:2]
    with torch.inference_mode():
        whole = model(ids, use_cache=False).logits
    got = decoded(model, ids, DynamicCache(config=model.config))
    torch.testing.assert_close(got, whole, atol=1e-4, rtol=1e-4)


def test_an_export_says_that_memory_needs_another_cache_and_needs_its_loader(llama, tmp_path):
    problem = Mixed(model=str(llama), variants=KINDS, length=24, sizes=SIZES, cache="off")
    row = genome(problem, "mustafar-0.9-w4", "mustafar-0.9-w4", "mustafar-0.9-w4")
    model = written(problem, row, tmp_path / "out")

    card = (tmp_path / "out" / "README.md").read_text()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "4 of 4 heads, cache without 90% of keys and 90% of values older than 4 tokens" in card
    assert "the caches of transformers store dense tensors" in " ".join(card.split())
    assert config["evo_pruning"]["modules"]["0"]["self_attn"] == {
        "type": "sparse_cache", "keys": 0.9, "values": 0.9, "window": 4, "output": "o_proj",
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        LlamaForCausalLM.from_pretrained(tmp_path / "out")
    model.save_pretrained(tmp_path / "again")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        LlamaForCausalLM.from_pretrained(tmp_path / "again")
    eager = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", trust_remote_code=True, attn_implementation="eager"
    ).eval()
    for got, want in zip(logits(problem, eager), logits(problem, model), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_search_over_caches_and_removal_runs_from_end_to_end(llama, tmp_path, capsys):
    out = tmp_path / "run"
    asked = [
        "run", "prune/mixed", "--set", f"problem.model={llama}", "--set", "problem.length=24",
        "--set", 'problem.variants=["removal", "mustafar(window=4)@0.5,0.9"]',
        "--set", "problem.cache=off", "--set", "problem.sampling=zipcal",
        "--objective", "kl", "--objective", "kv_bytes", "--population", "10",
        "--generations", "3", "--out", str(out),
    ]  # fmt: skip
    assert main(asked) == 0
    capsys.readouterr()

    assert main(["front", str(out), "--json"]) == 0
    front = json.loads(capsys.readouterr().out)
    assert main(["export", str(out), "knee", "--to", str(tmp_path / "pruned")]) == 0

    bytes_kept = {round(c["values"]["kv_bytes"], 3) for c in front["front"]}
    assert len(bytes_kept) > 3
    assert (tmp_path / "pruned" / "config.json").is_file()


@pytest.mark.slow
def test_a_new_process_reproduces_the_values_of_every_family(problem, tmp_path):
    row = genome(problem, "mustafar-0.9-w4", "mustafar-k0.7-v0-w6", "removed")
    batch = problem.batch(Genomes({"choices": row[None]}), Context())
    names = ("params", "kl", "loss", "kv_bytes")
    expected = {o.name: float(o(batch)[0]) for o in problem.objectives if o.name in names}

    facts = export(problem, row, tmp_path / "out", expected=expected)

    assert facts["values"]["kl"]["found"] == pytest.approx(expected["kl"], abs=1e-4)
    assert facts["params"] == expected["params"]


def test_the_method_prunes_every_cache_alike_and_no_weight(llama):
    base = Mixed(model=str(llama), variants=["removal"], length=24, sizes=SIZES, cache="off")
    outcome = build("method", Ref("mustafar", {"window": 4}))(base, 0.5, np.random.default_rng(0))

    names = [
        s.variants[c].name
        for s, c in zip(outcome.problem.table.sites, outcome.choices, strict=True)
    ]
    assert names == ["mustafar-0.5-w4"] * len(base.pretrained.blocks)
    assert outcome.sparsity == 0
    batch = outcome.problem.batch(Genomes({"choices": outcome.choices[None]}), Context())
    offered = {o.name: o for o in outcome.problem.objectives}
    dense = base.describe()["dense"]
    assert offered["params"](batch)[0] == dense["params"]
    assert offered["kv_bytes"](batch)[0] < dense["kv_bytes"]
    with pytest.raises(ConfigError, match="share of cached entries"):
        build("method", Ref("mustafar"))(base, 1.5, np.random.default_rng(0))
