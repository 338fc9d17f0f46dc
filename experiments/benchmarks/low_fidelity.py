"""Does it pay to search a part of the text first? Hypervolume at equal tokens, with and without.

    EVO_DATA=FOLDER python experiments/benchmarks/low_fidelity.py [--model NAME] [--population 16]

The same searches (quality against parameters, submodules removed, surrogate, no races), begun on a
part of the text and begun on all of it. The box of a seed spans both fronts. Prints medians over
seeds of the hypervolume at the tokens of so many evaluations, and the ratio of tokens: how many
times fewer the search with a part took until it was as good as the other at each of its
generations, the median over generations and seeds.
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
from engine import searched, settings
from front import MODELS, SPACES, Curve, at, curve, reached

from evo.archive import Box


def curves(given: dict[str, Any], seed: int, wanted: Any, scratch: Path) -> dict[bool, Curve]:
    """Tokens, seconds and hypervolume after each generation, with and without."""
    own = {"id": "nsga2", "population": wanted.population, "surrogate": True}
    views = {
        low: searched(
            given, scratch / f"{seed}-{low}", seed=seed, stop={"evaluations": wanted.evaluations},
            algorithm=own if low else own | {"low_fidelity": 0},
        )
        for low in (True, False)
    }  # fmt: skip
    fronts = [view.fitness[view.candidates.on_front] for view in views.values()]
    box = Box.spanning(np.concatenate(fronts))
    return {low: curve(view, box, None) for low, view in views.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--evaluations", type=int, default=96)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted.model or MODELS:
            scratch = Path(folder) / name.replace("/", "-")
            scratch.mkdir()
            given = settings(name, scratch, wanted.sequences) | SPACES["depth"]
            found = [curves(given, seed, wanted, scratch) for seed in range(wanted.seeds)]
            one = found[0][False][0][0] / wanted.population  # tokens of an evaluation
            rows = {}
            for evaluations in (16, 24, 32, 48, 64, 96):
                rows[evaluations] = [
                    round(statistics.median(at(f[low], evaluations * one) for f in found), 4)
                    for low in (True, False)
                ]
            ratios = [
                tokens / mine[0] if (mine := reached(f[True], filled)) else 0.0
                for f in found
                for tokens, _, filled in f[False]
            ]
            told = {"model": name, "population": wanted.population, "with, without": rows}
            told["times fewer tokens"] = round(statistics.median(ratios), 2)
            told["never as good"] = sum(ratio == 0 for ratio in ratios) / len(ratios)
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
