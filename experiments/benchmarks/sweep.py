"""Sweep against one candidate at a time: 64 NSGA-II offspring, equality first, then the ratio of medians.

    python experiments/benchmarks/sweep.py [--variants removal] [--rounds 5]

The slow version builds each candidate as a model of its own (removed submodules skipped, narrow layers
really narrow) and runs an ordinary forward pass per micro-batch. Models: the embedded sentence encoder and,
from ``$EVO_DATA/models``, two trained language models; where that folder is absent, random ones of the same shape.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evo import Context
from evo.algorithms import Settings, create
from problems.pruning.cost import pruned_model
from problems.pruning.searches import Mixed

SHAPES = {
    "stories260K/hf": {"num_hidden_layers": 5, "hidden_size": 64, "intermediate_size": 172, "vocab_size": 512,
                       "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512},
    "books2m": {"num_hidden_layers": 8, "hidden_size": 128, "intermediate_size": 352, "vocab_size": 4096,
                "num_attention_heads": 4, "max_position_embeddings": 256},
}  # fmt: skip


def model_of(name: str, scratch: Path) -> str:
    """A trained model where it is at hand, else a random one of the same shape (speed is the same)."""
    data = os.environ.get("EVO_DATA")
    if data and (Path(data) / "models" / name).is_dir():
        return str(Path(data) / "models" / name)
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from problems.pruning.models import locate

    folder = scratch / name.replace("/", "-")
    torch.manual_seed(0)
    vocabulary = AutoTokenizer.from_pretrained(locate(None))
    shape = dict(SHAPES[name], vocab_size=len(vocabulary))
    LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(folder)
    vocabulary.save_pretrained(folder)
    return str(folder)


def offspring(problem: Mixed, n: int, generations: int) -> np.ndarray:
    """What NSGA-II asks for after some generations on (quality, params), shape (n, S)."""
    algorithm = create(
        "nsga2", problem.space, n_objectives=2, constrained=False,
        settings=Settings(population=n, seed=0), starts=problem.starts(n, np.random.default_rng(0)),
    )  # fmt: skip
    quality = "drift" if problem.kind == "encoder" else "kl"
    chosen = {o.name: o for o in problem.objectives}
    for _ in range(generations):
        asked = algorithm.ask()
        batch = problem.batch(asked, Context(fidelity=0.1))
        fitness = np.stack([chosen[quality](batch), chosen["params"](batch)], axis=1)
        algorithm.tell(asked, fitness, np.zeros(len(asked)))
    return algorithm.ask()["choices"]


def one_at_a_time(problem: Mixed, rows: np.ndarray) -> np.ndarray:
    """Every candidate as a whole model, one forward pass per micro-batch."""
    reader, sweep, found = problem.reader("search"), problem.sweep(), []
    with torch.inference_mode():
        for row in rows:
            model = pruned_model(problem.pretrained, problem.table, row)
            read = []
            for i, batch in enumerate(problem.data.batches("search")):
                output = model(**sweep._inputs(batch))
                what = output.logits if problem.kind == "lm" else output.last_hidden_state
                read.append(reader(i, batch, what))
            found.append(torch.cat(read).double().numpy())
    return np.stack(found)


def swept(problem: Mixed, rows: np.ndarray) -> np.ndarray:
    """All candidates in one sweep."""
    return problem.sweep()(rows, problem.data.batches("search"), problem.reader("search"))


def timed(fn: Any, *args: Any) -> float:
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


def benchmark(name: str, model: str | None, kinds: list[str], arguments: Any) -> dict[str, Any]:
    problem = Mixed(model=model, variants=kinds, sizes={"search": arguments.sequences}, cache="off")
    rows = offspring(problem, arguments.population, arguments.generations)
    slow, fast = one_at_a_time(problem, rows), swept(problem, rows)
    assert np.abs(slow - fast).max() < 1e-5, "the sweep does not equal one candidate at a time"
    problem._sweep.tally.blocks = problem._sweep.tally.shared = 0
    swept(problem, rows)
    tally = problem._sweep.tally
    pairs = [
        (timed(one_at_a_time, problem, rows), timed(swept, problem, rows))
        for _ in range(arguments.rounds)
    ]
    slow_s, fast_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "model": name, "variants": kinds, "candidates": len(rows), "max_difference": float(np.abs(slow - fast).max()),
        "one_at_a_time_s": round(slow_s, 3), "sweep_s": round(fast_s, 3), "ratio": round(slow_s / fast_s, 2),
        "blocks_run": tally.blocks, "blocks_shared": tally.shared,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default="removal")
    parser.add_argument("--population", type=int, default=64)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", action="append", help="only models whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        wanted = {"all-MiniLM-L6-v2": None} | {n: model_of(n, Path(scratch)) for n in SHAPES}
        for name, model in wanted.items():
            if not arguments.model or any(part in name for part in arguments.model):
                print(
                    json.dumps(benchmark(name, model, arguments.variants.split(), arguments)),
                    flush=True,
                )


if __name__ == "__main__":
    main()
