"""ABCD, neuron-centric, weightless and static networks at equal evaluations on two bodies.

    python experiments/nchl/run.py [--scale 0.003] [--seeds 5] [--task cheetah] [--rule nchl]

Needs ``pip install 'evoprune[hebbian]'``. ``--scale 1`` is the budget of the published searches,
500 candidates for 300 generations in lives of 1000 control steps; a smaller one cuts all three
alike, so that the control steps are that share of it. Every generation lives in an episode of its
own, common to its candidates. A line of JSON per (task, rule, algorithm, scale, seed) is appended
to ``results/runs.jsonl``, and what is there is skipped, so that an interrupted study goes on;
``--table`` writes ``results/table.md`` from all lines.

With ``--algorithm cma-es`` (its separable form above 1200 genes; from rules that learn nothing) or
``openai-es`` (as published, from normal genes). What is judged is the mean of the generation that
would come next, in 32 episodes that no search saw: intact, with the damage, and for its energy.
``random`` judges normal genes and searches nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evo.algorithms import Settings, create
from evo.genomes import Genomes
from evo.problem import Context
from evo.streams import derive, stream
from problems.hebbian.genes import sizes
from problems.hebbian.problem import Plastic

TASKS = ("cheetah", "ant")
RULES = ("hl", "nchl", "wnchl", "static")
PUBLISHED = {"population": 500, "generations": 300, "steps": 1000}
LEAST = {"population": 16, "generations": 10, "steps": 50}
DAMAGE = "leg@0"
BOUND = 10.0  # genes begin as normal deviates
WHOLE = 1200  # genes up to which the whole covariance is adapted
HERE = Path(__file__).parent / "results"


def budget(scale: float) -> dict[str, int]:
    """Population, generations and steps whose product is that share of the published one."""
    return {k: max(LEAST[k], round(v * scale ** (1 / 3))) for k, v in PUBLISHED.items()}


def problem_of(task: str, rule: str, steps: int) -> Plastic:
    """As published: one episode per evaluation, weights from ±0.1, no normalisation."""
    return Plastic(
        task=task, rule=rule, steps=steps, episodes=(1, 32), damage=[DAMAGE], bound=BOUND
    )


def searched(problem: Plastic, how: str, seed: int, size: dict[str, int]) -> tuple[Any, list[Any]]:
    """Mean genome in the end, (1, genes), and [evaluations, best, median] after each generation."""
    normal = stream(seed, "first").normal(0.0, 1.0, (1, problem.rule.genes))
    if how == "random":
        return normal, []
    first, name, extra = normal, how, {}
    if how == "openai-es":
        extra = {"sigma": 0.1 / BOUND, "rate": 0.2 / BOUND**2, "least_sigma": 0.01 / BOUND,
                 "least_rate": 0.001 / BOUND**2}  # fmt: skip
    else:
        first = np.zeros_like(normal)
        name = "cma-es" if problem.rule.genes <= WHOLE else "sep-cma-es"
        extra = {"sigma": 0.3 / BOUND}
    algorithm = create(
        name, problem.space, n_objectives=1, constrained=False,
        settings=Settings(size["population"], seed, extra=extra),
        starts=problem.space.repair(Genomes({"rules": first})),
    )  # fmt: skip
    curve: list[Any] = []
    for generation in range(size["generations"]):
        asked = algorithm.ask()
        context = Context(seed=derive(seed, "generation", generation) % 2**32)
        distance = problem.batch(asked, context).intact.rewards[:, 0, 0, 0]
        algorithm.tell(asked, -distance[:, None], np.zeros(len(asked)))
        told = np.where(np.isfinite(distance), distance, -np.inf)  # those that came apart
        evaluations = (curve[-1][0] if curve else 0) + len(asked)
        curve.append([evaluations, float(told.max()), float(np.median(told))])
    return algorithm.ask()["rules"].mean(axis=0, keepdims=True), curve


def one(task: str, rule: str, how: str, scale: float, seed: int) -> dict[str, Any]:
    """A search, and its result in episodes that it did not see."""
    size = budget(scale)
    problem = problem_of(task, rule, size["steps"])
    begun = time.perf_counter()
    genome, curve = searched(problem, how, seed, size)
    seconds, clock = time.perf_counter() - begun, problem.clock
    steps, world = clock.steps, clock.world
    genomes = problem.space.repair(Genomes({"rules": genome}))
    batch = problem.batch(genomes, Context(seed=0, split="validation"))
    counts = sizes(problem.rule, batch.kept, 1)
    found = {
        "intact": float(batch.intact.rewards[0, 0, :, 0].mean()),
        "damaged": float(batch.damaged.rewards[0, 0, :, 0].mean()),
        "energy": float(batch.intact.energy.mean()),
    }
    problem.close()
    return {
        "task": task, "rule": rule, "algorithm": how, "scale": scale, "seed": seed, **size,
        "layers": list(problem.rule.layers), "params": counts["params"][0],
        "memory": counts["memory"][0], **found, "seconds": seconds, "control_steps": steps,
        "share_in_simulator": world / seconds if curve else None, "curve": curve,
    }  # fmt: skip


def read(file: Path) -> list[dict[str, Any]]:
    """All lines there are."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a line is about."""
    return tuple(row[k] for k in ("task", "rule", "algorithm", "scale", "seed"))


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Median and quartiles over seeds, and numbers against those of the neuron-centric rule."""
    yield (
        "| task | algorithm | scale | rule | seeds | evolved numbers | times NcHL's | stored "
        "numbers | distance, m | with a dead leg, m | energy |"
    )
    yield "|" + "---|" * 11
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(key(row)[:4], []).append(row)
    order = {name: i for i, name in enumerate(RULES)}
    neurons = {tuple(r["layers"]): 5 * sum(r["layers"]) for r in rows}
    for (task, rule, how, scale), many in sorted(
        groups.items(), key=lambda g: (g[0][0], g[0][2], g[0][3], order[g[0][1]])
    ):
        own, base = many[0]["params"], neurons[tuple(many[0]["layers"])]
        cells = [
            task, how, f"{scale:g}", rule, len(many), f"{own:.0f}", f"{own / base:.1f}",
            f"{many[0]['memory']:.0f}", *(spread(many, k) for k in ("intact", "damaged", "energy")),
        ]  # fmt: skip
        yield "| " + " | ".join(map(str, cells)) + " |"


def spread(rows: list[dict[str, Any]], name: str) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile([r[name] for r in rows], [25, 50, 75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=(*TASKS, "ant-fast"))
    parser.add_argument("--rule", action="append", choices=RULES)
    parser.add_argument("--algorithm", action="append", choices=("openai-es", "cma-es", "random"))
    parser.add_argument("--scale", type=float, default=0.003)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    file = HERE / "runs.jsonl"
    if not given.table:
        done = {key(row) for row in read(file)}
        for seed in range(given.seeds):
            for task in given.task or TASKS:
                for how in given.algorithm or ("cma-es",):
                    for rule in given.rule or RULES:
                        if (task, rule, how, given.scale, seed) in done:
                            continue
                        row = one(task, rule, how, given.scale, seed)
                        with file.open("a") as out:
                            out.write(json.dumps(row) + "\n")
                        print(*key(row), round(row["intact"], 3), f"{row['seconds']:.0f} s",
                              flush=True)  # fmt: skip
    text = "\n".join(table(read(file))) + "\n"
    (HERE / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
