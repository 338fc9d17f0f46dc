"""Bytes by hand, and latency tables whose clock counts operations instead of milliseconds."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from evo import Context, Genomes
from evo.errors import ConfigError, RegistryError
from problems.pruning import cost
from problems.pruning.searches import Mixed

LOW_RANK = ["svd@0.5", "pifa@0.6", "wanda@0.5"]
SIZES = {"calibration": 2, "search": 4, "validation": 2}
KINDS = ("removal", "heads@0.5", "width@0.25,0.5", "wanda@0.5", "magnitude@0.01")
ATTENTION, NORM = (
    32 * 32 * 2 + 2 * 16 * 32,
    32,
)  # queries and output; two groups of eight: keys, values
FEED_FORWARD = 3 * 64 * 32


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert", "gpt2")}


def problem_of(folder: str, **more: Any) -> Mixed:
    plain: dict[str, Any] = {"length": 24, "sizes": SIZES, "cache": "off", "variants": KINDS}
    return Mixed(model=folder, **(plain | more))


@pytest.fixture(scope="module")
def llama(folders: Any) -> Mixed:
    return problem_of(folders["llama"])


def choice(problem: Mixed, **wanted: str) -> Any:
    """A genome that makes the same choice at every site of a kind; dense elsewhere."""
    row = [
        [v.name for v in s.variants].index(wanted.get(s.kind, "dense")) for s in problem.table.sites
    ]
    return np.array([row], dtype=np.int16)


def value(problem: Mixed, objective: str, rows: Any) -> np.ndarray:
    batch = problem.batch(Genomes({"choices": np.asarray(rows, dtype=np.int16)}), Context())
    return {o.name: o for o in problem.objectives}[objective](batch)


# ---- counted costs


def test_keys_and_values_take_two_vectors_per_group(llama: Mixed, folders: Any) -> None:
    half = problem_of(folders["llama"], dtype="bfloat16")

    for problem, itemsize in ((llama, 4), (half, 2)):
        each = 2 * 2 * 8 * itemsize  # keys and values, two groups, eight features
        assert value(problem, "kv_bytes", choice(problem)) == 3 * each
        assert value(problem, "kv_bytes", choice(problem, attention="heads-2")) == 3 * each / 2
        assert value(problem, "kv_bytes", choice(problem, attention="removed")) == 0
        assert value(problem, "kv_bytes", choice(problem, attention="wanda-0.5")) == 3 * each
        assert value(problem, "kv_bytes", choice(problem, feed_forward="removed")) == 3 * each


def test_sites_that_are_not_searched_keep_their_keys_and_values(folders: Any) -> None:
    problem = problem_of(folders["llama"], variants=["width@0.5"])

    assert value(problem, "kv_bytes", choice(problem, feed_forward="width-0.5")) == 3 * 128


def test_encoders_offer_no_cache(folders: Any) -> None:
    problem = problem_of(folders["bert"])

    assert "kv_bytes" not in [o.name for o in problem.objectives]
    assert not np.nan_to_num(problem.table.kv_bytes).any()


def test_weight_bytes_by_hand(llama: Mixed) -> None:
    rest = (2 * 200 * 32 + NORM) * 4  # embeddings, head and last norm
    dense = rest + 3 * (ATTENTION + FEED_FORWARD + 2 * NORM) * 4
    packed = ATTENTION // 2 * 4 + ATTENTION // 8  # what is left, and one bit per place

    assert value(llama, "weight_bytes", choice(llama)) == dense
    assert value(llama, "weight_bytes", choice(llama, attention="removed")) == (
        dense - 3 * (ATTENTION + NORM) * 4
    )
    assert value(llama, "weight_bytes", choice(llama, attention="heads-2")) == (
        dense - 3 * ATTENTION // 2 * 4
    )
    assert value(llama, "weight_bytes", choice(llama, feed_forward="width-0.25")) == (
        dense - 3 * FEED_FORWARD * 3 // 4 * 4
    )
    assert value(llama, "weight_bytes", choice(llama, attention="wanda-0.5")) == (
        dense - 3 * (ATTENTION * 4 - packed)
    )


def test_few_zeros_are_not_worth_a_bitmap(llama: Mixed) -> None:
    row = choice(llama, attention="magnitude-0.01")
    gone = sum(int(n * 0.01) + 1 for n in (1024, 512, 512, 1024))

    assert value(llama, "weight_bytes", row) == value(llama, "weight_bytes", choice(llama))
    assert value(llama, "params", row) == value(llama, "params", choice(llama)) - 3 * gone


def test_multiply_accumulates_by_hand(llama: Mixed) -> None:
    attended = 2 * 4 * 8 * 12.5  # each of 24 queries sees 12.5 positions on average
    head = 200 * 32

    assert value(llama, "macs", choice(llama)) == head + 3 * (ATTENTION + attended + FEED_FORWARD)
    assert value(llama, "macs", choice(llama, attention="removed", feed_forward="removed")) == head
    halved = choice(llama, attention="heads-2", feed_forward="width-0.5")
    assert value(llama, "macs", halved) == head + 3 / 2 * (ATTENTION + attended + FEED_FORWARD)


# ---- latency


@pytest.fixture
def counting(monkeypatch: Any) -> list[int]:
    """A clock that gives the operations of each function; it notes how many it was given."""
    calls: list[int] = []

    def clock(fns: Any, *rest: Any) -> list[float]:
        calls.append(len(fns))
        found = []
        with torch.inference_mode():
            for fn in fns:
                with FlopCounterMode(display=False) as counter:
                    fn()
                found.append(float(counter.get_total_flops()))
        return found

    monkeypatch.setattr(cost, "clock", clock)
    return calls


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("bert", {}),
        ("gpt2", {}),
        ("llama", {"variants": ["width@0.5"]}),  # attentions are not searched but take their time
        ("bert", {"sites": "block", "variants": ["removal"]}),
        *((family, {"sites": "linear", "variants": LOW_RANK}) for family in ("llama", "bert")),
        ("gpt2", {"sites": "linear", "variants": ["svd@0.5"]}),
        ("llama", {"sites": "linear", "variants": ["pifa(multiple=16)@0.3"]}),  # not at all layers
        ("gpt2", {"sites": "submodule", "variants": ["pifa@0.6", "removal"]}),
    ],
)
def test_the_table_adds_up_to_whole_pruned_models(
    family: str, more: Any, folders: Any, counting: list[int]
) -> None:
    problem = problem_of(folders[family], **more)
    measured = problem.measured_latency()
    rng = np.random.default_rng(2)
    rows = np.array([rng.integers(0, problem.table.sizes) for _ in range(6)])
    rows[0] = 0

    table = value(problem, "latency", rows)
    whole = problem.confirm(Genomes({"choices": rows.astype(np.int16)}), {"latency": table})

    assert table[0] == pytest.approx(measured["dense"])
    np.testing.assert_allclose(table, whole["latency"], rtol=1e-9)
    assert (np.diff(np.sort(table)) > 0).any()


def test_removed_sites_cost_nothing_and_sparse_ones_as_much_as_dense(
    llama: Mixed, folders: Any, counting: list[int]
) -> None:
    problem = problem_of(folders["llama"])
    measured = problem.measured_latency()

    for site, row in zip(problem.table.sites, measured["sites"], strict=True):
        times = dict(zip([v.name for v in site.variants], row, strict=True))
        assert min(row) >= 0
        assert times["removed"] == 0
        assert times["wanda-0.5"] == times["magnitude-0.01"] == times["dense"] > 0
        if site.kind == "feed_forward":
            assert times["width-0.25"] == pytest.approx(times["dense"] / 4)
    assert measured["base"] + sum(r[0] for r in measured["sites"]) == pytest.approx(
        measured["dense"]
    )


def test_sites_of_one_shape_are_measured_once(folders: Any, counting: list[int]) -> None:
    problem = problem_of(folders["llama"])

    problem.measured_latency()
    problem.measured_latency()

    attention, feed_forward = problem.table.sizes[:2]
    assert counting == [attention + 1, feed_forward + 1, 2]


def test_noise_never_makes_a_time_negative(folders: Any, monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cost, "clock", lambda fns, *_: rng.uniform(1, 2, len(fns)).tolist())

    problem = problem_of(folders["llama"])
    for _ in range(20):
        problem.restore({})
        measured = problem.measured_latency()
        assert measured["base"] >= 0
        assert min(min(row) for row in measured["sites"]) >= 0
        for site, row in zip(problem.table.sites, measured["sites"], strict=True):
            times = dict(zip([v.name for v in site.variants], row, strict=True))
            assert times["removed"] == 0
            assert times["wanda-0.5"] == times["dense"]
        total = measured["base"] + sum(row[0] for row in measured["sites"])
        silent = not any(row[0] for row in measured["sites"])
        assert silent or total == pytest.approx(measured["dense"])


def test_the_measured_batch_has_the_configured_size(folders: Any, counting: list[int]) -> None:
    problem = problem_of(folders["llama"])
    one = problem.measured_latency()["dense"]

    objective = problem.configure("latency", batch=8)

    assert objective.name == "latency"
    assert tuple(problem._latency_batch().ids.shape) == (8, 24)
    assert problem.measured_latency()["dense"] == 8 * one
    problem.configure("latency", batch=2, length=10, repeats=3)
    assert tuple(problem._latency_batch().ids.shape) == (2, 10)


def test_the_measured_batch_is_made_of_real_tokens(folders: Any) -> None:
    problem = problem_of(folders["bert"], tokens_at_once=200)
    known = torch.cat([b.ids[b.mask.bool()] if b.mask is not None else b.ids.flatten()
                       for b in problem.data.batches("search")])  # fmt: skip

    made = problem.data.uniform(3, 40)

    assert made.mask is None
    assert torch.equal(made.ids.flatten()[: len(known)], known[:120])
    assert not (made.ids == 0).any()


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("latency", {"batches": 2}, "objective 'latency' has no setting called 'batches'"),
        ("kl", {"batch": 2}, "objective 'kl' has no setting called 'batch'"),
        ("latency", {"batch": 0}, "whole numbers above 0"),
        ("latency", {"batch": 1.5}, "whole numbers above 0"),
    ],
)
def test_settings_that_an_objective_does_not_take(
    name: str, given: Any, said: str, llama: Mixed
) -> None:
    with pytest.raises(ConfigError, match=said):
        llama.configure(name, **given)


def test_an_objective_that_is_not_offered_has_no_settings(llama: Mixed) -> None:
    with pytest.raises(RegistryError, match="no objective called 'speed'"):
        llama.configure("speed", batch=2)


def test_measurements_come_back_as_the_same_values(
    folders: Any, counting: list[int], monkeypatch: Any
) -> None:
    first = problem_of(folders["llama"])
    rows = np.concatenate([choice(first), choice(first, attention="heads-2")])
    assert first.measurements() == {}
    before = value(first, "latency", rows)

    kept = json.loads(json.dumps(first.measurements()))
    monkeypatch.setattr(cost, "clock", None)  # measuring again would fail
    second = problem_of(folders["llama"])
    second.restore(kept)

    assert value(second, "latency", rows).tolist() == before.tolist()
    assert second.measurements() == kept


def test_single_layers_have_no_time_of_their_own(folders: Any, counting: list[int]) -> None:
    problem = problem_of(folders["llama"], sites="linear", variants=["wanda@0.5"])
    rows = np.array([[0] * 21, [1] * 21])

    assert value(problem, "latency", rows).tolist() == [problem.measured_latency()["dense"]] * 2


def test_single_layers_of_low_rank_take_the_time_of_their_operations(
    folders: Any, counting: list[int]
) -> None:
    problem = problem_of(folders["llama"], sites="linear", variants=LOW_RANK)
    measured = problem.measured_latency()

    for site, row in zip(problem.table.sites, measured["sites"], strict=True):
        times = dict(zip([v.name for v in site.variants], row, strict=True))
        macs = {v.name: v.cost.macs for v in site.variants}
        assert times["wanda-0.5"] == times["dense"] > 0
        for name in ("svd-0.5", "pifa-0.6"):
            assert times[name] / times["dense"] == pytest.approx(macs[name] / macs["dense"])
    assert measured["base"] > 0
    assert counting == [3] * 7 + [2]  # layers of the first block, then whole models


def test_measuring_single_layers_leaves_the_model_alone(folders: Any) -> None:
    problem = problem_of(folders["bert"], sites="linear", variants=["svd@0.5"])
    before = value(problem, "drift", np.ones((1, len(problem.table)), dtype=np.int16))

    measured = problem.measured_latency()

    assert all(len(row) == 2 and min(row) > 0 for row in measured["sites"])
    assert not any(m._forward_pre_hooks for m in problem.pretrained.model.modules())
    problem.close()
    after = value(problem, "drift", np.ones((1, len(problem.table)), dtype=np.int16))
    assert after == before


def test_the_clock_takes_the_median_of_interleaved_rounds(monkeypatch: Any) -> None:
    now, order = [0.0], []
    durations = {"a": iter([9, 0.001, 0.005, 0.002]), "b": iter([9, 0.004, 0.004, 0.009])}

    def work(name: str) -> None:
        order.append(name)
        now[0] += next(durations[name])

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    found = cost.clock([lambda: work("a"), lambda: work("b")], torch.device("cpu"), repeats=3)

    assert found == pytest.approx([2.0, 4.0])  # ms; the first round only warms up
    assert order == ["a", "b"] * 4
