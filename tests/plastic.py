"""Plastic networks for tests: in plain loops over synapses, and small problems."""

from __future__ import annotations

from typing import Any

import numpy as np

from evo.genomes import Genomes
from evo.problem import Context
from problems.hebbian.genes import Rule
from problems.hebbian.problem import Plastic

PLASTIC = ("hl", "nchl", "wnchl")


class Loops:
    """One network in plain loops over synapses, Eq. 2 and Eq. 3 as they stand."""

    def __init__(
        self, rule: Rule, genome: np.ndarray, begin: list[np.ndarray],
        neurons: list[bool] | None = None, synapses: list[bool] | None = None,
    ) -> None:  # fmt: skip
        self.rule, self.t = rule, 0
        names = ["w"] if rule.name == "static" else ["eta", "a", "b", "c", "d"]
        self.g = {n: genome[k * rule.units : (k + 1) * rule.units] for k, n in enumerate(names)}
        self.neurons = neurons or [True] * rule.neurons
        self.w: dict[int, float] = {}
        self.where: list[tuple[int, int, int, int]] = []  # layer, i, j, number of the synapse
        first, m = 0, 0
        for layer, (a, b) in enumerate(rule.pairs):
            for j in range(b):
                for i in range(a):
                    self.where.append((layer, first + i, first + a + j, m))
                    self.w[m] = float(begin[layer][j, i])
                    m += 1
            first += a
        self.on = [
            self.neurons[i] and self.neurons[j] and (synapses is None or synapses[m])
            for _, i, j, m in self.where
        ]
        for _, _, _, m in self.where:
            if rule.name == "static":
                self.w[m] = float(self.g["w"][m])
            if not self.on[m]:
                self.w[m] = 0.0
        self.records: list[list[float]] = []

    def step(self, x: np.ndarray) -> list[float]:
        rule = self.rule
        act = [*map(float, x), *[0.0] * (rule.neurons - len(x))]
        for layer in range(len(rule.pairs)):
            start = sum(rule.layers[: layer + 1])
            for j in range(start, start + rule.layers[layer + 1]):
                act[j] = float(
                    np.tanh(sum(self.w[m] * act[i] for _, i, jj, m in self.where if jj == j))
                )
        self.t += 1
        if self.t % rule.every == 0:
            self.records.append(act)
            self.learn(act)
        return act[-rule.layers[-1] :]

    def taught(self, act: list[float], i: int, j: int, m: int) -> float:
        g, x, y = self.g, act[i], act[j]
        if self.rule.name == "hl":
            return g["eta"][m] * (g["a"][m] * x + g["b"][m] * y + g["c"][m] * x * y + g["d"][m])
        eta = (g["eta"][i] + g["eta"][j]) / 2
        return eta * (
            g["a"][i] * x + g["b"][j] * y + g["c"][i] * g["c"][j] * x * y + g["d"][i] * g["d"][j]
        )

    def learn(self, act: list[float]) -> None:
        if self.rule.name == "static":
            return
        for _, i, j, m in self.where:
            if not self.on[m]:
                continue
            if self.rule.name == "wnchl":
                last = self.records[-self.rule.window :]
                self.w[m] = sum(self.taught(past, i, j, m) for past in last)
            else:
                self.w[m] += self.taught(act, i, j, m)
        for layer in range(len(self.rule.pairs)):
            mine = [m for own, _, _, m in self.where if own == layer]
            largest = max(abs(self.w[m]) for m in mine)
            for m in mine:
                if self.rule.norm == "max" and largest > 0:
                    self.w[m] /= largest
                elif self.rule.norm == "clip":
                    self.w[m] = min(max(self.w[m], -self.rule.limit), self.rule.limit)


def problem(**settings: Any) -> Plastic:
    return Plastic(**{"task": "reach", "episodes": (3, 2), "steps": 12, "threads": 2, **settings})


def values(given: Plastic, genomes: Genomes) -> dict[str, np.ndarray]:
    batch = given.batch(genomes, Context())
    return {o.name: o(batch) for o in given.objectives}
