"""Published scorers against worked examples, loops and counts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import EACH, ENCODERS, checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.errors import ConfigError, ModelError
from problems.pruning import gradients, models, variants
from problems.pruning.data import Batch
from problems.pruning.importance import SCORERS, find, gone_by_count, gone_from, n_of_m
from problems.pruning.importance.multiflow import pooled_counts
from problems.pruning.layouts import get, matrix
from problems.pruning.listening import layers_of
from problems.pruning.searches import Mixed

SIZES = {"calibration": 2, "search": 4, "validation": 2}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> str:
    return str(checkpoint("llama", tmp_path_factory.mktemp("models") / "llama"))


def problem_of(folder: str, kinds: Any, **more: Any) -> Mixed:
    more = {"cache": "off", "length": 24, "sizes": SIZES} | more
    return Mixed(model=folder, variants=kinds, **more)


def built(problem: Mixed, site: int, name: str) -> dict[str, torch.Tensor]:
    """Weights of a site under one of its variants, (d_out, d_in) by path."""
    (variant,) = [v for v in problem.table.sites[site].variants if v.name == name]
    return {path: matrix(layer) for path, layer in variant.build().items()}


def dense(problem: Mixed, site: int) -> dict[str, torch.Tensor]:
    place = problem.table.sites[site].place
    return {path: matrix(get(place.block.module, path)) for path in place.linears}


# ---- RIA

WEIGHT = torch.tensor([[4.0, -1.0, 2.0, 3.0], [1.0, 5.0, -2.0, 2.0]])
NORMS = torch.tensor([1.0, 4.0, 9.0, 16.0])


def test_ria_by_hand() -> None:
    shares = [[0.8 + 0.4, 1 / 6 + 0.1, 0.5 + 0.2, 0.6 + 0.3],
              [0.2 + 0.1, 5 / 6 + 0.5, 0.5 + 0.2, 0.4 + 0.2]]  # fmt: skip

    scores = SCORERS["ria"].score(WEIGHT, NORMS)

    np.testing.assert_allclose(scores, np.array(shares) * [1, 2, 3, 4], rtol=1e-6)
    gone = gone_from(scores, SCORERS["ria"].rule, [0.25]).eq(0)  # int(8 * 0.25) + 1 of all
    assert gone.tolist() == [[True, True, False, False], [True, False, False, False]]


def test_the_exponent_of_ria_is_a_setting() -> None:
    plain, alone, linear = (
        find(name).score(WEIGHT, NORMS)
        for name in ("ria(exponent=0.5)", "ria(exponent=0)", "ria(exponent=1)")
    )

    assert torch.equal(plain, SCORERS["ria"].score(WEIGHT, NORMS))
    assert float(alone.sum()) == pytest.approx(2 + 4)  # one per row and one per column
    torch.testing.assert_close(linear, alone * NORMS)


def test_ria_does_not_see_the_scale_of_a_matrix_and_survives_zeros() -> None:
    weight = random(6, 8)
    weight[2], weight[:, 5] = 0, 0

    scores = SCORERS["ria"].score(weight, NORMS.repeat(2))

    torch.testing.assert_close(SCORERS["ria"].score(-7 * weight, NORMS.repeat(2)), scores)
    assert scores.isfinite().all()
    assert torch.equal(scores == 0, weight == 0)


def test_ria_keeps_what_matters_in_a_small_column() -> None:
    weight = torch.tensor([[8.0, 0.9, 1.0, 9.0], [9.0, 0.1, 5.0, 8.0]])

    ria, wanda = (n_of_m(SCORERS[s].score(weight, torch.ones(4)), 2, 4) for s in ("ria", "wanda"))

    assert wanda.tolist() == [[False, True, True, False]] * 2
    assert ria.tolist() == [[True, False, True, False], [False, True, False, True]]


# ---- whole numbers of weights in a row


@pytest.mark.parametrize(("counts", "expected"), [("down", [3, 7, 14]), ("nearest", [4, 8, 14])])
def test_counts_by_hand(counts: str, expected: list[int]) -> None:
    scores = random(5, 20)
    levels = [0.19, 0.375, 0.7]  # of 20: 3.8, 7.5 (the even neighbour), 14

    code = gone_from(scores, "row", levels, counts)

    for level, count in enumerate(expected):
        for row, marks in zip(scores, code, strict=True):
            assert set(np.flatnonzero(marks <= level)) == set(np.argsort(row.numpy())[:count])


@pytest.mark.parametrize("scorer", ["wanda", "magnitude-row", "ria-row"])
def test_counts_are_a_setting_of_all_that_go_row_by_row(scorer: str, folder: str) -> None:
    names = [scorer, f"{scorer}(counts=down)", f"{scorer}(counts=nearest)"]
    problem = problem_of(folder, [f"{name}@0.3" for name in names])

    for path, weight in dense(problem, 0).items():
        zeros = [(built(problem, 0, f"{name}-0.3")[path] == 0).sum(1) for name in names]
        width = weight.shape[1]
        for found, count in zip(zeros, [int(width * 0.3)] * 2 + [round(width * 0.3)], strict=True):
            assert found.eq(count).all()
    assert int(32 * 0.3) != round(32 * 0.3)
    assert find(scorer).counts == "down"


# ---- MULTIFLOW


def test_multiflow_by_hand() -> None:
    weight, norms = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, -1.0]]), torch.tensor([2.0, 1, 3])
    rows, columns = [(2 + 2 + 1.5) / 3, (0 + 1 + 3) / 3], [1.0, 1.5, 2.25]
    expected = [[abs(float(w)) * r * c for w, c in zip(row, columns, strict=True)]
                for row, r in zip(weight, rows, strict=True)]  # fmt: skip

    scores = SCORERS["multiflow"].score(weight, norms)

    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    np.testing.assert_allclose(scores, [[1.83333, 5.5, 2.0625], [0, 2, 3]], atol=1e-5)
    kept = gone_by_count(scores, [3]) > 0
    assert kept.tolist() == [[False, True, True], [False, False, True]]


def counts_by_sorting(weights: list[torch.Tensor], share: float) -> list[int]:
    """All magnitudes in one list, ties in order of the matrices."""
    every = [(abs(float(x)), i) for i, w in enumerate(weights) for x in w.flatten()]
    first = sorted(every)[: int(len(every) * share)]
    return [sum(i == j for _, j in first) for i in range(len(weights))]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7)), min_size=1, max_size=4),
    st.lists(st.floats(0, 0.999), min_size=1, max_size=3),
    st.integers(0, 99),
    st.booleans(),
)
def test_pooled_counts_are_those_of_one_sorted_list(
    shapes: Any, levels: Any, seed: int, tied: bool
) -> None:
    weights = [random(*shape, seed=seed + i) * (i + 1) for i, shape in enumerate(shapes)]
    weights = [w.round() if tied else w for w in weights]

    found = pooled_counts(weights, levels)

    assert found == [counts_by_sorting(weights, level) for level in levels]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pooled_counts_of_close_weights_in_every_type(dtype: torch.dtype) -> None:
    near = 1 + torch.arange(-40, 40).reshape(8, 10) * 2.0**-10  # same upper bits
    weights = [near.to(dtype), (-near[:4] * 1.01).to(dtype), torch.zeros(2, 3).to(dtype)]

    found = pooled_counts(weights, [0.0, 0.03, 0.3, 0.7])

    assert found == [counts_by_sorting(weights, s) for s in (0.0, 0.03, 0.3, 0.7)]
    assert found[0] == [0, 0, 0]


def test_counted_codes_are_exact_nested_and_take_the_lowest() -> None:
    scores = random(5, 8).abs().round(decimals=1)  # with ties

    code = gone_by_count(scores, [0, 7, 7, 30])

    assert [int((code <= i).sum()) for i in range(4)] == [0, 7, 7, 30]
    assert scores[code <= 2].max() <= scores[code > 2].min()
    assert code.dtype == torch.uint8
    assert gone_by_count(torch.ones(2, 3), [2]).tolist() == [[0, 0, 1], [1, 1, 1]]


def test_multiflow_takes_its_share_of_the_whole_model_not_of_each_layer(folder: str) -> None:
    problem = problem_of(folder, ["multiflow@0.3,0.6"], sites="linear")
    sites = range(len(problem.table))
    layers = [next(iter(dense(problem, s).values())) for s in sites]
    pool = torch.cat([w.abs().flatten() for w in layers]).sort().values

    for level in (0.3, 0.6):
        k = int(len(pool) * level)
        wanted = [int((w.abs() <= pool[k - 1]).sum()) for w in layers]
        zeros = []
        for s, weight in zip(sites, layers, strict=True):
            ((path, made),) = built(problem, s, f"multiflow-{level:g}").items()
            zeros.append(int((made == 0).sum()))
            norms = problem.library.norms(problem.table.sites[s].place.block, path)
            flow = weight.abs() * norms
            scores = flow.mean(1, keepdim=True) * weight.abs() * flow.mean(0)
            assert scores[made == 0].max() <= scores[made != 0].min() * (1 + 1e-6)
            assert torch.equal(made[made != 0], weight[made != 0])
        assert zeros == wanted
        assert sum(zeros) == k
        assert len({z / w.numel() for z, w in zip(zeros, layers, strict=True)}) > 1
        names = [[v.name for v in site.variants] for site in problem.table.sites]
        params = [problem.table.params[s, n.index(f"multiflow-{level:g}")]
                  for s, n in enumerate(names)]  # fmt: skip
        assert problem.table.params[:, 0].sum() - sum(params) == k


# ---- GBLM


def test_gblm_by_hand() -> None:
    weight, norms = torch.tensor([[1.0, -2.0, 3.0, -4.0]]), torch.tensor([8.0, 1.0, 1.0, 1.0])
    slopes = torch.tensor([[0.0, 3.0, 0.0, 0.0]])

    scores = find("gblm(scale=1)").score(weight, norms, slopes)

    assert scores.tolist() == [[8, 8, 3, 4]]
    assert gone_from(scores, SCORERS["gblm"].rule, [0.5]).eq(0).tolist() == [
        [False, False, True, True]
    ]
    alone = find("gblm(scale=0)").score(weight, norms, slopes)
    assert torch.equal(alone, SCORERS["wanda"].score(weight, norms))


def test_gblm_mixes_like_the_published_pruner_at_its_number_of_sequences() -> None:
    x, slopes = random(128, 6), random(128, 3, 6, seed=1) / 900  # one token per sequence
    weight = random(3, 6, seed=2)
    published = weight.abs() * (x.square().mean(0).sqrt() + (100 * slopes).square().sum(0).sqrt())

    scores = SCORERS["gblm"].score(weight, x.norm(dim=0), slopes.norm(dim=0))

    torch.testing.assert_close(scores, published * 128**0.5)


def batches_of(*shapes: tuple[int, int]) -> list[Batch]:
    rng = torch.Generator().manual_seed(3)
    return [Batch(torch.randint(3, 200, shape, generator=rng), None) for shape in shapes]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradients_are_those_of_one_loss_per_sequence(family: str, tmp_path: Path) -> None:
    pretrained = models.load(str(checkpoint(family, tmp_path / family)))
    batches = batches_of((2, 9), (1, 14))
    before = {k: (p, p.clone()) for k, p in pretrained.model.named_parameters()}

    found = gradients.build(pretrained, batches, calibration_id="x", cache=None)

    other = copy.deepcopy(pretrained.model).requires_grad_(True)
    squares: dict[str, Any] = {}
    for row in [row for batch in batches for row in batch.ids]:
        other.zero_grad()
        other(row[None], labels=row[None]).loss.backward()
        for name, p in other.named_parameters():
            squares[name] = squares.get(name, 0) + p.grad.double().square()
    assert len(found) == sum(len(layers_of([block])) for block in pretrained.blocks)
    for block, path in layers_of(pretrained.blocks):
        wanted = squares[f"{pretrained.blocks_path}.{block.index}.{path}.weight"].sqrt()
        wanted = wanted.t() if family == "gpt2" else wanted
        made = found[gradients.name_of(block, path)]
        assert made.shape == matrix(get(block.module, path)).shape
        torch.testing.assert_close(made.double(), wanted, rtol=1e-3, atol=1e-7)
    for name, p in pretrained.model.named_parameters():
        assert p is before[name][0]
        assert torch.equal(p, before[name][1])
        assert p.grad is None
        assert not p.requires_grad


def test_padding_takes_no_part_in_gradients(folder: str) -> None:
    pretrained = models.load(folder)
    (batch,) = batches_of((2, 12))
    mask = torch.arange(12) < torch.tensor([7, 12])[:, None]
    alone = [Batch(batch.ids[:1, :7], None), Batch(batch.ids[1:], None)]

    found, wanted = (
        gradients.build(pretrained, given, calibration_id="x", cache=None)
        for given in ([Batch(batch.ids, mask)], alone)
    )

    assert all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_gblm_in_a_model(folder: str) -> None:
    problem = problem_of(folder, "gblm@0.5, gblm(scale=0)@0.5, wanda@0.5, 2:4@gblm")
    block = problem.table.sites[1].place.block

    for path, weight in dense(problem, 1).items():
        gradient = problem.library.tensors[gradients.name_of(block, path)]
        scores = SCORERS["gblm"].score(weight, problem.library.norms(block, path), gradient)
        halves = built(problem, 1, "gblm-0.5")[path]
        assert torch.equal(halves == 0, gone_from(scores, "row", [0.5]) == 0)
        fours = built(problem, 1, "2:4@gblm")[path]
        assert torch.equal(fours == 0, n_of_m(scores, 2, 4))
        alone, wanda = (built(problem, 1, f"{n}-0.5")[path] for n in ("gblm(scale=0)", "wanda"))
        assert torch.equal(alone, wanda)
        assert not torch.equal(halves, wanda)


@pytest.mark.parametrize("kind", ["gblm@0.5", "2:4@gblm"])
def test_gradients_are_computed_once(
    kind: str, folder: str, tmp_path: Path, monkeypatch: Any
) -> None:
    calls, real = [], gradients._norms
    monkeypatch.setattr(gradients, "_norms", lambda *a: calls.append(1) or real(*a))
    cache = str(tmp_path / "cache")

    first = problem_of(folder, [kind], cache=cache)
    again = problem_of(folder, [kind, "gblm@0.3"], cache=cache)
    problem_of(folder, ["wanda@0.3"])

    assert len(calls) == 1
    assert len(list(Path(cache).glob("gradients-*.safetensors"))) == 1
    name = next(k for k in first.library.tensors if k.startswith("gradient."))
    assert torch.equal(first.library.tensors[name], again.library.tensors[name])
    problem_of(folder, [kind], cache=cache, seed=1)  # another text
    assert len(calls) == 2


def test_gradients_of_quantised_weights_are_refused(folder: str) -> None:
    pretrained = models.load(folder)
    layer: Any = get(pretrained.blocks[1].module, "mlp.up_proj")
    layer.weight = torch.nn.Parameter(layer.weight.mul(9).to(torch.int8), requires_grad=False)

    with pytest.raises(ConfigError) as caught:
        gradients.build(pretrained, [], calibration_id="", cache=None)

    assert caught.value.message == (
        "gradients were asked of a model that has none: mlp.up_proj of block 1 holds quantised "
        "torch.int8 numbers"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the loss of llama does not depend on its weights"),
        ("model.layers.1.self_attn", "the loss does not depend on self_attn.q_proj of block 1"),
    ],
)
def test_gradients_that_do_not_arrive_are_refused(path: str, message: str, folder: str) -> None:
    pretrained = models.load(folder)
    module = pretrained.model.get_submodule(path)
    module.forward = torch.no_grad()(module.forward)  # as fused kernels without a backward pass do
    batch = Batch(torch.arange(12).reshape(1, 12), None)

    with pytest.raises(ConfigError) as caught:
        gradients.build(pretrained, [batch], calibration_id="", cache=None)

    assert caught.value.message == f"gradients were asked of a model that has none: {message}"
    assert "without gradients" in str(caught.value.hint)


@pytest.mark.parametrize("kind", ["gblm@0.5", "2:4@gblm", "gblm(scale=1)"])
def test_gblm_needs_a_language_model(kind: str, tmp_path: Path) -> None:
    folder = str(checkpoint("bert", tmp_path / "bert"))

    with pytest.raises(ConfigError) as caught:
        problem_of(folder, [kind])

    assert caught.value.message == (
        "scorer 'gblm' needs a language model's loss, but bert is an encoder"
    )
    assert "wanda" in str(caught.value.hint)


def test_gradients_that_are_not_finite_are_named(folder: str, monkeypatch: Any) -> None:
    real = gradients._loss
    monkeypatch.setattr(gradients, "_loss", lambda *args: real(*args) * torch.inf)

    with pytest.raises(ModelError, match=r"gradients of self_attn\.q_proj of block 0 are not"):
        problem_of(folder, ["gblm@0.5"])


# ---- through the door


@pytest.mark.parametrize(
    ("text", "name", "scorer", "levels"),
    [
        ("ria@0.5", "ria", "ria", (0.5,)),
        ("ria-row@0.5", "ria-row", "ria-row", (0.5,)),
        ("ria(exponent=0.25)@0.5", "ria(exponent=0.25)", "ria(exponent=0.25)", (0.5,)),
        ("multiflow", "multiflow", "multiflow", (0.3, 0.4, 0.5, 0.6, 0.7)),
        ("2:4@ria", "2:4@ria", None, ()),
        ("2:4@ria(exponent=1)", "2:4@ria(exponent=1)", None, ()),
        ("4:8@multiflow", "4:8@multiflow", None, ()),
        ("gblm@0.5", "gblm", "gblm", (0.5,)),
        ("gblm(scale=100)@0.5", "gblm(scale=100)", "gblm(scale=100)", (0.5,)),
    ],
)
def test_scorers_by_name(text: str, name: str, scorer: Any, levels: Any) -> None:
    asked = variants.parse(text)

    assert (asked.kind.name, asked.kind.scorer, asked.levels) == (name, scorer, levels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2:4@rio", "2:4@rio: no scorer called 'rio'; known: wanda, magnitude, magnitude-row, ria"),
        ("magnitude(counts=down)", "'magnitude' has no setting 'counts'; its settings: none"),
        ("wanda(counts=up)", "counts of scorer 'wanda' must be 'down' or 'nearest', got 'up'"),
        ("2:4@wanda(counts=nearest)", "counts plays no part, since 2 of every 4 weights go"),
        ("ria(power=1)@0.5", "scorer 'ria' has no setting 'power'; its settings: exponent"),
        ("wanda(exponent=1)", "scorer 'wanda' has no setting 'exponent'; its settings: counts"),
        ("2:4@ria(exponent=x)", "exponent of scorer 'ria' must be a number of at least 0, got 'x'"),
        ("ria(exponent=-1)", "exponent of scorer 'ria' must be a number of at least 0, got '-1'"),
        ("ria(exponent=inf)", "must be a number of at least 0, got 'inf'"),
        ("ria(exponent=0.5", "no kind of variant called 'ria(exponent=0.5'"),
        ("ria()", "settings of variant 'ria' are name=value, got ''"),
        ("sparsegpt@1.0", "'sparsegpt@1.0': levels must be numbers between 0 and 1"),
        ("4:4@sparsegpt", "4:4 is not a sparsity pattern"),
        ("2:4@sparsgpt", "2:4@sparsgpt: no scorer called 'sparsgpt'; known: wanda"),
        ("2:4@sparsgpt", ", sparsegpt"),
    ],
)
def test_names_that_lead_nowhere(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        variants.parse(text)

    assert message in caught.value.message


def test_new_scorers_are_offered_by_the_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        variants.parse("multflow")
    with pytest.raises(ConfigError) as other:
        variants.parse("xyz")

    assert caught.value.hint == "did you mean 'multiflow'?"
    assert all(name in str(other.value.hint) for name in variants.names())
    assert set(SCORERS) < set(variants.names())


def test_ria_in_a_model(folder: str) -> None:
    problem = problem_of(folder, "ria@0.5, ria(exponent=0)@0.5, ria-row@0.5, 2:4@ria")
    weights = dense(problem, 1)
    halves = {name: built(problem, 1, f"{name}-0.5") for name in ("ria", "ria(exponent=0)")}

    for path, weight in weights.items():
        norms = problem.library.norms(problem.table.sites[1].place.block, path)
        scores = SCORERS["ria"].score(weight, norms)
        threshold = scores.flatten().sort().values[weight.numel() // 2]
        assert torch.equal(halves["ria"][path], weight.where(scores > threshold, 0))
        assert (built(problem, 1, "ria-row-0.5")[path] == 0).sum(1).eq(weight.shape[1] // 2).all()
        fours = built(problem, 1, "2:4@ria")[path].reshape(len(weight), -1, 4)
        assert (fours == 0).sum(2).eq(2).all()
        assert not torch.equal(halves["ria"][path], halves["ria(exponent=0)"][path])


def test_a_setting_is_part_of_what_is_kept(folder: str, tmp_path: Path) -> None:
    kept = str(tmp_path / "cache")
    first = problem_of(folder, ["ria(exponent=0)@0.5"], cache=kept)
    again = problem_of(folder, ["ria(exponent=0)@0.5"], cache=kept)
    other = problem_of(folder, ["ria(exponent=1)@0.5"], cache=kept)

    weights = [next(iter(built(p, 0, p.table.sites[0].variants[1].name).values()))
               for p in (first, again, other)]  # fmt: skip
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert len(list(Path(kept).iterdir())) == 2


@pytest.mark.parametrize("family", EACH)
def test_every_family_takes_them_in_half_precision(family: str, tmp_path: Path) -> None:
    kinds = ["multiflow@0.5", "ria-row@0.25", "sparsegpt@0.5", "1:4@sparsegpt"]
    kinds += [] if family in ENCODERS else ["gblm@0.75"]
    shares = {"ria-row-0.25": 0.25, "sparsegpt-0.5": 0.5, "1:4@sparsegpt": 0.25, "gblm-0.75": 0.75}
    folder = str(checkpoint(family, tmp_path / family))

    problem = problem_of(folder, kinds, sites="linear", dtype="bfloat16")

    pooled = total = 0
    for site in problem.table.sites:
        for variant in site.variants[1:]:
            (weight,) = (matrix(layer) for layer in variant.build().values())
            zeros = int((weight == 0).sum())
            assert weight.isfinite().all()
            assert weight.dtype == torch.bfloat16
            if variant.name == "multiflow-0.5":
                pooled, total = pooled + zeros, total + weight.numel()
                continue
            exact = int(weight.numel() * shares[variant.name])
            assert exact <= zeros <= exact + 8 * (variant.name == "sparsegpt-0.5")  # and ties
    assert pooled == total // 2
