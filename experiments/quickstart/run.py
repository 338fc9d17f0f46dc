"""Search a causal language model over five seeds; compare with baselines at equal evaluations.

    EVO_DATA=FOLDER python experiments/quickstart/run.py [--seeds 5] [--out FOLDER] [--plain]

Prints a line of JSON per seed and a table; runs that are there already are not repeated. With
``--plain`` the algorithm without its surrogate is searched, too, and joins the table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

from evo.archive import Box
from evo.config import load_config
from evo.indicators import nondominated
from evo.run import Run
from evo.store import read_run
from evo.view import RunView

HERE = Path(__file__).parent


def finished(folder: Path, data: Path, seed: int, algorithm: str, plain: bool = False) -> Path:
    """Run one seed to its end, or continue it; a plain one has no baselines of its own."""
    config = load_config(HERE / "books2m.toml").override("seed", str(seed))
    config = config.override("algorithm.id", algorithm)
    if plain:
        config = config.override("algorithm.surrogate", "false").override("baseline", "false")
    for name, path in {
        "model": "models/books2m", "calibration": "text/books/train.txt.xz",
        "search": "text/books/valid.txt", "validation": "text/books/test.txt",
    }.items():  # fmt: skip
        config = config.override(f"problem.{name}", json.dumps(str(data / path)))
    if folder.is_dir() and read_run(folder).complete:
        return folder
    with Run.resume(folder) if folder.is_dir() else Run.create(config, folder) as run:
        for generation in run:
            print(f"seed {seed} generation {generation.number}", file=sys.stderr, flush=True)
        run.finish()
    return folder


def hypervolumes(views: list[RunView]) -> dict[str, float]:
    """Per origin, on the smallest box around all fronts; a second run is the plain search."""
    fronts = {}
    for view, suffix in zip(views, ["", "plain "], strict=False):
        c = view.candidates
        for origin in dict.fromkeys(["search", *sorted(set(c.origin.tolist()))]):
            rows = view.fitness[c.ok & (c.violation == 0) & (c.origin == origin)]
            fronts[suffix + origin.removeprefix("baseline:")] = rows[nondominated(rows)]
    box = Box.spanning(np.concatenate(list(fronts.values())))
    return {name: round(box.hypervolume(rows), 4) for name, rows in fronts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--algorithm", default="nsga2")
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    data = os.environ.get("EVO_DATA")
    if not data:
        sys.exit("set EVO_DATA to a folder with models/books2m and text/books")
    torch.set_num_threads(1)
    rows = []
    for seed in range(arguments.seeds):
        folder = arguments.out / f"books2m-{arguments.algorithm}-s{seed}"
        views = [read_run(finished(folder, Path(data), seed, arguments.algorithm))]
        if arguments.plain:
            beside = folder.with_name(f"{folder.name}-plain")
            given = (Path(data), seed, arguments.algorithm, True)
            views.append(read_run(finished(beside, *given)))
        found = hypervolumes(views)
        view = views[0]
        counts = {o: int((view.candidates.origin == o).sum()) for o in set(view.candidates.origin)}
        rows.append(found)
        print(json.dumps({"seed": seed, "hypervolume": found, "evaluations": counts}), flush=True)
    print("| | median | least | most | search wins |\n|---|---|---|---|---|")
    for name in rows[0]:
        values = [row[name] for row in rows]
        wins = sum(row["search"] > row[name] for row in rows)
        won = "" if name == "search" else f"{wins} of {len(rows)}"
        print(
            f"| {name} | {statistics.median(values):.4f} | {min(values)} | {max(values)} | {won} |"
        )


if __name__ == "__main__":
    main()
