"""Networks cut into parts, stepped by several threads, against all of them in one."""

import numpy as np
import pytest

from problems.hebbian import crowd, rules
from problems.hebbian.crowd import Crowd, parts
from problems.hebbian.genes import Kept, Rule
from problems.hebbian.rules import lanes
from problems.hebbian.threads import Threads

PRUNED = [None, "neurons", "synapses"]


@pytest.mark.parametrize("prune", PRUNED)
@pytest.mark.parametrize("name", ["hl", "nchl", "wnchl", "static"])
def test_parts_are_the_networks_that_they_are_cut_from(
    name: str, prune: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "wnchl" and prune == "synapses":
        pytest.skip("weightless networks have no synapses to prune")
    monkeypatch.setattr(crowd, "parts", lambda *_: 9)
    rule, rng, n = Rule((3, 4, 2), name, window=4), np.random.default_rng(0), 5
    length = rule.hidden if prune == "neurons" else rule.synapses
    kept = Kept() if prune is None else Kept(**{prune: rng.random((n, length)) < 0.6})
    coefficients = rule.decode(rng.normal(0, 0.5, (n, rule.genes)))
    of = np.repeat(np.arange(n), 3)  # parts of two lanes each, so that cuts lie within candidates
    begin = [rng.uniform(-0.5, 0.5, (15, b, a)).astype(rule.dtype) for a, b in rule.pairs]
    x = rng.normal(size=(9, 15, 3)).astype(rule.dtype)
    whole = lanes(rule, coefficients, kept, of, [w.copy() for w in begin])
    cut = Crowd(rule, coefficients, kept, of, begin, None, Threads(3))
    assert len(cut._parts) == 9
    rows = np.arange(15)

    for step, seen in enumerate(x):
        if step == 4:  # two parts lose all their lanes, others one
            stay = ~np.isin(rows, [0, 1, 6, 8, 9, 14])
            rows = rows[stay]
            whole.keep(stay)
            cut.keep(stay)
        before = [w.copy() for w in whole.weights()]
        outputs, finite = whole.step(seen[rows])
        if step % 2:
            found = cut.step(seen[rows])
        else:
            *found, moved = cut.watched(seen[rows])
            change = [np.abs(w - b) for w, b in zip(whole.weights(), before, strict=True)]
            expected = sum(c.sum(axis=(1, 2), dtype=np.float64) for c in change)
            np.testing.assert_array_equal(moved, expected)
        np.testing.assert_array_equal(found[0], outputs)
        np.testing.assert_array_equal(found[1], finite)

    some = np.isin(rows, [2, 5, 13])
    largest = np.max([np.abs(w).max(axis=(1, 2)) for w in whole.weights(some)], axis=0)
    np.testing.assert_array_equal(cut.largest(some), largest)


def test_every_thread_gets_a_part_where_there_is_enough_to_do() -> None:
    hl, nchl = (Rule((27, 128, 64, 8), name) for name in ("hl", "nchl"))

    assert [parts(hl, 256, threads) for threads in (1, 2, 16)] == [1, 2, 16]
    assert [parts(hl, count, 16) for count in (34, 35)] == [1, 16]  # of 243,200 bytes
    assert [parts(nchl, count, 2) for count in (172, 173)] == [1, 2]  # of 48,640 bytes
    assert parts(Rule((4, 10, 2), "hl"), 256, 8) == 1
    for name in ("static", "wnchl"):
        assert parts(Rule((27, 128, 64, 8), name), 10_000, 8) == 1


def test_threads_do_everything_once_and_raise_what_was_raised() -> None:
    threads = Threads(3)

    assert threads.each(lambda a, b: a - b, range(50), range(50, 100)) == [-50] * 50
    with pytest.raises(ZeroDivisionError):
        threads.each(lambda a: 1 // (a - 7), range(20))

    threads.close()
    threads.close()
    assert threads.each(abs, [-1, -2, -3]) == [1, 2, 3]  # started anew
    threads.close()
    assert Threads(0).count >= 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_marks_its_lane(bad: float, compiled: bool) -> None:
    finite = rules.compiled(Rule((27, 128, 64, 8), "hl")).finite if compiled else rules.finite
    for layer, neuron in ((0, 0), (0, 4), (1, 1), (2, 0)):
        sums = tuple(np.ones((3, size), dtype=np.float32) for size in (5, 4, 2))
        sums[layer][1, neuron] = bad

        assert finite(sums).tolist() == [True, False, True]


@pytest.mark.parametrize("compiled", [False, True])
def test_moves_of_weights_are_summed_over_layers(compiled: bool) -> None:
    rule = Rule((27, 128, 64, 8), "hl")
    moved = rules.compiled(rule).moved if compiled else rules.moved
    rng = np.random.default_rng(0)
    old, new = (
        tuple(rng.normal(size=(3, b, a)).astype(np.float32) for a, b in rule.pairs) for _ in "12"
    )
    new[0][1], new[1][1], new[2][1] = old[0][1], old[1][1], old[2][1] + 1

    found = moved(old, new)

    expected = [
        sum(abs(float(x) - float(y)) for o, n in zip(old, new, strict=True)
            for x, y in zip(o[lane].flat, n[lane].flat, strict=True))
        for lane in (0, 2)
    ]  # fmt: skip
    np.testing.assert_allclose(found[[0, 2]], expected, rtol=1e-7)
    np.testing.assert_allclose(found[1], 64 * 8, rtol=1e-6)
