"""Do children that share more with their parents pay, since a sweep starts at their first change?

    EVO_DATA=FOLDER python experiments/benchmarks/late.py [--model NAME] [--seeds 5]

Plain NSGA-II on what to remove or narrow, in four ways. *usual*: children are crossed and then
mutated. *late*: in every other generation both confined to the last third of the sites (the phases
alternate, so that nothing is out of reach). *either*: generations alternate between crossing alone
and mutating alone. *late either*: both. Printed are the multiply-accumulates that a way did, as a
share of the usual one's, and the hypervolumes at equal multiply-accumulates (the least that any
spent in all) and at equal evaluations, on one box.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from engine import settings, volume

from evo.archive import Box
from evo.config import RunConfig
from evo.run import Run
from evo.view import SEARCH, RunView, read_run
from operators import RNG, Bounds
from operators.discrete import DISCRETE, LevelStep, OnePoint

MODELS = ("all-MiniLM-L6-v2", "stories260K/hf", "books2m")
LAST = 3  # a late phase changes one of so many parts of the sites, the last


@dataclass
class Phased:
    """An operator that each call finds in the next phase of a plan, such as ``c-m-C-M``.

    A letter in a phase lets it act (``c`` crossover, ``m`` mutation), a capital letter on the last
    sites alone; without its letter it copies.
    """

    plan: str
    calls: int = field(default=0, init=False)
    kinds: ClassVar[frozenset[str]] = DISCRETE

    def phase(self) -> str:
        """Of this call."""
        phases = self.plan.split("-")
        self.calls += 1
        return phases[(self.calls - 1) % len(phases)]


@dataclass
class Cut(Phased):
    """One-point crossover."""

    def __call__(self, first: Any, second: Any, bounds: Bounds, rng: RNG) -> tuple[Any, Any]:
        phase, (n, d) = self.phase(), first.shape
        if "c" in phase:
            return OnePoint()(first, second, bounds, rng)
        behind = np.arange(d) >= rng.integers(d - d // LAST, d, (n, 1))
        behind &= "C" in phase
        return np.where(behind, second, first), np.where(behind, first, second)


@dataclass
class Step(Phased):
    """The usual mutation."""

    def __call__(self, genomes: Any, bounds: Bounds, rng: RNG) -> Any:
        phase, d = self.phase(), genomes.shape[1]
        if "m" in phase:
            return LevelStep()(genomes, bounds, rng)
        out = genomes.copy()
        if "M" in phase:
            cut = slice(d - d // LAST, None)
            part = replace(bounds, low=bounds.low[cut], high=bounds.high[cut],
                           ordered=bounds.ordered[cut])  # fmt: skip
            out[:, cut] = LevelStep()(genomes[:, cut], part, rng)
        return out


PLANS = {"usual": "cm", "late": "cm-CM", "either": "c-m", "late either": "c-m-C-M"}
WAYS: dict[str, dict[str, Any]] = {
    way: {
        "crossover": {"id": "late:Cut", "plan": plan},
        "mutation": {"id": "late:Step", "plan": plan},
    }
    for way, plan in PLANS.items()
}


def searched(name: str, given: Any, scratch: Path, seed: int, way: str) -> RunView:
    """A finished run."""
    config = RunConfig.from_mapping(
        {
            "problem": {"id": "prune/mixed", **settings(name, scratch, given.sequences)},
            "objectives": ["drift" if name == "all-MiniLM-L6-v2" else "kl", "params"],
            "seed": seed, "validate": False,
            "algorithm": {"id": "nsga2", "population": 32, "surrogate": False, **WAYS[way]},
            "stop": {"generations": given.generations}, "evaluator": {"device": "cpu"},
        }
    )  # fmt: skip
    folder = scratch / f"{name}-{seed}-{way}".replace("/", "-").replace(" ", "-")
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
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--generations", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    others = [way for way in WAYS if way != "usual"]
    with tempfile.TemporaryDirectory() as folder:
        for name in given.model or MODELS:
            told: dict[str, dict[str, list[float]]] = {w: defaultdict(list) for w in others}
            for seed in range(given.seeds):
                views = {way: searched(name, given, Path(folder), seed, way) for way in WAYS}
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
