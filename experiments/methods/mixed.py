"""The mixed search against everything that each method finds alone, and against EvoPress.

    EVO_DATA=FOLDER python experiments/methods/mixed.py [--models …] [--seeds 5] [--out FOLDER]

Needs the lines that ``run.py`` has written to the same folder. Every seed is a run of
``prune/mixed`` over all kinds of variants, told what a model may lose to be of use. Against the
single methods it has at most as many evaluated tokens as they spent together (choosing and one
judgement each); against EvoPress only its first evaluations count, as many as all EvoPress searches
of a seed would have paid. All fronts are judged on validation text; latency is that of whole
models, as a ratio to the dense model timed beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import STUDIES, Study, data_folder, latencies
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from tables import Lines, read

from evo.archive import Box, spread_order
from evo.config import RunConfig
from evo.indicators import nondominated
from evo.problem import Context
from evo.registry import build_problem
from evo.run import Run
from evo.view import SEARCH, read_run

VARIANTS = [
    "removal", "heads@0.25,0.5,0.75", "width@0.25,0.5,0.75,0.875", "subfit", "pifa@0.5,0.75",
    "sparsegpt@0.125,0.25,0.375,0.5,0.6,0.7",
]  # fmt: skip
POPULATION, MOST = 64, 1024  # MOST: evaluations of a run
MEMBERS = 40  # of a front are judged again and timed, spread over it; fewer find less hypervolume
LIMIT = {"kl": 1.0, "drift": 0.6}  # beyond this a model is of no use to anyone
EVOPRESS = ("evopress-depth", "evopress-sparsity")


def searched(study: Study, data: Path, seed: int, evaluations: int, folder: Path) -> Path:
    """A finished run of one seed."""
    paths = ("model", "calibration", "search", "validation")
    own = {k: str(data / v) if k in paths else v for k, v in study.settings.items()}
    config = RunConfig.from_mapping(
        {
            "problem": {"id": "prune/mixed", "variants": VARIANTS, **own},
            "objectives": [study.quality, "params", "latency"], "seed": seed,
            "baseline": False, "validate": False,
            "constraints": [f"{study.quality} <= {LIMIT[study.quality]}"],
            "algorithm": {"id": "nsga2", "population": POPULATION},
            "stop": {"generations": max(1, evaluations // POPULATION)},
        }
    )  # fmt: skip
    if folder.is_dir() and read_run(folder).complete:
        return folder
    with Run.resume(folder) if folder.is_dir() else Run.create(config, folder) as run:
        for generation in run:
            told = f"{study.name} seed {seed} generation {generation.number}"
            print(told, f"hypervolume {generation.hypervolume:.4f}", file=sys.stderr, flush=True)
        run.finish()
    return folder


def front_values(folder: Path, study: Study, first: int) -> NDArray[np.float64]:
    """Quality on validation text, parameters and latency ratio, (k, 3).

    Of the front of the first so many evaluations of a run.
    """
    view = read_run(folder)
    problem: Any = build_problem(RunConfig.from_mapping(view.meta["config"]))
    c = view.candidates
    judged = np.flatnonzero(c.origin == SEARCH)[:first]
    good = judged[c.ok[judged] & (c.violation[judged] == 0)]
    front = good[nondominated(view.fitness[good])]
    genomes = c.genomes.take(front[spread_order(view.fitness[front])[:MEMBERS]])
    batch = problem.batch(genomes, Context(split="validation"))
    offered = {o.name: o for o in problem.objectives}
    timed = [latencies(problem, choices) for choices in genomes["choices"]]
    ratios = [pruned / dense for pruned, dense in timed]
    return np.column_stack([offered[study.quality](batch), offered["params"](batch), ratios])


def single_values(lines: Lines, study: Study) -> NDArray[np.float64]:
    """The same of the methods' lines."""
    names = (f"{study.quality}.validation", "params.validation")
    rows = [[x[n] for n in names] + [x["latency"] / x["dense_latency"]] for x in lines]
    return np.array(rows).reshape(-1, 3)


def spent(lines: Lines, per_evaluation: int) -> int:
    """Tokens that passed through whole models: while choosing, and to judge each outcome once."""
    return sum(x["tokens"] + per_evaluation for x in lines)


def compared(study: Study, data: Path, lines: Lines, seeds: int, out: Path) -> dict[str, Any]:
    """Hypervolumes of all seeds in one box, and the test."""
    base = study.problem(data)
    tokens = sum(int(b.ids.numel()) for b in base.data.batches("search"))
    own = [x for x in lines if x["model"] == study.name and "error" not in x]
    alone = [x for x in own if x["method"] not in EVOPRESS]
    rounds = [[x for x in own if x["method"] in EVOPRESS and x["seed"] == s] for s in range(seeds)]
    limits = {
        "single methods": [spent(alone, tokens)] * seeds,
        "EvoPress": [spent(r, tokens) for r in rounds],
    }
    fronts = {
        "single methods": [single_values(alone, study)] * seeds,
        "EvoPress": [single_values(r, study) for r in rounds],
    }
    budgets = {name: min(MOST, min(many) // tokens) for name, many in limits.items()}
    runs = [
        searched(study, data, s, max(budgets.values()), out / f"mixed-{study.name}-s{s}")
        for s in range(seeds)
    ]
    for name, budget in budgets.items():
        fronts[f"mixed against {name}"] = [front_values(run, study, budget) for run in runs]
    fronts = {
        name: [rows[rows[:, 0] <= LIMIT[study.quality]] for rows in many]
        for name, many in fronts.items()
    }
    everything = np.concatenate([rows for many in fronts.values() for rows in many])
    box = Box.spanning(everything[nondominated(everything)])
    volumes = {
        name: [float(box.hypervolume(rows)) if len(rows) else 0.0 for rows in many]
        for name, many in fronts.items()
    }
    tests = {
        name: float(
            wilcoxon(volumes[f"mixed against {name}"], volumes[name], alternative="greater").pvalue
        )
        for name in limits
    }
    return {
        "model": study.name, "evaluations": budgets, "tokens_per_evaluation": tokens,
        "tokens": limits, "hypervolume": volumes, "p": tests,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, lines = data_folder(), read(arguments.out)
    for name in arguments.models:
        found = compared(STUDIES[name], data, lines, arguments.seeds, arguments.out)
        (arguments.out / f"mixed-{name}.json").write_text(json.dumps(found, indent=1))
        print(json.dumps(found))


if __name__ == "__main__":
    main()
