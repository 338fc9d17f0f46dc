"""Dense against exported: bytes, latency at batch 1 and 32, and reproduced values.

    python experiments/benchmarks/export.py RUN [CANDIDATE]

Exports one candidate (the knee by default), which is judged again in a fresh process, then times
both models as a user would load them, in turns, and prints the ratio of medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from evo.config import RunConfig
from evo.registry import build_problem
from evo.store import read_run


def loaded(folder: str, kind: str) -> Any:
    """A model as the documented one-liner opens it."""
    from transformers import AutoModel, AutoModelForCausalLM

    auto = AutoModelForCausalLM if kind == "lm" else AutoModel
    return auto.from_pretrained(folder, trust_remote_code=True).eval()


def milliseconds(models: dict[str, Any], ids: torch.Tensor, rounds: int) -> dict[str, float]:
    """Median of each model over rounds taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, model in models.items():
                start = time.perf_counter()
                model(input_ids=ids)
                if turn:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("candidate", nargs="?", default="knee")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problem: Any = build_problem(RunConfig.from_mapping(read_run(arguments.run).meta["config"]))
    with tempfile.TemporaryDirectory() as scratch:
        target = f"{scratch}/pruned"
        command = ["export", str(arguments.run), arguments.candidate, "--to", target, "--json"]
        made = subprocess.run(
            [sys.executable, "-m", "evo", *command], check=True, capture_output=True, text=True
        )
        facts = json.loads(made.stdout)["built"]
        models = {
            "dense": loaded(str(problem.pretrained.folder), problem.kind),
            "pruned": loaded(target, problem.kind),
        }
        found: dict[str, Any] = {
            "candidate": json.loads(made.stdout)["id"],
            "values": facts["values"],
            "params_ratio": round(facts["params"] / facts["dense_params"], 4),
            "bytes_ratio": round(facts["bytes"] / facts["dense_bytes"], 4),
        }
        for batch in (1, 32):
            ids = problem.data.uniform(batch, problem.data.length).ids
            times = milliseconds(models, ids, arguments.rounds)
            found[f"batch_{batch}_ms"] = {k: round(v, 2) for k, v in times.items()}
            found[f"batch_{batch}_speedup"] = round(times["dense"] / times["pruned"], 2)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
