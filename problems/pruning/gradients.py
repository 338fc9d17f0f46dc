"""Gradients: how the loss of a language model on calibration text depends on every weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from evo.errors import ConfigError, ModelError

from . import tensor_files
from .layouts import get
from .listening import layers_of
from .models import Block, Pretrained

FORMAT = 1
_LOSS_SCALE = 2.0**10  # keeps small gradients of half precision; a power of two, so undone exactly


def build(
    pretrained: Pretrained, calibration: Sequence[Any], *, calibration_id: str, cache: Path | None
) -> dict[str, torch.Tensor]:
    """Norm over sequences of each weight's gradient, ``gradient.<block>.<path>`` (d_out, d_in).

    The loss is the mean cross-entropy of a sequence's next tokens. One pass forward and back per
    sequence; the norms take as much memory as the linear layers do in float32.

    Args:
        pretrained: The dense language model; not modified.
        calibration: Micro-batches with ``ids`` (B, T) and ``mask`` (B, T) or None.
        calibration_id: Fingerprint of the calibration text.
        cache: Folder to keep them in, or None.

    Raises:
        ConfigError: The model is no language model, or its weights cannot be differentiated.
        ModelError: A gradient is not finite.
    """
    if pretrained.kind != "lm":
        raise ConfigError(
            f"scorer 'gblm' needs a language model's loss, but {pretrained.name} is an encoder",
            hint="choose another scorer, for example wanda or ria",
        )
    _require_floats(pretrained)
    key = {
        "format": FORMAT, "model": pretrained.fingerprint, "dtype": str(pretrained.dtype),
        "calibration": calibration_id,
    }  # fmt: skip
    file = tensor_files.file_of(cache, "gradients", key) if cache else None
    found = tensor_files.read(file, key) if file else None
    if found is None:
        found = _norms(pretrained, calibration)
        if file:
            tensor_files.write(file, found, key)
            found = tensor_files.read(file, key) or found
    return found


def name_of(block: Block, path: str) -> str:
    """Under which name a layer's gradient norms are kept."""
    return f"gradient.{block.index}.{path}"


def _require_floats(pretrained: Pretrained) -> None:
    for block, path in layers_of(pretrained.blocks):
        weight: Any = get(block.module, path).weight
        if not weight.is_floating_point():
            raise _refusal(f"{path} of block {block.index} holds quantised {weight.dtype} numbers")


def _refusal(why: str) -> ConfigError:
    return ConfigError(
        f"gradients were asked of a model that has none: {why}",
        hint="choose a scorer without gradients, for example wanda, or load unquantised weights",
    )


def _norms(pretrained: Pretrained, calibration: Sequence[Any]) -> dict[str, torch.Tensor]:
    layers = layers_of(pretrained.blocks)
    names = [f"{pretrained.blocks_path}.{block.index}.{path}.weight" for block, path in layers]
    given = [get(block.module, path).weight for block, path in layers]
    weights: Any = [weight.detach().requires_grad_() for weight in given]  # type: ignore[operator]
    squares = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for ids in _sequences(calibration, pretrained.device):
        loss = _loss(pretrained.model, dict(zip(names, weights, strict=True)), ids)
        if not loss.requires_grad:
            raise _refusal(f"the loss of {pretrained.name} does not depend on its weights")
        gradients = torch.autograd.grad(loss * _LOSS_SCALE, weights, allow_unused=True)
        for (block, path), total, gradient in zip(layers, squares, gradients, strict=True):
            if gradient is None:
                raise _refusal(f"the loss does not depend on {path} of block {block.index}")
            total += (gradient.float() / _LOSS_SCALE).square()
    found = {}
    for (block, path), total in zip(layers, squares, strict=True):
        if not total.isfinite().all():
            raise ModelError(
                f"gradients of {path} of block {block.index} are not finite on the calibration "
                "text",
                hint="load the model as float32 with --set problem.dtype=float32",
            )
        turned = total.t() if isinstance(get(block.module, path), Conv1D) else total
        found[name_of(block, path)] = turned.sqrt().cpu().contiguous()
    return found


def _loss(model: Any, weights: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next tokens of one sequence, (T,) → scalar."""
    inputs = {"input_ids": ids[None], "use_cache": False}
    with torch.enable_grad():
        logits = functional_call(model, weights, args=(), kwargs=inputs).logits[0]
        return cross_entropy(logits[:-1].float(), ids[1:])


def _sequences(calibration: Sequence[Any], device: torch.device) -> Iterator[torch.Tensor]:
    for batch in calibration:
        for i, ids in enumerate(batch.ids):
            yield (ids if batch.mask is None else ids[batch.mask[i].bool()]).to(device)
