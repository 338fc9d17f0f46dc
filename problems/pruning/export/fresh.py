"""Runs in a new process: opens an export the documented way and measures it by forward passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from evo.errors import ModelError

from ..data import Batch
from ..quality import DriftReader, LanguageReader, Teacher, pooled, spearman


def main(scratch: str) -> None:
    """Read ``request.json`` and ``inputs.safetensors`` in a folder, write ``answer.json`` there."""
    place = Path(scratch)
    request = json.loads((place / "request.json").read_text())
    tensors = load_file(place / "inputs.safetensors", device=request["device"])
    model = opened(request)
    with torch.inference_mode():
        found = _measured(model, request, tensors)
    (place / "answer.json").write_text(json.dumps(found))


def opened(request: dict[str, Any]) -> Any:
    """The model of a request.

    Raises:
        ModelError: Tensors are missing or left over.
    """
    from transformers import AutoModel, AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM if request["kind"] == "lm" else AutoModel
    trust = {"trust_remote_code": True} if request["trust"] else {}
    model, info = auto.from_pretrained(request["folder"], output_loading_info=True, **trust)
    wrong = [
        k for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for k in info[kind]
    ]
    if wrong:
        raise ModelError(f"tensor {wrong[0]} of the export does not fit its model")
    return model.to(request["device"]).eval()


def _measured(model: Any, request: dict[str, Any], tensors: dict[str, Any]) -> dict[str, float]:
    names, found = request["names"], {}
    if "params" in names:
        zeros = sum(int((model.get_submodule(p).weight == 0).sum()) for p in request["sparse"])
        found["params"] = float(sum(p.numel() for p in model.parameters()) - zeros)
    text = _batches(tensors, "text")
    if text and request["kind"] == "lm":
        rows = torch.cat(_read_language(model, text, tensors)).cpu().numpy()
        loss, kl = rows.mean(0)
        with np.errstate(over="ignore"):
            found |= {"loss": loss, "kl": kl, "perplexity": np.exp(loss)}
    elif text:
        dense = [tensors[f"text.{i}.dense"] for i in range(len(text))]
        reader = DriftReader(request["pooling"], dense)
        rows = [reader(i, b, _hidden(model, b)) for i, b in enumerate(text)]
        found["drift"] = float(torch.cat(rows).mean())
    if "spearman" in names:
        found["spearman"] = _rank_correlation(model, request["pooling"], tensors)
    return {name: float(found[name]) for name in names}


def _batches(tensors: dict[str, Any], name: str) -> list[Batch]:
    count = sum(k.startswith(f"{name}.") and k.endswith(".ids") for k in tensors)
    return [
        Batch(tensors[f"{name}.{i}.ids"], tensors.get(f"{name}.{i}.mask")) for i in range(count)
    ]


def _arguments(batch: Batch) -> dict[str, torch.Tensor]:
    mask = {} if batch.mask is None else {"attention_mask": batch.mask}
    return {"input_ids": batch.ids, **mask}


def _hidden(model: Any, batch: Batch) -> torch.Tensor:
    return model(**_arguments(batch)).last_hidden_state


def _read_language(model: Any, batches: list[Batch], tensors: dict[str, Any]) -> list[torch.Tensor]:
    parts = ("tokens", "log_probs", "tail")
    teachers = [
        Teacher(*(tensors[f"text.{i}.{part}"] for part in parts)) for i in range(len(batches))
    ]
    reader = LanguageReader(teachers)
    return [reader(i, b, model(**_arguments(b)).logits) for i, b in enumerate(batches)]


def _rank_correlation(model: Any, pooling: str, tensors: dict[str, Any]) -> float:
    batches = _batches(tensors, "pairs")
    found = torch.cat([pooled(_hidden(model, b), b.mask, pooling) for b in batches]).cpu().numpy()
    found = found[np.argsort(tensors["order"].cpu().numpy())]
    half = len(found) // 2
    cosines = (found[:half] * found[half:]).sum(axis=1)
    return float(spearman(cosines[None], tensors["gold"].cpu().numpy())[0])
