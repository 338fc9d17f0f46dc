"""Every family: the sweep against one model at a time, and against masking with zeros."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from families import EVERY, checkpoint

from evo import Context, Genomes
from problems.pruning.cost import pruned_model
from problems.pruning.layouts import get, matrix
from problems.pruning.searches import Mixed
from problems.pruning.sweep import Sweep

KINDS = ["removal", "heads@0.5", "width@0.25,0.5", "wanda@0.5", "2:4", "magnitude@0.3"]
SIZES = {"calibration": 4, "search": 10, "validation": 2}


@pytest.fixture(scope="module", params=EVERY)
def problem(request: Any, tmp_path_factory: Any) -> Mixed:
    folder = checkpoint(request.param, tmp_path_factory.mktemp("models") / request.param)
    return Mixed(model=str(folder), variants=KINDS, length=24, sizes=SIZES, cache="off")


def population(problem: Mixed, n: int = 14) -> np.ndarray:
    """Random genomes with shared prefixes, the dense one, and each variant at least once."""
    rng = np.random.default_rng(3)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(n)]).astype(np.int16)
    rows[0] = 0
    rows[1] = np.array(problem.table.sizes) - 1
    rows[2:9] = np.arange(7)[:, None] % np.array(problem.table.sizes)
    rows[10] = rows[9]
    rows[10, -1] = (rows[9, -1] + 1) % problem.table.sizes[-1]
    return rows


def judge(problem: Mixed, model: Any) -> np.ndarray:
    """Numbers per sequence from an ordinary forward pass of a whole model."""
    reader, sweep, found = problem.reader("search"), problem.sweep(), []
    with torch.inference_mode():
        for i, batch in enumerate(problem.data.batches("search")):
            output = model(**sweep._inputs(batch))
            what = output.logits if problem.kind == "lm" else output.last_hidden_state
            found.append(reader(i, batch, what))
    return torch.cat(found).numpy()


def masked_copy(problem: Mixed, row: np.ndarray) -> Any:
    """The candidate as a deep copy with zeros where the variant cuts; shapes stay dense."""
    model = copy.deepcopy(problem.pretrained.model)
    blocks = model.get_submodule(problem.pretrained.blocks_path)
    for site, choice in zip(problem.table.sites, row, strict=True):
        variant, block = site.variants[choice], blocks[site.depth]
        layout, heads = site.place.block.layout, site.place.block.heads
        last = get(block, layout.output if site.kind == "attention" else layout.down)
        weight = matrix(last)
        if variant.kind == "removal":
            weight.zero_()
            if last.bias is not None:
                last.bias.data.zero_()
        elif variant.kind == "width":
            kept = problem.library.neurons(site.place.block)[: variant.shape["intermediate_size"]]
            gone = torch.ones(weight.shape[1], dtype=torch.bool)
            gone[kept] = False
            weight[:, gone] = 0
        elif variant.kind == "heads":
            kept = problem.library.groups(site.place.block)[: variant.shape["num_key_value_heads"]]
            gone = torch.ones(heads.groups, dtype=torch.bool)
            gone[kept] = False
            weight[:, gone.repeat_interleave(heads.per_group * heads.size)] = 0
        elif variant.sparsity:
            for path in site.place.linears:
                mask_lowest(problem, site.place.block, path, matrix(get(block, path)), variant.name)
    return model


def mask_lowest(problem: Mixed, block: Any, path: str, weight: torch.Tensor, name: str) -> None:
    """Zero the lowest scores by sorting anew, row by row, group by group or over the matrix."""
    score = weight.abs()
    if not name.startswith("magnitude"):
        score = score * problem.library.norms(block, path)
    if name == "2:4":
        for row in range(weight.shape[0]):
            for start in range(0, weight.shape[1], 4):
                lowest = score[row, start : start + 4].sort(stable=True).indices[:2] + start
                weight[row, lowest] = 0
    elif name == "wanda-0.5":
        for row in range(weight.shape[0]):
            weight[row, score[row].sort(stable=True).indices[: weight.shape[1] // 2]] = 0
    else:
        threshold = score.flatten().sort().values[int(score.numel() * 0.3)]
        weight[score <= threshold] = 0


def test_sweep_equals_one_model_at_a_time(problem: Mixed) -> None:
    rows = population(problem)

    swept = problem.sweep()(rows, problem.data.batches("search"), problem.reader("search"))

    for row, got in zip(rows, swept, strict=True):
        model = pruned_model(problem.pretrained, problem.table, row)
        np.testing.assert_allclose(got, judge(problem, model), atol=1e-6)
    assert np.ptp(swept[:, :, -1].mean(1)) > 0.1  # the choices matter


def test_cutting_equals_masking_with_zeros(problem: Mixed) -> None:
    rows = population(problem)[:10]

    swept = problem.sweep()(rows, problem.data.batches("search"), problem.reader("search"))

    with torch.no_grad():
        for row, got in zip(rows, swept, strict=True):
            np.testing.assert_allclose(got, judge(problem, masked_copy(problem, row)), atol=2e-5)


def test_all_orders_and_every_chunk_agree(problem: Mixed) -> None:
    rows, batches = population(problem), problem.data.batches("search")
    reader = problem.reader("search")
    depth = Sweep(problem.pretrained, problem.table, order="depth")(rows, batches, reader)

    breadth = Sweep(problem.pretrained, problem.table, order="breadth")(rows, batches, reader)
    layer = Sweep(problem.pretrained, problem.table, order="layer")(rows, batches, reader)
    parts = [problem.sweep()(rows[i : i + 5], batches, reader) for i in range(0, len(rows), 5)]

    np.testing.assert_allclose(breadth, depth, atol=1e-6)
    np.testing.assert_array_equal(layer, depth)  # the same products
    np.testing.assert_allclose(np.concatenate(parts), depth, atol=1e-6)


def test_states_kept_from_the_parents_change_nothing(problem: Mixed) -> None:
    rows, batches = population(problem), problem.data.batches("search")
    children = rows.copy()
    children[:, -1] = (children[:, -1] + 1) % problem.table.sizes[-1]
    reader = problem.reader("search")
    fresh = Sweep(problem.pretrained, problem.table, order="depth")
    wanted = fresh(children, batches, reader)
    recalled = []
    for budget in (0, 1_000_000, 2_000_000):
        kept = Sweep(problem.pretrained, problem.table, order="depth", states=budget)
        kept(rows, batches, reader)
        got = kept(children, batches, reader)

        np.testing.assert_allclose(got, wanted, atol=1e-6)
        assert kept._states.used <= budget
        recalled.append(kept.tally.recalled)
    assert recalled[0] == 0
    assert 0 < recalled[1] <= recalled[2]  # on half the rungs, on all


def test_the_dense_model_is_never_changed(problem: Mixed) -> None:
    before = {k: v.clone() for k, v in problem.pretrained.model.state_dict().items()}
    modules = dict(problem.pretrained.model.named_modules())

    problem.sweep()(population(problem), problem.data.batches("search"), problem.reader("search"))

    after = problem.pretrained.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert dict(problem.pretrained.model.named_modules()) == modules
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules.values())


def test_costs_equal_those_of_the_built_models(problem: Mixed) -> None:
    rows = population(problem)
    batch = problem.batch(Genomes({"choices": rows}), Context())
    params = batch.params.sum(1) + batch.base.params

    for row, said in zip(rows, params, strict=True):
        chosen = [s.variants[c] for s, c in zip(problem.table.sites, row, strict=True)]
        model = pruned_model(problem.pretrained, problem.table, row)
        total = sum(p.numel() for p in model.parameters())
        zeros = sum(
            int((matrix(m) == 0).sum()) for v in chosen if v.sparsity for m in v.build().values()
        )
        assert said == total - zeros


def test_macs_equal_those_counted_by_hooks(problem: Mixed) -> None:
    rows = population(problem)[[0, 1, 9]]
    rows[:, :] = np.where(np.isin(rows, [0, 1]), rows, 0)
    batch = problem.batch(Genomes({"choices": rows}), Context())

    for k, row in enumerate(rows):
        model = pruned_model(problem.pretrained, problem.table, row)
        products = 0
        for site, choice in zip(problem.table.sites, row, strict=True):
            made = site.variants[choice].build()
            block = model.get_submodule(problem.pretrained.blocks_path)[site.depth]
            if site.variants[choice].kind != "removal":
                products += sum(int((matrix(get(block, p)) != 0).sum()) for p in site.place.linears)
            del made
        attended = sum(
            2
            * matrix(get(model.get_submodule(problem.pretrained.blocks_path)[s.depth],
                         s.place.block.layout.output)).shape[1]
            * problem.data.attended
            for s, c in zip(problem.table.sites, row, strict=True)
            if s.kind == "attention" and s.variants[c].kind != "removal"
        )  # fmt: skip
        assert batch.macs[k].sum() == pytest.approx(products + attended)
