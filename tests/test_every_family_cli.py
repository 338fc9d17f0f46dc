"""Every family from the command line: search, front, export, and the export judged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import ENCODERS, FAMILIES, checkpoint
from test_families import judge

from evo.cli import main
from problems.pruning.searches import Mixed

SETTINGS = {
    "length": 24,
    "sizes": {"calibration": 4, "search": 8, "validation": 4},
    "variants": ["removal", "heads", "width@0.5", "wanda@0.5"],
    "cache": "off",
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_search_front_and_export(family: str, tmp_path: Path, capsys: Any) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    folder = checkpoint(family, tmp_path / family)
    quality = "drift" if family in ENCODERS else "kl"
    flags = [f"--set=problem.{k}={json.dumps(v)}" for k, v in SETTINGS.items() if k != "sizes"]
    flags += [f"--set=problem.sizes.{k}={v}" for k, v in SETTINGS["sizes"].items()]  # type: ignore[union-attr]
    run = tmp_path / "run"

    asked = ["run", "prune/mixed", f"--set=problem.model={json.dumps(str(folder))}", *flags]
    asked += ["--objective", quality, "--objective", "params", "--generations", "3"]
    assert main([*asked, "--population", "10", "--out", str(run), "--baseline"]) == 0
    capsys.readouterr()
    assert main(["front", str(run), "--json"]) == 0
    front = json.loads(capsys.readouterr().out)["front"]
    small = min(front, key=lambda c: c["values"]["params"] + 1e9 * (c["values"][quality] > 2))
    assert main(["export", str(run), str(small["id"]), "--to", str(tmp_path / "pruned")]) == 0

    auto = AutoModel if family in ENCODERS else AutoModelForCausalLM
    model = auto.from_pretrained(tmp_path / "pruned", trust_remote_code=True).eval()
    with torch.inference_mode():
        problem = Mixed(model=str(folder), **SETTINGS)  # type: ignore[arg-type]
        found = judge(problem, model)[:, -1].mean()
    np.testing.assert_allclose(found, small["values"][quality], atol=1e-4)
