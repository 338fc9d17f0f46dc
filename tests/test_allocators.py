"""Allocators of sparsity against worked examples, closed forms and slow loops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import EACH, checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.errors import ConfigError, ModelError
from evo.streams import stream
from problems.pruning import allocate
from problems.pruning.allocate import alphapruning, ecoflap, erk, neuroal, owl, text
from problems.pruning.importance import SCORERS, find, gone_from
from problems.pruning.layouts import LAYOUTS, get, matrix
from problems.pruning.listening import layers_of
from problems.pruning.searches import Mixed

SIZES = {"calibration": 3, "search": 4, "validation": 2}
LLAMA_7B = [
    2.622, 2.890, 2.969, 2.964, 3.090, 3.064, 2.961, 2.746, 2.775, 2.609, 2.717, 2.730, 2.784,
    2.852, 2.897, 3.177, 3.123, 3.446, 3.872, 3.606, 3.894, 4.066, 3.755, 3.715, 3.994, 4.220,
    4.102, 4.160, 3.851, 4.093, 4.160, 3.537,
]  # fmt: skip
"""Mean exponents of the blocks of LLaMA-7B as published with AlphaPruning."""


def rng() -> np.random.Generator:
    return stream(5, "allocate")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert", "opt")}


def problem_of(folder: str, **more: Any) -> Mixed:
    more = {"cache": "off", "length": 24, "sizes": SIZES, "variants": ["wanda@0.5"]} | more
    return Mixed(model=folder, **more)


@pytest.fixture(scope="module")
def llama(folders: Any) -> Mixed:
    return problem_of(folders["llama"])


@pytest.fixture(scope="module")
def bert(folders: Any) -> Mixed:
    return problem_of(folders["bert"])


# ---- names and targets


def test_allocators_have_names_and_settings() -> None:
    assert allocate.find("owl") == owl.OWL()
    assert allocate.find("owl(spread=0.1,multiple=7)") == owl.OWL(7.0, 0.1)
    assert allocate.find("ecoflap(sequences=4)") == ecoflap.ECoFLaP(sequences=4)
    assert allocate.find("neuroal(step=row)") == neuroal.NeuroAL("row")
    assert allocate.find(found := erk.ERK()) is found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("owll", "no allocator called 'owll'; did you mean 'owl'"),
        (
            "owl(lambda=1)",
            "allocator 'owl' has no setting 'lambda'; its settings: multiple, spread",
        ),
        ("owl(spread=wide)", "spread of allocator 'owl' must be a number, got 'wide'"),
        ("neuroal(step=rows)", "step of neuroal must be both, block or row, got 'rows'"),
        ("neuroal(by=gblm)", "neuroal prunes on trial without gradients, got by=gblm"),
    ],
)
def test_wrong_names_and_settings_are_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        allocate.find(text)

    assert message.replace("by=gblm", "by='gblm'") in str(caught.value)


@pytest.mark.parametrize("name", allocate.ALLOCATORS)
@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.2, math.nan])
def test_targets_outside_of_0_and_1_are_refused(name: str, sparsity: float, llama: Mixed) -> None:
    with pytest.raises(ConfigError, match="above 0 and below 1, got"):
        allocate.find(name)(llama, sparsity, rng())


def test_a_share_that_a_layer_does_not_have_is_told() -> None:
    with pytest.raises(ConfigError, match=r"owl at sparsity 0\.9 asks fc of block 3 for 1\.02, "):
        allocate.require_reachable("owl", 0.9, {(0, "fc"): 0.8, (3, "fc"): 1.02})
    with pytest.raises(ConfigError, match="fc of block 0 for nan"):
        allocate.require_reachable("owl", 0.9, {(0, "fc"): math.nan})
    allocate.require_reachable("owl", 0.9, {(0, "fc"): 0.0, (1, "fc"): np.array([0.0, 0.999])})


@pytest.mark.parametrize("family", EACH)
def test_every_family_has_a_share_for_every_layer(family: str, tmp_path: Path) -> None:
    problem = problem_of(str(checkpoint(family, tmp_path / family)))
    layers = [(block.index, path) for block, path in layers_of(problem.pretrained.blocks)]
    counts = allocate.weight_counts(problem)

    for name in ("uniform", "erk", "owl", "alphapruning", "ecoflap(sequences=1)"):
        found = allocate.find(name)(problem, 0.5, rng())
        assert list(found) == layers
        assert allocate.realised(found, counts) == pytest.approx(0.5, abs=2e-4)  # equal blocks


# ---- ERK


def test_erk_by_hand() -> None:
    # (2, 8) and (4, 4) have 16 weights each; kept 16 of 32, as 10 : 8
    np.testing.assert_allclose(erk.densities([(2, 8), (4, 4)], 0.5), [16 / 18 * 10 / 16, 8 / 18])

    # (1, 2) would keep 3 * 50/33 of 2, so it is whole, and the others share 48 of 100 as 20 : 20
    found = erk.densities([(1, 2), (10, 10)], 50 / 102)
    np.testing.assert_allclose(found, [1, 48 / 100])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8),
    st.floats(0.02, 0.98),
)
def test_erk_keeps_the_target_and_its_proportions(sizes: Any, density: float) -> None:
    kept = erk.densities(sizes, density)

    counts = np.array([o * i for o, i in sizes])
    assert (kept * counts).sum() == pytest.approx(density * counts.sum())
    assert (kept <= 1).all()
    scales = [d * o * i / (o + i) for d, (o, i) in zip(kept, sizes, strict=True) if d < 1]
    assert scales == pytest.approx([scales[0]] * len(scales)) if scales else True
    whole = [o * i / (o + i) for d, (o, i) in zip(kept, sizes, strict=True) if d == 1]
    assert all(bound <= scales[0] * (1 + 1e-9) for bound in whole if scales)  # none whole in vain


# ---- OWL


def test_owl_by_hand() -> None:
    found = owl.spread_out([1, 2, 4], 0.7, 0.08)

    np.testing.assert_allclose(found, [0.77111, 0.71778, 0.61111], atol=5e-6)
    assert found.mean() == pytest.approx(0.7, abs=1e-12)
    assert np.ptp(found) == pytest.approx(0.16)


def test_owl_without_differences_is_uniform_and_never_below_a_hundredth() -> None:
    assert owl.spread_out([3, 3, 3], 0.6, 0.08).tolist() == [0.6] * 3
    np.testing.assert_allclose(owl.spread_out([0, 1], 0.05, 0.08), [0.13, 0.01])


def test_owl_counts_outliers_over_all_layers_of_a_block(llama: Mixed) -> None:
    block = llama.pretrained.blocks[1]
    every = []
    for _, path in layers_of([block]):
        weight = matrix(get(block.module, path)).abs()
        norms = llama.library.norms(block, path)
        every += [float(x) * float(n) for row in weight for x, n in zip(row, norms, strict=True)]
    mean = sum(every) / len(every)
    expected = 100 * sum(x > 2 * mean for x in every) / len(every)

    scores = [llama.library.scores("wanda", block, path) for _, path in layers_of([block])]
    assert owl.outlier_share(scores, 2) == pytest.approx(expected)
    assert 0 < expected < 50


def test_the_block_with_most_outliers_is_kept_most(llama: Mixed) -> None:
    blocks = llama.pretrained.blocks
    outliers = [owl.OWL(3.0)._outliers(llama, block) for block in blocks]

    found = owl.OWL(3.0, 0.1)(llama, 0.6, rng())

    shares = [found[block.index, "self_attn.q_proj"] for block in blocks]
    assert np.argsort(shares).tolist() == np.argsort(outliers)[::-1].tolist()
    assert len({found[1, path] for _, path in layers_of(blocks[1:2])}) == 1


# ---- AlphaPruning


def test_hill_by_hand_and_whatever_the_scale() -> None:
    values = np.exp([0.0, 1.0, 2.0])
    drawn = np.sort(rng().pareto(2.5, 50) + 1)

    assert alphapruning.hill(values, 0) == pytest.approx(2, abs=1e-12)
    for start in (0, 20):
        alpha = alphapruning.hill(drawn, start)
        assert alphapruning.hill(1234.5 * drawn, start) == pytest.approx(alpha, rel=1e-9)
    assert alphapruning.hill(np.ones(3), 0) == math.inf


def test_hill_finds_the_exponent_of_a_pareto_law() -> None:
    drawn = np.sort((1 - rng().random(200_000)) ** (-1 / 2))  # density of exponent 3

    # standard error (α - 1) / √n = 0.0045
    assert alphapruning.hill(drawn, 0) == pytest.approx(3, abs=0.0135)


def test_the_distance_of_a_tail_by_a_loop() -> None:
    values = np.sort(rng().pareto(1.5, 40) + 1)
    alpha, n = alphapruning.hill(values, 10), 30
    expected = max(abs(1 - (values[10 + k] / values[10]) ** (1 - alpha) - k / n) for k in range(n))

    assert alphapruning.distance(values, 10, alpha) == pytest.approx(expected)


def test_the_exponent_is_that_of_the_best_start_near_the_peak() -> None:
    values = np.sort(np.concatenate([rng().pareto(2.0, 300) + 1, rng().random(100)]))
    counts, edges = np.histogram(np.log10(values), bins=100)
    peak = 10 ** edges[counts.argmax()]
    tried = [(alphapruning.distance(values, i, a), a) for i, v in enumerate(values[:-1])
             if math.log10(0.95 * peak) <= v <= 1.5 * peak
             for a in [alphapruning.hill(values, i)]]  # fmt: skip

    assert len(tried) > 10
    assert alphapruning.exponent(values) == pytest.approx(min(tried)[1])


def test_the_spectrum_is_that_of_the_singular_values() -> None:
    weight = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    weight[5] = weight[0]  # rank 5

    found = alphapruning.spectrum(weight)

    expected = np.linalg.svd(weight.double().numpy(), compute_uv=False)[:5] ** 2
    np.testing.assert_allclose(found, expected[::-1], rtol=1e-10)
    np.testing.assert_allclose(alphapruning.spectrum(weight.t()), found, rtol=1e-10)
    assert len(alphapruning.spectrum(torch.zeros(3, 4))) == 0


def test_alphapruning_by_hand() -> None:
    found = alphapruning.mapped([2, 3, 4], [1, 1, 2], 0.7, 0.3)

    np.testing.assert_allclose(found, [0.45581, 0.65116, 0.84651], atol=5e-6)
    assert (found * [1, 1, 2]).sum() / 4 == pytest.approx(0.7, abs=1e-12)
    assert alphapruning.mapped([2, 2], [1, 5], 0.7, 0.3).tolist() == [0.7, 0.7]


def test_alphapruning_of_the_published_exponents() -> None:
    found = alphapruning.mapped(LLAMA_7B, [1] * 32, 0.7, 0.3)

    np.testing.assert_allclose(found[:4], [0.5042, 0.5755, 0.5966, 0.5954], atol=5e-4)
    np.testing.assert_allclose(found[-4:], [0.8313, 0.8959, 0.9137, 0.7479], atol=5e-4)
    assert (found.argmax(), found.argmin()) == (25, 9)
    np.testing.assert_allclose([found.max(), found.min()], [0.9297, 0.5006], atol=5e-4)


def test_a_block_of_zeros_loses_most(folders: Any) -> None:
    problem = problem_of(folders["llama"])
    layers = [get(problem.pretrained.blocks[1].module, p) for _, p in
              layers_of(problem.pretrained.blocks[1:2])]  # fmt: skip
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()  # type: ignore[operator]

    found = alphapruning.AlphaPruning()(problem, 0.5, rng())

    shares = [found[i, "mlp.up_proj"] for i in range(3)]
    assert shares[1] == max(shares)  # type: ignore[type-var]
    assert np.isfinite(shares).all()


# ---- ECoFLaP


def test_ecoflap_by_hand() -> None:
    found = ecoflap.kept([8, 4, 2, 1, 1, 1, 1, 0.5], [1000] * 8, 0.5, 0.1)

    assert found.tolist() == [746, 573, 487, 444, 444, 444, 444, 422]
    assert found.sum() == 4004  # four too many, as every share is rounded up


def test_ecoflap_ignores_the_scale_of_scores_and_fills_full_groups_no_further() -> None:
    scores, counts = np.array([8.0, 4, 2, 0.1]), [100, 300, 200, 400]

    assert ecoflap.kept(2 * scores, counts, 0.4, 0.2).tolist() == (
        ecoflap.kept(scores, counts, 0.4, 0.2).tolist()
    )
    found = ecoflap.kept([1000, 1, 1], [100, 100, 100], 0.4, 0.3)
    assert found[0] == 100
    assert 180 <= found.sum() <= 183
    assert ecoflap.kept([0, 0, 0], [100, 100, 100], 0.4, 0.3).tolist() == [60, 60, 60]
    assert ecoflap.kept([1, 0, 0], [100, 100, 100], 0.4, 0.3).tolist() == [100, 40, 40]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5000)), min_size=1, max_size=8),
    st.floats(0.02, 0.98),
)
def test_ecoflap_keeps_the_target_and_hardly_more(groups: Any, sparsity: float) -> None:
    scores, counts = zip(*groups, strict=True)

    found = ecoflap.kept(scores, counts, sparsity, 0.1)

    assert (found <= counts).all()
    wanted = int((1 - sparsity) * sum(counts))
    assert wanted <= found.sum() <= wanted + 2 * len(counts)  # rounded up at most twice over


def test_a_random_direction_sees_the_length_of_a_gradient() -> None:
    drawn = rng()
    gradient = drawn.normal(size=50)

    seen = np.abs(drawn.normal(size=(20_000, 50)) @ gradient)

    expected = np.linalg.norm(gradient) * math.sqrt(2 / math.pi)
    assert abs(seen.mean() - expected) < 3 * seen.std() / math.sqrt(len(seen))


@pytest.mark.slow
def test_scores_of_blocks_estimate_their_gradients(folders: Any) -> None:
    problem = problem_of(folders["llama"], variants=["gblm@0.5"], sizes=SIZES | {"calibration": 1})
    expected = [
        sum(float(problem.library.tensors[f"gradient.{block.index}.{p}"].norm())
            for _, p in layers_of([block])) * math.sqrt(2 / math.pi)
        for block in problem.pretrained.blocks
    ]  # fmt: skip

    drawn = rng()
    seen = np.array([ecoflap.ECoFLaP().scores(problem, drawn) for _ in range(100)])

    errors = 3 * seen.std(0) / math.sqrt(len(seen))
    assert (np.abs(seen.mean(0) - expected) < errors + 0.01 * np.array(expected)).all()


def test_ecoflap_repeats_with_its_stream_and_leaves_the_model_alone(
    llama: Mixed, bert: Mixed
) -> None:
    for problem in (llama, bert):
        before = {k: v.clone() for k, v in problem.pretrained.model.state_dict().items()}
        chosen = ecoflap.ECoFLaP(sequences=1)

        first, again = (chosen.scores(problem, rng()) for _ in range(2))
        other = chosen.scores(problem, stream(6, "allocate"))

        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert (first > 0).all()
        after = problem.pretrained.model.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in before.items())


def test_a_loss_that_is_no_number_is_told(llama: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = torch.full((1, 1), math.nan)
    monkeypatch.setattr(ecoflap, "_judged", lambda *args: broken)

    with pytest.raises(ModelError, match="the loss of llama is not finite"):
        ecoflap.ECoFLaP(sequences=1)(llama, 0.5, rng())


def test_no_step_shows_no_difference(llama: Mixed, bert: Mixed) -> None:
    for problem in (llama, bert):
        tiny = ecoflap.ECoFLaP(sequences=1, step=1e-30)  # lost in the weights' own rounding
        assert tiny.scores(problem, rng()).tolist() == [0, 0, 0]
        shares = tiny(problem, 0.5, rng())
        assert set(shares.values()) == {0.5}


def test_the_first_sequences_are_taken_and_counted(llama: Mixed, bert: Mixed) -> None:
    batches = text.first(llama, 2)
    (whole,) = llama.data.batches("calibration")

    assert torch.equal(torch.cat([b.ids for b in batches]), whole.ids[:2])
    assert text.tokens_in(batches) == 48
    assert text.first(llama, 3)[0] is whole
    assert ecoflap.ECoFLaP(sequences=2).tokens(llama) == 2 * 7 * 3 * 48
    padded = text.first(bert, 3)
    assert text.tokens_in(padded) == sum(int(b.mask.sum()) if b.mask is not None
                                         else b.ids.numel() for b in padded)  # fmt: skip
    with pytest.raises(ConfigError, match="sequences must be at least 1, got 0"):
        text.first(llama, 0)


# ---- NeuroAL


def test_the_ramp_by_hand() -> None:
    np.testing.assert_allclose(neuroal.ramp(5, 0.7, 0.1), [0.6, 0.65, 0.7, 0.75, 0.8], atol=1e-12)
    np.testing.assert_allclose(neuroal.ramp(3, 0.9, 0.25), [0.65, 0.9, 0.99])
    assert neuroal.ramp(1, 0.7, 0.1).tolist() == [0.7]
    assert neuroal.ramp(4, 0.7, 0.0).tolist() == [0.7] * 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0.35, 0.65))
def test_rows_have_the_mean_of_their_layer(alignment: Any, sparsity: float) -> None:
    given_, spread = np.array(alignment), 0.15

    found = neuroal.rows(given_, sparsity, spread)

    assert found.mean() == pytest.approx(sparsity, abs=1e-12)
    if given_.sum() != 0 and np.ptp(given_) > 1e-6:
        assert np.ptp(found) == pytest.approx(2 * spread)
        assert found[given_.argmax()] == found.min()


def test_rows_that_do_not_differ_are_uniform() -> None:
    for alignment in (np.zeros(4), np.full(4, 0.3), np.array([1.0, -1.0])):
        assert (neuroal.rows(alignment, 0.7, 0.2) == 0.7).all()
    assert (neuroal.rows(np.array([0.0, 1.0]), 0.7, 0.0) == 0.7).all()
    np.testing.assert_allclose(neuroal.rows(np.array([0.0, 1, 2]), 0.9, 0.2), [0.99, 0.9, 0.7])


def test_who_reads_the_rows_of_a_layer() -> None:
    layouts = {layout.name: layout for layout in LAYOUTS}
    paths = (*layouts["llama"].attention_linears, *layouts["llama"].feed_forward_linears)
    llama = {path: neuroal.reader_of(layouts["llama"], path) for path in paths}

    assert llama == {
        "self_attn.q_proj": "self_attn.o_proj", "self_attn.k_proj": "self_attn.o_proj",
        "self_attn.v_proj": "self_attn.o_proj", "self_attn.o_proj": "mlp.gate_proj",
        "mlp.gate_proj": "mlp.down_proj", "mlp.up_proj": "mlp.down_proj", "mlp.down_proj": None,
    }  # fmt: skip
    opt = layouts["opt"]
    assert neuroal.reader_of(opt, "self_attn.out_proj") == "fc1"
    assert neuroal.reader_of(opt, "fc1") == "fc2"
    assert neuroal.reader_of(opt, "fc2") is None


def test_nothing_pruned_is_nothing_out_of_line(llama: Mixed, bert: Mixed) -> None:
    for problem in (llama, bert):
        nothing = dict.fromkeys(allocate.shapes(problem), 0.0)

        total, alignment = neuroal.Trial(problem, 2, find("wanda"))(nothing)

        assert total == 0
        assert all((a == 0).all() for a in alignment.values())


def test_layers_before_any_pruned_one_stay_in_line(llama: Mixed) -> None:
    half = dict.fromkeys(allocate.shapes(llama), 0.5)

    total, alignment = neuroal.Trial(llama, 2, find("wanda"))(half)

    assert total > 0
    for block in range(3):
        for path in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            assert (alignment[block, path] == 0).all()
        assert torch.equal(alignment[block, "mlp.gate_proj"], alignment[block, "mlp.up_proj"])
        assert (alignment[block, "mlp.down_proj"] != 0).any()


def test_a_trial_by_one_model_at_a_time(bert: Mixed) -> None:
    """Whole pruned copies, block after block, on unpadded sentences one by one."""
    import copy

    shares = dict(zip(allocate.shapes(bert), np.linspace(0.2, 0.7, 18), strict=True))
    batches, model = text.first(bert, 3), copy.deepcopy(bert.pretrained.model)
    blocks = model.get_submodule(bert.pretrained.blocks_path)
    sentences = []
    for batch in batches:
        mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        sentences += [ids[real.bool()] for ids, real in zip(batch.ids, mask, strict=True)]
    layers, total = layers_of(bert.pretrained.blocks), 0.0
    for block in bert.pretrained.blocks:
        own = [path for b, path in layers if b.index == block.index]
        dense = _norms_one_by_one(model, blocks[block.index], own, sentences)
        for path in own:
            layer, share = blocks[block.index].get_submodule(path), shares[block.index, path]
            for row in layer.weight.data:
                order = torch.argsort(row.abs() * dense[path].float(), stable=True)
                row[order[: int(len(row) * share)]] = 0
        pruned = _norms_one_by_one(model, blocks[block.index], own, sentences)
        for path in own:
            a, b = dense[path] / dense[path].sum(), pruned[path] / pruned[path].sum()
            total += float((a - b).norm()) / len(a)

    found, _ = neuroal.Trial(bert, 3, SCORERS["wanda"])(shares)

    assert found == pytest.approx(total, rel=1e-4)


def _norms_one_by_one(model: Any, block: Any, paths: Any, sentences: Any) -> Any:
    sums: dict[str, Any] = dict.fromkeys(paths, 0)

    def see(path: str) -> Any:
        def hook(module: Any, given: Any) -> None:
            sums[path] = sums[path] + given[0].double().square().sum((0, 1)) / len(sentences)

        return hook

    handles = [block.get_submodule(p).register_forward_pre_hook(see(p)) for p in paths]
    with torch.inference_mode():
        for ids in sentences:
            model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None])
    for handle in handles:
        handle.remove()
    return {path: total.sqrt() for path, total in sums.items()}


def test_without_spread_neuroal_prunes_as_wanda_does(llama: Mixed) -> None:
    block, path = llama.pretrained.blocks[0], "mlp.down_proj"
    share = float(neuroal.ramp(3, 0.7, 0.0)[0])
    rows = neuroal.rows(np.arange(32.0), share, 0.0)
    trial = neuroal.Trial(llama, 3, find("wanda"))

    norms = {path: llama.library.norms(block, path)}
    pruned = trial._pruned(block, norms, {(0, path): rows})[path]

    uniform = gone_from(llama.library.scores("wanda", block, path), "row", [0.7]) == 0
    weight = matrix(get(block.module, path))
    assert torch.equal(matrix(pruned), weight.masked_fill(uniform, 0))


def test_neuroal_takes_the_best_ramp_then_the_best_rows(
    llama: Mixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuroal, "BLOCK_SPREADS", (0.02, 0.1, 0.2))
    monkeypatch.setattr(neuroal, "ROW_SPREADS", (0.0, 0.05))
    trial = neuroal.Trial(llama, 2, find("wanda"))
    ramps = [allocate.by_block(llama, neuroal.ramp(3, 0.6, s)) for s in (0.02, 0.1, 0.2)]
    judged = [trial(one) for one in ramps]
    chosen = ramps[best := int(np.argmin([total for total, _ in judged]))]

    assert neuroal.NeuroAL("block", sequences=2)(llama, 0.6, rng()) == chosen

    spread = neuroal.spread_rows(llama, chosen, judged[best][1], 0.05)
    found = neuroal.NeuroAL(sequences=2)(llama, 0.6, rng())
    expected = spread if trial(spread)[0] < trial(chosen)[0] else chosen
    assert all(np.array_equal(found[layer], expected[layer]) for layer in expected)
    means = [float(np.mean(found[layer])) for layer in found]
    assert means == pytest.approx([float(np.mean(chosen[layer])) for layer in chosen], abs=1e-12)


def test_rows_are_spread_where_their_reader_fits(llama: Mixed) -> None:
    shares = dict.fromkeys(allocate.shapes(llama), 0.6)
    _, alignment = neuroal.Trial(llama, 2, find("wanda"))(shares)

    found = neuroal.spread_rows(llama, shares, alignment, 0.1)

    spread = {layer for layer, share in found.items() if isinstance(share, np.ndarray)}
    paths = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj")
    assert spread == {(block, path) for block in (0, 1) for path in paths}  # 4 heads on 2 groups
    assert neuroal.spread_rows(llama, shares, alignment, 0.0) == shares


def test_steep_ramps_are_left_out_at_high_sparsity() -> None:
    chosen = neuroal.NeuroAL()

    assert chosen._ramps(0.79) == neuroal.BLOCK_SPREADS
    assert chosen._ramps(0.8) == neuroal.BLOCK_SPREADS[:-1]
    assert replace(chosen, step="row")._ramps(0.5) == (0.0,)


def test_neuroal_counts_its_trials(llama: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuroal, "BLOCK_SPREADS", (0.1, 0.2))
    monkeypatch.setattr(neuroal, "ROW_SPREADS", (0.0, 0.1, 0.2))
    calls: list[int] = []
    plain = neuroal.Trial.__call__
    monkeypatch.setattr(
        neuroal.Trial, "__call__", lambda self, shares: (calls.append(1), plain(self, shares))[1]
    )
    for step in ("both", "block", "row"):
        calls.clear()
        chosen = neuroal.NeuroAL(step, sequences=1)
        chosen(llama, 0.5, rng())
        assert chosen.tokens(llama) == 2 * len(calls) * 24


# ---- somebody else's


@dataclass(frozen=True)
class Rising:
    """Later blocks lose more."""

    def __call__(self, problem: Mixed, sparsity: float, rng: Any) -> Any:
        return allocate.by_block(problem, np.linspace(sparsity - 0.2, sparsity + 0.2, 3))


def test_the_share_of_all_weights_counts_layers_by_their_size(llama: Mixed) -> None:
    found = Rising()(llama, 0.5, rng())
    counts = allocate.weight_counts(llama)

    assert allocate.realised(found, counts) == pytest.approx(0.5)
    small = {layer: 1.0 if "k_proj" in layer[1] else 0.0 for layer in counts}
    assert allocate.realised(small, counts) == pytest.approx(16 * 32 / (3072 + 3 * 2048))
