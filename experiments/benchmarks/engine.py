"""The engine, part by part: candidates judged per second, and time until a front is as good.

    EVO_DATA=FOLDER python experiments/benchmarks/engine.py [--model NAME] [--rounds 3] [--seeds 3]

First the same genomes, as NSGA-II asks for them, are judged in five ways, after all have given the
same values:

- ``copied``: a deep copy of the model per candidate, micro-batches of several sequences;
- ``edited``: the one model edited in place, one sequence per forward pass, as EvoPress judges;
- ``one_at_a_time``: as ``copied``, but every candidate shares the dense weights;
- ``sweep``: all candidates in one pass that shares prefixes;
- ``ladder``: the same, with the states of the generations before, as far as a run keeps them.

Then whole searches on more text: plain NSGA-II; with races, for some more generations; in stages,
that is begun on a part of the text and with races after that, for fewer evaluations; with the
surrogate, 16 candidates at a time; the same, begun on a part of the text; with races, too. The bar
is the hypervolume that plain NSGA-II ends with, on one box. What is printed is the time in which
``edited`` would have judged what plain NSGA-II asked for, over that in which each search was first
as good, its own thinking included. Searches are run in turns with a sample of what that takes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sweep import LARGE, generations, model_of, one_at_a_time, swept, timed, warm_engines

from evo.archive import Box
from evo.config import RunConfig
from evo.indicators import nondominated
from evo.run import Run
from evo.view import SEARCH, RunView, read_run
from problems.pruning.cost import pruned_model
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep

MODELS = ("all-MiniLM-L6-v2", "stories260K/hf", "books2m", LARGE)
TEXTS = {"stories260K/hf": "tinystories", "books2m": "books"}
FILES = {"tinystories": ("train.txt", "valid.txt"), "books": ("train.txt.xz", "valid.txt")}
SMALL: dict[str, Any] = {"surrogate": True, "population": 16}
SEARCHES: dict[str, tuple[dict[str, Any], float, float]] = {  # algorithm; racing; evaluations
    "plain": ({"surrogate": False}, 0.0, 1),
    "races": ({"surrogate": False}, 0.99, 1.2),
    "stages": ({"surrogate": False, "low_fidelity": 1 / 16}, 0.99, 0.4),
    "surrogate": (SMALL | {"low_fidelity": 0}, 0.0, 0.4),
    "part first": (SMALL, 0.0, 0.4),
    "all": (SMALL, 0.99, 0.4),
}
SAMPLE = {LARGE: 4}  # candidates of plain NSGA-II that ``edited`` judges; else 16


def settings(name: str, scratch: Path, sequences: int, length: int = 128) -> dict[str, Any]:
    """Of the pruning problem on a model; only sequences of the random one have that length."""
    given: dict[str, Any] = {"variants": ["removal", "width@0.5,0.75"], "cache": "off"}
    data = os.environ.get("EVO_DATA")
    if name in TEXTS and data:
        train, valid = (str(Path(data) / "text" / TEXTS[name] / f) for f in FILES[TEXTS[name]])
        given |= {"calibration": train, "search": valid, "validation": valid}
        if TEXTS[name] == "tinystories":
            given["separator"] = "<|endoftext|>"
    if name != "all-MiniLM-L6-v2":
        given["model"] = model_of(name, scratch)
    if name == LARGE:
        given["length"] = length
    return given | {"sizes": {"calibration": 16, "search": sequences, "validation": 2}}


def copied(problem: Mixed, rows: np.ndarray) -> np.ndarray:
    """A whole copy of the model per candidate."""
    return _alone(problem, rows, lambda row: copy.deepcopy(_made(problem, row)))


def edited(problem: Mixed, rows: np.ndarray) -> np.ndarray:
    """One model whose blocks are exchanged, one sequence at a time."""
    return _alone(problem, rows, lambda row: _made(problem, row), one_by_one=True)


def _made(problem: Mixed, row: np.ndarray) -> Any:
    return pruned_model(problem.pretrained, problem.table, row)


def _alone(
    problem: Mixed, rows: np.ndarray, make: Callable[[np.ndarray], Any], one_by_one: bool = False
) -> np.ndarray:
    reader, sweep, found = problem.reader("search"), problem.sweep(), []
    with torch.inference_mode():
        for row in rows:
            model, read = make(row), []
            for i, batch in enumerate(problem.data.batches("search")):
                inputs = sweep._inputs(batch)
                parts = range(len(batch.ids)) if one_by_one else [slice(None)]
                said = [
                    model(**{k: _part(v, p) if k != "use_cache" else v for k, v in inputs.items()})
                    for p in parts
                ]
                outputs = [s.logits if problem.kind == "lm" else s.last_hidden_state for s in said]
                read.append(reader(i, batch, torch.cat(outputs)))
            found.append(torch.cat(read).double().numpy())
    return np.stack(found)


def _part(tensor: torch.Tensor, which: Any) -> torch.Tensor:
    return tensor[which : which + 1] if isinstance(which, int) else tensor[which]


def judged(name: str, problem: Mixed, given: Any) -> dict[str, Any]:
    """Medians of seconds per candidate, after equality."""
    *earlier, rows = generations(problem, given.population, given.generations)
    cold, warm_engine = Sweep(problem.pretrained, problem.table), warm_engines(problem, earlier)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "copied": lambda: copied(problem, rows),
        "edited": lambda: edited(problem, rows),
        "one_at_a_time": lambda: one_at_a_time(problem, rows),
        "sweep": lambda: swept(problem, cold, rows),
        "ladder": lambda: swept(problem, warm_engine(), rows),
    }
    values = {way: judge() for way, judge in ways.items()}
    for way, found in values.items():
        difference = float(np.abs(found - values["copied"]).max())
        assert difference < 1e-4, f"{way} differs from copied models by {difference}"
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        warm = warm_engine()  # the run has paid for it before
        for way, judge in ways.items():
            taken = timed(swept, problem, warm, rows) if way == "ladder" else timed(judge)
            seconds[way].append(taken / len(rows))
    return {way: statistics.median(many) for way, many in seconds.items()}


def searched(
    given: dict[str, Any], folder: Path, *, seed: int, algorithm: dict[str, Any],
    stop: dict[str, Any], racing: float = 0.0, constraints: tuple[str, ...] = (),
) -> RunView:  # fmt: skip
    """A finished search of the pruning problem with such settings; quality and parameters."""
    config = RunConfig.from_mapping(
        {
            "problem": {"id": "prune/mixed", **given},
            "objectives": ["kl" if "model" in given else "drift", "params"],
            "constraints": list(constraints), "seed": seed, "validate": False,
            "algorithm": algorithm, "stop": stop,
            "evaluator": {"racing": racing, "device": "cpu"},
        }
    )  # fmt: skip
    with Run.create(config, folder) as run:
        list(run)
        run.finish()
    return read_run(folder)


def volume(view: RunView, box: Box, generation: int) -> float:
    """Share of the box that what was judged whole until then fills."""
    c = view.candidates
    whole = (c.origin == SEARCH) & c.ok & (c.share == 1)
    seen = view.fitness[whole & (c.generation <= generation)]
    return float(box.hypervolume(seen[nondominated(seen)]))


def as_good(view: RunView, box: Box, bar: float) -> float | None:
    """Active seconds until the front of a run first filled that much of the box."""
    seconds = sum(g.seconds for g in view.low)
    for generation in view.generations:
        seconds += generation.seconds
        if volume(view, box, generation.number) >= bar:
            return seconds
    return None


def price(problem: Mixed, view: RunView, sample: int) -> float:
    """Seconds in which ``edited`` would judge what a run asked for, from some of it."""
    rows = view.candidates.genomes["choices"][view.candidates.origin == SEARCH]
    some = rows[np.linspace(0, len(rows) - 1, sample).astype(int)]
    return timed(edited, problem, some) / sample * len(rows)


def raced(name: str, given: Any, scratch: Path) -> dict[str, Any]:
    """Per search: how many times sooner it was as good as plain NSGA-II judged by ``edited``."""
    made = settings(name, scratch, given.searched_sequences, given.searched_length)
    problem, evaluations = Mixed(**made), given.searched * given.searched_population
    ratios: dict[str, list[float]] = {how: [] for how in SEARCHES}
    problem.reader("search")  # which asks the dense model
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        views, prices = dict[str, RunView](), list[float]()
        for how, (own, racing, share) in SEARCHES.items():
            views[how] = searched(
                made,
                scratch / f"{name.replace('/', '-')}-{seed}-{how}",
                seed=seed,
                racing=racing,
                stop={"evaluations": int(share * evaluations)},
                algorithm={"id": "nsga2", "population": given.searched_population, **own},
            )
            prices.append(price(problem, views["plain"], SAMPLE.get(name, 16)))
        fronts = {how: v.fitness[v.candidates.on_front] for how, v in views.items()}
        box = Box.spanning(np.concatenate(list(fronts.values())))
        bar = float(box.hypervolume(fronts["plain"]))
        for i, (how, view) in enumerate(views.items()):
            seconds = as_good(view, box, bar)
            slow = statistics.mean(prices[max(0, i - 1) : i + 1])  # before and after the search
            ratios[how].append(slow / seconds if seconds else 0.0)  # 0: never as good
        print(json.dumps({"model": name, "seed": seed, "times sooner": {
            how: round(many[-1], 2) for how, many in ratios.items()
        }}), flush=True)  # fmt: skip
    return {how: round(statistics.median(many), 2) for how, many in ratios.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--population", type=int, default=64)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--searched", type=int, default=10, help="generations of plain searches")
    parser.add_argument("--searched-population", type=int, default=48)
    parser.add_argument("--searched-sequences", type=int, default=64)
    parser.add_argument("--searched-length", type=int, default=32, help="of the random model")
    parser.add_argument("--seeds", type=int, default=3, help="0 leaves the searches out")
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in given.model or MODELS:
            sequences = 2 if name == LARGE else given.sequences
            problem = Mixed(**settings(name, scratch, sequences))
            seconds = judged(name, problem, given)
            told: dict[str, Any] = {
                "model": name,
                "seconds per candidate": {k: round(v, 4) for k, v in seconds.items()},
                "times faster than edited": {
                    k: round(seconds["edited"] / v, 2) for k, v in seconds.items()
                },
            }
            if given.seeds:
                told["times sooner as good"] = raced(name, given, scratch)
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
