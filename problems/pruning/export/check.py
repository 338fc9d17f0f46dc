"""Opens an export in a fresh process and compares what it measures there with the search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import evo
from evo.errors import ModelError

COMPARED = ("params", "drift", "loss", "kl", "perplexity", "spearman")
TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-2  # share of the value; float16 and bfloat16 depend on the order of sums


def reproduce(
    problem: Any, folder: Path, scratch: Path, expected: Mapping[str, float], *, trust: bool,
    earlier_zeros: int, sparse: Sequence[str],
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Objective values of the model in a folder, found by opening it in a new process.

    Args:
        problem: The search problem, for its text and its dense model's outputs.
        folder: The export.
        scratch: An existing folder for the inputs; the caller removes it.
        expected: Recorded values by objective; those that are no property of the model alone
            (latency) are left out.
        trust: Whether the folder brings its own loader.
        earlier_zeros: Zeros in the sparse layers that the dense model had and no choice counts.
        sparse: Linear layers whose zeros count as removed.

    Returns:
        Per compared objective: ``expected`` and ``found``.

    Raises:
        ModelError: It does not open, or a value differs.
    """
    names = [name for name in expected if name in COMPARED]
    save_file(_inputs(problem, names), scratch / "inputs.safetensors")
    request = {
        "folder": str(folder.resolve()),
        "kind": problem.kind,
        "trust": trust,
        "device": problem.pretrained.device.type,
        "pooling": problem.data.pooling,
        "names": names,
        "sparse": list(sparse),
    }
    (scratch / "request.json").write_text(json.dumps(request))
    found = _ask(scratch.resolve())
    if "params" in found:
        found["params"] += earlier_zeros
    resolutions = {o.name: o.resolution for o in problem.objectives}
    values = {n: {"expected": float(expected[n]), "found": found[n]} for n in names}
    half = problem.pretrained.dtype != torch.float32
    wrong = [n for n, v in values.items() if _differs(n, v, resolutions.get(n, 0.0), half)]
    if wrong:
        told = "; ".join(
            f"{n} was {values[n]['expected']:.7g} and is {values[n]['found']:.7g}" for n in wrong
        )
        raise ModelError(
            f"the exported model does not give the recorded values: {told}",
            hint="was the run made with another model or text? nothing was written",
        )
    return values


def _differs(name: str, value: Mapping[str, float], resolution: float, half: bool) -> bool:
    expected, found = value["expected"], value["found"]
    if expected == found:  # infinite perplexity, too
        return False
    allowed = max(resolution, TOLERANCE)
    if half and name != "params":
        allowed = max(allowed, HALF_TOLERANCE * max(0.2, abs(expected)))
    elif name == "perplexity":  # the exponential of a loss that may differ by the tolerance
        allowed = max(allowed, TOLERANCE * abs(expected))
    return not abs(expected - found) <= allowed


def _inputs(problem: Any, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Micro-batches of the search split and what the dense model said on them."""
    tensors: dict[str, torch.Tensor] = {}
    if {"drift", "loss", "kl", "perplexity"} & set(names):
        reader = problem.reader("search")
        for i, batch in enumerate(problem.data.batches("search")):
            tensors |= _batch(f"text.{i}", batch)
            if problem.kind == "lm":
                teacher = reader.teachers[i]
                for part in ("tokens", "log_probs", "tail"):
                    tensors[f"text.{i}.{part}"] = getattr(teacher, part)
            else:
                tensors[f"text.{i}.dense"] = reader.dense[i]
    if "spearman" in names:
        pairs = problem.data.pairs("search")
        for i, batch in enumerate(pairs.batches):
            tensors |= _batch(f"pairs.{i}", batch)
        tensors["order"], tensors["gold"] = pairs.sentences.order, torch.as_tensor(pairs.gold)
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def _batch(name: str, batch: Any) -> dict[str, torch.Tensor]:
    mask = {} if batch.mask is None else {f"{name}.mask": batch.mask}
    return {f"{name}.ids": batch.ids, **mask}


def _ask(scratch: Path) -> dict[str, float]:
    """Run :mod:`.fresh` on a request and read its answer."""
    here = str(Path(evo.__file__).parents[1])
    settings = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
    }
    command = f"from {__package__}.fresh import main; main({str(scratch)!r})"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=scratch, env=os.environ | settings,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ModelError(f"the exported model does not open in a new process: {lines[-1]}")
    return json.loads((scratch / "answer.json").read_text())
