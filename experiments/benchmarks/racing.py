"""Racing against judging everybody on the whole text: hypervolume and tokens of the same search.

    EVO_DATA=FOLDER python experiments/benchmarks/racing.py [--model stories260K/hf] [--seeds 5]

Objectives kl and params, submodules removed or narrowed, 64 sequences of search text. Before
anything is printed, every candidate that a run calls judged is judged again from the start, and its
values must be the recorded ones. Hypervolumes of a seed are on one box.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evo.archive import Box
from evo.config import RunConfig
from evo.problem import Context
from evo.registry import build_problem
from evo.run import Run
from evo.view import RunView, read_run

TEXTS = {"stories260K/hf": "tinystories", "books2m": "books"}
FILES = {"tinystories": ("train.txt", "valid.txt"), "books": ("train.txt.xz", "valid.txt")}


def configuration(model: str, data: Path, seed: int, racing: float, arguments: Any) -> RunConfig:
    """Of one run."""
    train, valid = (str(data / "text" / TEXTS[model] / name) for name in FILES[TEXTS[model]])
    more = {"separator": "<|endoftext|>"} if TEXTS[model] == "tinystories" else {}
    return RunConfig.from_mapping(
        {
            "problem": {
                "id": "prune/mixed", "model": str(data / "models" / model),
                "variants": ["removal", "width@0.5,0.75"], "calibration": train, "search": valid,
                "validation": valid, **more,
                "sizes": {"calibration": 16, "search": 64, "validation": 2},
            },
            "objectives": ["kl", "params"], "seed": seed, "baseline": False, "validate": False,
            "algorithm": {
                "id": "nsga2", "population": arguments.population,
                "surrogate": not arguments.plain,
            },
            "stop": {"generations": arguments.generations},
            "evaluator": {"racing": racing, "device": "cpu"},
        }
    )  # fmt: skip


def searched(config: RunConfig, folder: Path) -> tuple[RunView, float]:
    """A finished run and its seconds, after its values were found again."""
    begun = time.perf_counter()
    with Run.create(config, folder) as run:
        list(run)
        run.finish()
    seconds = time.perf_counter() - begun
    view = read_run(folder)
    c = view.candidates
    rows = np.flatnonzero(c.on_front)
    assert (c.share[rows] == 1).all(), "a candidate on the front was not judged whole"
    problem: Any = build_problem(config)
    batch = problem.batch(c.genomes.take(rows), Context())
    kl = {o.name: o for o in problem.objectives}["kl"](batch)
    assert np.array_equal(kl, c.values[rows, 0]), "a value of the front is another when judged anew"
    return view, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="stories260K/hf", choices=list(TEXTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--population", type=int, default=48)
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--confidence", type=float, nargs="*", default=[0.95, 0.99])
    parser.add_argument("--plain", action="store_true", help="without the surrogate")
    arguments = parser.parse_args()
    data = os.environ.get("EVO_DATA")
    if not data:
        sys.exit("set EVO_DATA to a folder with models and text")
    torch.set_num_threads(1)
    settings = [0.0, *arguments.confidence]
    rows: dict[float, list[tuple[float, float, float]]] = {c: [] for c in settings}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            found = {
                c: searched(
                    configuration(arguments.model, Path(data), seed, c, arguments),
                    Path(scratch) / f"racing-{c}",
                )
                for c in settings
            }
            fronts = {c: view.fitness[view.candidates.on_front] for c, (view, _) in found.items()}
            box = Box.spanning(np.concatenate(list(fronts.values())))
            for c, (view, seconds) in found.items():
                share = float(view.candidates.share.mean())
                rows[c].append((float(box.hypervolume(fronts[c])), share, seconds))
                told = {"seed": seed, "confidence": c, "hypervolume": rows[c][-1][0]}
                print(json.dumps(told | {"share": share, "seconds": seconds}), flush=True)
    print("| confidence | hypervolume | share of the tokens | times faster |\n|---|---|---|---|")
    whole = statistics.median(row[2] for row in rows[0.0])
    for c, many in rows.items():
        volume, share, seconds = (statistics.median(column) for column in zip(*many, strict=True))
        name = f"{c:g}" if c else "none"
        print(f"| {name} | {volume:.4f} | {share:.2f} | {whole / seconds:.2f} |")


if __name__ == "__main__":
    main()
