"""Sweep against one candidate at a time: equality first, then the ratio of medians.

    python experiments/benchmarks/sweep.py [--variants removal] [--rounds 5]

The candidates are what NSGA-II asks for, 64 at a time. The slow version builds each one as a model
of its own (removed submodules skipped, narrow layers really narrow) and runs an ordinary forward
pass per micro-batch. ``cold`` sweeps know nothing of earlier generations; ``warm`` ones keep the
parents' states, as a run does. Models: the embedded sentence encoder and, from
``$EVO_DATA/models``, two trained language models; random ones of the same shape where that folder
is absent. A third one is random everywhere: its body and its head have the proportions of models in
use, while the head of the small trained ones weighs more.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evo import Context
from evo.config import RunConfig
from evo.configured import build_algorithm
from evo.evaluate.judges import Judges
from evo.evaluate.memory import KEPT, free_bytes
from problems.pruning.cost import pruned_model
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep

LARGE = "random-24x1024"  # blocks, vocabulary and share of the head as models in use have them
SHAPES = {
    "stories260K/hf": {
        "num_hidden_layers": 5, "hidden_size": 64, "intermediate_size": 172,
        "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512,
    },
    "books2m": {
        "num_hidden_layers": 8, "hidden_size": 128, "intermediate_size": 352,
        "num_attention_heads": 4, "max_position_embeddings": 256,
    },
    "random-12x256": {
        "num_hidden_layers": 12, "hidden_size": 256, "intermediate_size": 688,
        "num_attention_heads": 8, "max_position_embeddings": 256,
    },
    LARGE: {
        "num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 2752,
        "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 256,
    },
}  # fmt: skip
VOCABULARY = {
    "stories260K/hf": 512, "books2m": 4096, "random-12x256": 4096, LARGE: 32_000
}  # fmt: skip


def model_of(name: str, scratch: Path) -> str:
    """A trained model where it is at hand, else a random one of the same shape."""
    data = os.environ.get("EVO_DATA")
    if data and (Path(data) / "models" / name).is_dir():
        return str(Path(data) / "models" / name)
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = scratch / name.replace("/", "-")
    if folder.is_dir():
        return str(folder)
    size = VOCABULARY[name]
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(
        topics.values(), trainers.WordLevelTrainer(vocab_size=size, special_tokens=["[UNK]"])
    )
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPES[name], vocab_size=size)).save_pretrained(folder)
    return str(folder)


def generations(problem: Mixed, n: int, last: int) -> list[np.ndarray]:
    """What NSGA-II asks for, generation by generation, on (quality, params); each (n, S)."""
    quality = "drift" if problem.kind == "encoder" else "kl"
    config = RunConfig.from_mapping(
        {
            "objectives": [quality, "params"], "seed": 0,
            "algorithm": {"id": "nsga2", "population": n, "surrogate": False},
        }
    )  # fmt: skip
    judges, starts = Judges.of(problem, config), problem.starts(n, np.random.default_rng(0))
    algorithm = build_algorithm(config, problem.space, judges, starts, variation=problem.variation)
    chosen = {o.name: o for o in problem.objectives}
    asked_so_far = []
    for _ in range(last + 1):
        asked = algorithm.ask()
        asked_so_far.append(asked["choices"])
        batch = problem.batch(asked, Context())
        fitness = np.stack([chosen[quality](batch), chosen["params"](batch)], axis=1)
        algorithm.tell(asked, fitness, np.zeros(len(asked)))
    return asked_so_far


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


def swept(problem: Mixed, engine: Sweep, rows: np.ndarray) -> np.ndarray:
    """All candidates in one sweep."""
    return engine(rows, problem.data.batches("search"), problem.reader("search"))


def timed(fn: Any, *args: Any) -> float:
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


def warm_engines(problem: Mixed, earlier: list[np.ndarray]) -> Callable[[], Sweep]:
    """Makes engines that have judged the generations before, as in a run."""
    share = torch.get_num_threads() / (os.cpu_count() or 1)
    states = int(KEPT * share * (free_bytes("cpu") or 8 << 30))
    engine = Sweep(problem.pretrained, problem.table, states=states)
    for rows in earlier:
        swept(problem, engine, rows)

    def made() -> Sweep:
        other = copy.copy(engine)
        other._states = copy.copy(engine._states)
        other._states._kept = engine._states._kept.copy()
        return other

    return made


def benchmark(name: str, model: str | None, kinds: list[str], arguments: Any) -> dict[str, Any]:
    problem = Mixed(model=model, variants=kinds, sizes={"search": arguments.sequences}, cache="off")
    *earlier, rows = generations(problem, arguments.population, arguments.generations)
    cold = Sweep(problem.pretrained, problem.table)
    slow = one_at_a_time(problem, rows)
    warm_engine = warm_engines(problem, earlier)  # not timed: a run has paid for it before
    for engine in (cold, warm_engine()):
        difference = np.abs(slow - swept(problem, engine, rows)).max()
        assert difference < 1e-5, f"the sweep differs from one at a time by {difference}"
    times: dict[str, list[float]] = {"one_at_a_time": [], "cold": [], "warm": []}
    for _ in range(arguments.rounds):
        warm = warm_engine()
        times["one_at_a_time"].append(timed(one_at_a_time, problem, rows))
        times["cold"].append(timed(swept, problem, cold, rows))
        times["warm"].append(timed(swept, problem, warm, rows))
    median = {k: statistics.median(v) for k, v in times.items()}
    return {
        "model": name,
        "variants": kinds,
        "candidates": len(rows),
        "largest_difference": float(difference),
        "seconds": {k: round(v, 3) for k, v in median.items()},
        "ratio_cold": round(median["one_at_a_time"] / median["cold"], 2),
        "ratio_warm": round(median["one_at_a_time"] / median["warm"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default="removal")
    parser.add_argument("--population", type=int, default=64)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--model",
        action="append",
        help="only models whose name contains this; random-24x1024 only where asked for",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("all-MiniLM-L6-v2", *SHAPES):
            if any(p in name for p in arguments.model) if arguments.model else name != LARGE:
                model = model_of(name, Path(scratch)) if name in SHAPES else None
                print(
                    json.dumps(benchmark(name, model, arguments.variants.split(), arguments)),
                    flush=True,
                )


if __name__ == "__main__":
    main()
