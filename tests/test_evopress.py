"""EvoPress: its levels, moves, stages and counts against the published ones, and small searches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import EACH, ENCODERS, checkpoint
from hypothesis import given
from hypothesis import strategies as st
from local_data import data

from evo.config import Ref
from evo.errors import ConfigError
from evo.genomes import Genomes
from evo.problem import Context
from evo.registry import build
from problems.pruning import quality, updates
from problems.pruning.cost import pruned_model
from problems.pruning.importance.sparsegpt import Count, factor, prune
from problems.pruning.layouts import get, matrix
from problems.pruning.methods import evopress_files as files
from problems.pruning.methods.evopress import Search
from problems.pruning.methods.evopress_depth import Depth
from problems.pruning.methods.evopress_sparsity import Sparsity
from problems.pruning.methods.minibatches import Fitness, picked
from problems.pruning.methods.moves import DepthSwap, LevelSwap, count_moves
from problems.pruning.methods.staged import PRESETS, Schedule, Selection, distinct
from problems.pruning.searches import Mixed
from problems.pruning.variants.steps import MaskSteps, SparseGPTSteps, Steps, lowest

SIZES = {"calibration": 2, "search": 6, "validation": 2}
TINY: dict[str, Any] = {"offspring": 4, "survivors": (2, 1), "tokens": (30, 70), "generations": 3}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> str:
    return str(checkpoint("llama", tmp_path_factory.mktemp("models") / "llama"))


def problem_of(folder: str, **more: Any) -> Mixed:
    told = {"variants": ["removal"], "cache": "off", "length": 24, "sizes": SIZES} | more
    return Mixed(model=folder, **told)


@pytest.fixture(scope="module")
def problem(folder: str) -> Mixed:
    return problem_of(folder)


# ---- levels

LLAMA3 = {"q": 4096 * 4096, "k": 1024 * 4096, "up": 14336 * 4096}
LLAMA2 = {"q": 4096 * 4096, "k": 4096 * 4096, "up": 11008 * 4096}


@pytest.mark.parametrize(
    ("shapes", "target", "attention", "grouped", "n_files", "gigabytes"),
    [
        (LLAMA3, 0.5, (-8, 8), (-2, 2), 3040, 231),
        (LLAMA3, 0.7, (-8, 5), (-2, 1), 2784, 224),
        (LLAMA2, 0.5, (-8, 8), (-8, 8), 3808, 220),
        (LLAMA2, 0.7, (-8, 5), (-8, 5), 3424, 207),
    ],
)
def test_levels_are_those_of_the_published_database(
    shapes: Any, target: float, attention: Any, grouped: Any, n_files: int, gigabytes: int
) -> None:
    steps = Steps(target, 1_000_000)

    assert steps.bounds(shapes["q"]) == attention
    assert steps.bounds(shapes["k"]) == grouped
    assert steps.bounds(shapes["up"]) == (-8, 8)
    per_block = [shapes[name] for name in ("q", "q", "k", "k", "up", "up", "up")]
    levels = [len(steps.levels(count)) for count in per_block]
    assert 32 * sum(levels) == n_files
    size = 32 * sum(2 * n * c for n, c in zip(levels, per_block, strict=True))
    assert round(size / 1e9) == gigabytes


@given(st.integers(1, 5000), st.floats(0.01, 0.99), st.integers(1, 700), st.integers(1, 9))
def test_every_level_is_a_step_away_and_no_further_one_fits(
    weights: int, target: float, size: int, reach: int
) -> None:
    steps = Steps(target, size, reach)
    low, high = steps.bounds(weights)

    zeros = [steps.zeros(weights, level) for level in range(low - 1, high + 2)]
    assert set(np.diff(zeros)) == {size}
    assert abs(steps.zeros(weights, 0) - target * weights) <= 0.5
    assert zeros[1] >= 0
    assert zeros[-2] <= weights
    assert zeros[0] < 0 or low == -reach
    assert zeros[-1] > weights or high == reach


@pytest.mark.parametrize(
    "told", [(0.0, 5, 8), (1.0, 5, 8), (0.5, 0, 8), (0.5, 5, 0), (0.5, 2.5, 8)]
)
def test_steps_that_make_no_sense(told: Any) -> None:
    with pytest.raises(ConfigError, match="must"):
        Steps(*told)


@pytest.mark.parametrize("zeros", [0, 1, 59, 60, 131, 239, 240])
@pytest.mark.parametrize("columns", [7, 128])
def test_counts_are_met_exactly_whatever_inputs_are_dead(zeros: int, columns: int) -> None:
    x, weight = random(60, 24) + random(60, 1), random(10, 24, seed=3).float()
    x[:, 5:9] = 0

    found = prune(weight, *factor(x.t() @ x), Count(zeros), columns)

    assert int((found == 0).sum()) == zeros
    per_block = [int((part == 0).sum()) for part in found.split(columns, dim=1)]
    widths = [part.shape[1] for part in found.split(columns, dim=1)]
    assert all(abs(n - zeros * w / 24) < 1 for n, w in zip(per_block, widths, strict=True))
    if columns == 128 and zeros in (59, 60):
        assert (found[:, 5:9] == 0).sum() == min(zeros, 40)  # dead inputs go first


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_count_gives_the_weights_of_the_same_share(share: float) -> None:
    x, weight = random(80, 40) + random(80, 1), random(6, 40, seed=4)
    upper, dead = factor(x.t() @ x)

    same = prune(weight, upper, dead, Count(int(240 * share) + 1))

    assert torch.equal(same, prune(weight, upper, dead, share))


def test_masks_take_the_lowest_of_a_matrix_or_equally_many_of_each_row() -> None:
    scores = random(7, 9).abs()

    whole, rows = lowest(scores, "matrix", 25), lowest(scores, "row", 25)

    assert int(whole.sum()) == int(rows.sum()) == 25
    assert scores[whole].max() < scores[~whole].min()
    assert set(rows.sum(1).tolist()) == {3, 4}
    assert all(row[g].max() < row[~g].min() for row, g in zip(scores, rows, strict=True))
    assert not lowest(scores, "row", 0).any()
    assert lowest(scores, "row", 63).all()


@pytest.mark.parametrize("by", ["sparsegpt", "wanda", "ria(exponent=0.3)", "gblm"])
def test_sites_have_each_its_own_exact_levels(by: str, problem: Mixed) -> None:
    steps = Steps(0.5, 150, 2)
    kind = SparseGPTSteps(steps) if by == "sparsegpt" else MaskSteps(by, steps)

    own = problem.again([kind], sites="linear")

    for column in (0, 1, 6, len(own.table) - 1):
        site = own.table.sites[column]
        count, (path,) = site.place.weight_count(), site.place.linears
        low, high = steps.bounds(count)
        assert len(site.variants) == high - low + 2
        for level in range(low, high + 1):
            index = steps.origin(count) + level
            weight = matrix(site.variants[index].build()[path])
            zeros = int((weight == 0).sum())
            assert zeros == round(0.5 * count) + 150 * level
            assert site.variants[index].sparsity == zeros / count
            assert own.table.params[column, 0] - own.table.params[column, index] == zeros


def test_a_level_without_zeros_is_the_dense_layer(problem: Mixed) -> None:
    steps = Steps(0.5, 512)  # half of the queries' 1024 weights

    own = problem.again([SparseGPTSteps(steps)], sites="linear")

    assert [v.name for v in own.table.sites[0].variants] == [
        "dense", "sparsegpt-steps+0", "sparsegpt-steps+1",
    ]  # fmt: skip
    assert steps.bounds(1024) == (-1, 1)
    assert steps.origin(1024) == 1
    with pytest.raises(ConfigError, match="applies to no site of kind 'attention'"):
        problem.again([SparseGPTSteps(steps)])


def test_chosen_levels_are_made_again_on_their_pruned_prefix(problem: Mixed) -> None:
    steps = Steps(0.5, 100, 1)
    own = problem.again([SparseGPTSteps(steps)], sites="linear")
    counts = [site.place.weight_count() for site in own.table.sites]
    genome = np.array([[steps.origin(count) for count in counts]], dtype=np.int16)
    genome[0, :2] += [1, -1]

    again, taken = own.polished(Genomes({"choices": genome}))

    for column, (site, made) in enumerate(zip(own.table.sites, again.table.sites, strict=True)):
        before = site.variants[genome[0, column]]
        after = made.variants[taken["choices"][0, column]]
        (path,) = site.place.linears
        old, new = matrix(before.build()[path]), matrix(after.build()[path])
        assert before.name == after.name
        assert int((old == 0).sum()) == int((new == 0).sum())
        assert torch.equal(old, new) is (site.depth == 0)


def test_level_weights_are_fitted_once_and_kept_on_disk(
    folder: str, tmp_path: Path, monkeypatch: Any
) -> None:
    calls, real = [], updates._hessians
    monkeypatch.setattr(updates, "_hessians", lambda *a: calls.append(1) or real(*a))
    first = problem_of(folder, cache=str(tmp_path))

    made = first.again([SparseGPTSteps(Steps(0.5, 150, 1))], sites="linear")
    again = first.again([SparseGPTSteps(Steps(0.5, 150, 1))], sites="linear")
    assert len(calls) == 1
    other = first.again([SparseGPTSteps(Steps(0.5, 151, 1))], sites="linear")
    assert len(calls) == 2

    def weight(problem: Mixed) -> torch.Tensor:
        site = problem.table.sites[4]
        return matrix(site.variants[3].build()[site.place.linears[0]])

    assert torch.equal(weight(made), weight(again))
    assert not torch.equal(weight(made), weight(other))


# ---- moves


@pytest.mark.parametrize("n", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_the_number_of_moves_is_the_smaller_of_two_draws(n: int) -> None:
    rng = generator()

    counts = np.bincount([count_moves(rng) for _ in range(n)], minlength=4)

    assert counts[0] == 0
    sigma = 0.5 / math.sqrt(n)
    np.testing.assert_allclose(counts[1:] / n, [5 / 9, 3 / 9, 1 / 9], atol=4 * sigma)


def halves_of(blocks: int) -> Any:
    return np.arange(0, 2 * blocks, 2), np.arange(1, 2 * blocks, 2)


@pytest.mark.parametrize("n", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_depth_swaps_keep_both_counts(n: int) -> None:
    swap, rng = DepthSwap(halves_of(9)), generator()
    genome = swap.random(3, rng)
    changed = np.zeros((n, 2), dtype=int)

    for i in range(n):
        child = swap(genome, rng)
        changed[i] = [(child != genome)[half].sum() for half in swap.halves]
        assert set(child.tolist()) == {0, 1}
        assert [child[half].sum() for half in swap.halves] == [3, 3]
        genome = child

    assert changed.max() == 6  # three moves in one half
    single = changed[changed.sum(1) == 2]
    assert abs((single[:, 0] > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(single))


def test_depth_swaps_of_whole_blocks_keep_halves_equal() -> None:
    swap, rng = DepthSwap(halves_of(6), entire=True), generator()
    genome = swap.random(2, rng)

    for _ in range(300):
        genome = swap(genome, rng)
        assert np.array_equal(genome[::2], genome[1::2])
        assert genome.sum() == 4


@pytest.mark.parametrize("n", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_level_swaps_keep_the_sum_and_the_bounds(n: int) -> None:
    low = np.array([-2, -8, -1, 0, -8, -3], dtype=np.int16)
    high = np.array([1, 8, 0, 2, 8, 3], dtype=np.int16)
    swap, rng = LevelSwap(low, high), generator()
    genome, seen = np.zeros(6, dtype=np.int16), []

    for _ in range(n):
        child = swap(genome, rng)
        assert child is not None
        assert child.sum() == 0
        assert np.abs(child - genome).sum() <= 6
        genome = child
        seen.append(child)

    assert (np.min(seen, 0) >= low).all()
    assert (np.max(seen, 0) <= high).all()
    assert (np.min(seen, 0) == low)[[0, 2, 3, 5]].all()
    assert (np.max(seen, 0) == high)[[0, 2, 3, 5]].all()


def test_level_swaps_draw_from_all_layers_that_can() -> None:
    low, high = np.array([-1, -1, 0, -1]), np.array([1, 1, 1, 0])
    swap, start, rng = LevelSwap(low, high), np.zeros(4, dtype=np.int16), generator()

    found = np.array([swap(start, rng) for _ in range(3000)])

    single = found[np.abs(found).sum(1) == 2]
    down, up = np.argmin(single, 1), np.argmax(single, 1)
    assert set(down) == {0, 1, 3}
    assert set(up) == {0, 1, 2}
    null = (found == 0).all(1).mean()
    assert 0.1 < null < 0.3  # 2/9 of single moves pick one layer twice


def test_level_swaps_beyond_the_largest_deviation_are_in_vain() -> None:
    swap, rng = LevelSwap(np.full(5, -3), np.full(5, 3), most=2), generator()

    found = [swap(np.zeros(5, dtype=np.int16), rng) for _ in range(400)]

    assert any(row is None for row in found)
    assert max(np.abs(row).sum() for row in found if row is not None) == 2


# ---- stages


class Judge:
    """Fitness by a rule, remembering what it was asked."""

    def __init__(self, rule: Any) -> None:
        self.rule, self.asked = rule, []

    def __call__(self, genomes: Any, tokens: int) -> Any:
        self.asked.append((len(genomes), tokens))
        return np.array([self.rule(row, tokens) for row in genomes], dtype=float)


def noise(seed: int = 0) -> Judge:
    rng = generator(seed)
    return Judge(lambda row, tokens: rng.random())


@pytest.mark.parametrize(
    ("preset", "generations", "evaluations", "tokens", "whole"),
    [
        ("depth", 128, 35, 163_840, 20_971_520),
        ("sparsity", 400, 75, 458_752, 183_500_800),
        ("super-fast", 400, 18, 24_576, 9_830_400),
    ],
)
def test_counts_are_those_of_the_published_schedules(
    preset: str, generations: int, evaluations: int, tokens: int, whole: int
) -> None:
    schedule = PRESETS[preset]
    assert schedule.generations in (None, generations)
    schedule = Schedule(4, schedule.offspring, schedule.survivors, schedule.tokens)
    search = Search(Selection(noise(), schedule), generator(), 1 << 20, [])
    swap = DepthSwap(halves_of(32))

    search.run(swap.random(8, generator(1)), swap, banned=True)

    assert search.selection.evaluations == 4 * evaluations
    assert search.selection.tokens == 4 * tokens
    assert generations * tokens == whole
    assert search.notes == []


def test_upstream_the_parent_joins_every_stage_that_leaves_one() -> None:
    schedule, swap = PRESETS["super-fast"], DepthSwap(halves_of(12))
    parent = swap.random(4, generator())
    rng = generator(1)
    offspring = distinct(lambda: swap(parent, rng), 16, parent[None])
    late, early = (Judge(lambda row, t, s=s: s * (row == parent).all()) for s in (1, -1))
    lost, kept = (Selection(judge, schedule, upstream=True) for judge in (late, early))

    lost(parent, offspring)
    kept(parent, offspring)

    assert late.asked == [(17, 512), (2, 8192)]
    assert (lost.evaluations, lost.tokens) == (19, 25_088)
    assert early.asked == [(17, 512), (1, 8192)]
    assert (kept.evaluations, kept.tokens) == (18, 16_896)


def test_stages_pass_on_the_best_and_the_parent_meets_the_last() -> None:
    values = {(0,): 5.0, (1,): 1.0, (2,): math.nan, (3,): 2.0, (4,): 2.0, (5,): 3.0}
    late = {(1,): 9.0, (3,): 4.0, (0,): 4.0}
    judge = Judge(lambda row, t: (values if t == 10 else late)[tuple(row)])
    selection = Selection(judge, Schedule(1, 5, (2, 1), (10, 20)))
    offspring = np.arange(1, 6, dtype=np.int16)[:, None]

    chosen = selection(np.zeros(1, dtype=np.int16), offspring)

    assert judge.asked == [(5, 10), (3, 20)]
    assert chosen.tolist() == [3]  # as good as the parent, and before it
    assert selection.best(offspring, 10, 5).ravel().tolist() == [1, 3, 4, 5, 2]


def test_a_better_parent_stays_and_is_inserted_once() -> None:
    parent, child = np.zeros(2, dtype=np.int16), np.ones(2, dtype=np.int16)
    judge = Judge(lambda row, t: row.sum())
    selection = Selection(judge, Schedule(1, 2, (2, 1), (10, 20)))

    assert selection(parent, np.array([child])).tolist() == [0, 0]
    assert selection(parent, np.array([child, parent])).tolist() == [0, 0]
    assert judge.asked == [(1, 10), (2, 20), (2, 10), (2, 20)]
    assert selection(parent, np.zeros((0, 2), dtype=np.int16)) is parent


def test_distinct_genomes_run_out_without_a_loop() -> None:
    rng = generator()
    taken = np.array([[2]], dtype=np.int16)

    found = distinct(lambda: rng.integers(0, 4, size=1).astype(np.int16), 10, taken)

    assert sorted(found.ravel().tolist()) == [0, 1, 3]
    assert distinct(lambda: None, 5, taken).shape == (0, 1)


def test_a_small_neighbourhood_is_said() -> None:
    search = Search(Selection(noise(), Schedule(2, 50, (1,), (10,))), generator(), 100, [])
    swap = DepthSwap(halves_of(2))

    search.run(swap.random(1, generator()), swap, banned=True)

    assert search.selection.evaluations == 2 * 4  # all three others, and the parent
    assert search.notes == ["some generations had only 3 distinct offspring of the 50 asked for"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"preset": "depht"}, "no preset 'depht'; did you mean 'depth'?"),
        ({"scale": 0.0}, r"scale must lie in \(0, 1\]"),
        ({"offspring": 0}, "offspring must be whole numbers from 1 on, got 0"),
        ({"generations": -1}, "generations must be whole numbers from 0 on"),
        ({"tokens": (2048, 1)}, "tokens must be whole numbers from 2 on, got 1"),
        ({"survivors": (2, 2)}, "the last one survivor"),
        ({"survivors": (4, 2, 1)}, "every stage needs survivors and tokens"),
        ({"survivors": 1}, "survivors must be a list of whole numbers, got 1"),
    ],
)
def test_schedules_that_make_no_sense(told: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Depth(**told).schedule(8)


def test_scaling_keeps_the_proportions_of_the_stages() -> None:
    made = Sparsity(scale=1 / 16).schedule()

    assert made == Schedule(25, 64, (8, 2, 1), (128, 1024, 4096))
    assert Depth().schedule(128) == Schedule(128, 32, (2, 1), (2048, 32768))
    assert Depth(preset="super-fast").schedule(5) == PRESETS["super-fast"]
    assert Depth(scale=1e-6, survivors=[3, 1]).schedule(128) == Schedule(1, 32, (3, 1), (2, 2))


# ---- fitness


@given(st.lists(st.integers(2, 9), min_size=1, max_size=9), st.data(), st.integers(0, 99))
def test_minibatches_have_exactly_the_tokens_asked_for(lengths: Any, more: Any, seed: int) -> None:
    tokens = more.draw(st.integers(2, sum(lengths)))
    rows, cut = picked(np.array(lengths), tokens, generator(seed))

    assert len(set(rows.tolist())) == len(rows)
    assert sum(lengths[row] for row in rows[:-1]) + cut == tokens
    assert 1 <= cut <= lengths[rows[-1]]


def slow_language(problem: Mixed, choices: Any, batches: Any) -> tuple[float, float]:
    """Divergence and perplexity one sequence at a time, by whole models."""
    dense = problem.pretrained.model
    model = pruned_model(problem.pretrained, problem.table, choices)
    divergences, losses = [], []
    with torch.inference_mode():
        for batch in batches:
            for row in batch.ids:
                p = dense(row[None]).logits[0, :-1].double().log_softmax(-1)
                q = model(row[None]).logits[0, :-1].double().log_softmax(-1)
                losses += (-q[torch.arange(len(q)), row[1:]]).tolist()
                top = p.topk(quality.TEACHER_TOP).indices
                for at in range(len(p)):
                    rest = torch.ones(p.shape[1], dtype=torch.bool)
                    rest[top[at]] = False
                    ours = torch.cat([p[at][top[at]].exp(), p[at][rest].exp().sum()[None]])
                    theirs = torch.cat([q[at][top[at]].exp(), q[at][rest].exp().sum()[None]])
                    divergences.append(float((ours * (ours / theirs).log()).sum()))
    return float(np.mean(divergences)), float(np.exp(np.mean(losses)))


@pytest.mark.parametrize("traversal", ["depth", "breadth", "layer"])
def test_candidates_judged_together_are_judged_as_alone(traversal: str, folder: str) -> None:
    own = problem_of(folder, traversal=traversal, tokens_at_once=50)
    rows = np.array([[0] * 6, [0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 1, 1]], dtype=np.int16)
    kl, ppl = (Fitness(own, name, generator()) for name in ("kl", "ppl"))
    assert kl.available == 6 * 24
    minibatch = kl._pool.draw(24 * 3 + 10, generator(5))
    assert [tuple(b.ids.shape) for b in minibatch.batches] == [(2, 24), (1, 24), (1, 10)]
    assert minibatch.weights.tolist() == [23, 23, 23, 9]

    together = np.array([kl.judge(rows, minibatch), ppl.judge(rows, minibatch)]).T

    alone = [slow_language(own, row, minibatch.batches) for row in rows]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    assert abs(together[0, 0]) < 1e-6
    assert kl._sweep._prepared == {}


@pytest.mark.parametrize("tokens", [40, 61])
def test_encoders_are_judged_by_drift_on_exactly_those_tokens(tokens: int, tmp_path: Path) -> None:
    own = problem_of(str(checkpoint("bert", tmp_path)), tokens_at_once=48)
    rows = np.array([[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=np.int16)
    drift = Fitness(own, None, generator())
    minibatch = drift._pool.draw(tokens, generator(2))

    found = drift.judge(rows, minibatch)

    sequences = [
        row[: int(b.mask[i].sum())] if b.mask is not None else row
        for b in minibatch.batches
        for i, row in enumerate(b.ids)
    ]
    assert sum(map(len, sequences)) == tokens
    for judged, choices in zip(found, rows, strict=True):
        model = pruned_model(own.pretrained, own.table, choices)
        drifts = []
        with torch.inference_mode():
            for row in sequences:
                one, two = (
                    m(row[None]).last_hidden_state[0].double().mean(0)
                    for m in (own.pretrained.model, model)
                )
                drifts.append(1 - float(torch.cosine_similarity(one, two, dim=0)))
        expected = np.average(drifts, weights=[len(row) for row in sequences])
        assert judged == pytest.approx(expected, abs=1e-5)


def test_a_sequence_cut_to_one_token_is_spent_but_not_judged(problem: Mixed) -> None:
    rows = np.array([[0, 1, 0, 0, 0, 0]], dtype=np.int16)
    mended = Fitness(problem, "ppl", generator())
    published = Fitness(problem, "ppl", generator(), upstream=True)
    by_kl = Fitness(problem, "kl", generator(), upstream=True)
    minibatch = mended._pool.draw(49, generator())

    assert [tuple(b.ids.shape) for b in minibatch.batches] == [(2, 24)]
    assert np.isfinite(mended.judge(rows, minibatch)).all()
    assert np.isnan(published.judge(rows, minibatch)).all()
    assert np.isfinite(published(rows, 48)).all()
    assert np.isfinite(by_kl.judge(rows, minibatch)).all()


def test_minibatches_are_drawn_anew(problem: Mixed) -> None:
    rows = np.array([[0, 1, 0, 0, 0, 0]], dtype=np.int16)
    fitness = Fitness(problem, "kl", generator())

    found = {float(fitness(rows, 24)[0]) for _ in range(8)}

    assert len(found) > 2


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_fitness_the_model_has_not(family: str, tmp_path: Path) -> None:
    own = problem_of(str(checkpoint(family, tmp_path)))
    wrong = "kl" if family in ENCODERS else "drift"

    with pytest.raises(ConfigError, match="fitness must be"):
        Fitness(own, wrong, generator())


# ---- searches


def test_depth_removes_as_many_of_each_and_counts_its_tokens(problem: Mixed) -> None:
    method = Depth(initial=5, initial_tokens=24, **TINY)

    first, second = (method(problem, 0.4, generator(3)) for _ in range(2))

    assert np.array_equal(first.choices, second.choices)
    names = np.array(first.problem.table.kind)[first.choices == 1].tolist()
    assert sorted(names) == ["attention", "feed_forward"]
    per_generation = 4 * 30 + 3 * 70
    assert first.tokens == 5 * 24 + 3 * per_generation
    assert first.notes == ()


def test_depth_finds_the_best_of_a_small_space(problem: Mixed) -> None:
    every = 6 * 24
    method = Depth(
        generations=8, offspring=8, survivors=(1,), tokens=(every,), initial=2, initial_tokens=every
    )

    outcome = method(problem, 0.4, generator())

    fitness = Fitness(outcome.problem, "kl", generator())
    rows = np.array(
        [np.eye(6)[2 * a] + np.eye(6)[2 * f + 1] for a in range(3) for f in range(3)]
    ).astype(np.int16)
    best = rows[fitness(rows, every).argmin()]
    assert np.array_equal(outcome.choices, best)


def test_depth_of_whole_blocks_and_nothing_left_to_search(problem: Mixed) -> None:
    whole = Depth(drop_entire_block=True, initial=3, initial_tokens=24, **TINY)
    outcome = whole(problem, 0.34, generator())
    all_but_none = Depth(initial=3, initial_tokens=24)(problem, 0.9, generator())

    assert np.array_equal(outcome.choices[::2], outcome.choices[1::2])
    assert outcome.choices.sum() == 2
    assert all_but_none.choices.sum() == 4


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [(0.0, "between 0 and 1, got 0.0"), (1.0, "between 0 and 1"), (0.3, "less than one attention")],
)
def test_depth_that_cannot_be_met(sparsity: float, message: str, problem: Mixed) -> None:
    with pytest.raises(ConfigError, match=message):
        Depth()(problem, sparsity, generator())


@pytest.mark.parametrize("scorer", ["sparsegpt", "magnitude"])
def test_sparsity_keeps_the_total_and_counts_its_tokens(scorer: str, problem: Mixed) -> None:
    method = Sparsity(scorer=scorer, weights_diff=100, num_levels=2, **TINY)

    first, second = (method(problem, 0.6, generator(1)) for _ in range(2))

    assert np.array_equal(first.choices, second.choices)
    table, zeros, total = first.problem.table, 0, 0
    for site, choice in zip(table.sites, first.choices, strict=True):
        weight = matrix(site.variants[choice].build()[site.place.linears[0]])
        zeros += int((weight == 0).sum())
        total += weight.numel()
    counts = [site.place.weight_count() for site in table.sites]
    assert zeros == sum(round(0.6 * count) for count in counts)
    assert abs(zeros - 0.6 * total) <= len(counts) / 2
    assert first.tokens <= 3 * (4 * 30 + 3 * 70)
    assert first.tokens >= 3 * (4 * 30 + 2 * 70)  # when the parent is among its offspring


def test_sparsity_on_all_text_is_never_worse_than_uniform(problem: Mixed) -> None:
    every = 6 * 24
    method = Sparsity(
        generations=6, offspring=6, survivors=(1,), tokens=(every,), weights_diff=100, num_levels=2
    )

    outcome = method(problem, 0.6, generator())

    steps = method.steps(problem, 0.6)
    counts = [site.place.weight_count() for site in outcome.problem.table.sites]
    uniform = np.array([steps.origin(count) for count in counts], dtype=np.int16)
    fitness = Fitness(outcome.problem, "kl", generator())
    found, level_0 = fitness(np.array([outcome.choices, uniform]), every)
    assert found < level_0


def test_one_stream_draws_everything_upstream_only() -> None:
    def third_draw(upstream: bool, minibatches: int) -> float:
        moves, text = Depth(strict_upstream=upstream).streams(generator())
        text.random(minibatches)
        return moves.random()

    assert third_draw(False, 2) == third_draw(False, 3)
    assert third_draw(True, 2) != third_draw(True, 3)


def test_text_that_is_too_short_is_used_whole_and_said(problem: Mixed) -> None:
    method = Depth(generations=1, offspring=2, survivors=(2, 1), tokens=(24, 1000), initial=2)

    outcome = method(problem, 0.4, generator())

    assert outcome.tokens == 2 * 144 + 2 * 24 + 3 * 144
    (note,) = outcome.notes
    assert "the search text has 144 tokens" in note
    assert "raise sizes.search" in note


def test_the_default_step_follows_the_width() -> None:
    class Wide:
        class pretrained:
            class config:
                hidden_size = 4096

    assert Sparsity().steps(Wide, 0.5).size == 524_288  # type: ignore[arg-type]
    assert Sparsity(num_levels=4).steps(Wide, 0.7).size == int(0.5 * 0.3 / 4 * 4096**2)  # type: ignore[arg-type]


def test_steps_too_large_for_any_layer(problem: Mixed) -> None:
    with pytest.raises(ConfigError, match="larger than any layer allows"):
        Sparsity(weights_diff=10**6)(problem, 0.6, generator())
    with pytest.raises(ConfigError, match="needs the setting generations"):
        Sparsity(preset="depth")(problem, 0.6, generator())
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Sparsity()(problem, 1.5, generator())


@pytest.mark.parametrize("family", EACH)
def test_both_searches_run_on_every_family(family: str, tmp_path: Path) -> None:
    own = problem_of(str(checkpoint(family, tmp_path)), sizes=SIZES | {"calibration": 1})
    few: dict[str, Any] = TINY | {"generations": 1, "offspring": 2}

    depth = Depth(initial=2, initial_tokens=30, **few)(own, 0.4, generator())
    sparsity = Sparsity(num_levels=1, **few)(own, 0.5, generator())

    assert depth.choices.sum() == 2
    sites = zip(sparsity.problem.table.sites, sparsity.choices, strict=True)
    shares = [site.variants[choice].sparsity * site.place.weight_count() for site, choice in sites]
    weights = sum(site.place.weight_count() for site in sparsity.problem.table.sites)
    assert sum(shares) / weights == pytest.approx(0.5, abs=1e-3)


def test_the_registry_builds_both_with_settings() -> None:
    depth = build("method", Ref("evopress-depth", {"preset": "super-fast", "tokens": [8, 9]}))
    sparsity = build("method", Ref("evopress-sparsity", {"scorer": "wanda"}))

    assert depth.schedule() == Schedule(400, 16, (1, 1), (8, 9))
    assert sparsity == Sparsity(scorer="wanda")


# ---- files


def test_depth_results_are_read_and_written_as_published(tmp_path: Path) -> None:
    file = tmp_path / "layer_drop_config.txt"
    file.write_text("none\nattn+mlp\nattn\nmlp\nnone\n")

    attentions, feed_forwards = files.read_depth(file, 5)
    files.write_depth(tmp_path / "again.txt", attentions, feed_forwards)

    assert attentions.tolist() == [0, 1, 1, 0, 0]
    assert feed_forwards.tolist() == [0, 1, 0, 1, 0]
    assert (tmp_path / "again.txt").read_text() == file.read_text()
    with pytest.raises(ConfigError, match=r"a line for each of 6 blocks.*it has 5 lines"):
        files.read_depth(file, 6)
    file.write_text("none\nheads\n")
    with pytest.raises(ConfigError, match="it has a line 'heads'"):
        files.read_depth(file, 2)


def test_level_results_are_read_and_written_as_published(tmp_path: Path) -> None:
    file = tmp_path / "config.txt"
    names = ["model.layers.2.mlp.up_proj", "model.layers.10.mlp.up_proj"]
    file.write_text("model.layers.10.mlp.up_proj: -3\nmodel.layers.2.mlp.up_proj: 3\n")

    levels = files.read_levels(file, names)
    files.write_levels(tmp_path / "again.txt", dict(zip(names, levels.tolist(), strict=True)))

    assert levels.tolist() == [3, -3]
    assert (tmp_path / "again.txt").read_text() == file.read_text()
    with pytest.raises(ConfigError, match=r"names a layer the model lacks, model\.layers\.10"):
        files.read_levels(file, names[:1])
    with pytest.raises(ConfigError, match="has no line for head"):
        files.read_levels(file, [*names, "head"])
    file.write_text("model.layers.2.mlp.up_proj 3\n")
    with pytest.raises(ConfigError, match="one line 'module name: integer' per layer"):
        files.read_levels(file, names)
    with pytest.raises(ConfigError, match="cannot be read as text"):
        files.read_levels(tmp_path / "missing.txt", names)
    with pytest.raises(ConfigError, match="cannot be written"):
        files.write_levels(tmp_path / "no" / "folder.txt", {})


def test_searches_start_from_a_result_and_write_their_own(problem: Mixed, tmp_path: Path) -> None:
    start, result = tmp_path / "start.txt", tmp_path / "result.txt"
    start.write_text("none\nattn\nmlp\n")
    none: dict[str, Any] = {"generations": 0, "start": str(start), "result": str(result)}

    depth = Depth(**none)(problem, 0.4, generator())

    assert depth.choices.tolist() == [0, 0, 1, 0, 0, 1]
    assert result.read_text() == start.read_text()
    assert depth.tokens == 0
    with pytest.raises(ConfigError, match="but the sparsity asks for 2 of each"):
        Depth(**none)(problem, 0.7, generator())

    coarse: dict[str, Any] = {"weights_diff": 100, "num_levels": 1, "scorer": "magnitude"}
    Sparsity(generations=0, result=str(start), **coarse)(problem, 0.6, generator())
    lines = start.read_text().splitlines()
    assert len(lines) == 21
    assert "model.layers.0.self_attn.q_proj: 0" in lines
    names = [line.partition(":")[0] for line in lines]
    assert all(isinstance(get(problem.pretrained.model, name), torch.nn.Linear) for name in names)
    start.write_text("\n".join([f"{names[0]}: 1", f"{names[1]}: -1", *lines[2:]]))

    sparsity = Sparsity(**coarse, **none)(problem, 0.6, generator())

    assert sorted(result.read_text().splitlines()) == sorted(start.read_text().splitlines())
    moved = [
        site.variants[choice].sparsity * site.place.weight_count()
        for site, choice in zip(sparsity.problem.table.sites, sparsity.choices, strict=True)
    ]
    counts = [site.place.weight_count() for site in sparsity.problem.table.sites]
    differences = np.array(moved) - [round(0.6 * count) for count in counts]
    assert sorted(differences.round().tolist()) == [-100, *[0] * 19, 100]
    for text, message in ((f"{names[0]}: 1", "sum 1"), (f"{names[0]}: 99", "level 99 of")):
        start.write_text("\n".join([text, *lines[1:]]))
        with pytest.raises(ConfigError, match=message):
            Sparsity(**coarse, **none)(problem, 0.6, generator())


# ---- a trained model


@pytest.mark.slow
def test_on_a_trained_model_both_beat_what_they_start_from(tmp_path: Path) -> None:
    books = data("text", "books")
    own = Mixed(
        model=str(data("models", "books2m")), variants=["removal"], cache=str(tmp_path),
        calibration=str(books / "train.txt.xz"), search=str(books / "valid.txt"),
        validation=str(books / "test.txt"),
        sizes={"calibration": 64, "search": "16384 tokens", "validation": 64},
    )  # fmt: skip

    def kl(problem: Mixed, rows: Any) -> Any:
        genomes = Genomes({"choices": np.array(rows, dtype=np.int16)})
        return problem.batch(genomes, Context(split="validation")).readings[:, :, 1].mean(1)

    sparsity = Sparsity(generations=12, offspring=12, survivors=(3, 1), tokens=(256, 2048))(
        own, 0.6, generator()
    )
    uniform = own.again(["sparsegpt@0.6"], sites="linear")
    found = kl(sparsity.problem, [sparsity.choices])[0]
    even = kl(uniform, [np.ones(len(uniform.table))])[0]
    print(f"sparsity 0.6: evopress {found:.4f}, uniform {even:.4f}, {sparsity.tokens} tokens")
    assert found < even

    depth = Depth(scale=0.25, initial=16, offspring=16)(own, 0.25, generator())
    swap = DepthSwap(halves_of(8))
    others = kl(depth.problem, [swap.random(2, generator(seed)) for seed in range(8)])
    found = kl(depth.problem, [depth.choices])[0]
    print(f"depth 0.25: evopress {found:.4f}, random {np.sort(others).round(4)}")
    assert found < others[0]
    assert found < np.median(others)
