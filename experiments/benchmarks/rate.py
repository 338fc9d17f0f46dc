"""How near a sweep comes to the matrix products and copies of its machine, on large layers.

    python experiments/benchmarks/rate.py [--device cuda:0] [--dtype bfloat16] [--width 1024]

A random model of LLaMA's shape, wide enough for products to take most of the time, and genomes that
NSGA-II asks for. After the sweep has given the values of one candidate at a time, it is timed. Its
rate: multiply-accumulates of weights, twice, as floating-point operations (attention scores aside),
over all seconds of the sweep and over those spent in blocks and heads.
The machine's peak is a product of large square matrices, measured before and after. ``edited`` is
EvoPress' way: one model whose blocks are exchanged, one sequence at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine import edited
from sweep import SHAPES, VOCABULARY, generations, model_of, one_at_a_time, swept, timed

from evo.profiling import DTYPES, measured_peak
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep
from problems.pruning.tally import Tally

NEAR = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}  # of values, alone and together


def shape(width: int, blocks: int) -> dict[str, int]:
    """LLaMA's proportions."""
    return {
        "num_hidden_layers": blocks, "hidden_size": width, "intermediate_size": 11 * width // 4,
        "num_attention_heads": width // 64, "max_position_embeddings": 2048,
    }  # fmt: skip


def measured(given: Any, folder: str) -> dict[str, Any]:
    """Rates and ratios, after equality."""
    problem = Mixed(
        model=folder, variants=["removal"], cache="off", length=given.length, dtype=given.dtype,
        sizes={"calibration": 2, "search": given.sequences, "validation": 2},
    )  # fmt: skip
    problem.sweep(given.device)
    *_, rows = generations(problem, given.population, 1)
    tally = Tally()
    engine = Sweep(problem.pretrained, problem.table, tally=tally)
    difference = np.abs(swept(problem, engine, rows) - one_at_a_time(problem, rows)).max()
    assert difference < NEAR[given.dtype], f"the sweep differs from one at a time by {difference}"
    seconds: dict[str, list[float]] = {"sweep": [], "one_at_a_time": [], "edited": [], "busy": []}
    peaks = [measured_peak(given.device, given.dtype)]
    before = tally.counts()
    for _ in range(given.rounds):
        busy = tally.seconds["blocks"] + tally.seconds["heads"]
        seconds["sweep"].append(timed(swept, problem, engine, rows))
        seconds["busy"].append(tally.seconds["blocks"] + tally.seconds["heads"] - busy)
        seconds["one_at_a_time"].append(timed(one_at_a_time, problem, rows))
        seconds["edited"].append(timed(edited, problem, rows))
    peaks.append(measured_peak(given.device, given.dtype))
    median = {way: statistics.median(many) for way, many in seconds.items()}
    done = {k: (v - before[k]) / given.rounds for k, v in tally.counts().items()}
    best = max(peak.products for peak in peaks)
    return {
        "device": torch.cuda.get_device_name(given.device) if "cuda" in given.device else "cpu",
        "dtype": given.dtype, "threads": peaks[0].threads,
        "largest difference": float(difference),
        "peak, 10^9 operations/s": round(best / 1e9, 1),
        "share of peak, busy": round(2 * done["macs"] / median["busy"] / best, 3),
        "share of peak, all": round(2 * done["macs"] / median["sweep"] / best, 3),
        "times faster than edited": round(median["edited"] / median["sweep"], 2),
        "times faster than one at a time": round(median["one_at_a_time"] / median["sweep"], 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    name = f"random-{given.blocks}x{given.width}"
    SHAPES[name], VOCABULARY[name] = shape(given.width, given.blocks), given.vocabulary
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"model": name} | measured(given, model_of(name, Path(folder)))))


if __name__ == "__main__":
    main()
