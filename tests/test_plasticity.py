"""Plasticity rules against plain loops, recorded figures, and published sizes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from plastic import PLASTIC, Loops

from problems.hebbian import rules
from problems.hebbian.genes import Kept, Rule, sizes
from problems.hebbian.rules import lanes


def in_loops_and_in_one(
    rule: Rule,
    n: int = 5,
    steps: int = 12,
    kept: Kept | None = None,
    size: float = 0.4,
    device: str | None = None,
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
    first = [w.astype(dtype) for w in begin]
    fast = lanes(rule, rule.decode(genomes), kept, np.arange(n), first, device)
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


@pytest.mark.parametrize("prune", [None, "neurons", "synapses"])
@pytest.mark.parametrize("settings", [{}, {"norm": "max"}, {"norm": "clip", "limit": 0.3},
                                      {"every": 3}, {"window": 4}], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", [*PLASTIC, "static"])
def test_networks_on_a_device_are_those_of_plain_loops(
    name: str, settings: dict[str, Any], prune: str | None
) -> None:
    if name == "wnchl" and ("norm" in settings or prune == "synapses"):
        pytest.skip("weightless networks have neither weights to limit nor synapses to prune")
    rule = Rule((3, 4, 3, 2), name, dtype="float64", **settings)
    length = rule.hidden if prune == "neurons" else rule.synapses
    stays = np.random.default_rng(2).random((5, length)) < 0.6
    kept = Kept() if prune is None else Kept(**{prune: stays})

    outputs, found, weights, batched = in_loops_and_in_one(rule, kept=kept, device="cpu")

    np.testing.assert_allclose(found, outputs, atol=1e-10)
    np.testing.assert_allclose(batched, weights, atol=1e-10)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", [*PLASTIC, "static"])
def test_some_lanes_go_on_alike_on_a_device(name: str, pruned: bool) -> None:
    rule, rng = Rule((3, 4, 2), name, dtype="float64", window=4), np.random.default_rng(0)
    coefficients = rule.decode(rng.normal(0, 0.5, (5, rule.genes)))
    kept = Kept(neurons=rng.random((5, 4)) < 0.6) if pruned else Kept()
    begin = [rng.uniform(-0.5, 0.5, (5, b, a)) for a, b in rule.pairs]
    x, stay = rng.normal(size=(8, 5, 3)), np.array([True, False, True, True, False])
    found = []

    for device in (None, "cpu"):
        first = [w.copy() for w in begin]
        networks = lanes(rule, coefficients, kept, np.arange(5), first, device)
        steps = [networks.step(now)[0] for now in x[:3]]
        networks.keep(stay)
        steps += [networks.step(now[stay])[0] for now in x[3:]]
        last = [w.ravel() for w in networks.weights(np.array([False, True, False]))]
        found.append(np.concatenate([*map(np.ravel, steps), *last]))

    np.testing.assert_allclose(found[1], found[0], atol=1e-12)


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
