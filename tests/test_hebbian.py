"""Plastic networks: against plain loops, published sizes, Gymnasium, and an exported program."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import contents, go, interrupt, kill_and_compare

from evo.check import check_problem, failed
from evo.cli import main
from evo.config import RunConfig
from evo.errors import ConfigError, ShapeError
from evo.evaluate.chunk import ChunkJudge
from evo.evaluate.judges import Judges
from evo.genomes import Genomes
from evo.problem import Context
from evo.run import Run
from evo.space import Real
from evo.view import read_run
from problems.hebbian import problem as searched
from problems.hebbian import rules
from problems.hebbian.genes import Kept, Rule, sizes
from problems.hebbian.lives import Clock, Episodes, live
from problems.hebbian.problem import Plastic
from problems.hebbian.rules import lanes
from problems.hebbian.worlds import make, models

PLASTIC = ("hl", "nchl", "wnchl")


# -- the rules, synapse by synapse -----------------------------------------------------------------


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


def in_loops_and_in_one(
    rule: Rule, n: int = 5, steps: int = 12, kept: Kept | None = None, size: float = 0.4
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outputs (steps, n, outputs) and weights (n, W) of loops and of the batched networks."""
    kept = kept or Kept()
    rng = np.random.default_rng(1)
    genomes = rng.normal(0.0, size, (n, rule.genes))
    begin = [rng.uniform(-0.5, 0.5, (n, b, a)) for a, b in rule.pairs]
    if rule.name == "wnchl":
        begin = [np.zeros_like(w) for w in begin]
    x = rng.normal(0.0, 1.0, (steps, n, rule.layers[0]))
    neurons, synapses = [None] * n, [None] * n
    if kept.neurons is not None:
        stays = np.ones((n, rule.neurons), dtype=bool)
        stays[:, rule.layers[0] : -rule.layers[-1]] = kept.neurons
        neurons = stays.tolist()  # type: ignore[assignment]
    if kept.synapses is not None:
        synapses = kept.synapses.tolist()  # type: ignore[assignment]
    slow = [
        Loops(rule, genomes[k], [w[k] for w in begin], neurons[k], synapses[k]) for k in range(n)
    ]
    dtype = np.dtype(rule.dtype)
    fast = lanes(rule, rule.decode(genomes), kept, np.arange(n), [w.astype(dtype) for w in begin])
    outputs = np.array([[one.step(x[t, k]) for k, one in enumerate(slow)] for t in range(steps)])
    found = np.array([fast.step(x[t].astype(dtype))[0] for t in range(steps)])
    weights = np.array([[one.w[m] for m in sorted(one.w)] for one in slow])
    batched = np.concatenate([w.reshape(n, -1) for w in fast.weights()], axis=1)
    return outputs, found, weights, batched


@pytest.mark.parametrize(
    "settings",
    [{}, {"norm": "max"}, {"norm": "clip", "limit": 0.3}, {"every": 3}, {"window": 4}],
    ids=str,
)
@pytest.mark.parametrize("name", [*PLASTIC, "static"])
def test_networks_of_a_batch_are_those_of_plain_loops(name: str, settings: dict[str, Any]) -> None:
    if name == "wnchl" and "norm" in settings:
        settings = {"window": 1}
    rule = Rule((3, 4, 3, 2), name, dtype="float64", **settings)

    outputs, found, weights, batched = in_loops_and_in_one(rule)

    np.testing.assert_allclose(found, outputs, atol=1e-10)
    np.testing.assert_allclose(batched, weights, atol=1e-10)
    assert np.ptp(found, axis=0).min() > 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("prune", [None, "neurons", "synapses"])
@pytest.mark.parametrize("name", ["hl", "nchl"])
def test_compiled_updates_are_those_of_arrays_to_the_last_bit(
    name: str, prune: str | None, dtype: str, monkeypatch
) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    rule = Rule((5, 7, 3), name, dtype=dtype)
    length = rule.hidden if prune == "neurons" else rule.synapses
    stays = np.random.default_rng(2).random((4, length)) < 0.6
    kept = Kept() if prune is None else Kept(**{prune: stays})
    monkeypatch.setattr(rules, "SMALL", 10**9)
    arrays = in_loops_and_in_one(rule, 4, kept=kept)

    monkeypatch.setattr(rules, "SMALL", 0)
    assert rules.compiled(rule) is not None
    fused = in_loops_and_in_one(rule, 4, kept=kept)

    np.testing.assert_array_equal(fused[1], arrays[1])
    np.testing.assert_array_equal(fused[3], arrays[3])
    np.testing.assert_allclose(fused[3], fused[2], atol=1e-10 if dtype == "float64" else 1e-5)


def test_without_numba_arrays_learn(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "problems.hebbian.fused", None)

    assert rules.compiled(Rule((30, 30, 3), "hl")) is None


@pytest.mark.parametrize("name", PLASTIC)
def test_single_precision_agrees_to_a_millionth(name: str) -> None:
    outputs, found, weights, batched = in_loops_and_in_one(Rule((3, 4, 2), name), size=0.2)

    assert found.dtype == batched.dtype == np.float32
    np.testing.assert_allclose(found, outputs, atol=1e-6)
    np.testing.assert_allclose(batched, weights, atol=1e-6)


@pytest.mark.parametrize("name", [*PLASTIC, "static"])
@pytest.mark.parametrize("what", ["neurons", "synapses"])
def test_pruned_networks_are_those_of_plain_loops(name: str, what: str) -> None:
    if (name, what) == ("wnchl", "synapses"):
        pytest.skip("weightless networks have no synapses to prune")
    rule = Rule((3, 4, 3, 2), name, dtype="float64")
    length = rule.hidden if what == "neurons" else rule.synapses
    kept = Kept(**{what: np.random.default_rng(2).random((5, length)) < 0.6})

    outputs, found, weights, batched = in_loops_and_in_one(rule, kept=kept)

    np.testing.assert_allclose(found, outputs, atol=1e-10)
    np.testing.assert_allclose(batched, weights, atol=1e-10)
    assert (batched == 0).mean() > 0.2
    off = ~np.concatenate([m.reshape(5, -1) for m in kept.matrices(rule, 5)], axis=1)
    assert (batched[off] == 0).all()


def golden(name: str, steps: int, **settings: Any) -> tuple[list[float], list[float]]:
    """Outputs and second-layer weights of the network with the recorded figures."""
    rule = Rule((2, 3, 1), name, dtype="float64", **settings)
    p = np.arange(rule.units)
    genome = np.concatenate(
        [0.05 * (p + 1), 0.3 * np.cos(p), 0.3 * np.sin(p), 0.4 * np.cos(2 * p), 0.2 * np.sin(3 * p)]
    )
    begin = []
    for layer, (a, b) in enumerate(rule.pairs):
        j, i = np.mgrid[:b, :a]
        begin.append(0.1 * np.sin(layer + 2 * j + 3 * i)[None])
    network = lanes(rule, rule.decode(genome[None]), Kept(), np.zeros(1, dtype=np.intp), begin)
    outputs = [
        float(network.step(np.array([[0.5 * np.cos(t), np.sin(t) + 0.25]]))[0][0, 0])
        for t in range(steps)
    ]
    return outputs, network.weights()[1].ravel().tolist()


def test_golden_values() -> None:
    """Figures of an independent program in scalar loops, float64."""
    outputs, weights = golden("nchl", 4)
    near = {"abs": 1e-11}
    assert outputs == pytest.approx(
        [-0.002736127103, 0.011240945922, 0.016889720655, 0.008634375132], **near
    )
    assert weights == pytest.approx([0.072923421046, -0.051643656765, 0.034332278809], **near)
    assert golden("wnchl", 5, window=2)[0] == pytest.approx(
        [0.0, -0.000033756224, -0.000243858902, -0.000268420574, 0.000133322314], **near
    )
    outputs, weights = golden("hl", 4)
    assert outputs == pytest.approx(
        [-0.002736127103, -0.000035553161, -0.032285861690, -0.044088643332], **near
    )
    assert weights == pytest.approx([-0.114493616522, 0.154245766666, -0.277385728307], **near)


@pytest.mark.parametrize(
    ("layers", "w", "n", "effective"),
    [
        ((4, 10, 2), 60, 16, 74),
        ((8, 8, 4), 96, 20, 88),
        ((28, 128, 64, 8), 12_288, 228, 1_104),
        ((27, 128, 64, 8), 12_160, 227, 1_100),
        ((27, 256, 128, 8), 40_704, 419, 2_060),
        ((28, 256, 128, 8), 40_960, 420, 2_064),
        ((26, 256, 128, 6), 40_192, 416, 2_048),
    ],
)
def test_published_networks_have_their_numbers_of_parameters(
    layers: tuple[int, ...], w: int, n: int, effective: int
) -> None:
    counts = {name: Rule(layers, name).genes for name in (*PLASTIC, "static")}

    assert counts == {"hl": 5 * w, "nchl": 5 * n, "wnchl": 5 * n, "static": w}
    assert Rule(layers, "nchl", packed=True).genes == effective
    assert Rule(layers, "hl", eta=0.1).genes == 4 * w
    memory = {
        k: sizes(Rule(layers, k, window=10), Kept(), 1)["memory"][0] for k in (*PLASTIC, "static")
    }
    assert memory == {"hl": 6 * w, "nchl": 5 * n + w, "wnchl": 15 * n, "static": w}


def test_sizes_of_pruned_networks_by_hand() -> None:
    kept = Kept(neurons=np.array([[True, False, True], [False, False, False]]))
    rule = Rule((2, 3, 2), "hl")

    assert sizes(rule, kept, 2)["params"].tolist() == [5 * 8, 0]  # 2·2 + 2·2 synapses stay
    assert sizes(rule, kept, 2)["memory"].tolist() == [6 * 8, 0]
    found = sizes(Rule((2, 3, 2), "nchl"), kept, 2)
    assert found["params"].tolist() == [5 * 6, 5 * 4]
    assert found["memory"].tolist() == [5 * 6 + 8, 5 * 4]
    only = Kept(synapses=np.array([[True] * 5 + [False] * 7]))
    assert sizes(Rule((2, 3, 2), "static"), only, 1)["params"].tolist() == [5]


def outputs_of(rule: Rule, genomes: np.ndarray, steps: int = 15, begin: float = 0.0) -> np.ndarray:
    n = len(genomes)
    weights = [np.full((n, b, a), begin, dtype=rule.dtype) for a, b in rule.pairs]
    network = lanes(rule, rule.decode(genomes), Kept(), np.arange(n), weights)
    rng = np.random.default_rng(4)
    seen = rng.normal(size=(steps, 1, rule.layers[0])).astype(rule.dtype)
    return np.array([network.step(np.repeat(x, n, axis=0))[0] for x in seen])


def test_weightless_networks_are_weighted_ones_while_their_record_lasts() -> None:
    genomes = np.random.default_rng(0).normal(0, 0.5, (4, 5 * 9))
    stored = outputs_of(Rule((3, 4, 2), "nchl", dtype="float64"), genomes)

    whole = outputs_of(Rule((3, 4, 2), "wnchl", window=15, dtype="float64"), genomes)
    short = outputs_of(Rule((3, 4, 2), "wnchl", window=5, dtype="float64"), genomes)

    np.testing.assert_allclose(whole, stored, atol=1e-10)
    np.testing.assert_allclose(short[:6], stored[:6], atol=1e-10)
    assert np.abs(short[6:] - stored[6:]).max() > 1e-2


def test_genes_that_never_act_may_be_left_out() -> None:
    rule, packed = Rule((3, 4, 2), "nchl"), Rule((3, 4, 2), "nchl", packed=True)
    genomes = np.random.default_rng(0).normal(0, 0.5, (2, rule.genes))
    changed = genomes.copy()
    changed[:, 9 + 7 : 9 + 9] = 7.0  # A of the outputs
    changed[:, 18 : 18 + 3] = 7.0  # B of the inputs
    fewer = np.delete(genomes, [9 + 7, 9 + 8, 18, 19, 20], axis=1)

    plain = outputs_of(rule, genomes)

    assert np.array_equal(outputs_of(rule, changed), plain)
    assert np.array_equal(outputs_of(packed, fewer), plain)
    assert packed.genes == fewer.shape[1]


def test_without_learning_rates_nothing_is_learnt() -> None:
    for name in ("hl", "nchl"):
        rule = Rule((3, 4, 2), name)
        genomes = np.random.default_rng(0).normal(0, 0.5, (2, rule.genes))
        genomes[:, : rule.units] = 0.0
        still = outputs_of(Rule((3, 4, 2), "static"), np.full((2, 20), 0.3))

        assert np.array_equal(outputs_of(rule, genomes, begin=0.3), still)


def test_a_fixed_learning_rate_is_that_of_all_units() -> None:
    for name in PLASTIC:
        rule, fixed = Rule((3, 4, 2), name), Rule((3, 4, 2), name, eta=0.25)
        genomes = np.random.default_rng(0).normal(0, 0.5, (2, rule.genes))
        genomes[:, : rule.units] = 0.25

        found = outputs_of(fixed, genomes[:, rule.units :])

        assert np.array_equal(found, outputs_of(rule, genomes))


# -- lives -----------------------------------------------------------------------------------------


def problem(**settings: Any) -> Plastic:
    return Plastic(**{"task": "reach", "episodes": (3, 2), "steps": 12, "threads": 2, **settings})


def values(given: Plastic, genomes: Genomes) -> dict[str, np.ndarray]:
    batch = given.batch(genomes, Context())
    return {o.name: o(batch) for o in given.objectives}


@pytest.mark.parametrize("rule", [*PLASTIC, "static"])
@pytest.mark.parametrize("task", ["cart", "reach"])
def test_candidates_live_alike_whoever_lives_beside_them(rule: str, task: str) -> None:
    given = problem(task=task, rule=rule, steps=60, noise=0.01,
                    damage=["length@2" if task == "cart" else "turn@90"])  # fmt: skip
    genomes = given.starts(9, np.random.default_rng(3))
    together = values(given, genomes)

    order = np.array([4, 0, 8, 2])
    some = values(given, genomes.take(order))

    for name, found in together.items():
        assert np.array_equal(some[name], found[order]), name
    alone = values(given, genomes.take([7]))
    assert all(np.array_equal(alone[name], found[[7]]) for name, found in together.items())
    assert len(set(together[given.world.parts[0]].round(6))) > 4


def test_damaged_bodies_are_judged_by_their_mean_and_by_the_worst() -> None:
    kinds = ["turn@90", "gain@0.5", "turn@20"]
    both = problem(damage=kinds, unseen=["turn@120"])
    genomes = both.starts(6, np.random.default_rng(5))

    found = values(both, genomes)

    alone = [values(problem(damage=[kind]), genomes)["robustness"] for kind in kinds]
    np.testing.assert_allclose(found["robustness"], np.mean(alone, axis=0), atol=2e-6)
    np.testing.assert_allclose(found["worst"], np.min(alone, axis=0), atol=2e-6)
    other = values(problem(damage=["turn@120"]), genomes)["robustness"]
    assert np.array_equal(found["unseen"], other)
    assert (np.max(alone, axis=0) - np.min(alone, axis=0) > 1e-3).all()


class Script:
    """A world in which lane k ends after as many steps as its seed says; rewards count up."""

    inputs, outputs, steps, parts, hidden = 2, 2, 6, ("reward",), (3,)

    def __init__(self, ends: list[int], width: int = 2) -> None:
        self.ends, self.width, self.stepped = ends, width, []

    def reset(self, seeds, bodies):
        self.own = np.array([self.ends[s % len(self.ends)] for s in seeds])
        self.t = 0
        return np.ones((len(seeds), self.width))

    def step(self, actions):
        self.t += 1
        self.stepped.append(len(actions))
        return np.ones((len(self.own), 2)), np.full((len(self.own), 1), self.t), self.t >= self.own

    def keep(self, rows):
        self.own = self.own[rows]

    def close(self):
        pass


def test_lives_end_when_they_end_and_are_counted_by_hand(monkeypatch) -> None:
    rule = Rule((2, 3, 2), "static")
    genomes = np.full((2, rule.genes), 0.5)
    world = Script([1, 2, 3, 99])
    monkeypatch.setattr(Episodes, "seeds", lambda self: [0, 1, 2, 3])

    clock = Clock()

    found = live(  # type: ignore[arg-type]
        rule, rule.decode(genomes), Kept(), world, [0], Episodes(0, "search", 4), clock=clock
    )

    assert found.rewards[0, 0, :, 0].tolist() == [1, 3, 6, 21]
    assert found.steps[1, 0].tolist() == [1, 2, 3, 6]
    middle = np.tanh(1.0)
    output = np.tanh(1.5 * middle)
    np.testing.assert_allclose(found.energy, output**2, rtol=1e-6)
    assert (found.largest == 0.5).all()
    assert (found.change == 0).all()
    assert world.stepped == [8, 6, 4, 2, 2, 2]  # nobody steps after the end
    assert clock.steps == sum(world.stepped)


def test_lives_that_end_early_are_plastic_too(monkeypatch) -> None:
    """Weights of a life that ended in the first tenth changed as those of one that went on."""
    rule = Rule((2, 3, 2), "nchl", dtype="float64", init="zero")
    genomes = np.random.default_rng(0).normal(0, 0.4, (1, rule.genes))
    monkeypatch.setattr(Episodes, "seeds", lambda self: [0, 1])
    world = Script([1, 99])
    world.steps = 20

    found = live(rule, rule.decode(genomes), Kept(), world, [0], Episodes(0, "search", 2))  # type: ignore[arg-type]

    assert found.steps[0, 0].tolist() == [1, 20]
    slow = Loops(rule, genomes[0], [np.zeros((b, a)) for a, b in rule.pairs])
    slow.step(np.ones(2))
    assert found.change[0, 0, 0] == pytest.approx(sum(map(abs, slow.w.values())))
    assert found.change[0, 0, 1] > 1.1 * found.change[0, 0, 0]


def test_worlds_that_lose_their_state_are_not_blamed_on_weights(monkeypatch) -> None:
    class Lost(Script):
        def step(self, actions):
            seen, rewards, ended = super().step(actions)
            seen[1:] = np.where(self.t == 3, np.nan, seen[1:])
            return seen, rewards, ended

    rule = Rule((2, 3, 2), "static")
    given = [rule.decode(np.full((2, rule.genes), 0.5)), Kept(), Lost([99]), [0]]

    found = live(rule, *given, Episodes(0, "search", 1))  # type: ignore[arg-type]

    assert found.reasons == {1: "the world lost its state at step 2 of episode 0 in body 0"}
    assert found.rewards[:, 0, 0, 0].tolist() == pytest.approx([21, np.nan], nan_ok=True)


class Backwards(Script):
    """Lane k turns back at the step its seed says, and forth again after five more."""

    steps = 240

    def step(self, actions):
        seen, _, ended = super().step(actions)
        back = (self.t > self.own) & (self.t <= self.own + 5)
        return seen, np.where(back, -1.0, 1.0)[:, None], np.zeros_like(ended)


def test_patience_ends_lives_that_lead_back(monkeypatch) -> None:
    rule = Rule((2, 3, 2), "static")
    genomes = np.full((1, rule.genes), 0.5)
    monkeypatch.setattr(Episodes, "seeds", lambda self: [0, 1, 2])

    def lived(patience: int | None) -> list[float]:
        world = Backwards([100, 210, 198])
        episodes = Episodes(0, "search", 3)
        return live(
            rule, rule.decode(genomes), Kept(), world, [0], episodes, patience=patience  # type: ignore[arg-type]
        ).steps[0, 0].tolist()  # fmt: skip

    assert lived(None) == [240, 240, 240]
    assert lived(5) == [240, 240, 240]
    assert lived(2) == [240, 213, 203]  # of the third, steps 199 and 200 do not count


@pytest.mark.parametrize(("every", "looks"), [(1, [10]), (2, [11]), (3, [2, 14]), (15, [14])])
def test_change_of_weights_is_that_of_loops(every: int, looks: list[int]) -> None:
    given = problem(rule="nchl", episodes=(1, 1), steps=20, hidden=[3], init="zero", every=every,
                    dtype="float64")  # fmt: skip
    genomes = given.starts(3, np.random.default_rng(1))
    found = values(given, genomes)

    rule, seed = given.rule, given.episodes(Context()).seeds()[0]
    for k in range(3):
        slow = Loops(rule, genomes["rules"][k], [np.zeros((b, a)) for a, b in rule.pairs])
        world = make("reach", ["intact"], steps=20)
        seen, moved, energy, total = world.reset([seed], np.zeros(1, dtype=np.intp)), [], [], 0.0
        for t in range(20):
            before = dict(slow.w)
            act = np.array([slow.step(seen[0])])
            if t in looks:
                change = sum(abs(slow.w[m] - before[m]) for m in before) / rule.synapses
                assert (change > 0) == (k > 0)  # the first learns nothing
                moved.append(change / every)
            seen, reward, _ = world.step(act)
            energy.append((act**2).mean())
            total += float(reward[0, 0])
        assert found["plasticity"][k] == pytest.approx(np.mean(moved), abs=1e-8)
        assert found["energy"][k] == pytest.approx(np.mean(energy), abs=1e-8)
        assert found["reward"][k] == pytest.approx(total, abs=1e-6)
        assert found["largest"][k] == pytest.approx(max(map(abs, slow.w.values())), abs=1e-6)


def test_splits_have_other_episodes_and_seeds_other_ones() -> None:
    given = problem()
    searched = given.episodes(Context()).seeds()

    assert searched == given.episodes(Context()).seeds()
    assert len(set(searched)) == 3
    assert not set(searched) & set(given.episodes(Context(split="validation")).seeds())
    assert not set(searched) & set(given.episodes(Context(seed=1)).seeds())


def test_weights_begin_as_published() -> None:
    streams = Episodes(0, "search", 400).streams("w")
    for init, bound, deviation in (
        ("uniform", 0.1, 0.1 / 3**0.5),
        ("linear", 0.5, 0.5 / 3**0.5),  # 1/√4
        ("normal", 0.2, 0.024),
        ("zero", 0.0, 0.0),
    ):
        drawn = Rule((4, 3), "hl", init=init).beginnings(streams)[0]
        assert drawn.shape == (400, 3, 4)
        assert np.abs(drawn).max() <= bound
        assert drawn.std() == pytest.approx(deviation, rel=0.05)
        assert len(np.unique(drawn[:, 0, 0])) == (1 if init == "zero" else 400)


def test_networks_that_come_apart_fail_with_a_reason(tmp_path: Path) -> None:
    given = problem(rule="hl", bound=1e25, steps=40)
    genomes = given.starts(4, np.random.default_rng(0))
    genomes["rules"][2] = 1e22  # learning rates times the others are beyond 3e38
    config = RunConfig.from_mapping({"objectives": ["reward"], "metrics": ["params"]})

    found = ChunkJudge(given, Judges.of(given, config))(genomes, Context())

    assert found is not None
    assert found.ok.tolist() == [True, True, False, True]
    assert "its weights left the range of float32 at step" in found.reasons[2]
    assert found.reasons[2].startswith("objective 'reward' returned nan")
    assert found.values[2, 1] == given.rule.genes
    alone = values(given, genomes.take([0, 1, 3]))
    assert np.array_equal(alone["reward"], found.values[[0, 1, 3], 0])

    run = tmp_path / "run"
    asked = ["run", "hebbian/reach", "--set=problem.rule=hl", "--set=problem.bound=1e20"]
    asked += ["--set=problem.spread=1e19", "--objective=reward", "--population=8"]
    assert main([*asked, "--generations=2", "--algorithm=cma-es", f"--out={run}"]) == 0
    told = read_run(run).candidates
    assert 0 < (~told.ok).sum() < len(told.ok)
    assert any("its weights left the range" in reason for reason in told.reason)


def test_lives_that_are_only_recorded_fail_nobody() -> None:
    given = problem(rule="hl", bound=1e25, steps=40)
    genomes = given.starts(2, np.random.default_rng(0))
    genomes["rules"][1] = 1e22
    config = RunConfig.from_mapping({"objectives": ["params"], "metrics": ["reward"]})

    found = ChunkJudge(given, Judges.of(given, config))(genomes, Context())

    assert found is not None
    assert found.ok.all()
    assert np.isnan(found.values[1, 1])


def test_observations_that_do_not_fit_are_refused() -> None:
    rule = Rule((2, 3, 2), "static")
    coefficients = rule.decode(np.zeros((1, rule.genes)))

    with pytest.raises(ShapeError, match=r"observations of shape \(2, 3\), but 2 networks have 2"):
        live(rule, coefficients, Kept(), Script([9], width=3), [0], Episodes(0, "search", 2))  # type: ignore[arg-type]


# -- worlds ----------------------------------------------------------------------------------------


def test_carts_are_those_of_gymnasium() -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    seeds = [3, 4, 5, 6]
    world = make("cart", ["intact"])
    alone = [gymnasium.make("CartPole-v1") for _ in seeds]
    seen = world.reset(seeds, np.zeros(4, dtype=np.intp))
    first = [one.reset(seed=s)[0] for one, s in zip(alone, seeds, strict=True)]
    assert np.array_equal(seen.astype(np.float32), np.array(first))
    alive, rng = np.ones(4, dtype=bool), np.random.default_rng(0)

    for _ in range(200):
        # a hand that keeps the pole up for a while, and slips now and then
        push = (seen[:, 2] + 0.4 * seen[:, 3] + rng.normal(0, 0.05, 4) > 0).astype(int)
        seen, reward, ended = world.step(np.stack([1 - push, push], axis=1).astype(float))
        assert np.array_equal(seen, seen.astype(np.float32))  # no more than Gymnasium shows
        for i in np.flatnonzero(alive):
            theirs, value, over, _, _ = alone[i].step(int(push[i]))
            np.testing.assert_allclose(seen[i], theirs, rtol=1e-6, atol=1e-7)
            assert reward[i, 0] == value
            assert ended[i] == over
        alive &= ~ended
    assert world.steps == alone[0].spec.max_episode_steps == 500


@pytest.mark.parametrize("task", [k for k, t in models.TASKS.items() if not t.quick])
def test_bodies_are_those_of_gymnasium_to_the_last_bit(task: str) -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    pytest.importorskip("imageio", reason="gymnasium[mujoco] is not installed")
    seeds, bodies = [3, 4, 5], np.zeros(3, dtype=np.intp)
    world = make(task, ["intact"], threads=2)
    name, settings = world.gymnasium  # type: ignore[attr-defined]
    with models.unheard(models.simulator(task)):
        alone = [gymnasium.make(name, **settings) for _ in seeds]
    world.reset([1, 2], bodies[:2])  # what was simulated before leaves nothing behind
    world.step(np.ones((2, world.outputs)))
    seen = world.reset(seeds, bodies)
    first = [one.reset(seed=s)[0] for one, s in zip(alone, seeds, strict=True)]
    assert np.array_equal(seen, np.array(first))
    alive, rng = np.ones(3, dtype=bool), np.random.default_rng(0)

    for _ in range(60):
        actions = rng.uniform(-1, 1, (3, world.outputs))
        seen, rewards, ended = world.step(actions)
        for i in np.flatnonzero(alive):
            theirs, value, over, _, told = alone[i].step(actions[i])
            assert np.array_equal(seen[i], theirs)
            assert rewards[i, 1] == pytest.approx(value, abs=1e-12)
            assert rewards[i, 0] == pytest.approx(told["x_velocity"] * alone[i].unwrapped.dt)
            assert ended[i] == over
        alive &= ~ended
    assert world.steps == alone[0].spec.max_episode_steps
    world.close()


def test_neither_threads_nor_neighbours_change_what_a_body_does() -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 5, 6))
    bodies = np.array([0, 1, 2, 1, 0])

    def course(threads: int, lanes_: list[int]) -> np.ndarray:
        world = make("cheetah", ["intact", "leg@1", "friction@0.2"], threads=threads)
        world.reset([7 + k for k in lanes_], bodies[lanes_])
        found = [world.step(a[lanes_])[0] for a in actions]
        world.close()
        return np.array(found)

    whole = course(1, [0, 1, 2, 3, 4])

    assert np.array_equal(course(3, [0, 1, 2, 3, 4]), whole)
    assert np.array_equal(course(2, [3, 1]), whole[:, [3, 1]])
    assert len({row.tobytes() for row in whole[-1]}) == 5


def test_damage_is_where_it_should_be() -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    world: Any = make("ant", ["intact", "leg@1", "joint@3", "short@2", "friction@0.5"])
    whole, leg, joint, short, slick = world._models

    def motors(model: Any) -> list[str]:
        return [model.joint(int(model.actuator_trnid[k, 0])).name
                for k in range(model.nu) if model.actuator_gear[k, 0] == 0]  # fmt: skip

    assert motors(whole) == motors(short) == []
    assert sorted(motors(leg)) == ["ankle_2", "hip_2"]
    assert motors(joint) == [whole.joint(int(whole.actuator_trnid[3, 0])).name]
    np.testing.assert_allclose(slick.geom_friction, 0.5 * whole.geom_friction)
    half = [g for g in range(whole.ngeom) if short.geom_size[g, 1] != whole.geom_size[g, 1]]
    assert [whole.geom(g).name for g in half] == ["third_ankle_geom"]
    assert short.geom_size[half[0], 1] == pytest.approx(whole.geom_size[half[0], 1] / 4)
    assert make("cheetah", ["intact"], friction=0.3)._models[0].geom_friction[0, 0] == (  # type: ignore[attr-defined]
        pytest.approx(0.3 * 0.4)
    )


def test_bodies_of_the_toys_by_hand() -> None:
    world = make("reach", ["intact", "turn@90", "gain@0.5"])
    way = world.reset([1, 1, 1], np.arange(3))
    after, reward, ended = world.step(way.copy())  # full speed ahead

    np.testing.assert_allclose(reward[:, 0], [0.05, 1 - np.hypot(1, 0.05), 0.025], atol=1e-12)
    np.testing.assert_allclose(after[0], 0.95 * way[0])
    assert not ended.any()
    cart: Any = make("cart", ["intact", "length@2", "force@0.5", "mass@3"])
    np.testing.assert_allclose(
        cart._table, [[0.5, 0.1, 10], [1, 0.1, 10], [0.5, 0.1, 5], [0.5, 0.3, 10]]
    )


# -- search ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prune", ["none", "neurons", "synapses"])
def test_the_problem_keeps_its_promises(prune: str) -> None:
    found = check_problem(problem(prune=prune, damage=["gain@0.5"], unseen=["turn@30"], steps=5))

    assert failed(found) == []


def test_rules_that_balance_are_found_and_balance_elsewhere(tmp_path: Path, capsys) -> None:
    asked = ["run", "hebbian/cart", "--objective=reward", "--algorithm=cma-es", "--population=32"]
    asked += ["--metric=lived", "--generations=5", "--seed=3", f"--out={tmp_path / 'run'}"]

    assert main(asked) == 0

    view = read_run(tmp_path / "run")
    best = view.candidates.values[view.candidates.on_front]
    assert best[:, 0].max() > 400
    assert view.candidates.validation[view.candidates.on_front, 0].max() > 300
    work = view.work["search", 0]
    lived = view.candidates.values[:32, [c.name for c in view.columns].index("lived")]
    assert work["control_steps"] >= 4 * lived.sum()
    assert work["seconds.world"] > 0 < work["seconds.network"]
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
    capsys.readouterr()
    assert main(["profile", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("world", "network", "control_steps"))
    assert "MACs" not in told


def test_plasticity_and_pruning_are_searched_together(tmp_path: Path) -> None:
    asked = ["run", "hebbian/reach", "--set=problem.prune=neurons", "--population=24"]
    assert main([*asked, "--generations=8", f"--out={tmp_path / 'run'}"]) == 0

    view = read_run(tmp_path / "run")
    assert [c.name for c in view.columns] == ["reward", "robustness", "params"]
    front = view.candidates.values[view.candidates.on_front]
    assert len(set(front[:, 2])) > 1
    kept = view.candidates.genomes["kept"][view.candidates.on_front]
    np.testing.assert_allclose(front[:, 2], 5 * (4 + kept.sum(axis=1)))


@pytest.mark.parametrize("algorithm", ["cma-es", "openai-es"])
def test_interrupted_at_random_a_search_of_rules_ends_alike(
    tmp_path: Path, monkeypatch, algorithm: str
) -> None:
    given = RunConfig.from_mapping(
        {
            "problem": {"id": "hebbian/reach", "steps": 8, "hidden": [3], "episodes": [2, 2]},
            "objectives": ["reward"], "metrics": ["robustness", "plasticity"], "seed": 3,
            "algorithm": {"id": algorithm, "population": 10}, "stop": {"generations": 6},
            "evaluator": {"chunk": 4},
        }
    )  # fmt: skip
    go(given, tmp_path / "straight")

    draw, cuts = random.Random(algorithm), 0
    while interrupt(given, tmp_path / "cut", draw, monkeypatch):
        cuts += 1

    assert cuts >= 3
    assert contents(tmp_path / "cut") == contents(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["cma-es", "snes"])
def test_killed_ten_times_a_search_of_rules_ends_alike(tmp_path: Path, algorithm: str) -> None:
    problem = {"id": "hebbian/reach", "steps": 20, "episodes": [2, 2]}
    kill_and_compare(
        tmp_path, algorithm, 10, within=0.4, problem=problem, objectives=["reward"],
        metrics=["robustness"], stop={"generations": 12},
    )  # fmt: skip


def test_workers_find_the_same(tmp_path: Path) -> None:
    asked = ["run", "hebbian/reach", "--population=10", "--generations=2", "--set=problem.steps=6"]
    assert main([*asked, f"--out={tmp_path / 'one'}"]) == 0
    assert main([*asked, "--workers=2", f"--out={tmp_path / 'two'}"]) == 0

    one, two = (read_run(tmp_path / name).candidates for name in ("one", "two"))
    assert np.array_equal(one.values, two.values)


def test_runs_keep_four_bytes_per_gene_and_read_those_that_kept_eight(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    asked = ["run", "hebbian/reach", "--population=6", "--generations=2", "--set=problem.steps=4"]
    assert main([*asked, f"--out={tmp_path / 'new'}"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(searched, "Real", lambda name, low, high, _: Real(name, low, high))
        assert main([*asked, f"--out={tmp_path / 'old'}"]) == 0

    for name, size in (("new", 4), ("old", 8)):
        blobs = sqlite3.connect(tmp_path / name / "run.sqlite").execute(
            "SELECT genome FROM candidate"
        )
        assert {len(row[0]) for row in blobs} == {size * Plastic("reach").rule.genes}
    new, old = (read_run(tmp_path / name).candidates for name in ("new", "old"))
    first = slice(0, 6)  # later ones descend from rounded genes
    assert np.array_equal(new.values[first], old.values[first])
    rounded = old.genomes["rules"][first].astype(np.float32)
    assert np.array_equal(new.genomes["rules"][first], rounded)
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "old"), "--generations=+1"]) == 2
    told = capsys.readouterr().err
    assert "(real, 50 × float64), those of the problem are rules (real, 50 × float32)" in told
    assert "--warm-start begins a new run from the recorded front" in told


# -- export ----------------------------------------------------------------------------------------


def played(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("player", folder / "player.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("prune", ["none", "neurons", "synapses"])
@pytest.mark.parametrize("rule", [*PLASTIC, "static"])
def test_exported_rules_live_as_they_did_in_the_search(
    tmp_path: Path, rule: str, prune: str
) -> None:
    if (rule, prune) == ("wnchl", "synapses"):
        pytest.skip("weightless networks have no synapses to prune")
    norm = "max" if rule in ("hl", "nchl") else "none"
    given = problem(rule=rule, prune=prune, dtype="float64", norm=norm, window=4, episodes=(1, 1))
    genomes = given.starts(5, np.random.default_rng(2)).take([4])
    expected = float(values(given, genomes)["reward"][0])
    given.export(genomes, tmp_path / "out", expected={"reward": expected})
    player = played(tmp_path / "out")
    told = player.read(tmp_path / "out" / "rule.json")
    episodes = given.episodes(Context())
    begin = [w[0] for w in given.rule.beginnings(episodes.streams("weights"))]

    network, world, total = player.Network(told, begin), make("reach", ["intact"], steps=12), 0.0
    seen = world.reset(episodes.seeds(), np.zeros(1, dtype=np.intp))
    for _ in range(12):
        seen, reward, _ = world.step(network.act(seen[0])[None])
        total += float(reward[0, 0])

    assert total == pytest.approx(expected, abs=1e-6)
    assert told["values"] == {"reward": expected}
    with pytest.raises(ValueError, match=r"has 2 inputs, got an observation of shape \(3,\)"):
        network.act([1.0, 2.0, 3.0])


def test_an_exported_rule_plays_in_gymnasium_without_evo(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium", reason="Gymnasium is not installed")
    run, out = tmp_path / "run", tmp_path / "out"
    asked = ["run", "hebbian/cart", "--population=24", "--generations=4", "--metric=lived"]
    assert main([*asked, "--set=problem.init=zero", f"--out={run}"]) == 0
    assert main(["export", str(run), "best:reward", "--to", str(out)]) == 0
    code = (
        "import sys, player; sys.modules['evo'] = None\n"
        "told = player.read(); print(*player.play(told, 4, 5))\n"
        "assert not any(m.startswith(('problems', 'torch', 'pymoo')) for m in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(out)},
    )  # fmt: skip

    theirs = [float(word) for word in done.stdout.split()]
    told = json.loads((out / "rule.json").read_text())
    given = Plastic(init="zero", episodes=(4, 1), dtype="float64")
    flat = np.concatenate([told["genes"][name] for name in ("eta", "a", "b", "c", "d")])
    found = live(
        given.rule, given.rule.decode(flat[None]), Kept(), given.world, [0],
        Fixed(0, "search", 4),
    )  # fmt: skip
    assert found.rewards[0, 0, :, 0].tolist() == theirs
    main_ = subprocess.run([sys.executable, "player.py", "--episodes", "1"], cwd=out,
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert main_.stdout.startswith("episode 0: ")


def test_a_life_is_drawn_where_opengl_is(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pytest.importorskip("imageio", reason="gymnasium[mujoco] is not installed")
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    given = Plastic(task="ant", episodes=(1, 1))
    genomes = given.starts(3, np.random.default_rng(2)).take([2])
    given.export(genomes, tmp_path, expected={})
    asked = [sys.executable, "player.py", "--episodes=1", "--gif=life.gif"]

    done = subprocess.run(
        asked, cwd=tmp_path, capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k != "DISPLAY"} | {"MUJOCO_GL": "egl"},
    )  # fmt: skip

    if done.returncode and "gl" in done.stderr.lower():
        pytest.skip("there is no OpenGL here")
    assert done.returncode == 0, done.stderr
    with image.open(tmp_path / "life.gif") as drawn:
        assert drawn.size == (240, 240)
        assert drawn.n_frames >= 1


class Fixed(Episodes):
    def seeds(self) -> list[int]:
        return [5, 6, 7, 8]


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "carp"}, "no task called 'carp'.*'cart'"),
        ({"rule": "abcd"}, "problem.rule must be one of hl, nchl, wnchl, static"),
        ({"rule": "wnchl", "norm": "max"}, "stores no weights, so problem.norm"),
        ({"rule": "wnchl", "prune": "synapses"}, "stores no weights; problem.prune"),
        ({"rule": "static", "eta": 0.1}, "learns nothing"),
        ({"rule": "hl", "packed": True}, "problem.packed is for the rules"),
        ({"init": "ones"}, "problem.init must be one of"),
        ({"scale": -1.0}, "problem.scale must be a number above 0"),
        ({"window": 0}, "problem.window must be a whole number of at least 1"),
        ({"every": 1.5}, "problem.every must be a whole number"),
        ({"hidden": [0]}, "problem.hidden must be a whole number of at least 1"),
        ({"hidden": [], "prune": "neurons"}, "no hidden ones"),
        ({"episodes": [4]}, "problem.episodes must be two numbers"),
        ({"episodes": [0, 1]}, "problem.episodes must be a whole number"),
        ({"steps": 0}, "problem.steps must be a whole number"),
        ({"damage": "length@2"}, "problem.damage must be a list of bodies"),
        ({"damage": ["intact"]}, "needs different damaged bodies"),
        ({"damage": ["leg@0"]}, "no body 'leg@0' here; there are intact, length@NUMBER"),
        ({"damage": ["length@long"]}, "needs a number of at least 0.001"),
        ({"score": "distance"}, "problem.score must be one of reward"),
        ({"noise": -1.0}, "problem.noise must be a number of at least 0"),
        ({"patience": -1}, "problem.patience must be a whole number of at least 0"),
        ({"friction": 0.5}, "task 'cart' knows no friction"),
        ({"bound": 0.0}, "problem.bound must be a number above 0"),
        ({"prune": "layers"}, "problem.prune must be one of none, neurons, synapses"),
        ({"dtype": "float16"}, "problem.dtype must be one of float32, float64"),
    ],
    ids=str,
)
def test_wrong_settings_are_told_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plastic(**settings)


def test_legs_and_joints_that_do_not_exist_are_told() -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    with pytest.raises(ConfigError, match="'leg@4' does not exist: Ant-v5 has 4 legs"):
        Plastic(task="ant", damage=["leg@4"])
    with pytest.raises(ConfigError, match=r"'joint@0\.5' does not exist: HalfCheetah-v5 has 6 j"):
        Plastic(task="cheetah", damage=["joint@0.5"])


@pytest.mark.parametrize("package", ["mujoco", "gymnasium"])
def test_a_missing_simulator_is_named_with_the_way_to_get_it(
    package: str, monkeypatch, capsys
) -> None:
    pytest.importorskip("mujoco", reason="MuJoCo is not installed")
    monkeypatch.setitem(sys.modules, package, None)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a)
    )

    assert main(["run", "hebbian/ant", "--population=4"]) == 2

    told = capsys.readouterr().err
    assert f"task 'ant' needs the package '{package}', which is not installed" in told
    assert "evoprune[hebbian]" in told
    assert Plastic().world.inputs == 4  # the cart needs neither


def test_unknown_bodies_end_a_command_with_2(capsys) -> None:
    assert main(["run", "hebbian/cart", "--set=problem.damage=['wing@1']"]) == 2
    assert "there is no body 'wing@1' here" in capsys.readouterr().err
    asked = ["run", "hebbian/reach", "--set=problem.damage=[]", "--objective=robustness"]
    assert main(asked) == 2
    assert "no objective called 'robustness'" in capsys.readouterr().err


def test_the_middle_of_a_run_is_resumed_by_hand(tmp_path: Path) -> None:
    """A run stopped after three generations and extended is one that never stopped."""
    base = {
        "problem": {"id": "hebbian/reach", "steps": 6, "episodes": [2, 2]},
        "objectives": ["reward"], "algorithm": {"id": "sep-cma-es", "population": 8},
    }  # fmt: skip
    go(RunConfig.from_mapping({**base, "stop": {"generations": 6}}), tmp_path / "straight")
    go(RunConfig.from_mapping({**base, "stop": {"generations": 3}}), tmp_path / "short")
    with Run.resume(tmp_path / "short", more_generations=3) as run:
        list(run)

    straight, short = (read_run(tmp_path / n).candidates for n in ("straight", "short"))
    assert straight.genomes.rows() == short.genomes.rows()
    assert np.array_equal(straight.values, short.values)
