"""Exports: every family opens again, says the same, and never opens silently wrong."""

from __future__ import annotations

import copy
import inspect
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import ENCODERS, EVERY, FAMILIES, checkpoint
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from evo import Context, Genomes
from evo.errors import ModelError
from problems.pruning import export as exports
from problems.pruning.cost import pruned_model
from problems.pruning.export import export
from problems.pruning.export.shim import Packed, pack_bits, unpack_bits
from problems.pruning.searches import Mixed

KINDS = ["removal", "heads@0.5", "width@0.5", "wanda@0.5", "2:4"]
SIZES = {"calibration": 4, "search": 10, "validation": 2}
DECODERS = [f for f in FAMILIES if f not in ENCODERS]
MIXED = {  # first attention removed, narrow, a whole block gone, heads halved, sparse
    "attention0": "removed", "feed_forward0": "width-0.5",
    "attention1": "removed", "feed_forward1": "removed",
    "attention2": "heads", "feed_forward2": "wanda-0.5",
}  # fmt: skip
REFUSED = "ignore_mismatched_sizes|is a per-layer attribute"
KNOWN: dict[Any, Any] = {}  # problems and exports that several tests share


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: Any) -> Any:
    """A folder for what several tests share."""
    KNOWN["folder"] = tmp_path_factory.mktemp("exports")
    yield
    KNOWN.clear()


def problem_of(family: str, **settings: Any) -> Mixed:
    key = family, str(settings)
    if key not in KNOWN:
        folder = KNOWN["folder"] / family
        if not folder.is_dir():
            checkpoint(family, folder)
        made = {"variants": KINDS, "length": 24, "sizes": SIZES, "cache": "off"} | settings
        KNOWN[key] = Mixed(model=str(folder), **made)
    return KNOWN[key]


def genome(problem: Mixed, **wanted: str) -> np.ndarray:
    """The dense genome but for sites like ``attention0``, whose variant begins as given."""
    row = np.zeros(len(problem.table), dtype=np.int16)
    for column, site in enumerate(problem.table.sites):
        name = wanted.pop(f"{site.kind}{site.depth}", None)
        if name is not None:
            names = [v.name for v in site.variants]
            row[column] = next(i for i, n in enumerate(names) if n.startswith(name))
    assert not wanted
    return row


def everywhere(problem: Mixed, kind: str, name: str) -> np.ndarray:
    blocks = range(len(problem.pretrained.blocks))
    return genome(problem, **{f"{kind}{i}": name for i in blocks})


def values(problem: Mixed, row: np.ndarray, *more: str) -> dict[str, float]:
    names = ("params", "kl", "loss") if problem.kind == "lm" else ("params", "drift")
    batch = problem.batch(Genomes({"choices": row[None]}), Context())
    return {o.name: float(o(batch)[0]) for o in problem.objectives if o.name in (*names, *more)}


def write(problem: Mixed, row: np.ndarray, folder: Path, **settings: Any) -> dict[str, Any]:
    """Export without the check in a new process, which other tests make."""
    patch = pytest.MonkeyPatch()
    patch.setattr(exports, "reproduce", lambda *args, **kwargs: {})
    try:
        return export(problem, row, folder, expected={}, **settings)
    finally:
        patch.undo()


def opened(folder: Path, kind: str, **settings: Any) -> Any:
    auto: Any = AutoModelForCausalLM if kind == "lm" else AutoModel
    return auto.from_pretrained(folder, **settings).eval()


def mixed(family: str) -> tuple[Mixed, np.ndarray, Path, Any]:
    """The mixed genome of a family: problem, genome, folder, and the model opened from it."""
    if ("mixed", family) not in KNOWN:
        problem, folder = problem_of(family), KNOWN["folder"] / f"{family}-mixed"
        row = genome(problem, **MIXED)
        write(problem, row, folder)
        model = opened(folder, problem.kind, trust_remote_code=True)
        KNOWN["mixed", family] = (problem, row, folder, model)
    return KNOWN["mixed", family]


def outputs(problem: Mixed, model: Any) -> list[torch.Tensor]:
    with torch.inference_mode():
        found = [model(**problem.sweep()._inputs(b)) for b in problem.data.batches("search")]
    return [o.logits if problem.kind == "lm" else o.last_hidden_state for o in found]


def same_as_pruned(problem: Mixed, row: np.ndarray, model: Any) -> None:
    wanted = outputs(problem, pruned_model(problem.pretrained, problem.table, row))
    for got, want in zip(outputs(problem, model), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def cache_name(model: Any) -> str:
    """What the installed transformers calls a cache; up to 5.23 past_key_values."""
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def continues(model: Any, ids: torch.Tensor) -> None:
    """Text in two pieces through the cache, against all of it at once."""
    cut = ids.shape[1] // 2
    with torch.inference_mode():
        whole = model(ids, use_cache=False).logits
        first = model(ids[:, :cut], use_cache=True)
        name = cache_name(model)
        assert first[name].get_seq_length() == cut
        rest = model(ids[:, cut:], use_cache=True, **{name: first[name]})
    torch.testing.assert_close(rest.logits, whole[:, cut:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", EVERY)
def test_every_family_opens_again_and_says_the_same(family: str) -> None:
    problem, row, folder, model = mixed(family)
    dense = outputs(problem, problem.pretrained.model)

    same_as_pruned(problem, row, model)

    assert any(
        (a - b).abs().max() > 0.1 for a, b in zip(outputs(problem, model), dense, strict=True)
    )
    assert type(model).__name__ == "Pruned" + type(problem.pretrained.model).__name__
    config = json.loads((folder / "config.json").read_text())
    first = config["per_layer_config"]["0"]
    assert first["skip"] == ["attention"]
    assert len(model.get_submodule(problem.pretrained.blocks_path)) == 2 + (family in ENCODERS)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("family", EVERY)
def test_opening_without_the_loader_is_refused(family: str) -> None:
    problem, _, folder, _ = mixed(family)

    with pytest.raises(RuntimeError, match=REFUSED):
        opened(folder, problem.kind)
    with pytest.raises(RuntimeError, match=REFUSED):
        type(problem.pretrained.model).from_pretrained(folder)


@pytest.mark.parametrize("family", EVERY)
def test_opening_without_what_the_config_says_is_refused(family: str, tmp_path: Path) -> None:
    problem, _, folder, _ = mixed(family)
    shutil.copytree(folder, tmp_path / "small")
    said = json.loads((folder / "config.json").read_text())
    said.pop("per_layer_config")
    (tmp_path / "small" / "config.json").write_text(json.dumps(said))

    for settings in ({}, {"trust_remote_code": True}):
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            opened(tmp_path / "small", problem.kind, **settings)


@pytest.mark.parametrize("family", DECODERS)
def test_generation_with_and_without_cache_agrees(family: str) -> None:
    problem, _, _, model = mixed(family)
    ids = problem.data.batches("search")[0].ids[:2, :20]

    continues(model, problem.data.batches("search")[0].ids[:2])

    plain = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    cached = model.generate(ids, use_cache=True, **plain)
    assert cached.shape == (2, 28)
    assert torch.equal(cached, model.generate(ids, use_cache=False, **plain))
    padded = torch.nn.functional.pad(ids, (5, 0))
    mask = torch.nn.functional.pad(torch.ones_like(ids), (5, 0))
    got = model.generate(padded, attention_mask=mask, use_cache=True, **plain)
    assert torch.equal(got[:, 5:], cached)


CACHES = {
    "no attention is left": {f"attention{i}": "removed" for i in range(3)},
    "only the last is left": {"attention0": "removed", "attention1": "removed"},
    "only the second is left": {"attention0": "removed", "attention2": "removed"},
    "nothing is left": {
        f"{kind}{i}": "removed" for kind in ("attention", "feed_forward") for i in range(3)
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CACHES)
@pytest.mark.parametrize("family", ["gemma2", "opt", "gpt_neox", "mistral"])
def test_caches_know_where_they_are_whatever_is_removed(
    family: str, case: str, tmp_path: Path
) -> None:
    problem = problem_of(family)
    row = genome(problem, **CACHES[case])

    write(problem, row, tmp_path / "small")

    model = opened(tmp_path / "small", "lm", trust_remote_code=True)
    same_as_pruned(problem, row, model)
    continues(model, problem.data.batches("search")[0].ids[:2])


@pytest.mark.parametrize("piece", [None, 4])
def test_a_static_cache_generates_the_same(piece: int | None) -> None:
    problem, _, _, model = mixed("llama")
    ids = problem.data.batches("search")[0].ids[:1, :8]
    plain = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}

    got = model.generate(
        ids, cache_implementation="static", disable_compile=True, prefill_chunk_size=piece, **plain
    )

    assert torch.equal(got, model.generate(ids, use_cache=False, **plain))


CHANGES = {
    "a removed attention": {"attention1": "removed"},
    "a removed feed-forward": {"feed_forward1": "removed"},
    "a narrow feed-forward": {"feed_forward1": "width"},
    "fewer heads": {"attention1": "heads"},
    "packed zeros": {"feed_forward1": "wanda"},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_each_single_change_needs_the_loader(family: str, change: str, tmp_path: Path) -> None:
    problem = problem_of(family)
    row = genome(problem, **CHANGES[change])

    facts = write(problem, row, tmp_path / "small")

    assert facts["format"] == "heterogeneous"
    with pytest.raises(RuntimeError, match=REFUSED):
        opened(tmp_path / "small", problem.kind)
    model = opened(tmp_path / "small", problem.kind, trust_remote_code=True)
    same_as_pruned(problem, row, model)


BLOCK = {"attention1": "removed", "feed_forward1": "removed"}
UNIFORM = [
    *((family, "block", BLOCK) for family in DECODERS),
    *((family, "width", {}) for family in FAMILIES),
    ("qwen3", "heads", {}),
    ("llama", "heads", {}),
]


@pytest.mark.parametrize(("family", "what", "wanted"), UNIFORM)
def test_uniform_shapes_become_plain_checkpoints(
    family: str, what: str, wanted: dict[str, str], tmp_path: Path
) -> None:
    problem = problem_of(family)
    kind = {"width": "feed_forward", "heads": "attention"}.get(what, "")
    row = everywhere(problem, kind, what) if kind else genome(problem, **wanted)

    facts = write(problem, row, tmp_path / "small")

    assert facts["format"] == "plain"
    assert not list((tmp_path / "small").glob("*.py"))
    model = opened(tmp_path / "small", problem.kind)
    assert type(model) is type(problem.pretrained.model)
    same_as_pruned(problem, row, model)
    if problem.kind == "lm":
        continues(model, problem.data.batches("search")[0].ids[:2])


def test_heads_stay_apart_from_the_config_where_it_cannot_say_their_size(tmp_path: Path) -> None:
    problem = problem_of("bert")
    row = everywhere(problem, "attention", "heads")

    facts = write(problem, row, tmp_path / "small")

    assert facts["format"] == "heterogeneous"
    model = opened(tmp_path / "small", "encoder", trust_remote_code=True)
    same_as_pruned(problem, row, model)


def test_whole_block_sites_leave_the_list(tmp_path: Path) -> None:
    problem = problem_of("bert", sites="block", variants=["removal", "wanda@0.5"])
    row = genome(problem, block1="removed")

    facts = write(problem, row, tmp_path / "small")

    assert facts["format"] == "plain"
    model = opened(tmp_path / "small", "encoder")
    assert model.config.num_hidden_layers == 2
    same_as_pruned(problem, row, model)


def test_scaling_by_position_keeps_removed_blocks_in_their_places(tmp_path: Path) -> None:
    folder = checkpoint("gpt2", tmp_path / "gpt2")
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(said | {"scale_attn_by_inverse_layer_idx": True})
    )
    problem = Mixed(model=str(folder), variants=["removal"], length=24, sizes=SIZES, cache="off")
    row = genome(problem, attention0="removed", feed_forward0="removed")

    write(problem, row, tmp_path / "small")

    model = opened(tmp_path / "small", "lm", trust_remote_code=True)
    same_as_pruned(problem, row, model)
    continues(model, problem.data.batches("search")[0].ids[:2])


def test_packed_weights_take_a_bit_and_a_value_each(tmp_path: Path) -> None:
    problem = problem_of("llama")
    row = everywhere(problem, "feed_forward", "wanda-0.5")

    packed = write(problem, row, tmp_path / "packed")
    zeros = write(problem, row, tmp_path / "zeros", compress=False)

    saved = 3 * 3 * (64 * 32 * 4 - 64 * 32 * 4 // 2 - 64 * 32 // 8)  # 3 blocks of 3 layers
    assert zeros["bytes"] - packed["bytes"] == pytest.approx(saved, abs=2500)  # longer header
    assert zeros["format"] == "plain"
    assert packed["params"] == zeros["params"] == zeros["dense_params"] - 3 * 3 * 64 * 32 // 2
    same_as_pruned(problem, row, opened(tmp_path / "zeros", "lm"))
    model = opened(tmp_path / "packed", "lm", trust_remote_code=True)
    same_as_pruned(problem, row, model)
    assert not any(isinstance(m, Packed) for m in model.modules())
    for folder in ("packed", "zeros"):
        said = json.loads((tmp_path / folder / "config.json").read_text())
        assert said["evo_pruning"]["sparsity"] == {f"block{i}.feed_forward": 0.5 for i in range(3)}
        assert "50.0%" in (tmp_path / folder / "README.md").read_text()


def test_dense_layers_are_not_packed_when_that_would_be_larger(tmp_path: Path) -> None:
    problem = problem_of("llama", variants=["magnitude@0.02"])
    row = everywhere(problem, "feed_forward", "magnitude")

    facts = write(problem, row, tmp_path / "small")

    assert facts["format"] == "plain"
    assert not facts["compressed"]
    same_as_pruned(problem, row, opened(tmp_path / "small", "lm"))


@pytest.mark.parametrize("count", [1, 8, 13, 64])
def test_bits_survive_packing(count: int) -> None:
    kept = torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.5

    packed = pack_bits(kept)

    assert packed.tolist() == np.packbits(kept.numpy(), bitorder="little").tolist()
    assert torch.equal(unpack_bits(packed, count), kept)


@pytest.mark.slow
def test_a_new_process_reproduces_the_values(tmp_path: Path) -> None:
    problem = problem_of("llama")
    row = genome(problem, **MIXED)
    expected = values(problem, row, "perplexity", "macs") | {"latency": 1.0}

    facts = export(problem, row, tmp_path / "small", expected=expected)

    assert set(facts["values"]) == set(expected) - {"macs", "latency"}
    for name, value in facts["values"].items():
        assert value["expected"] == expected[name]
        assert value["found"] == pytest.approx(expected[name], rel=1e-5, abs=1e-4)
    assert facts["values"]["params"]["found"] == facts["params"] < facts["dense_params"]
    share = facts["params"] / facts["dense_params"]
    assert facts["bytes"] / facts["dense_bytes"] == pytest.approx(share, abs=0.1)
    assert sorted(os.listdir(tmp_path)) == ["small"]
    card = (tmp_path / "small" / "README.md").read_text()
    assert "| 0 | 0 | removed | 32 neurons |" in card
    assert f"| params | {facts['params']:,} |" in card
    json.dumps(facts)


@pytest.mark.slow
def test_other_values_than_the_recorded_ones_leave_no_folder(tmp_path: Path) -> None:
    problem = problem_of("bert")
    row = genome(problem, **MIXED)
    true = values(problem, row)

    with pytest.raises(ModelError, match=r"recorded values: drift was [\d.]+ and is") as caught:
        export(problem, row, tmp_path / "deep" / "small",
               expected=true | {"drift": true["drift"] + 2e-4})  # fmt: skip

    said = re.findall(r"\d\.\d+", str(caught.value))
    assert [float(x) for x in said] == pytest.approx(
        [true["drift"] + 2e-4, true["drift"]], abs=2e-6
    )
    assert list((tmp_path / "deep").iterdir()) == []


def test_targets_in_use_are_refused(tmp_path: Path) -> None:
    problem = problem_of("llama")
    row = genome(problem)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()

    for name in ("full", "file"):
        with pytest.raises(ModelError, match=f"cannot export to .*{name}"):
            export(problem, row, tmp_path / name, expected={})
    with pytest.raises(ModelError, match="cannot export"):
        export(problem, row, tmp_path / "file" / "below", expected={})
    facts = write(problem, row, tmp_path / "empty")

    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "full"]
    assert os.listdir(tmp_path / "full") == ["kept.txt"]
    assert facts["params"] == facts["dense_params"]


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), OSError(28, "No space left"), "signal"])
def test_an_interrupted_export_leaves_nothing(
    cause: BaseException | str, tmp_path: Path, monkeypatch: Any
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        if isinstance(cause, BaseException):
            raise cause
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    monkeypatch.setattr(exports.card, "write_tokenizer", fail)
    problem = problem_of("llama")

    raised = (KeyboardInterrupt, ModelError, SystemExit)
    with pytest.raises(raised, match=r"^$|No space left|143"):
        export(problem, genome(problem), tmp_path / "small", expected={})

    assert os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_saved_again_an_export_opens_and_still_refuses(tmp_path: Path) -> None:
    problem, row, _, model = mixed("llama")

    model.save_pretrained(tmp_path / "again")

    assert (
        "packed" not in json.loads((tmp_path / "again" / "config.json").read_text())["evo_pruning"]
    )
    again = opened(tmp_path / "again", "lm", trust_remote_code=True)
    same_as_pruned(problem, row, again)
    with pytest.raises(RuntimeError, match=REFUSED):
        opened(tmp_path / "again", "lm")


def test_exports_copy_and_open_in_half_precision() -> None:
    problem, row, folder, model = mixed("qwen2")

    same_as_pruned(problem, row, copy.deepcopy(model))
    half = opened(folder, "lm", trust_remote_code=True, dtype=torch.bfloat16)

    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    for got, want in zip(outputs(problem, half), outputs(problem, model), strict=True):
        assert (got.float() - want).abs().mean() < 0.05 * want.abs().mean()


def test_training_reaches_every_weight_that_is_left() -> None:
    problem, _, _, model = mixed("llama")
    twin = copy.deepcopy(model)
    ids = problem.data.batches("search")[0].ids[:2]

    twin(ids, labels=ids).loss.backward()

    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())


def test_built_anew_a_pruned_model_can_learn() -> None:
    problem, _, _, model = mixed("llama")

    fresh = type(model)(copy.deepcopy(model.config))

    assert [p.shape for p in fresh.parameters()] == [p.shape for p in model.parameters()]
    assert all(p.requires_grad for p in fresh.parameters())
    ids = problem.data.batches("search")[0].ids
    assert fresh(ids).logits.shape == model(ids).logits.shape


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_exports_compile_into_one_graph(family: str) -> None:
    problem, _, _, model = mixed(family)
    batch = problem.data.batches("search")[0]
    torch.compiler.reset()

    compiled = torch.compile(model, backend="eager", fullgraph=True)

    settings = {"use_cache": False} if problem.kind == "lm" else {}
    with torch.no_grad():
        got, want = compiled(batch.ids, **settings)[0], model(batch.ids, **settings)[0]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_sentence_transformers_opens_encoders(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    problem, row, folder, _ = mixed("bert")
    text = ["a list of numbers", "the value of an expression is returned by the function"]
    tokens = AutoTokenizer.from_pretrained(folder)(text, padding=True, return_tensors="pt")
    model = pruned_model(problem.pretrained, problem.table, row)
    with torch.inference_mode():
        hidden = model(tokens["input_ids"], attention_mask=tokens["attention_mask"])
    mask = tokens["attention_mask"][..., None]
    mean = (hidden.last_hidden_state * mask).sum(1) / mask.sum(1)
    wanted = torch.nn.functional.normalize(mean, dim=-1)

    opened_there = library.SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")

    torch.testing.assert_close(opened_there.encode(text, convert_to_tensor=True), wanted,
                               atol=1e-5, rtol=1e-5)  # fmt: skip
    with pytest.raises(RuntimeError, match=REFUSED):
        library.SentenceTransformer(str(folder), device="cpu")


def test_files_of_sentence_transformers_come_along(tmp_path: Path) -> None:
    dense = checkpoint("bert", tmp_path / "bert")
    (dense / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}
    (dense / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate({"": "Transformer", "1_Pooling": "Pooling"}.items())
    ]
    (dense / "modules.json").write_text(json.dumps(modules))
    (dense / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    problem = Mixed(model=str(dense), variants=["removal"], length=24, sizes=SIZES, cache="off")

    facts = write(problem, genome(problem, attention0="removed"), tmp_path / "small")
    (dense / "1_Pooling" / "pytorch_model.bin").write_bytes(b"code")
    other = write(problem, genome(problem, attention0="removed"), tmp_path / "other")

    assert json.loads((tmp_path / "small" / "1_Pooling" / "config.json").read_text()) == pooling
    assert json.loads((tmp_path / "small" / "modules.json").read_text()) == modules
    assert "license: apache-2.0" in (tmp_path / "small" / "README.md").read_text()
    assert facts["load"].startswith("SentenceTransformer(")
    assert other["load"].startswith("AutoModel.from_pretrained(")
    assert not list((tmp_path / "other").rglob("*.bin"))


def test_models_with_code_of_their_own_are_refused(tmp_path: Path) -> None:
    problem = copy.copy(problem_of("llama"))
    foreign = type("Foreign", (type(problem.pretrained.model),), {"__module__": "somewhere"})
    model = copy.copy(problem.pretrained.model)
    model.__class__ = foreign
    problem.pretrained = type(problem.pretrained)(**{**vars(problem.pretrained), "model": model})

    with pytest.raises(ModelError, match="code of its own"):
        export(problem, genome(problem), tmp_path / "small", expected={})


def test_the_dense_model_is_left_as_it_was(tmp_path: Path) -> None:
    problem = problem_of("qwen3")
    before = problem.pretrained.config.to_dict()
    modules = dict(problem.pretrained.model.named_modules())
    weights = {k: v.clone() for k, v in problem.pretrained.model.state_dict().items()}

    write(problem, genome(problem, **MIXED), tmp_path / "small")

    assert problem.pretrained.config.to_dict() == before
    assert dict(problem.pretrained.model.named_modules()) == modules
    after = problem.pretrained.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in weights.items())


def test_exports_open_without_this_project(tmp_path: Path) -> None:
    _, _, folder, _ = mixed("llama")

    assert {f.suffix for f in folder.rglob("*") if f.is_file()} == {
        ".json", ".md", ".py", ".safetensors"
    }  # fmt: skip
    for file in folder.glob("*.py"):
        assert "problems" not in [
            line.split()[1].split(".")[0]
            for line in file.read_text().splitlines()
            if line.startswith(("import ", "from "))
        ]


@pytest.mark.slow
@pytest.mark.parametrize("family", EVERY)
def test_a_new_process_reproduces_the_values_of_every_family(family: str, tmp_path: Path) -> None:
    problem = problem_of(family)
    row = genome(problem, **MIXED)

    facts = export(problem, row, tmp_path / "small", expected=values(problem, row))

    assert set(facts["values"]) == set(values(problem, row))
