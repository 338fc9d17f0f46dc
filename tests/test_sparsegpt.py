"""SparseGPT against the optimal brain surgeon by rows and columns, and its weights in models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from safetensors.torch import load_file

from evo import Genomes
from evo.errors import ConfigError, ModelError
from problems.pruning import export as exports
from problems.pruning import models, tensor_files, updates, variants
from problems.pruning.cost import pruned_model
from problems.pruning.data import Batch
from problems.pruning.importance import SCORERS, gone_from, n_of_m
from problems.pruning.importance.sparsegpt import factor, prune
from problems.pruning.layouts import get, matrix
from problems.pruning.searches import Mixed

SIZES = {"calibration": 2, "search": 4, "validation": 2}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def correlated(tokens: int, width: int, seed: int = 1) -> torch.Tensor:
    """Inputs with a few strong common directions, (tokens, width)."""
    return random(tokens, width, seed=seed) + 2 * random(tokens, 3) @ random(
        3, width, seed=seed + 1
    )


def pruned(weight: torch.Tensor, hessian: torch.Tensor, pattern: Any, **more: Any) -> torch.Tensor:
    damping = more.pop("damping", 0.01)
    return prune(weight, *factor(hessian, damping), pattern, **more)


def slow(weight: torch.Tensor, hessian: torch.Tensor, pattern: Any, columns: int) -> torch.Tensor:
    """Row by row and column by column, each inverse computed anew, nothing put off."""
    hessian, weight = hessian.clone(), weight.clone()
    for j in range(len(hessian)):
        if hessian[j, j] == 0:
            hessian[j, j], weight[:, j] = 1, 0
    hessian = hessian + 0.01 * hessian.trace() / len(hessian) * torch.eye(len(hessian)).double()
    width = weight.shape[1]
    inverses = [torch.linalg.inv(hessian[j:, j:]) for j in range(width)]

    def score(row: int, column: int) -> float:
        return float(weight[row, column] ** 2 / inverses[column][0, 0])

    gone: set[tuple[int, int]] = set()
    for j in range(width):
        if isinstance(pattern, tuple) and j % pattern[1] == 0:
            for row in range(len(weight)):
                group = sorted(range(j, j + pattern[1]), key=lambda c, r=row: score(r, c))
                gone |= {(row, c) for c in group[: pattern[0]]}
        elif not isinstance(pattern, tuple) and j % columns == 0:
            every = [(r, c) for r in range(len(weight)) for c in range(j, min(j + columns, width))]
            threshold = sorted(score(*at) for at in every)[int(len(every) * pattern)]
            gone |= {at for at in every if score(*at) <= threshold}
        for row in range(len(weight)):
            if (row, j) in gone:
                inverse = inverses[j]
                weight[row, j:] -= weight[row, j] / inverse[0, 0] * inverse[0]
                weight[row, j] = 0
    return weight


# ---- the method


def test_one_weight_goes_as_the_brain_surgeon_says() -> None:
    hessian, weight = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 1.0]])

    found = pruned(weight, hessian, (1, 2), damping=0.0)

    # Scores 1.5 and 2, so the first goes; dw = -w_0 / [H^-1]_00 H^-1[0] = (-1, 1/2).
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.5]]))
    change = (found - weight).double()[0]
    assert float(change @ hessian.double() @ change / 2) == pytest.approx(1.5 / 2)


@pytest.mark.parametrize("pattern", [0.25, 0.5, 0.7, (2, 4), (1, 3), (3, 6)])
@pytest.mark.parametrize("columns", [4, 6, 128])
def test_it_agrees_with_the_slow_form(pattern: Any, columns: int) -> None:
    x = correlated(40, 12)
    x[:, 7] = 0  # an input that is never there
    weight, hessian = random(5, 12, seed=9), 2 / 8 * x.t() @ x

    found = pruned(weight, hessian, pattern, columns=columns)

    torch.testing.assert_close(found, slow(weight, hessian, pattern, columns), rtol=1e-9, atol=1e-9)
    assert (found[:, 7] == 0).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.66])
def test_counts_are_those_of_the_published_pruner_in_each_block(share: float) -> None:
    x, weight = correlated(300, 40), random(7, 40).float()

    found = pruned(weight, x.t() @ x, share, columns=16)

    zeros = [int((part == 0).sum()) for part in found.split(16, dim=1)]
    assert zeros == [int(7 * c * share) + 1 for c in (16, 16, 8)]
    assert found.dtype == torch.float32


def test_with_an_identity_hessian_it_is_magnitude_in_each_block() -> None:
    weight = random(6, 300).float()

    halves = pruned(weight, torch.eye(300), 0.5)
    fours = pruned(weight, torch.eye(300), (2, 4))

    blocks = [gone_from(part.abs(), "matrix", [0.5]).eq(0) for part in weight.split(128, dim=1)]
    assert torch.equal(halves, weight.masked_fill(torch.cat(blocks, 1), 0))
    assert torch.equal(fours, weight.masked_fill(n_of_m(weight.abs(), 2, 4), 0))


def test_with_uncorrelated_inputs_it_is_wanda_in_each_block() -> None:
    weight, norms = random(6, 20).float(), torch.linspace(0.5, 9, 20)

    found = pruned(weight, norms.square().diag(), 0.5, damping=0.0, columns=20)

    gone = gone_from(SCORERS["wanda"].score(weight, norms), "matrix", [0.5]).eq(0)
    assert torch.equal(found, weight.masked_fill(gone, 0))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_its_output_error_is_below_that_of_masks_on_correlated_inputs(share: float) -> None:
    x, weight = correlated(400, 64), random(24, 64, seed=5)

    def error(changed: torch.Tensor) -> float:
        return float(((changed - weight) @ x.t()).square().sum())

    own = error(pruned(weight, 2 * x.t() @ x, share))
    others = []
    for name in ("wanda", "magnitude", "magnitude-row", "ria"):
        scorer = SCORERS[name]
        scores = scorer.score(weight, x.norm(dim=0))
        others.append(error(weight.masked_fill(gone_from(scores, scorer.rule, [share]).eq(0), 0)))
    mask = pruned(weight, 2 * x.t() @ x, share) == 0
    others.append(error(weight.masked_fill(mask, 0)))  # its own mask without the update

    assert own < 0.8 * min(others)


def test_it_changes_neither_its_arguments_nor_what_lies_before_a_zero() -> None:
    x, weight = correlated(60, 8), random(3, 8)
    weight[:, :5] += 100  # so that only the last columns go
    before, hessian = weight.clone(), x.t() @ x
    kept = hessian.clone()

    found = pruned(weight, hessian, 0.2)

    assert torch.equal(weight, before)
    assert torch.equal(hessian, kept)
    assert torch.equal(found[:, :5], weight[:, :5])
    assert (found[:, 5:] == 0).any()
    assert not torch.equal(found[:, 5:][found[:, 5:] != 0], weight[:, 5:][found[:, 5:] != 0])


def test_dead_inputs_go_first() -> None:
    x, weight = correlated(50, 10), random(4, 10).float()
    x[:, 3:8] = 0  # half of the inputs; a fifth is asked for

    found = pruned(weight, x.t() @ x, 0.2)

    assert torch.equal(found == 0, (x == 0).all(0).expand(4, 10))


@pytest.mark.parametrize("pattern", [(2, 5), (4, 4), (0, 2)])
def test_patterns_that_do_not_fit(pattern: Any) -> None:
    with pytest.raises(ValueError, match="does not fit rows"):
        pruned(random(2, 8), torch.eye(8), pattern)


# ---- in models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any) -> Any:
    home = tmp_path_factory.mktemp("models")
    return {name: str(checkpoint(name, home / name)) for name in ("llama", "bert", "gpt2")}


def problem_of(folder: str, kinds: Any, **more: Any) -> Mixed:
    more = {"cache": "off", "length": 24, "sizes": SIZES} | more
    return Mixed(model=folder, variants=kinds, **more)


def inputs_of(problem: Mixed, block: Any, path: str) -> torch.Tensor:
    """What a layer of the dense model is given on the calibration text, (tokens, d_in)."""
    seen = []
    layer = get(block.module, path)
    handle = layer.register_forward_hook(lambda _, x, y: seen.append(x[0]))
    try:
        for batch in problem.data.batches("calibration"):
            for i in range(len(batch.ids)):
                length = int(batch.mask[i].sum()) if batch.mask is not None else batch.ids.shape[1]
                problem.pretrained.model(batch.ids[i : i + 1, :length])
    finally:
        handle.remove()
    return torch.cat([x[0] for x in seen]).double()


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
def test_layers_of_a_model_are_pruned_from_what_they_are_given(family: str, folders: Any) -> None:
    problem = problem_of(folders[family], "sparsegpt@0.5, 2:4@sparsegpt", sites="linear")

    for column in (0, 3, len(problem.table) - 1):
        site = problem.table.sites[column]
        (path,) = site.place.linears
        weight = matrix(get(site.place.block.module, path)).double()
        x = inputs_of(problem, site.place.block, path)
        for i, variant in enumerate(site.variants[1:], 1):
            pattern = (2, 4) if variant.name == "2:4@sparsegpt" else 0.5
            made = matrix(variant.build()[path])
            expected = slow(weight, 2 / SIZES["calibration"] * x.t() @ x, pattern, 128)
            torch.testing.assert_close(made.double(), expected, rtol=1e-3, atol=1e-4)
            zeros = int((made == 0).sum())
            assert variant.sparsity == zeros / weight.numel()
            assert problem.table.params[column, 0] - problem.table.params[column, i] == zeros
            assert zeros == weight.numel() // 2 + (pattern == 0.5)


@pytest.mark.parametrize("padded", [False, True])
def test_hessians_are_plain_products_without_padding(padded: bool, folders: Any) -> None:
    pretrained = models.load(folders["bert"])
    lengths = (9, 12, 12, 5)
    ids = torch.randint(3, 200, (4, 12), generator=torch.Generator().manual_seed(4))
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    rows = [Batch(row[None, :length], None) for row, length in zip(ids, lengths, strict=True)]
    batches = [Batch(ids[:3], mask[:3]), Batch(ids[3:], mask[3:])] if padded else rows
    block, path = pretrained.blocks[1], "output.dense"
    seen: list[torch.Tensor] = []

    found = updates._hessians(pretrained, batches, [block])[1, path]

    handle = get(block.module, path).register_forward_hook(lambda _, x, y: seen.append(x[0][0]))
    for row in rows:
        pretrained.model(row.ids)
    handle.remove()
    x = torch.cat(seen).double()
    torch.testing.assert_close(found, 2 / 4 * x.t() @ x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_updated_layers_are_judged_like_whole_models(family: str, folders: Any) -> None:
    problem = problem_of(folders[family], ["sparsegpt@0.3,0.6", "2:4@sparsegpt", "removal"])
    sizes = np.array(problem.table.sizes)
    rows = np.stack([sizes * 0, sizes - 2, np.arange(len(sizes)) % sizes, sizes - 1 - (sizes > 4)])
    reader, batches = problem.reader("search"), problem.data.batches("search")

    swept = problem.sweep()(rows.astype(np.int16), batches, reader)

    assert [v.name for v in problem.table.sites[0].variants] == [
        "dense", "sparsegpt-0.3", "2:4@sparsegpt", "sparsegpt-0.6", "removed"
    ]  # fmt: skip
    for row, got in zip(rows, swept, strict=True):
        model, found = pruned_model(problem.pretrained, problem.table, row), []
        with torch.inference_mode():
            for i, batch in enumerate(batches):
                found.append(reader(i, batch, model(batch.ids).logits))
        np.testing.assert_allclose(got, torch.cat(found).numpy(), atol=1e-6)
    assert len(np.unique(swept[:, :, 1].mean(1).round(6))) == 3


def test_an_export_holds_the_updated_weights(
    folders: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(exports, "reproduce", lambda *args, **kwargs: {})  # no other process
    problem = problem_of(folders["llama"], "sparsegpt@0.5")
    row: Any = np.ones(len(problem.table), dtype=np.int16)

    problem.export(Genomes({"choices": row[None]}), tmp_path / "small", expected={})

    stored = load_file(tmp_path / "small" / "model.safetensors")
    name = "model.layers.1.mlp.up_proj"
    model = pruned_model(problem.pretrained, problem.table, row)
    weight = model.state_dict()[f"{name}.weight"]
    assert torch.equal(stored[f"{name}.values"], weight[weight != 0])
    assert len(stored[f"{name}.values"]) == 64 * 32 // 2 - 1


# ---- kept once


@pytest.fixture
def listened(monkeypatch: Any) -> list[list[int]]:
    """Blocks of each pass of the calibration text for Hessians."""
    calls, real = [], updates._hessians

    def hessians(pretrained: Any, calibration: Any, blocks: Any) -> Any:
        calls.append([b.index for b in blocks])
        return real(pretrained, calibration, blocks)

    monkeypatch.setattr(updates, "_hessians", hessians)
    return calls


def weights_of(problem: Mixed) -> dict[str, torch.Tensor]:
    return {k: v for k, v in problem.library.tensors.items() if k.startswith("sparsegpt.")}


def test_weights_are_computed_once_and_levels_apart(
    folders: Any, tmp_path: Path, listened: Any
) -> None:
    first = problem_of(folders["llama"], "sparsegpt@0.5, 2:4@sparsegpt", cache=str(tmp_path))
    again = problem_of(folders["llama"], "sparsegpt@0.5, wanda@0.3", cache=str(tmp_path))
    assert listened == [[0, 1, 2]]

    more = problem_of(folders["llama"], "sparsegpt@0.5,0.6", cache=str(tmp_path))
    alone = problem_of(folders["llama"], "sparsegpt@0.6")

    assert listened == [[0, 1, 2]] * 3
    assert len(list(tmp_path.glob("sparsegpt-*.safetensors"))) == 3 * 3  # blocks and patterns
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]
    for problem in (again, more):
        kept = weights_of(problem)
        assert all(torch.equal(kept[k], v) for k, v in weights_of(first).items() if k in kept)
    assert all(torch.equal(weights_of(more)[k], v) for k, v in weights_of(alone).items())
    assert len(weights_of(more)) == 2 * len(weights_of(alone)) == 2 * 3 * 7 * 2


def test_another_text_is_another_set(folders: Any, tmp_path: Path, listened: Any) -> None:
    for seed in (0, 1):
        problem_of(folders["llama"], "sparsegpt@0.5", cache=str(tmp_path), seed=seed)

    assert len(listened) == 2
    assert len(list(tmp_path.glob("sparsegpt-*"))) == 6


def test_a_damaged_file_is_made_anew(folders: Any, tmp_path: Path, listened: Any) -> None:
    first = problem_of(folders["llama"], "sparsegpt@0.5", cache=str(tmp_path))
    good = {f: f.read_bytes() for f in tmp_path.glob("sparsegpt-*")}
    kept = {k: v.clone() for k, v in weights_of(first).items()}
    victim = sorted(good)[1]
    victim.write_bytes(good[victim][:-1])

    again = problem_of(folders["llama"], "sparsegpt@0.5", cache=str(tmp_path))

    assert [len(blocks) for blocks in listened] == [3, 1]  # one block was missing
    assert victim.read_bytes() == good[victim]
    assert all(torch.equal(weights_of(again)[k], v) for k, v in kept.items())


def test_variants_share_the_kept_weights(folders: Any, tmp_path: Path) -> None:
    problem = problem_of(folders["llama"], "sparsegpt@0.5", cache=str(tmp_path))
    site = problem.table.sites[0]

    made = site.variants[1].build()

    for path, layer in made.items():
        kept = problem.library.updated(0.5, site.place.block, path)
        assert matrix(layer).data_ptr() == kept.data_ptr()


def test_hessians_are_held_for_as_many_blocks_as_fit(
    folders: Any, listened: Any, monkeypatch: Any
) -> None:
    whole = weights_of(problem_of(folders["llama"], "sparsegpt@0.5"))
    one = 8 * (6 * 32**2 + 64**2)  # six layers of 32 inputs, one of 64

    for limit, passes in ((one - 1, [[0], [1], [2]]), (2 * one, [[0, 1], [2]])):
        monkeypatch.setattr(updates, "HESSIAN_BYTES", limit)
        listened.clear()
        parts = weights_of(problem_of(folders["llama"], "sparsegpt@0.5"))
        assert listened == passes
        assert all(torch.equal(parts[k], v) for k, v in whole.items())


def test_a_cache_that_cannot_be_written_is_done_without(folders: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    problem = problem_of(folders["llama"], "sparsegpt@0.5", cache=str(tmp_path / "file" / "cache"))

    plain = weights_of(problem_of(folders["llama"], "sparsegpt@0.5"))
    assert all(torch.equal(plain[k], v) for k, v in weights_of(problem).items())


# ---- what cannot be


def test_its_name_is_offered() -> None:
    with pytest.raises(ConfigError) as caught:
        variants.parse("sparsgpt@0.5")

    assert caught.value.hint == "did you mean 'sparsegpt'?"
    assert variants.parse("sparsegpt").levels == (0.3, 0.4, 0.5, 0.6, 0.7)


def test_groups_that_do_not_fill_the_rows_are_named(folders: Any, listened: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        problem_of(folders["llama"], ["1:5@sparsegpt"])

    assert caught.value.message == (
        "1:5@sparsegpt needs rows that 5 divides, but self_attn.q_proj of block 0 has 32 inputs"
    )
    assert listened == []


def test_inputs_that_overflow_are_named(folders: Any, monkeypatch: Any) -> None:
    real = updates._hessians

    def overflowing(*args: Any) -> Any:
        found = real(*args)
        found[1, "mlp.up_proj"] = found[1, "mlp.up_proj"] * torch.inf
        return found

    monkeypatch.setattr(updates, "_hessians", overflowing)
    with pytest.raises(ModelError, match=r"inputs of mlp\.up_proj of block 1 are not finite"):
        problem_of(folders["llama"], "sparsegpt@0.5")


def test_files_of_another_key_are_not_read(tmp_path: Path) -> None:
    key = {"pattern": "0.5"}
    file = tensor_files.file_of(tmp_path, "sparsegpt", key)
    tensor_files.write(file, {"x": torch.ones(2)}, key)

    assert tensor_files.read(file, {"pattern": "0.6"}) is None
    assert (tensor_files.read(file, key) or {})["x"].tolist() == [1, 1]
    assert tensor_files.file_of(tmp_path, "sparsegpt", {"pattern": "0.6"}) != file
