"""Scores and counts by hand, and the variant library against plain products of matrices."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import gelu, silu

from problems.pruning import library, models
from problems.pruning.data import Batch
from problems.pruning.importance import SCORERS, gone_from, n_of_m
from problems.pruning.layouts import get, matrix
from problems.pruning.library import Library, build

# ---- scores and counts


def dead(scorer: str, weight: list[list[float]], norms: list[float], level: float) -> Any:
    """Which weights go, (d_out, d_in), as booleans."""
    chosen = SCORERS[scorer]
    scores = chosen.score(torch.tensor(weight), torch.tensor(norms))
    return gone_from(scores, chosen.rule, [level]).eq(0).tolist()


def test_wanda_and_magnitude_by_hand() -> None:
    weight, norms = [[1.0, -2.0, 3.0, -4.0]], [8.0, 1.0, 1.0, 1.0]

    assert dead("wanda", weight, norms, 0.5) == [[False, True, True, False]]
    assert dead("magnitude-row", weight, norms, 0.5) == [[True, True, False, False]]


def test_rows_are_compared_within_themselves_and_matrices_as_a_whole() -> None:
    weight = [[1.0, 2.0, 3.0, 4.0], [-50.0, 60.0, -70.0, 80.0]]

    assert dead("magnitude-row", weight, [1.0] * 4, 0.5) == [[True, True, False, False]] * 2
    # The threshold is the score at index int(8 * 0.4) = 3, and what equals it goes as well.
    assert dead("magnitude", weight, [1.0] * 4, 0.4) == [[True] * 4, [False] * 4]


def test_with_uniform_norms_wanda_is_magnitude_per_row() -> None:
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(1))
    levels = [0.3, 0.5, 0.7]

    wanda = SCORERS["wanda"].score(weight, torch.full((12,), 3.0))
    plain = SCORERS["magnitude-row"].score(weight, torch.ones(12))

    assert torch.equal(gone_from(wanda, "row", levels), gone_from(plain, "row", levels))


LEVELS = st.lists(st.floats(0.0, 0.999), min_size=1, max_size=5, unique=True).map(sorted)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 40))


def distinct(shape: tuple[int, int], seed: int) -> torch.Tensor:
    order = np.random.default_rng(seed).permutation(shape[0] * shape[1])
    return torch.tensor(order.reshape(shape), dtype=torch.float32)


@settings(max_examples=60, deadline=None)
@given(SHAPES, LEVELS, st.integers(0, 99))
def test_counts_are_those_of_the_published_pruners(shape: Any, levels: Any, seed: int) -> None:
    scores = distinct(shape, seed)
    rows, whole = gone_from(scores, "row", levels), gone_from(scores, "matrix", levels)

    for i, level in enumerate(levels):
        assert ((rows <= i).sum(dim=1) == int(shape[1] * level)).all()
        wanted = int(scores.numel() * level) + 1 if level > 0 else 0
        assert (whole <= i).sum() == wanted


@settings(max_examples=60, deadline=None)
@given(SHAPES, LEVELS, st.sampled_from(["row", "matrix"]), st.integers(0, 99))
def test_masks_are_nested_and_do_not_depend_on_other_levels(
    shape: Any, levels: Any, rule: str, seed: int
) -> None:
    scores = distinct(shape, seed)
    code = gone_from(scores, rule, levels)

    for i, level in enumerate(levels):
        alone = gone_from(scores, rule, [level]) <= 0
        assert torch.equal(alone, code <= i)
        assert ((code <= i) <= (code <= i + 1)).all()
        lost, kept = scores[alone], scores[~alone]
        if rule == "matrix" and len(lost) and len(kept):
            assert lost.max() < kept.min()


def test_ties_go_together_in_a_matrix_and_in_order_in_a_row() -> None:
    tied = torch.ones(2, 4)

    assert gone_from(tied, "matrix", [0.25]).eq(0).all()
    assert gone_from(tied, "row", [0.5]).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(2, 6), st.integers(1, 5), st.integers(0, 9)
)
def test_n_of_m_takes_the_lowest_of_every_group(
    rows: int, groups: int, m: int, n: int, seed: int
) -> None:
    n = min(n, m - 1)
    scores = distinct((rows, groups * m), seed)

    gone = n_of_m(scores, n, m)

    for row in range(rows):
        for start in range(0, groups * m, m):
            some = scores[row, start : start + m].tolist()
            lowest = sorted(range(m), key=some.__getitem__)[:n]
            found = gone[row, start : start + m].nonzero().flatten().tolist()
            assert found == sorted(lowest)


@pytest.mark.parametrize(("n", "m"), [(2, 5), (0, 4), (4, 4)])
def test_n_of_m_that_does_not_fit(n: int, m: int) -> None:
    with pytest.raises(ValueError, match=f"{n}:{m} does not fit rows of 8 inputs"):
        n_of_m(torch.ones(2, 8), n, m)


# ---- models walked by hand, one sequence without padding at a time


def _linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
    weight, bias = layer.weight.double(), layer.bias
    return x @ weight.t() + (0 if bias is None else bias.double())


def _heads(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.reshape(len(x), count, -1).transpose(0, 1)  # (heads, T, size)


def _layer_norm(layer: Any, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
    return scaled * layer.weight.double() + layer.bias.double()


def walk_bert(model: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Inputs of every linear layer, ``"<block>.<path>"`` → (T, d_in), float64."""
    e = model.embeddings
    x = e.word_embeddings.weight[ids] + e.position_embeddings.weight[: len(ids)]
    x = _layer_norm(e.LayerNorm, (x + e.token_type_embeddings.weight[0]).double())
    seen = {}
    for i, block in enumerate(model.encoder.layer):
        own, out = block.attention.self, block.attention.output
        q, k, v = (_heads(_linear(part, x), 4) for part in (own.query, own.key, own.value))
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        context = (weights @ v).transpose(0, 1).reshape(len(x), -1)
        middle = _layer_norm(out.LayerNorm, x + _linear(out.dense, context))
        hidden = gelu(_linear(block.intermediate.dense, middle))
        seen |= {f"{i}.attention.self.{name}": x for name in ("query", "key", "value")}
        seen |= {f"{i}.attention.output.dense": context, f"{i}.intermediate.dense": middle}
        seen[f"{i}.output.dense"] = hidden
        x = _layer_norm(block.output.LayerNorm, middle + _linear(block.output.dense, hidden))
    return seen


def _rms_norm(layer: Any, x: torch.Tensor) -> torch.Tensor:
    scale = (x.square().mean(-1, keepdim=True) + layer.variance_epsilon).rsqrt()
    return layer.weight.double() * x * scale


def _turned(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions on (heads, T, size), base 10000, first half against second half."""
    half = x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(x.shape[1])[:, None] * speed
    first, second = x[..., :half], x[..., half:]
    return torch.cat(
        [
            first * angle.cos() - second * angle.sin(),
            second * angle.cos() + first * angle.sin(),
        ],
        dim=-1,
    )


def walk_llama(model: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same for a decoder with two query heads on each of two key/value heads."""
    x, seen = model.model.embed_tokens.weight[ids].double(), {}
    future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    for i, block in enumerate(model.model.layers):
        own, ffn = block.self_attn, block.mlp
        z = _rms_norm(block.input_layernorm, x)
        q, k = _heads(_linear(own.q_proj, z), 4), _heads(_linear(own.k_proj, z), 2)
        q, k = _turned(q), _turned(k).repeat_interleave(2, dim=0)
        v = _heads(_linear(own.v_proj, z), 2).repeat_interleave(2, dim=0)
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(future, -torch.inf)
        context = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1)
        x = x + _linear(own.o_proj, context)
        w = _rms_norm(block.post_attention_layernorm, x)
        hidden = silu(_linear(ffn.gate_proj, w)) * _linear(ffn.up_proj, w)
        seen |= {f"{i}.self_attn.{name}_proj": z for name in ("q", "k", "v")}
        seen |= {f"{i}.self_attn.o_proj": context, f"{i}.mlp.down_proj": hidden}
        seen |= {f"{i}.mlp.{name}_proj": w for name in ("gate", "up")}
        x = x + _linear(ffn.down_proj, hidden)
    return seen


WALKS: dict[str, Callable[..., dict[str, torch.Tensor]]] = {"bert": walk_bert, "llama": walk_llama}
LENGTHS = ((7, 12, 12), (3, 20))


@pytest.fixture(scope="module", params=["bert", "llama"])
def case(request: Any, tmp_path_factory: Any) -> Any:
    """A model, two calibration batches, and what its layers see by hand, a list of sequences."""
    folder = tmp_path_factory.mktemp("models") / request.param
    found = models.load(str(checkpoint(request.param, folder)))
    batches = calibration(padded=request.param == "bert")
    alone = [
        WALKS[request.param](found.model, row[:length] if request.param == "bert" else row)
        for batch, lengths in zip(batches, LENGTHS, strict=True)
        for row, length in zip(batch.ids, lengths, strict=True)
    ]
    return found, batches, alone


def calibration(*, padded: bool) -> list[Batch]:
    rng, made = torch.Generator().manual_seed(5), []
    for lengths in LENGTHS:
        ids = torch.randint(3, 200, (len(lengths), max(lengths)), generator=rng)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        made.append(Batch(ids.masked_fill(~mask, 0), mask) if padded else Batch(ids, None))
    return made


def made(case: Any, order: str = "output", **more: Any) -> Library:
    found, batches, _ = case
    plain: dict[str, Any] = {"calibration_id": "x", "sparsities": {}, "cache": None}
    return build(found, batches, order=order, **(plain | more))


# ---- norms and orders


def test_norms_are_those_of_plain_products_without_padding(case: Any) -> None:
    found, _, alone = case
    lib = made(case)

    for block in found.blocks:
        for path in (*block.layout.attention_linears, *block.layout.feed_forward_linears):
            inputs = torch.cat([seen[f"{block.index}.{path}"] for seen in alone])
            squares = sum(x.square() for x in inputs)  # token by token
            torch.testing.assert_close(
                lib.norms(block, path).double(), squares.sqrt(), rtol=1e-4, atol=1e-4
            )
            scaler = torch.zeros(inputs.shape[1], dtype=torch.float64)
            for n, seen in enumerate(alone):  # the running mean of the published pruners
                norm = seen[f"{block.index}.{path}"].square().sum(0)
                scaler = scaler * n / (n + 1) + norm / (n + 1)
            torch.testing.assert_close((scaler * len(alone)).sqrt(), squares.sqrt())


def neuron_score(case: Any, block: Any, neuron: int, order: str) -> float:
    """How much one neuron matters, by loops over sequences and tokens."""
    _, _, alone = case
    path = block.layout.down
    column = matrix(get(block.module, path))[:, neuron].double()
    if order == "activation":
        return sum(float(seen[f"{block.index}.{path}"][:, neuron].norm()) for seen in alone) / len(
            alone
        )
    total = 0.0
    for seen in alone:
        for x in seen[f"{block.index}.{path}"][:, neuron]:
            total += float((x * column).square().sum())  # its contribution to the residual sum
    return total


def group_score(case: Any, block: Any, group: int, order: str) -> float:
    """The same for one key/value group with its query heads."""
    _, _, alone = case
    path, width = block.layout.output, block.heads.per_group * block.heads.size
    span = slice(group * width, (group + 1) * width)
    columns = matrix(get(block.module, path))[:, span].double()
    total = 0.0
    for seen in alone:
        for x in seen[f"{block.index}.{path}"][:, span]:
            moved = columns @ x if order == "output" else x
            total += float(moved.square().sum())
    return total


@pytest.mark.parametrize("order", ["output", "activation"])
def test_neurons_and_groups_are_ranked_by_what_they_do(
    case: Any, order: str, monkeypatch: Any
) -> None:
    found, _, _ = case
    scores, real = [], library._descending
    monkeypatch.setattr(library, "_descending", lambda x: scores.append(x.numpy()) or real(x))

    lib = made(case, order)

    for block, neurons, groups in zip(found.blocks, scores[::2], scores[1::2], strict=True):
        wanted = np.array([neuron_score(case, block, j, order) for j in range(64)])
        measured = neurons**2 if order == "output" else neurons / len(case[2])
        np.testing.assert_allclose(measured, wanted, rtol=1e-4, atol=1e-5)
        assert np.argsort(wanted)[::-1].tolist() == lib.neurons(block).tolist()
        wanted = [group_score(case, block, g, order) for g in range(block.heads.groups)]
        np.testing.assert_allclose(groups, wanted, rtol=1e-4)
        assert np.argsort(wanted)[::-1].tolist() == lib.groups(block).tolist()


def test_equal_scores_keep_their_order() -> None:
    assert library._descending(torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0])).tolist() == [1, 2, 4, 3, 0]


def test_codes_are_those_of_the_scores(case: Any) -> None:
    found, _, alone = case
    lib = made(case, sparsities={"wanda": [0.25, 0.5], "magnitude": [0.3]})
    block = found.blocks[1]

    for path in (*block.layout.attention_linears, *block.layout.feed_forward_linears):
        weight = get(block.module, path).weight
        inputs = torch.cat([seen[f"1.{path}"] for seen in alone])
        scores = weight.abs() * inputs.norm(dim=0).float()
        code = lib.codes("wanda", block, path)
        for row, dead in zip(scores, code, strict=True):
            quarter = weight.shape[1] // 4
            order = row.sort().indices
            assert (dead[order] == torch.tensor([0, 1, 2, 2]).repeat_interleave(quarter)).all()
        threshold = weight.abs().flatten().sort().values[int(weight.numel() * 0.3)]
        assert torch.equal(lib.codes("magnitude", block, path) == 0, weight.abs() <= threshold)


def test_layers_stored_the_other_way_round_are_scored_by_their_outputs(tmp_path: Path) -> None:
    found = models.load(str(checkpoint("gpt2", tmp_path / "gpt2")))
    lib = build(
        found, calibration(padded=False), calibration_id="x", order="output",
        sparsities={"wanda": [0.25]}, cache=None,
    )  # fmt: skip
    block = found.blocks[0]
    layer: Any = block.module.get_submodule("attn.c_attn")

    scores, norms = lib.scores("wanda", block, "attn.c_attn"), lib.norms(block, "attn.c_attn")

    assert tuple(layer.weight.shape) == (32, 96)
    assert not isinstance(layer, nn.Linear)
    assert (tuple(scores.shape), tuple(norms.shape)) == ((96, 32), (32,))
    assert float(scores[70, 5]) == pytest.approx(abs(float(layer.weight[5, 70])) * float(norms[5]))
    assert (lib.codes("wanda", block, "attn.c_attn").eq(0).sum(dim=1) == 8).all()


def test_measuring_leaves_no_hooks(case: Any) -> None:
    found, _, _ = case

    made(case)

    assert not any(m._forward_pre_hooks or m._forward_hooks for m in found.model.modules())


# ---- the cache


def equal(first: Library, second: Library) -> bool:
    same = first.tensors.keys() == second.tensors.keys()
    return same and all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)


@pytest.fixture
def counted(monkeypatch: Any) -> list[int]:
    """One entry per measurement."""
    calls, real = [], library._measure

    def measure(*args: Any) -> Any:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(library, "_measure", measure)
    return calls


LEVELS_OF = {"wanda": [0.5], "magnitude": [0.3, 0.6]}


def test_a_library_is_measured_once(case: Any, tmp_path: Path, counted: list[int]) -> None:
    first = made(case, cache=tmp_path / "new" / "cache", sparsities=LEVELS_OF)

    again = made(case, cache=tmp_path / "new" / "cache", sparsities=LEVELS_OF)

    assert len(counted) == 1
    assert equal(first, again)
    assert again.sparsities == LEVELS_OF
    (file,) = (tmp_path / "new" / "cache").iterdir()  # and nothing temporary
    assert file.suffix == ".safetensors"


def test_another_text_order_or_level_is_another_library(
    case: Any, tmp_path: Path, counted: list[int]
) -> None:
    made(case, cache=tmp_path, sparsities=LEVELS_OF)

    made(case, cache=tmp_path, sparsities=LEVELS_OF, calibration_id="y")
    made(case, "activation", cache=tmp_path, sparsities=LEVELS_OF)
    made(case, cache=tmp_path, sparsities={"wanda": [0.5], "magnitude": [0.3, 0.7]})

    assert len(counted) == len(list(tmp_path.iterdir())) == 4


def test_the_cache_file_is_plain_safetensors_with_its_key(case: Any, tmp_path: Path) -> None:
    found, _, _ = case
    made(case, cache=tmp_path, sparsities=LEVELS_OF)

    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    key = json.loads(header["__metadata__"]["key"])
    assert key["model"] == found.fingerprint
    assert key["sparsities"] == LEVELS_OF
    assert all(k == "__metadata__" or set(v) == {"dtype", "shape", "data_offsets"}
               for k, v in header.items())  # fmt: skip


def test_damaged_and_foreign_files_are_built_anew(
    case: Any, tmp_path: Path, counted: list[int]
) -> None:
    first = made(case, cache=tmp_path, sparsities=LEVELS_OF)
    made(case, cache=tmp_path, sparsities=LEVELS_OF, calibration_id="y")
    own, other = sorted(tmp_path.iterdir(), key=lambda f: f.stat().st_mtime_ns)
    good, mark = own.read_bytes(), tmp_path / "it ran"
    header_only = good[: 8 + struct.unpack("<Q", good[:8])[0]]
    bad = (b"", good[:5], header_only, good[:-1], b"\xff" * 400, other.read_bytes(),
           pickle.dumps(Touch(mark)))  # fmt: skip

    for data in bad:
        own.write_bytes(data)
        before = len(counted)
        assert equal(first, made(case, cache=tmp_path, sparsities=LEVELS_OF))
        assert len(counted) == before + 1
        assert own.read_bytes() == good
    assert not mark.exists()


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_cache_that_cannot_be_written_is_done_without(
    case: Any, tmp_path: Path, counted: list[int]
) -> None:
    (tmp_path / "file").write_text("in the way")
    first = made(case, sparsities=LEVELS_OF)

    for _ in range(2):
        found = made(case, cache=tmp_path / "file" / "cache", sparsities=LEVELS_OF)
        assert equal(first, found)
    assert len(counted) == 3
    assert [f.name for f in tmp_path.iterdir()] == ["file"]
