"""Do children that share more with their parents pay, since a sweep starts at their first change?

    EVO_DATA=FOLDER python experiments/benchmarks/late.py [--model NAME] [--way NAME]

Plain NSGA-II on what to remove or narrow. *usual*: pairs are cut anywhere, and all children are
mutated. *late*: half the cuts are confined to the last third of the sites. *either*: only children
that equal a parent are mutated. *late either*: both, as pruning problems suggest. Printed are the
multiply-accumulates that a way did, as a share of the usual one's, and the hypervolumes at equal
multiply-accumulates (the least that any spent in all) and at equal evaluations, on one box.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine import settings, volume

from evo.archive import Box
from evo.config import RunConfig
from evo.run import Run
from evo.view import SEARCH, RunView, read_run

MODELS = ("all-MiniLM-L6-v2", "stories260K/hf", "books2m")


def way(late: float, mutated: float) -> dict[str, Any]:
    """Settings of the algorithm."""
    return {"crossover": {"id": "one-point", "late": late}, "mutation_rate": mutated}


WAYS = {
    "usual": way(0.0, 1.0),
    "late": way(0.5, 1.0),
    "either": way(0.0, 0.0),
    "late either": way(0.5, 0.0),
}


def searched(name: str, given: Any, scratch: Path, seed: int, how: str) -> RunView:
    """A finished run."""
    config = RunConfig.from_mapping(
        {
            "problem": {"id": "prune/mixed", **settings(name, scratch, given.sequences)},
            "objectives": ["drift" if name == "all-MiniLM-L6-v2" else "kl", "params"],
            "seed": seed, "validate": False,
            "algorithm": {"id": "nsga2", "population": 32, "surrogate": False, **WAYS[how]},
            "stop": {"generations": given.generations}, "evaluator": {"device": "cpu"},
        }
    )  # fmt: skip
    folder = scratch / f"{name}-{seed}-{how}".replace("/", "-").replace(" ", "-")
    with Run.create(config, folder) as run:
        list(run)
        run.finish()
    return read_run(folder)


def spent(view: RunView) -> list[float]:
    """Multiply-accumulates after each generation."""
    each = [view.work[(SEARCH, g.number)]["macs"] for g in view.generations]
    return np.cumsum(each).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--way", action="append", choices=list(WAYS)[1:], help="beside the usual")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--generations", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways = ["usual", *(given.way or [way for way in WAYS if way != "usual"])]
    others = ways[1:]
    with tempfile.TemporaryDirectory() as folder:
        for name in given.model or MODELS:
            told: dict[str, dict[str, list[float]]] = {w: defaultdict(list) for w in others}
            for seed in range(given.seeds):
                views = {way: searched(name, given, Path(folder), seed, way) for way in ways}
                fronts = [v.fitness[v.candidates.on_front] for v in views.values()]
                box = Box.spanning(np.concatenate(fronts))
                counts = {way: spent(view) for way, view in views.items()}
                least, last = min(c[-1] for c in counts.values()), given.generations - 1
                at = {way: sum(x <= least for x in c) - 1 for way, c in counts.items()}
                same = {way: volume(view, box, at[way]) for way, view in views.items()}
                whole = {way: volume(view, box, last) for way, view in views.items()}
                for way in others:
                    told[way]["products"].append(counts[way][-1] / counts["usual"][-1])
                    told[way]["hypervolume"].append(same[way] / same["usual"])
                    told[way]["at equal evaluations"].append(whole[way] / whole["usual"])
                print(json.dumps({"model": name, "seed": seed, "equal products": same,
                                  "equal evaluations": whole}), flush=True)  # fmt: skip
            medians = {
                way: {k: round(statistics.median(v), 4) for k, v in found.items()}
                for way, found in told.items()
            }
            print(json.dumps({"model": name, "as shares of usual": medians}), flush=True)


if __name__ == "__main__":
    main()
