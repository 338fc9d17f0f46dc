"""Populations of plastic networks stepped together against one candidate at a time.

    python experiments/benchmarks/hebbian.py [--task ant] [--rule nchl] [--population 256]
    python experiments/benchmarks/hebbian.py --updates [--population 64]

Needs ``pip install 'evoprune[hebbian]'``. Three ways to judge the same rules in the same episode:

- ``together``: all candidates in one batch, bodies moved by threads, as a run judges them;
- ``alone``: the same code, one candidate after the other;
- ``gymnasium``: Gymnasium's environment and the exported program, one candidate after the other.

The first two must give the same returns to the last bit, and Gymnasium's must agree to a millionth
over the first steps in double precision (contacts amplify the last bit later), before any time is
printed. Rounds take turns; ratios are those of medians. ``--dtype float64`` is what the exported
program computes in; runs use single precision by default.

``--updates`` compares compiled updates of plasticity with those by arrays, alone and in single
precision, on the networks of the cheetah and the ant; both must give the same weights to the last
bit first. Microseconds of the processor per network and step.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evo.genomes import Genomes
from evo.problem import Context
from evo.streams import stream
from problems.hebbian import player, rules
from problems.hebbian.genes import Kept, Rule
from problems.hebbian.lives import Clock
from problems.hebbian.problem import Plastic
from problems.hebbian.worlds.models import unheard

TASKS = ("cart", "cheetah", "ant")
COMPARED = 8  # control steps over which Gymnasium must agree
REWARD = {"cart": 0, "cheetah": 1, "ant": 1}  # which reward is Gymnasium's


def told(problem: Plastic, row: np.ndarray) -> dict[str, Any]:
    """A genome as the exported program wants it."""
    rule = problem.rule
    return {
        "layers": list(rule.layers), "rule": rule.name, "synapses": None,
        "genes": {k: v[0] for k, v in rule.decode(row[None]).items()},
        "neurons": [1] * rule.neurons, "init": rule.init, "scale": 0.1, "norm": rule.norm,
        "limit": rule.limit, "every": rule.every, "window": rule.window,
    }  # fmt: skip


class Ways:
    """The three ways, on the same genomes."""

    def __init__(self, problem: Plastic, genomes: Genomes) -> None:
        self.problem, self.genomes = problem, genomes
        gymnasium = importlib.import_module("gymnasium")
        name, settings = problem.world.gymnasium  # type: ignore[attr-defined]
        if name.startswith("CartPole"):
            self.world = gymnasium.make(name, **settings)
        else:
            with unheard(importlib.import_module("mujoco")):
                self.world = gymnasium.make(name, **settings)
        episodes = problem.episodes(Context())
        self.seed = episodes.seeds()[0]
        self.begin = [w[0] for w in problem.rule.beginnings(episodes.streams("weights"))]
        self.network_seconds = 0.0

    def together(self) -> np.ndarray:
        """Returns of all, (n,)."""
        return self._judged(self.genomes)

    def alone(self) -> np.ndarray:
        """Returns of all, (n,)."""
        each = [self._judged(self.genomes.take([k])) for k in range(len(self.genomes))]
        return np.concatenate(each)

    def gymnasium(self) -> np.ndarray:
        """Returns of all, (n,)."""
        self.network_seconds = 0.0
        return np.array([self._played(row) for row in self.genomes["rules"]])

    def _judged(self, genomes: Genomes) -> np.ndarray:
        lives = self.problem.batch(genomes, Context()).intact
        return lives.rewards[:, 0, 0, REWARD[self.problem.task]]

    def _played(self, row: np.ndarray) -> float:
        network, total = player.Network(told(self.problem, row), self.begin), 0.0
        seen, _ = self.world.reset(seed=self.seed)
        discrete = hasattr(self.world.action_space, "n")
        for _ in range(self.problem.world.steps):
            begun = time.perf_counter()
            out = network.act(seen)
            self.network_seconds += time.perf_counter() - begun
            action = int(out.argmax()) if discrete else out
            seen, reward, ended, _, _ = self.world.step(action)
            total += float(reward)
            if ended:
                break
        return total


def measured(task: str, rule: str, given: argparse.Namespace) -> dict[str, Any]:
    """Ratios of medians, after equality; shares of the time of a batch."""
    settings: dict[str, Any] = {
        "task": task, "rule": rule, "episodes": (1, 1), "threads": given.threads,
    }  # fmt: skip
    exact = Plastic(**settings, steps=COMPARED, dtype="float64")
    short = Ways(exact, exact.starts(given.population, stream(0, "benchmark")))
    difference = float(np.abs(short.together() - short.gymnasium()).max())
    assert difference < 1e-6, f"Gymnasium's returns differ by {difference}"
    problem = Plastic(**settings, steps=given.steps, dtype=given.dtype)
    ways = Ways(problem, problem.starts(given.population, stream(0, "benchmark")))
    calls: dict[str, Callable[[], np.ndarray]] = {
        "together": ways.together, "alone": ways.alone, "gymnasium": ways.gymnasium,
    }  # fmt: skip
    assert np.array_equal(ways.together(), ways.alone())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    networks: dict[str, list[float]] = {name: [] for name in calls}
    processor: dict[str, list[float]] = {name: [] for name in calls}
    shares, lived = [], 0.0
    for _ in range(given.rounds):
        for name, call in calls.items():
            problem.clock = Clock()
            begun, spent = time.perf_counter(), time.process_time()
            call()
            seconds[name].append(time.perf_counter() - begun)
            processor[name].append(time.process_time() - spent)
            inside = ways.network_seconds if name == "gymnasium" else problem.clock.network
            networks[name].append(inside)
            if name == "together":
                shares.append(problem.clock.world / seconds[name][-1])
                lived = problem.clock.steps
    middle = {name: statistics.median(many) for name, many in seconds.items()}
    inner = {name: statistics.median(many) for name, many in networks.items()}
    paid = {name: statistics.median(many) for name, many in processor.items()}
    others = ("alone", "gymnasium")
    return {
        "task": task, "rule": rule, "layers": list(problem.rule.layers),
        "dtype": given.dtype, "population": given.population, "difference": difference,
        "control steps per second": round(lived / middle["together"]),
        "times faster than": {k: round(middle[k] / middle["together"], 2) for k in others},
        "times less processor time than": {k: round(paid[k] / paid["together"], 2) for k in others},
        "networks alone, times faster than": {
            k: round(inner[k] / inner["together"], 2) for k in others
        },
        "share of time in the simulator": round(statistics.median(shares), 3),
    }  # fmt: skip


def updates(layers: tuple[int, ...], rule: str, given: argparse.Namespace) -> dict[str, Any]:
    """Medians of a step of learning of all layers, compiled and by arrays."""
    own, n = Rule(layers, rule), given.population
    rng = stream(0, "updates")
    genomes = rng.normal(0.0, 0.3, (n, own.genes))
    begin = own.beginnings([stream(0, "weights", k) for k in range(n)])
    passed = [rng.uniform(-1, 1, (n, size)).astype(own.dtype) for size in layers]
    built = {}
    for way, least in (("compiled", 0), ("arrays", 10**9)):
        rules.SMALL = least
        built[way] = rules.lanes(
            own, own.decode(genomes), Kept(), np.arange(n), [w.copy() for w in begin]
        )
    assert rules.compiled(own) is None, "Numba was to be left out"
    seconds: dict[str, list[float]] = {way: [] for way in built}
    for _ in range(10 * given.rounds):
        for way, networks in built.items():
            begun = time.process_time()
            networks._learning(passed, networks._weights)
            seconds[way].append(time.process_time() - begun)
        pairs = zip(*(networks.weights() for networks in built.values()), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
    middle = {way: statistics.median(many) for way, many in seconds.items()}
    return {
        "layers": list(layers), "rule": rule, "population": n,
        **{way: round(1e6 * value / n, 2) for way, value in middle.items()},
        "times faster": round(middle["arrays"] / middle["compiled"], 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=TASKS)
    parser.add_argument("--rule", action="append", choices=("hl", "nchl", "wnchl", "static"))
    parser.add_argument("--population", type=int, default=256)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--updates", action="store_true")
    given = parser.parse_args()
    if given.updates:
        for layers in ((17, 32, 6), (27, 128, 64, 8), (27, 256, 128, 8)):
            for rule in ("hl", "nchl"):
                print(json.dumps(updates(layers, rule, given)), flush=True)
        return
    for task in given.task or TASKS:
        for rule in given.rule or ("hl", "nchl", "wnchl"):
            print(json.dumps(measured(task, rule, given)), flush=True)


if __name__ == "__main__":
    main()
