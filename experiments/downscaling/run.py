"""Searches on downscaled graphs against the search on the graph itself: hyperarea, work, time.

    EVO_DATA=FOLDER python experiments/downscaling/run.py [--graphs CA-HepTh_un …] [--seeds 3]

As published (PPSN 2022), sets hold 2.5 % of the nodes at most, points are (nodes reached, 2.5 less
seeds), both in per cent, and areas are against the origin, as shares of that of the full search.
Work is counted in activation attempts: arcs that leave the nodes that became active, summed over
worlds and candidates. That is estimated from every k-th candidate of a run in a few worlds, after
one candidate was simulated arc by arc, which must give the same number. Appends to a file of lines
and leaves out what is in it; prints the tables of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evo.config import RunConfig
from evo.genomes import Genomes
from evo.indicators import hypervolume, nondominated
from evo.problem import Context
from evo.run import Run
from evo.streams import stream
from evo.view import RunView, read_run
from problems.influence.cascades import Groups, SeedSets, propagated
from problems.influence.centrality import MEASURES, centrality
from problems.influence.downscaled import Downscaled
from problems.influence.downscaling import Ranked, upscaled
from problems.influence.problem import Influence
from problems.influence.worlds import LiveArcs, Pool

GRAPHS = ("facebook_combined_un", "CA-HepTh_un", "lastfm_un", "gnutella_di", "wiki-vote_di")
SCALES = (2, 4, 8)
SHARE = 2.5  # per cent of nodes that may be seeds
SAMPLE, WORLDS = 200, 16  # of candidates and worlds, for counting attempts
SIMULATIONS = 100  # of an upscaled set, as published


def settings(graph: str, model: str, seed: int, arguments: Any) -> dict[str, Any]:
    """Of the problem on the graph itself."""
    folder = Path(os.environ["EVO_DATA"], "graphs")
    (file,) = folder.glob(f"edges/{graph}.txt*")
    found = {
        "graph": str(file), "directed": graph.endswith("_di"), "model": model, "seed": seed,
        "communities": str(folder / "communities" / f"{graph}.csv"),
        "probability": arguments.probability, "worlds": [arguments.worlds, arguments.judged],
        "mode": "paper" if arguments.paper else "clean",
        "initial": "degree",
    }  # fmt: skip
    return found | {"most": int(SHARE / 100 * Influence(**found).graph.n)}


def searched(problem: dict[str, Any], seed: int, arguments: Any) -> tuple[RunView, dict[str, Any]]:
    """A finished run, and its seconds."""
    config = RunConfig.from_mapping(
        {
            "problem": problem, "objectives": ["spread", "size"], "seed": seed,
            "baseline": False, "validate": False,
            "algorithm": {"id": "nsga2", "population": arguments.population},
            "stop": {"generations": arguments.generations}, "evaluator": {"device": "cpu"},
        }
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        begun, spent = time.perf_counter(), time.process_time()
        with Run.create(config, Path(folder) / "run") as run:
            list(run)
            run.finish()
        took = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - spent}
        return read_run(Path(folder) / "run"), took


def attempts(problem: Influence, rows: Any) -> float:
    """Arcs that leave active nodes in the end, mean over sets and worlds."""
    degree = problem.graph.out_degree
    known, of = np.unique(degree, return_inverse=True)
    groups = Groups(of.astype(np.int32))  # nodes of equal degree are counted together
    worlds = list(Pool(problem.model, 7, "attempts", WORLDS))
    found = propagated(SeedSets(rows, problem.graph.n), problem.model, worlds, groups, None)
    each = found.active[:, :, : len(known)] @ known  # (P, W)
    row, world = rows[0], worlds[0]
    assert isinstance(world, LiveArcs)
    arcs = list(zip(world.sources.tolist(), world.targets.tolist(), strict=True))
    active = set(row[row >= 0].tolist())
    while fresh := {v for u, v in arcs if u in active} - active:
        active |= fresh
    assert sum(int(degree[v]) for v in active) == each[0, 0], "attempts are counted wrongly"
    return float(each.mean())


def work(problem: Influence, rows: Any, arguments: Any) -> float:
    """Attempts of a search that judged these sets."""
    some = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).round().astype(int)]
    return attempts(problem, some) * arguments.worlds * len(rows)


def area(problem: Influence, rows: Any) -> float:
    """Of seed sets judged on worlds that no search saw, as a share of the largest there can be."""
    batch = problem.batch(Genomes({"seeds": rows}), Context(split="validation"))
    reached = 100 * batch.spread.mean(1) / problem.graph.n
    left = SHARE - 100 * batch.size / problem.graph.n
    inside = left > 0
    return hypervolume(-np.stack([reached, left], axis=1)[inside], [0, 0]) / (100 * SHARE)


def padded(rows: Any, most: int) -> Any:
    return np.pad(rows, ((0, 0), (0, most - rows.shape[1])), constant_values=-1)


def full(given: dict[str, Any], seed: int, arguments: Any) -> dict[str, Any]:
    """The search on the graph itself."""
    view, took = searched({"id": f"influence/{given['model']}", **given}, seed, arguments)
    problem = Influence(**given)
    front = view.candidates.genomes["seeds"][view.front_rows()]
    return {
        "area": area(problem, front), **took,
        "work": work(problem, view.candidates.genomes["seeds"], arguments),
        "front": len(front), "evaluated": len(view.candidates),
        "half": {"area": area(problem, early(view, arguments)[0])},
    }  # fmt: skip


def early(view: RunView, arguments: Any) -> tuple[Any, Any]:
    """The front of the first half of the generations, and all that was judged for it."""
    rows = np.flatnonzero(view.candidates.generation < arguments.generations / 2)
    best = rows[nondominated(view.fitness[rows])]
    seeds = view.candidates.genomes["seeds"]
    return seeds[best], seeds[rows]


def downscaled(given: dict[str, Any], scale: int, seed: int, arguments: Any) -> dict[str, Any]:
    """A search on a small graph, and its front brought back by every measure."""
    named = {"id": "influence/downscaled", "downscale": scale, **given}
    view, took = searched(named, seed, arguments)
    problem = Downscaled(downscale=scale, **given)
    small, large = problem.small, problem.large
    front = view.candidates.genomes["seeds"][view.front_rows()]
    found = {
        "area": area(small, front), **took,
        "work": work(small, view.candidates.genomes["seeds"], arguments),
        "front": len(front), "evaluated": len(view.candidates), "nodes": small.graph.n,
        "upscaled": {},
    }  # fmt: skip
    communities = [ranked.community for ranked in problem._ranked]
    for measure in sorted(MEASURES):
        both = [
            Ranked(centrality(p.graph, measure, stream(seed, "centrality", measure)), community)
            for p, community in zip((small, large), communities, strict=True)
        ]
        for name, paper in ((f"{measure} paper", True), (measure, False)):
            rows = padded(upscaled(front, *both, paper=paper), large.most)
            sizes = np.floor((front >= 0).sum(1) * problem.ratio)
            assert ((rows >= 0).sum(1) == sizes).all(), "an upscaled set has another size"
            found["upscaled"][name] = area(large, rows)
        if measure == "pagerank":
            found["upscaled_work"] = attempts(large, rows) * SIMULATIONS * len(rows)
            found["half"] = halved(view, small, large, both, arguments)
    return found


def halved(
    view: RunView, small: Influence, large: Influence, both: list[Ranked], arguments: Any
) -> dict[str, float]:
    """What the same search would have given in half of its generations."""
    best, judged = early(view, arguments)
    rows = padded(upscaled(best, *both), large.most)
    return {
        "area": area(small, best), "upscaled": area(large, rows),
        "work": work(small, judged, arguments),
    }  # fmt: skip


def median(lines: Sequence[dict[str, Any]], *path: str) -> float:
    def one(line: Any) -> float:
        for key in path:
            line = line[key]
        return line

    return statistics.median(map(one, lines))


def tables(lines: list[dict[str, Any]]) -> None:
    """Medians over seeds of ratios to the full search of the same seed."""
    full = {(line["case"], line["seed"]): line for line in lines if not line["scale"]}
    for line in lines:
        if line["scale"]:
            base, up = full[line["case"], line["seed"]], line["upscaled"]
            line["ratio"] = {
                "downscaled": line["area"] / base["area"],
                **{name: up[name] / base["area"] for name in up},
                "in half": line["half"]["upscaled"] / base["area"],
                "full in half": base["half"]["area"] / base["area"],
                "work": base["work"] / line["work"],
                "work in half": base["work"] / line["half"]["work"],
                "with front": base["work"] / (line["work"] + line["upscaled_work"]),
                "seconds": base["seconds"] / line["seconds"],
                "cpu": base["cpu"] / line["cpu"],
            }
    saved = ["in half", "full in half", "work", "work in half", "with front", "seconds", "cpu"]
    for kind, names in (("", ["downscaled", *sorted(MEASURES), *saved]), (" paper", MEASURES)):
        print(f"\n| case | seeds | scale | full area | {' | '.join(names)} |")
        print("|" + "---|" * (len(names) + 4))
        for case in dict.fromkeys(line["case"] for line in lines):
            for scale in sorted({line["scale"] for line in lines} - {0}):
                mine = [li for li in lines if li["case"] == case and li["scale"] == scale]
                if mine:
                    base = median([full[case, line["seed"]] for line in mine], "area")
                    told = [
                        f"{median(mine, 'ratio', name + kind * (name in MEASURES)):.3g}"
                        for name in names
                    ]
                    print(f"| {case} | {len(mine)} | {scale} | {base:.4f} | {' | '.join(told)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", nargs="+", default=list(GRAPHS), choices=GRAPHS)
    parser.add_argument("--models", nargs="+", default=["ic", "wc"], choices=["ic", "wc"])
    parser.add_argument("--scales", nargs="+", type=int, default=list(SCALES))
    parser.add_argument("--probability", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--population", type=int, default=100)
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--worlds", type=int, default=100, help="of the search")
    parser.add_argument("--judged", type=int, default=500, help="worlds of the judgement")
    parser.add_argument("--paper", action="store_true", help="scale as the released code does")
    parser.add_argument("--out", type=Path, default=Path("runs/downscaling.jsonl"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = read(arguments.out)
    done = {(line["case"], line["seed"], line["scale"]) for line in lines}
    searched({"id": "influence/wc"}, 0, argparse.Namespace(population=4, generations=1))  # compiles
    for seed in range(arguments.seeds):
        for graph in arguments.graphs:
            for model in arguments.models:
                strength = f" {arguments.probability:g}" if model == "ic" else ""
                case = f"{graph} {model}{strength}{' paper' if arguments.paper else ''}"
                given = settings(graph, model, seed, arguments)
                for scale in (0, *arguments.scales):
                    if (case, seed, scale) in done:
                        continue
                    one = (
                        downscaled(given, scale, seed, arguments)
                        if scale
                        else full(given, seed, arguments)
                    )
                    line = {"case": case, "seed": seed, "scale": scale, **one}
                    line |= {"generations": arguments.generations, "worlds": arguments.worlds}
                    with arguments.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
    tables(read(arguments.out))


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    main()
