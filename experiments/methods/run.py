"""Every method alone on real models: quality, size, latency and task score at each sparsity.

    EVO_DATA=FOLDER python experiments/methods/run.py [--models …] [--methods …] [--out FOLDER]

Appends a line of JSON per (model, method, sparsity, seed) to ``MODEL.jsonl`` and skips what is
there already, so that an interrupted study goes on. ``tables.py`` turns the lines into tables;
``results`` beside this file holds the lines behind those of the README.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import STUDIES, Study, data_folder, latencies
from tables import read

from evo.config import Ref
from evo.errors import EvoError
from evo.genomes import Genomes
from evo.problem import Context
from evo.registry import build
from evo.streams import stream
from problems.pruning.cost import pruned_model
from problems.pruning.methods import Outcome
from problems.pruning.searches import Mixed

STRUCTURED = (0.125, 0.25, 0.375, 0.5)
UNSTRUCTURED = (*STRUCTURED, 0.6, 0.7)
SEEDS = 5


@dataclass(frozen=True)
class Entry:
    """A row of the tables.

    Args:
        method: Id.
        sparsities: Targets.
        settings: Of the method.
        seeds: How often it is repeated; 1 where nothing is drawn.
        label: Name in the tables; the id by default.
    """

    method: str
    sparsities: tuple[float, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: int = 1
    label: str = ""

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.label or self.method


ENTRIES = (
    *(
        Entry(m, UNSTRUCTURED)
        for m in (
            "magnitude", "wanda", "ria", "gblm", "multiflow", "dsnot", "sparsegpt",
            "erk", "owl", "alphapruning", "neuroal",
        )
    ),
    Entry("ecoflap", UNSTRUCTURED, seeds=SEEDS),
    Entry("2:4", (0.5,)),
    *(
        Entry(m, STRUCTURED)
        for m in (
            "width", "depth", "2ssp", "shortgpt", "uidl", "shortened-llama", "sleb", "blockpruner",
            "subfit", "replaceme", "streamline", "svd", "pifa", "mpifa", "slicegpt",
        )
    ),
    Entry("mustafar", (0.5, 0.7, 0.9)),
    Entry("evopress-depth", STRUCTURED, {"scale": 0.1}, seeds=SEEDS),
    Entry("evopress-sparsity", (0.5, 0.6, 0.7), {"scale": 0.05}, seeds=SEEDS),
)  # fmt: skip


def work(studies: list[Study], wanted: list[str]) -> Iterator[tuple[Study, Entry, float, int]]:
    """Everything there is to do, in order."""
    for study in studies:
        for entry in ENTRIES:
            if wanted and entry.name not in wanted:
                continue
            for sparsity in entry.sparsities:
                for seed in range(entry.seeds):
                    yield study, entry, sparsity, seed


def judged(outcome: Outcome, study: Study, data: Path, seed: int) -> dict[str, Any]:
    """Values of what a method chose, on search and validation text, and its task score."""
    problem, genomes = outcome.problem, Genomes({"choices": outcome.choices[None]})
    found: dict[str, Any] = {"sparsity": outcome.sparsity, "tokens": int(outcome.tokens)}
    names = ["params", "weight_bytes", study.quality]
    names += ["perplexity", "kv_bytes"] if problem.kind == "lm" else []
    offered = {o.name: o for o in problem.objectives}
    for split in ("search", "validation"):
        batch = problem.batch(genomes, Context(seed=seed, split=split))
        found |= {f"{n}.{split}": float(offered[n](batch)[0]) for n in names}
    found["latency"], found["dense_latency"] = latencies(problem, outcome.choices)
    if study.task is not None:
        model = pruned_model(problem.pretrained, problem.table, outcome.choices)
        found["task"] = study.task(model, problem.pretrained.tokenizer, data)
    return found


def one(base: Mixed, study: Study, entry: Entry, sparsity: float, seed: int, data: Path) -> Any:
    """One line of the results; a method that does not fit the model says why."""
    start = time.perf_counter()
    line = {"model": study.name, "method": entry.name, "target": sparsity, "seed": seed}
    try:
        method = build("method", Ref(entry.method, entry.settings))
        outcome = method(base, sparsity, stream(seed, "methods", entry.name))
        line |= judged(outcome, study, data, seed)
    except EvoError as error:
        line["error"] = error.message
    return line | {"seconds": time.perf_counter() - start}


def dense(base: Mixed, study: Study, data: Path) -> dict[str, Any]:
    """The line of the untouched model."""
    nothing = Outcome(base, np.zeros(len(base.table), dtype=np.int16))
    about = {"model": study.name, "method": "dense", "target": 0.0, "seed": 0, "seconds": 0.0}
    return about | judged(nothing, study, data, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = data_folder()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = read(arguments.out)
    done = {(x["model"], x["method"], x["target"], x["seed"]) for x in lines}
    bases: dict[str, Mixed] = {}

    def write(line: dict[str, Any]) -> None:
        with (arguments.out / f"{line['model']}.jsonl").open("a") as out:
            out.write(json.dumps(line) + "\n")
        told = line.get("error") or {k: v for k, v in line.items() if k.endswith("validation")}
        print(line["model"], line["method"], line["target"], line["seed"], told, file=sys.stderr)

    for study, entry, sparsity, seed in work(
        [STUDIES[m] for m in arguments.models], arguments.methods
    ):
        if study.name not in bases:
            bases = {study.name: study.problem(data)}  # one model at a time in memory
            if (study.name, "dense", 0.0, 0) not in done:
                write(dense(bases[study.name], study, data))
        if (study.name, entry.name, sparsity, seed) not in done:
            write(one(bases[study.name], study, entry, sparsity, seed, data))


if __name__ == "__main__":
    main()
