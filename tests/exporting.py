"""Candidates written as model folders, opened again, and compared by what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems.pruning import export as exports
from problems.pruning.searches import Mixed


def outputs(problem: Mixed, model: Any) -> list[torch.Tensor]:
    with torch.inference_mode():
        found = [model(**problem.sweep()._inputs(b)) for b in problem.data.batches("search")]
    return [o.logits if problem.kind == "lm" else o.last_hidden_state for o in found]


def same(got: list[torch.Tensor], want: list[torch.Tensor], atol: float = 1e-5) -> None:
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


def write(problem: Mixed, row: np.ndarray, folder: Path) -> dict[str, Any]:
    """Export without the check in a new process, which other tests make."""
    patch = pytest.MonkeyPatch()
    patch.setattr(exports, "reproduce", lambda *args, **kwargs: {})
    try:
        return exports.export(problem, row, folder, expected={})
    finally:
        patch.undo()


def opened(folder: Path, kind: str, **settings: Any) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM if kind == "lm" else AutoModel
    return auto.from_pretrained(folder, **settings).eval()
