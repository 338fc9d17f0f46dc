"""Tensors kept on disk as safetensors, under a key that says what they were computed from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file


def file_of(cache: Path, kind: str, key: dict[str, Any]) -> Path:
    """Where tensors of a kind with a key are kept."""
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
    return cache / f"{kind}-{name}.safetensors"


def read(file: Path, key: dict[str, Any]) -> dict[str, torch.Tensor] | None:
    """Memory-mapped tensors of a file; None when absent, damaged or of another key."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as handle:
            if json.loads((handle.metadata() or {}).get("key", "null")) != key:
                return None
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return None


def write(file: Path, tensors: dict[str, torch.Tensor], key: dict[str, Any]) -> None:
    """Write atomically; a cache that cannot be written is no reason to stop."""
    with contextlib.suppress(OSError, SafetensorError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        save_file(tensors, temporary, metadata={"key": json.dumps(key)})
        os.replace(temporary, file)
