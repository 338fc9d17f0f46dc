"""Methods that remove blocks and submodules, against hand-computed cases and brute force."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import EACH, ENCODERS, checkpoint
from hypothesis import given
from hypothesis import strategies as st
from test_families import judge

from evo.config import Ref
from evo.errors import ConfigError
from evo.registry import build
from problems.pruning.cost import pruned_model
from problems.pruning.data import Batch
from problems.pruning.layouts import get, matrix
from problems.pruning.methods import Outcome
from problems.pruning.methods.blockpruner import OFFERS, BlockPruner, descend
from problems.pruning.methods.removals import Losses, block_count, longest, removed
from problems.pruning.methods.residual import residual_states
from problems.pruning.methods.shortened_llama import ShortenedLlama
from problems.pruning.methods.shortgpt import ShortGPT, change, influences
from problems.pruning.methods.sleb import SLEB, eliminate
from problems.pruning.methods.uidl import AngularWindow, angle, distances
from problems.pruning.searches import Mixed

SIZES = {"calibration": 5, "search": 4, "validation": 2}
RNG = np.random.default_rng(0)


def problem_of(folder: Path | str) -> Mixed:
    return Mixed(
        model=str(folder), variants=["removal"], length=24, sizes=SIZES, cache="off",
        tokens_at_once=48,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "bert"])
def problem(request: Any, tmp_path_factory: Any) -> Mixed:
    return problem_of(checkpoint(request.param, tmp_path_factory.mktemp("m") / request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: Any) -> Mixed:
    return problem_of(checkpoint("llama", tmp_path_factory.mktemp("m") / "llama"))


def gone(outcome: Outcome) -> list[str]:
    sites = outcome.problem.table.sites
    chosen = zip(sites, outcome.choices.tolist(), strict=True)
    return [s.name.removesuffix(".block") for s, v in chosen if s.variants[v].kind == "removal"]


class Fake:
    """Losses that a table of prices gives; counts what it is asked."""

    def __init__(self, prices: Any) -> None:
        self.prices, self.asked = np.asarray(prices, dtype=float), 0

    def __call__(self, rows: Any) -> Any:
        self.asked += len(rows)
        return (rows * self.prices).sum(1)


# ---- similarity, by hand


def test_influence_and_angle_of_two_vectors() -> None:
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])

    assert float(change(x, y)) == pytest.approx(0.292893, abs=1e-6)
    assert float(angle(x, y)) == pytest.approx(0.25, abs=1e-6)
    assert float(angle(x, -3 * x)) == 1
    assert float(angle(x, x + 1e-9)) == pytest.approx(0, abs=1e-6)


def hidden(problem: Mixed) -> list[tuple[list[np.ndarray], int]]:
    """Per calibration sequence: what enters every block and leaves the last, real tokens only.

    Found by running the blocks one after the other on one sequence without padding.
    """
    found, sweep = [], problem.sweep()
    for batch in problem.data.batches("calibration"):
        for row in range(len(batch.ids)):
            length = len(batch.ids[row]) if batch.mask is None else int(batch.mask[row].sum())
            alone = Batch(batch.ids[row : row + 1, :length], None)
            prepared = sweep.prepare(alone)
            state, states = prepared.hidden, [prepared.hidden]
            with torch.inference_mode():
                for block, (args, kwargs) in zip(
                    problem.pretrained.blocks, prepared.calls, strict=True
                ):
                    state = block.module(state, *args, **kwargs)
                    states.append(state)
            found.append(([s[0].double().numpy() for s in states], length))
    return found


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def test_influence_is_the_mean_over_real_tokens(problem: Mixed) -> None:
    seen = hidden(problem)
    assert {length for _, length in seen} != {24} or problem.kind == "lm"  # some are padded

    wanted = [
        np.mean([1 - cosine(s[b][t], s[b + 1][t]) for s, n in seen for t in range(n)])
        for b in range(3)
    ]

    np.testing.assert_allclose(influences(problem), wanted, atol=1e-5)


@pytest.mark.parametrize("tokens", ["last", "all"])
@pytest.mark.parametrize("count", [1, 2])
def test_windows_are_measured_at_their_ends(problem: Mixed, count: int, tokens: str) -> None:
    wanted = []
    for first in range(3 - count + 1):
        angles = [
            math.acos(cosine(s[first][t], s[first + count][t])) / math.pi
            for s, n in hidden(problem)
            for t in ([n - 1] if tokens == "last" else range(n))
        ]
        wanted.append(np.mean(angles))

    np.testing.assert_allclose(distances(problem, count, tokens=tokens), wanted, atol=1e-5)


def test_states_are_those_the_blocks_pass_on_and_never_a_norm_after_them(llama: Mixed) -> None:
    (states, real), *_ = residual_states(llama)
    batch = llama.data.batches("calibration")[0]

    with torch.inference_mode():
        told = llama.pretrained.model(input_ids=batch.ids, output_hidden_states=True).hidden_states
        last = llama.pretrained.model.model.norm(states[-1])

    assert len(states) == len(told) == 4
    assert real.all()
    for mine, theirs in zip(states[:-1], told[:-1], strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(last, told[-1])
    assert not torch.allclose(states[-1], told[-1])


def silent(folder: Path, block: int) -> Mixed:
    """A model one of whose blocks adds nothing."""
    problem = problem_of(checkpoint("llama", folder / "llama"))
    module, layout = (getattr(problem.pretrained.blocks[block], n) for n in ("module", "layout"))
    for path in (layout.output, layout.down):
        matrix(get(module, path)).zero_()
    return problem


@pytest.mark.parametrize("name", ["shortgpt", "uidl", "shortened-llama", "sleb"])
def test_a_block_that_adds_nothing_goes_first_and_for_free(name: str, tmp_path: Path) -> None:
    problem = silent(tmp_path, 1)

    outcome = build("method", Ref(name))(problem, 0.3, RNG)

    assert gone(outcome) == ["block1"]
    assert influences(problem)[1] == pytest.approx(0, abs=1e-12)
    other = outcome.problem
    dense, pruned = (
        judge(other, pruned_model(other.pretrained, other.table, row))
        for row in (0 * outcome.choices, outcome.choices)
    )
    np.testing.assert_array_equal(dense, pruned)


# ---- how many


@pytest.mark.parametrize(
    ("sparsity", "blocks", "wanted"),
    [(0.25, 32, 8), (0.26, 32, 8), (0.2656, 32, 8), (0.2657, 32, 9), (0.125, 12, 2), (0.05, 6, 0)],
)
def test_the_nearest_number_of_blocks_goes(sparsity: float, blocks: int, wanted: int) -> None:
    if wanted:
        assert block_count(sparsity, blocks, blocks, "x") == wanted
        return
    with pytest.raises(ConfigError, match="can remove 1 to 5 of 6 blocks"):
        block_count(sparsity, blocks, blocks, "x")


@given(st.integers(2, 80), st.floats(0.001, 0.999), st.integers(0, 80))
def test_the_number_is_nearest_or_refused(blocks: int, sparsity: float, removable: int) -> None:
    nearest = min(range(blocks + 1), key=lambda n: (abs(n - sparsity * blocks), -n))
    try:
        assert block_count(sparsity, blocks, removable, "x") == nearest
    except ConfigError:
        assert not 1 <= nearest <= min(removable, blocks - 1)


def test_protected_blocks_leave_less_to_remove(llama: Mixed) -> None:
    with pytest.raises(ConfigError, match="'sleb' can remove 1 to 1 of 3 blocks"):
        SLEB()(llama, 0.6, RNG)
    with pytest.raises(ConfigError, match="'shortened-llama' can remove none of 3 blocks"):
        ShortenedLlama(keep_first=2, keep_last=1)(llama, 0.3, RNG)
    assert gone(ShortenedLlama(keep_first=1, keep_last=1)(llama, 0.3, RNG)) == ["block1"]


# ---- judged removals


def loss_of(problem: Mixed, row: Any) -> float:
    """Mean loss on calibration text by ordinary forward passes, one sequence at a time."""
    model = pruned_model(problem.pretrained, problem.table, row)
    dense, losses = problem.pretrained.model, []
    for batch in problem.data.batches("calibration"):
        for i in range(len(batch.ids)):
            n = len(batch.ids[i]) if batch.mask is None else int(batch.mask[i].sum())
            ids = batch.ids[i : i + 1, :n]
            with torch.inference_mode():
                if problem.kind == "lm":
                    losses.append(float(model(input_ids=ids, labels=ids).loss))
                else:
                    mine, theirs = (
                        m(input_ids=ids).last_hidden_state[0].mean(0).numpy()
                        for m in (model, dense)
                    )
                    losses.append(1 - cosine(mine, theirs))
    return float(np.mean(losses))


def all_rows(problem: Mixed) -> list[Any]:
    size = len(problem.table)
    return [np.array(row, dtype=np.int16) for row in itertools.product((0, 1), repeat=size)]


def test_losses_are_those_of_whole_models(problem: Mixed) -> None:
    other = problem.again(["removal"], sites="block")
    rows, judge = all_rows(other)[:-1], Losses(other)

    found = judge(np.stack(rows))

    np.testing.assert_allclose(found, [loss_of(other, row) for row in rows], atol=1e-5)
    each = sum(
        b.ids.numel() if b.mask is None else int(b.mask.sum())
        for b in problem.data.batches("calibration")
    )
    assert judge.tokens == len(rows) * each


def test_shortened_llama_removes_the_cheapest_of_single_removals(problem: Mixed) -> None:
    outcome = ShortenedLlama()(problem, 0.6, RNG)

    other = outcome.problem
    losses = [loss_of(other, np.eye(3, dtype=np.int16)[b]) for b in range(3)]
    assert gone(outcome) == [f"block{b}" for b in sorted(np.argsort(losses)[:2])]
    assert outcome.sparsity == pytest.approx(2 / 3)
    assert outcome.tokens == 3 * tokens(problem)


def tokens(problem: Mixed, samples: int | None = None) -> int:
    lengths = [
        int(n)
        for b in problem.data.batches("calibration")
        for n in (b.mask.sum(1) if b.mask is not None else [b.ids.shape[1]] * len(b.ids))
    ]
    return sum(sorted(lengths, reverse=True)[:samples])


@pytest.fixture(scope="module")
def deep(tmp_path_factory: Any) -> Mixed:
    """Six blocks, so that greedy has rounds to go."""
    from families import configs, tokenizer
    from transformers import AutoModelForCausalLM

    config = configs()["llama"]
    config.num_hidden_layers = 6
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.1))
    folder = tmp_path_factory.mktemp("m") / "deep"
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return problem_of(folder)


def test_every_round_of_sleb_takes_the_best_by_brute_force(deep: Mixed) -> None:
    outcome = SLEB()(deep, 0.5, RNG)

    left, row = list(range(6)), np.zeros(6, dtype=np.int16)
    for _ in range(3):
        losses = {b: loss_of(outcome.problem, row + (np.arange(6) == b)) for b in left[1:-1]}
        best = min(losses, key=losses.__getitem__)
        left.remove(best)
        row[best] = 1
    assert outcome.choices.tolist() == row.tolist()
    assert outcome.tokens == (4 + 3 + 2) * tokens(deep)


@pytest.mark.parametrize(("count", "wanted"), [(4, 114), (7, 189), (8, 212)])
def test_sleb_asks_for_as_many_candidates_as_published(count: int, wanted: int) -> None:
    judge = Fake(RNG.random(32))

    row = eliminate(judge, np.ones(32, dtype=np.int16), count)

    assert (judge.asked, row.sum()) == (wanted, count)


def test_sleb_never_takes_the_first_or_last_that_is_left() -> None:
    judge = Fake([-9, 5, 1, 7, 2, -9])

    assert eliminate(judge, np.ones(6, dtype=np.int16), 4).tolist() == [0, 1, 1, 1, 1, 0]
    assert judge.asked == 4 + 3 + 2 + 1


def test_a_candidate_that_breaks_is_never_the_best(llama: Mixed, monkeypatch: Any) -> None:
    other = llama.again(["removal"], sites="block")
    judge = Losses(other)
    monkeypatch.setattr(
        judge, "_sweep", lambda rows, *_: np.array([[[np.nan]], [[3.0]], [[np.inf]]])
    )

    assert judge(np.zeros((3, 3), dtype=np.int16)).tolist() == [np.inf, 3, np.inf]


# ---- BlockPruner


def test_blockpruner_takes_the_best_submodule_each_round_by_brute_force(problem: Mixed) -> None:
    outcome = BlockPruner()(problem, 0.3, RNG)

    other, row = outcome.problem, np.zeros(6, dtype=np.int16)
    sizes = np.array([s.place.weight_count() for s in other.table.sites])
    shares, rows = sizes / sizes.sum(), [row]
    while (rows[-1] * shares).sum() < 0.3:
        left = np.flatnonzero(rows[-1] == 0)
        losses = [loss_of(other, rows[-1] + (np.arange(6) == i)) for i in left]
        rows.append(rows[-1] + (np.arange(6) == left[np.argmin(losses)]))
    nearest = min(rows[-2:], key=lambda r: abs((r * shares).sum() - 0.3))
    assert outcome.choices.tolist() == nearest.tolist()
    assert outcome.sparsity == pytest.approx((nearest * shares).sum())


def test_balance_takes_as_many_attentions_as_feed_forwards(deep: Mixed) -> None:
    free, equal = (BlockPruner(balance=b, samples=2)(deep, 0.6, RNG) for b in ("free", "equal"))

    kinds = [[name.split(".")[1] for name in gone(o)] for o in (free, equal)]
    counts = [k.count("attention") - k.count("feed_forward") for k in kinds]
    assert abs(counts[1]) <= 1
    for outcome in (free, equal):
        assert abs(outcome.sparsity - 0.6) <= 0.5 * 2 / 3 / 6 + 1e-9  # half of one feed-forward


@pytest.mark.parametrize(
    ("balance", "wanted", "asked"),
    [("free", [1, 0, 1, 0, 1, 0], 6 + 5 + 4), ("equal", [1, 0, 1, 0, 0, 1], 6 + 3 + 4)],
)
def test_balance_by_hand(llama: Mixed, balance: str, wanted: list[int], asked: int) -> None:
    """Attentions are cheap, but with balance every second removal must be a feed-forward."""
    other, judge = llama.again(["removal"]), Fake([1, 20, 2, 30, 3, 10])

    row = descend(
        judge, removed(other), np.full(6, 1 / 6), offer=OFFERS[balance](other), target=0.5
    )

    assert row.tolist() == wanted
    assert judge.asked == asked


@pytest.mark.parametrize(
    ("target", "wanted"),
    [(0.1, [1, 0, 0]), (0.29, [1, 0, 0]), (0.31, [1, 1, 0]), (0.7, [1, 1, 0])],
)
def test_the_nearer_of_two_candidates_is_taken(target: float, wanted: list[int]) -> None:
    row = descend(
        Fake([1, 2, 3]), np.ones(3, dtype=np.int16), np.array([0.1, 0.4, 0.5]),
        offer=lambda r: np.flatnonzero(r == 0).tolist(), target=target,
    )  # fmt: skip

    assert row.tolist() == wanted


@pytest.mark.parametrize(
    ("target", "told"),
    [(0.04, "nearest to removing nothing; the least .* is 0.1"),
     (0.8, "nearest to removing everything; the most .* is 0.5")],
)  # fmt: skip
def test_neither_nothing_nor_everything_goes(target: float, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        descend(
            Fake([1, 2, 3]), np.ones(3, dtype=np.int16), np.array([0.1, 0.4, 0.5]),
            offer=lambda r: np.flatnonzero(r == 0).tolist(), target=target,
        )  # fmt: skip


# ---- settings


@pytest.mark.parametrize(
    ("method", "settings", "told"),
    [
        (ShortGPT, {"samples": 0}, "samples of method 'shortgpt'"),
        (AngularWindow, {"tokens": "lst"}, "'last' or 'all', got 'lst'; did you mean 'last'"),
        (BlockPruner, {"balance": "eqal"}, "got 'eqal'; did you mean 'equal'"),
        (ShortenedLlama, {"keep_first": -1}, "must be at least 0, got -1 and 0"),
        (SLEB, {"samples": -3}, "at least 1, got -3"),
    ],
)
def test_wrong_settings_are_told(method: Any, settings: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        method(**settings)


def test_samples_are_the_longest_sequences(problem: Mixed) -> None:
    batches = problem.data.batches("calibration")
    every = [r[m.bool()].tolist() for b in batches for r, m in zip(b.ids, mask(b), strict=True)]

    for count in (1, 2, 4, 5, 9):
        taken = longest(batches, count)
        found = [r[m.bool()].tolist() for b in taken for r, m in zip(b.ids, mask(b), strict=True)]
        wanted = sorted(every, key=len, reverse=True)[:count]
        assert sorted(found) == sorted(wanted)
        if problem.kind == "lm":
            assert found == every[:count]
    assert longest(batches, None) == batches


def mask(batch: Any) -> torch.Tensor:
    return torch.ones_like(batch.ids) if batch.mask is None else batch.mask


def test_samples_bound_what_is_read_and_judged(problem: Mixed) -> None:
    outcome = ShortenedLlama(samples=2)(problem, 0.3, RNG)

    assert outcome.tokens == 3 * tokens(problem, 2)
    (_, real), *rest = residual_states(problem, 1)
    assert (rest, int(real.sum())) == ([], tokens(problem, 1))


# ---- every family


@pytest.mark.parametrize("family", EACH)
def test_every_family_loses_what_was_asked(family: str, tmp_path: Path) -> None:
    problem = problem_of(checkpoint(family, tmp_path / family))
    before = {n: p.clone() for n, p in problem.pretrained.model.named_parameters()}

    for name in ("shortgpt", "uidl", "shortened-llama", "sleb"):
        outcome = build("method", Ref(name, {"samples": 2}))(problem, 0.3, RNG)
        assert outcome.sparsity == pytest.approx(1 / 3), name
        assert len(gone(outcome)) == 1
        assert (outcome.tokens > 0) == (name in ("shortened-llama", "sleb"))
    outcome = BlockPruner(samples=2)(problem, 0.3, RNG)
    assert 0.05 < outcome.sparsity < 0.55
    kinds = removed(outcome.problem)
    assert set(outcome.choices.tolist()) <= {0, *kinds.tolist()}
    for n, p in problem.pretrained.model.named_parameters():
        assert torch.equal(p, before[n])
    assert (family in ENCODERS) == (problem.kind == "encoder")
