"""Tiny random checkpoints of every supported family, with a tokenizer trained in the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

SMALL = {
    "vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 3, "max_position_embeddings": 128
}  # fmt: skip
GQA = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
NAMES: dict[str, Any] = {
    "pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]",
    "model_max_length": 128,
}  # fmt: skip
MHA = {"num_attention_heads": 4, "intermediate_size": 64}


def configs() -> dict[str, Any]:
    """Family → (config, whether it is a language model)."""
    import transformers as t

    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {
        "llama": t.LlamaConfig(**SMALL, **GQA, **ids),
        "mistral": t.MistralConfig(**SMALL, **GQA, **ids, sliding_window=16),
        "qwen2": t.Qwen2Config(**SMALL, **GQA, **ids),
        "qwen3": t.Qwen3Config(**SMALL, **GQA, **ids, head_dim=8),
        "gemma2": t.Gemma2Config(**SMALL, **GQA, **ids, head_dim=8, sliding_window=16),
        "gemma3": t.Gemma3TextConfig(**SMALL, **GQA, **ids, head_dim=8, sliding_window=16),
        "phi3": t.Phi3Config(**SMALL, **GQA, **ids),
        "opt": t.OPTConfig(
            vocab_size=200, hidden_size=32, num_hidden_layers=3, max_position_embeddings=128,
            num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32, **ids,
        ),
        "gpt2": t.GPT2Config(
            vocab_size=200, n_embd=32, n_layer=3, n_head=4, n_positions=128, **ids
        ),
        "gpt_neox": t.GPTNeoXConfig(**SMALL, **MHA, **ids),
        "bert": t.BertConfig(**SMALL, **MHA, pad_token_id=0),
        "distilbert": t.DistilBertConfig(
            vocab_size=200, dim=32, n_layers=3, n_heads=4, hidden_dim=64,
            max_position_embeddings=128, pad_token_id=0,
        ),
        "roberta": t.RobertaConfig(**SMALL, **MHA, pad_token_id=0),
    }  # fmt: skip


FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "opt", "gpt2", "gpt_neox",
    "bert", "distilbert", "roberta",
)  # fmt: skip
ENCODERS = ("bert", "distilbert", "roberta")
DISTINCT = ("llama", "gemma3", "phi3", "opt", "gpt2", "gpt_neox", "bert")
"""One for each way in which layers are laid out."""
TYPICAL = ("llama", "gpt2", "bert")
"""Two ways in which decoders are laid out, and an encoder."""


def _else_slow(some: tuple[str, ...]) -> list[Any]:
    return [f if f in some else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES]


EVERY = _else_slow(DISTINCT)
"""All families, where the layout matters; those laid out as others are slow."""
EACH = _else_slow(TYPICAL)
"""All families, where every linear layer is treated alike; all but the typical ones are slow."""


def tokenizer() -> Any:
    """A word-level tokenizer over two hundred common tokens of the documentation topics."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=200, special_tokens=special)
    made.train_from_iterator(list(topics.values())[:20], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, **NAMES)


def byte_tokenizer() -> Any:
    """Byte-level pairs over the same documents: what Qwen 2 turns every tokenizer into."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    made.train_from_iterator(list(topics.values())[:20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, **NAMES)


def checkpoint(family: str, folder: Path) -> Path:
    """Write a random checkpoint whose submodules all matter, and return its folder."""
    from transformers import AutoModel, AutoModelForCausalLM

    config = configs()[family]
    torch.manual_seed(0)
    auto = AutoModel if family in ENCODERS else AutoModelForCausalLM
    model = auto.from_config(config)
    with torch.no_grad():
        for p in model.parameters():  # far from zero, so that every choice changes the outcome
            p.add_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.1))
    model.save_pretrained(folder)
    (byte_tokenizer() if family == "qwen2" else tokenizer()).save_pretrained(folder)
    return folder
