"""Tokens and seconds until a front is as good as EvoPress, NSGA-II or random search end with.

    EVO_DATA=FOLDER python experiments/benchmarks/front.py [--space depth] [--model NAME]

Which attentions and feed-forwards to remove (``depth``), or how many weights of each linear layer
(``sparsity``, by SparseGPT); quality against parameters, on the same search text:

- ``evopress``: the published search (1+λ with its stages, cut where the text is shorter), once for
  every budget: 1 to L - 1 of the L blocks, or 30 to 70 % of the weights, there with ``--scale`` of
  its generations and tokens; its front are the outcomes;
- ``nsga2``: plain NSGA-II, each candidate judged by itself on all text;
- ``random``: random search;
- ``evo``: what a run does by default, the surrogate and the search on a part of the text included,
  with races at 0.99.

EvoPress is told its budgets; the others are told the least of them, as a limit on parameters. The
box spans what EvoPress covers, from the dense model to its worst outcome; what lies outside counts
for nobody. Seconds of ``evo`` are those of its run, its own thinking included; those of the
others are tokens times what a token takes in the same process when the model is edited and run
(sequence by sequence for ``evopress``, by micro-batches else). Prints, per seed, how many times
fewer tokens and seconds ``evo`` took until it was as good as each ended, and the medians; the
curves are medians over seeds of the hypervolume at so many tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engine import edited, searched, settings, volume
from numpy.typing import NDArray
from sweep import generations, one_at_a_time, timed

from evo.archive import Box
from evo.genomes import Genomes
from evo.indicators import nondominated
from evo.problem import Context
from evo.streams import stream
from evo.view import LOW, SEARCH, RunView
from problems.pruning.methods.evopress_depth import Depth
from problems.pruning.methods.evopress_sparsity import Sparsity
from problems.pruning.searches import Mixed

MODELS = ("all-MiniLM-L6-v2", "stories260K/hf", "books2m")
SPACES: dict[str, dict[str, Any]] = {
    "depth": {"variants": ["removal"]},
    "sparsity": {"variants": ["sparsegpt@0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"], "sites": "linear"},
}
TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7)  # of the weights, each a search of EvoPress
OTHERS = ("evopress", "nsga2", "random")
SEARCHES: dict[str, tuple[dict[str, Any], float]] = {  # algorithm; racing
    "evo": ({"id": "nsga2", "surrogate": True}, 0.99),
    "nsga2": ({"id": "nsga2", "surrogate": False}, 0.0),
    "random": ({"id": "random"}, 0.0),
}
Curve = list[tuple[float, float, float]]  # tokens, seconds, hypervolume


def values(problem: Mixed, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Quality and parameters on all search text, (n, 2)."""
    batch = problem.batch(Genomes({"choices": rows}), Context())
    offered = {o.name: o for o in problem.objectives}
    return np.column_stack([offered[quality(problem)](batch), offered["params"](batch)])


def quality(problem: Mixed) -> str:
    """What is minimised besides parameters."""
    return "drift" if problem.kind == "encoder" else "kl"


def remembered(
    kept: Path | None, asked: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What lines of JSON in a file tell of what is asked, else made now and appended."""
    for line in kept.read_text().splitlines() if kept and kept.exists() else ():
        told = json.loads(line)
        if asked.items() <= told.items():
            return told
    told = asked | make()
    if kept:
        with kept.open("a") as file:
            file.write(json.dumps(told) + "\n")
    return told


def evopress(
    problem: Mixed, name: str, seed: int, wanted: Any
) -> tuple[NDArray[np.float64], list[int]]:
    """Values of the outcome of every budget, (k, 2), and the tokens of each search."""
    blocks = len(problem.pretrained.blocks)
    method = Depth() if wanted.space == "depth" else Sparsity(scale=wanted.scale)
    targets = [k / blocks for k in range(1, blocks)] if wanted.space == "depth" else TARGETS
    asked = {k: getattr(wanted, k) for k in ("space", "sequences", "scale")} | {"model": name}

    def outcome(target: float) -> dict[str, Any]:
        found = method(problem, target, stream(seed, "evopress", str(target)))
        told = values(found.problem, found.choices[None])[0].tolist()
        return {"values": told, "tokens": found.tokens}

    told = [
        remembered(wanted.kept, asked | {"seed": seed, "target": t}, partial(outcome, t))
        for t in targets
    ]
    return np.array([t["values"] for t in told]), [t["tokens"] for t in told]


def curve(view: RunView, box: Box, per_token: float | None) -> Curve:
    """After each generation; with a price of a token, seconds are what tokens would have cost."""
    tokens = sum(view.work[(LOW, g.number)]["tokens"] for g in view.low)
    seconds, points = sum(g.seconds for g in view.low), []
    for generation in view.generations:
        tokens += view.work[(SEARCH, generation.number)]["tokens"]
        seconds += generation.seconds
        taken = seconds if per_token is None else tokens * per_token
        points.append((tokens, taken, volume(view, box, generation.number)))
    return points


def reached(points: Curve, bar: float) -> tuple[float, float] | None:
    """Tokens and seconds until a curve first reached a hypervolume."""
    return next(((t, s) for t, s, filled in points if filled >= bar), None)


def one_seed(
    problem: Mixed, name: str, given: dict[str, Any], seed: int, wanted: Any,
    prices: dict[str, float], scratch: Path,
) -> dict[str, Any]:  # fmt: skip
    """Curves of all four, and how much sooner ``evo`` was as good as each of the others."""
    outcomes, spent = evopress(problem, name, seed, wanted)
    ours = [how for how in SEARCHES if how == "evo" or how in wanted.against]
    views = {}
    for how in ours:
        algorithm, racing = SEARCHES[how]
        views[how] = searched(
            given, scratch / f"{how}-{seed}", seed=seed, racing=racing,
            algorithm=algorithm | {"population": wanted.population},
            stop={"evaluations": wanted.evaluations},
            constraints=(f"params >= {outcomes[:, 1].min():.0f}",),
        )  # fmt: skip
    dense = values(problem, np.zeros((1, len(problem.table.sites)), dtype=np.int16))
    box = Box.spanning(np.concatenate([dense, outcomes]))
    curves = {
        how: curve(view, box, None if how == "evo" else prices["one_at_a_time"])
        for how, view in views.items()
    }
    done, known = 0, dense
    curves["evopress"] = []
    for row, tokens in zip(outcomes, spent, strict=True):
        done, known = done + tokens, np.concatenate([known, row[None]])
        filled = float(box.hypervolume(known[nondominated(known)]))
        curves["evopress"].append((float(done), done * prices["edited"], filled))
    sooner = {}
    for other in wanted.against:
        tokens, seconds, bar = curves[other][-1]
        mine = reached(curves["evo"], bar)
        sooner[other] = [0.0, 0.0] if mine is None else [tokens / mine[0], seconds / mine[1]]
    return {"seed": seed, "sooner": sooner, "curves": curves}


def at(points: Curve, tokens: float) -> float:
    """Hypervolume after so many tokens; 0 before the first point."""
    return max((filled for t, _, filled in points if t <= tokens), default=0.0)


def milestones(
    seeds: list[dict[str, Any]], against: tuple[str, ...], per_evaluation: int
) -> list[dict[str, Any]]:
    """Median hypervolumes at 32, 64, 128 … evaluations' worth of tokens."""
    most = max(points[-1][0] for s in seeds for points in s["curves"].values())
    rows, evaluations = [], 32
    while True:
        told = {
            how: round(statistics.median(at(s["curves"][how], evaluations * per_evaluation)
                                         for s in seeds), 4)
            for how in ("evo", *against)
        }  # fmt: skip
        rows.append({"evaluations": evaluations, **told})
        if evaluations * per_evaluation >= most:
            return rows
        evaluations *= 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=SPACES, default="depth")
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--against", nargs="+", choices=OTHERS, default=OTHERS)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--scale", type=float, default=0.25, help="of EvoPress on sparsity")
    parser.add_argument("--evaluations", type=int, default=640)
    parser.add_argument("--kept", type=Path, help="file that keeps EvoPress' outcomes")
    parser.add_argument("--out", type=Path, help="file for one line of JSON per seed, appended")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted.model or MODELS:
            scratch = Path(folder) / name.replace("/", "-")
            scratch.mkdir()
            given = settings(name, scratch, wanted.sequences) | SPACES[wanted.space]
            problem: Any = Mixed(**given)
            tokens = sum(int(b.ids.numel()) for b in problem.data.batches("search"))
            (rows,) = generations(problem, wanted.population, 0)
            ways = {"edited": edited, "one_at_a_time": one_at_a_time}
            prices = {
                way: statistics.median(timed(judge, problem, rows) for _ in range(3))
                / (len(rows) * tokens)
                for way, judge in ways.items()
            }
            told = {"model": name, "space": wanted.space, "tokens per evaluation": tokens}
            seeds = []
            for seed in range(wanted.first_seed, wanted.first_seed + wanted.seeds):
                found = one_seed(problem, name, given, seed, wanted, prices, scratch)
                seeds.append(found)
                if wanted.out:
                    with wanted.out.open("a") as file:
                        file.write(json.dumps(told | found) + "\n")
                sooner = {k: [round(x, 1) for x in v] for k, v in found["sooner"].items()}
                print(json.dumps({"model": name, "seed": seed, "sooner": sooner}), flush=True)
            medians = {
                other: [
                    round(statistics.median(s["sooner"][other][i] for s in seeds), 1)
                    for i in range(2)
                ]
                for other in wanted.against
            }
            print(json.dumps(told | {"times fewer tokens, seconds": medians}), flush=True)
            for row in milestones(seeds, wanted.against, tokens):
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
