"""Orders of channels for N:M: the worked example, what they keep, and models that stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import opened, outputs, same, write
from families import EVERY, checkpoint

from evo.config import Ref
from evo.errors import ConfigError
from evo.registry import build
from evo.streams import stream
from problems.pruning import variants
from problems.pruning.cost import pruned_model
from problems.pruning.layouts import cut, get, matrix, twin, with_weight
from problems.pruning.methods.n_of_m import NofM
from problems.pruning.permutation import UNCHANGED, best, kept, orders, snake
from problems.pruning.searches import Mixed

SIZES = {"calibration": 2, "search": 4, "validation": 2}


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


# ---- orders


def test_the_published_example() -> None:
    wanted = [0, 7, 8, 15, 1, 6, 9, 14, 2, 5, 10, 13, 3, 4, 11, 12]
    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(0))

    assert snake(torch.arange(16.0), 4).tolist() == wanted
    assert shuffled[snake(shuffled.float(), 4)].tolist() == wanted


def kept_by_loops(scores: torch.Tensor, n: int, m: int) -> float:
    return sum(
        sum(sorted(group.tolist())[n:]) for row in scores for group in row.reshape(-1, m).unbind()
    )


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4), (4, 8)])
def test_what_is_kept_never_falls(n: int, m: int) -> None:
    changed = 0
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        scores = torch.rand(3, 16, generator=rng) * torch.rand(16, generator=rng) ** (seed % 3)

        order = best(scores, scores.sum(0), n, m)

        assert sorted(order.tolist()) == list(range(16))
        assert kept_by_loops(scores[:, order], n, m) >= kept_by_loops(scores, n, m)
        assert kept(scores, n, m) == pytest.approx(kept_by_loops(scores, n, m))
        changed += order.tolist() != list(range(16))
        if order.tolist() == list(range(16)):
            dealt = scores[:, snake(scores.sum(0), m)]
            assert kept_by_loops(dealt, n, m) <= kept_by_loops(scores, n, m) + 1e-6
    assert 20 < changed < 40


def test_large_neighbours_are_dealt_out() -> None:
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0, 1.0, 1.0, 1.0, 1.0]])

    order = best(scores, scores.sum(0), 2, 4)

    assert kept(scores, 2, 4) == 9 + 8 + 1 + 1
    assert kept(scores[:, order], 2, 4) == 9 + 8 + 7 + 6


# ---- models


@pytest.mark.parametrize("family", EVERY)
def test_a_dense_model_in_another_order_says_the_same(family: str, tmp_path: Path) -> None:
    problem = problem_of(str(checkpoint(family, tmp_path / family)), ["2:4"])
    blocks = problem.pretrained.blocks
    changed: dict[str, int] = {}
    model = problem.pretrained.model

    for site in problem.table.sites:
        place, made = site.place, {}

        def scores(path: str, place: Any = place) -> torch.Tensor:
            return problem.library.scores("ria", place.block, path)

        for path, order in orders(place, scores, 2, 4).items():
            layer = get(place.block.module, path)
            made[path] = cut(layer, order.rows, order.columns)
            changed[place.kind] = changed.get(place.kind, 0) + int(
                not torch.equal(matrix(made[path]), matrix(layer))
            )
        root = f"{problem.pretrained.blocks_path}.{place.block.index}"
        model = twin(model, {f"{root}.{path}": layer for path, layer in made.items()})

    assert changed["attention"] >= len(blocks)
    assert changed["feed_forward"] >= len(blocks)
    want = outputs(problem, problem.pretrained.model)
    same(outputs(problem, model), want, atol=2e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("sites", ["submodule", "block"])
def test_a_pruned_model_is_that_of_the_weights_put_back(
    family: str, sites: str, tmp_path: Path
) -> None:
    name = "2:4(permute=true)@ria"
    folder = str(checkpoint(family, tmp_path / family))
    problem = problem_of(folder, ["2:4@ria", name], sites=sites)
    names = [v.name for v in problem.table.sites[0].variants]
    row = np.full(len(problem.table), names.index(name), dtype=np.int16)
    back = problem.pretrained.model
    gained: dict[str, float] = {}

    for index, site in enumerate(problem.table.sites):
        place, plain = site.place, built(problem, index, "2:4@ria")

        def scores(path: str, place: Any = place) -> torch.Tensor:
            return problem.library.scores("ria", place.block, path)

        found = orders(place, scores, 2, 4)
        for path, weight in built(problem, index, name).items():
            assert (weight.reshape(len(weight), -1, 4) == 0).sum(2).eq(2).all()
            order, layer = found.get(path, UNCHANGED), get(place.block.module, path)
            dense, put_back = matrix(layer), weight
            for axis, moved in enumerate((order.rows, order.columns)):
                if moved is not None:
                    put_back = put_back.index_select(axis, torch.argsort(moved))
            stays = put_back != 0
            assert torch.equal(put_back[stays], dense[stays])
            sums = [float(scores(path)[m].sum()) for m in (stays, plain[path] != 0)]
            if order.columns is None:  # rows in another order have the same groups
                assert torch.equal(put_back, plain[path])
            else:
                assert sums[0] >= sums[1]
                gained[path] = gained.get(path, 0.0) + sums[0] - sums[1]
            root = f"{problem.pretrained.blocks_path}.{place.block.index}"
            back = twin(back, {f"{root}.{path}": with_weight(layer, put_back, None)})
    assert gained[problem.pretrained.blocks[0].layout.down] > 0
    same(
        outputs(problem, pruned_model(problem.pretrained, problem.table, row)),
        outputs(problem, back), atol=2e-4,
    )  # fmt: skip


def test_heads_and_their_queries_stay_where_they_are(folder: str) -> None:
    problem = problem_of(folder, ["2:4"])
    place = problem.table.sites[0].place
    heads = place.block.heads

    found = orders(place, lambda p: problem.library.scores("ria", place.block, p), 2, 4)

    assert set(found) == {"self_attn.v_proj", "self_attn.o_proj"}
    columns = found["self_attn.o_proj"].columns.reshape(heads.query, heads.size)  # type: ignore[union-attr]
    rows = found["self_attn.v_proj"].rows.reshape(heads.groups, heads.size)  # type: ignore[union-attr]
    assert (heads.query, heads.groups, heads.size) == (4, 2, 8)
    for head in range(4):
        within = columns[head] - 8 * head
        assert sorted(within.tolist()) == list(range(8))
        assert torch.equal(within, rows[head // 2] - 8 * (head // 2))


def test_groups_that_reach_over_heads_leave_the_attention_alone(folder: str) -> None:
    problem = problem_of(folder, ["8:16", "8:16(permute=true)"])

    for path, weight in built(problem, 0, "8:16(permute=true)").items():
        assert torch.equal(weight, built(problem, 0, "8:16")[path])
    down = built(problem, 1, "8:16(permute=true)")["mlp.down_proj"]
    assert not torch.equal(down, built(problem, 1, "8:16")["mlp.down_proj"])


def test_sweep_equals_one_model_at_a_time(folder: str) -> None:
    problem = problem_of(folder, ["2:4(permute=true)@ria", "wanda@0.6", "removal"])
    rng = np.random.default_rng(3)
    rows = np.stack([rng.integers(0, problem.table.sizes) for _ in range(6)]).astype(np.int16)
    batches, reader = problem.data.batches("search"), problem.reader("search")

    swept = problem.sweep()(rows, batches, reader)

    for row, got in zip(rows, swept, strict=True):
        said = outputs(problem, pruned_model(problem.pretrained, problem.table, row))
        read = [reader(i, b, o) for i, (b, o) in enumerate(zip(batches, said, strict=True))]
        np.testing.assert_allclose(got, torch.cat(read).numpy(), atol=1e-5)


def test_an_export_keeps_the_pattern_in_every_group(folder: str, tmp_path: Path) -> None:
    problem = problem_of(folder, ["2:4(permute=true)@ria"])
    row = np.ones(len(problem.table), dtype=np.int16)

    write(problem, row, tmp_path / "out")
    model = opened(tmp_path / "out", "lm", trust_remote_code=True)

    same(outputs(problem, model), outputs(problem, pruned_model(
        problem.pretrained, problem.table, row)))  # fmt: skip
    layers = [m for n, m in model.model.layers.named_modules() if n.endswith("_proj")]
    assert len(layers) == 21
    for layer in layers:
        assert (layer.weight.reshape(-1, 4) == 0).sum(1).eq(2).all()


# ---- through the doors


def test_the_method_permutes(folder: str) -> None:
    method = build("method", Ref("2:4", {"scorer": "ria", "permute": True}))

    outcome = method(problem_of(folder, ["removal"]), 0.5, stream(0, "method"))

    assert method == NofM("2:4", "ria", permute=True)
    assert outcome.sparsity == 0.5
    assert outcome.problem.table.sites[0].variants[1].name == "2:4(permute=true)@ria"


def test_permuting_is_a_setting() -> None:
    plain, told, other = (
        variants.parse(text).kind for text in ("2:4", "2:4(permute=false)", "2:4(permute=true)@ria")
    )

    assert (plain.permute, told.permute, other.permute) == (False, False, True)
    assert (told.name, other.name, other.by) == (
        "2:4(permute=false)",
        "2:4(permute=true)@ria",
        "ria",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2:4(permut=true)", "has no setting 'permut'; did you mean 'permute'?"),
        ("2:4(permute=1)", "permute of variant '2:4(permute=1)@wanda' must be true or false"),
        ("2:4(m=8)", "has no setting 'm'"),
        ("2:4(permute=true)@sparsegpt", "has no setting 'permute'; its settings: none"),
        ("2:4(permute=true)@dsnot", "has no setting 'permute'; its settings: none"),
        ("2:4(permute=true)@wnda", "2:4(permute=true)@wnda: no scorer called 'wnda'"),
    ],
)
def test_settings_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        variants.parse(text)

    assert message in caught.value.message


def test_single_layers_are_not_permuted(folder: str) -> None:
    with pytest.raises(ConfigError, match="permutes what two linear layers have in common"):
        problem_of(folder, ["2:4(permute=true)"], sites="linear")
