"""Numbers read from pieces of logits are those of whole logits; heads are found, not assumed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import ENCODERS, FAMILIES, checkpoint
from scipy.special import log_softmax
from torch import nn

from problems.pruning import models, pieces
from problems.pruning.head import Head, Projection
from problems.pruning.layouts import twin
from problems.pruning.models import Pretrained
from problems.pruning.prefixes import Rows
from problems.pruning.quality import LanguageReader, TeacherReader
from problems.pruning.searches import Mixed

B, T, D, V = 3, 9, 16, 40


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, -400.0, 400.0])
@pytest.mark.parametrize(("top", "at_once"), [(5, 7 * V), (V, 1), (7, 10**6)])
def test_pieces_give_what_whole_logits_give(
    top: int, at_once: int, offset: float, spread: float, monkeypatch: Any
) -> None:
    monkeypatch.setitem(pieces.LOGITS, "cpu", at_once)
    monkeypatch.setattr(pieces, "POSITIONS", 1)
    weight, bias = random(V, D, seed=1), torch.full((V,), offset)
    dense, pruned = random(B, T, D, seed=2), spread / 4 * random(B, T, D, seed=3)
    ids = torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(9))
    batch, kept = SimpleNamespace(ids=ids, mask=None), []
    TeacherReader(kept, top)(0, batch, dense @ weight.T)
    reader, projection = LanguageReader(kept), Projection(weight, bias)

    found = reader.in_pieces(0, batch, pruned, projection)

    every = projection(pruned.reshape(-1, D), torch.empty(B * T, V)).reshape(B, T, V)
    said = log_softmax(every[:, :-1].double().numpy(), -1)
    loss = -np.take_along_axis(said, ids[:, 1:, None].numpy(), -1)[..., 0].mean(1)
    np.testing.assert_allclose(found[:, 0], loss, rtol=1e-5, atol=1e-4 if offset else 1e-6)
    exact = divergence(kept[0], said).mean(1)
    np.testing.assert_allclose(found[:, 1], exact, rtol=1e-5, atol=1e-4 if offset else 1e-6)
    whole = reader(0, batch, every)
    np.testing.assert_allclose(found, whole, rtol=1e-3, atol=1e-4 if offset else 1e-6)


def divergence(teacher: Any, said: np.ndarray) -> np.ndarray:
    """Of each position, in double precision, with all tokens but the teacher's as one, (B, T-1)."""
    log_p, tokens = teacher.log_probs.double().numpy(), teacher.tokens.numpy()
    total = (np.exp(log_p) * (log_p - np.take_along_axis(said, tokens, -1))).sum(-1)
    others = np.exp(said)
    np.put_along_axis(others, tokens, 0, -1)
    tail = teacher.tail.double().numpy()
    left = np.where(tail > -np.inf, tail, 0) - np.log(np.maximum(others.sum(-1), 1e-7))
    return total + np.exp(tail) * left


def test_what_is_no_number_stays_none() -> None:
    weight = random(V, D, seed=1)
    features = random(B, T, D, seed=2)
    batch = SimpleNamespace(ids=torch.zeros(B, T, dtype=torch.long), mask=None)
    kept: list[Any] = []
    TeacherReader(kept, 5)(0, batch, features @ weight.T)
    features[1, 3] = torch.nan

    found = LanguageReader(kept).in_pieces(0, batch, features, Projection(weight))

    assert found.isnan().any(1).tolist() == [False, True, False]


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ENCODERS])
def test_heads_of_all_families_are_taken_apart(family: str, tmp_path: Path) -> None:
    pretrained = models.load(str(checkpoint(family, tmp_path / family)))
    head, state = Head(pretrained), 5 * random(2, 6, 32, seed=4)
    inputs = {"input_ids": torch.zeros(2, 6, dtype=torch.long), "use_cache": False}

    with torch.inference_mode():
        found = head.pieces(inputs, state)
        assert found is not None
        features, projection = found
        flat = features.reshape(12, -1)
        logits = projection(flat, flat.new_empty(12, projection.vocabulary)).reshape(2, 6, -1)
        whole = head(inputs, state)

    torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)
    assert (projection.cap is not None) == (family == "gemma2")


class _Scaled(nn.Module):
    """A language model that divides its logits, which no rule here knows."""

    def __init__(self, model: Any, by: float) -> None:
        super().__init__()
        self.model, self.by, self.config = model, by, model.config

    def get_output_embeddings(self) -> Any:
        return self.model.get_output_embeddings()

    def forward(self, **inputs: Any) -> Any:
        output = self.model(**inputs)
        output.logits = output.logits / self.by
        return output


def altered(pretrained: Pretrained, model: Any, path: str) -> Pretrained:
    return Pretrained(**{**vars(pretrained), "model": model, "blocks_path": path})


def test_what_is_not_known_is_left_to_the_model(tmp_path: Path) -> None:
    pretrained = models.load(str(checkpoint("llama", tmp_path / "llama")))
    path = f"model.{pretrained.blocks_path}"
    plain = pretrained.model
    deeper = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 200))
    other = twin(plain, {"lm_head": deeper})
    state = random(2, 6, 32, seed=4)
    inputs = {"input_ids": torch.zeros(2, 6, dtype=torch.long), "use_cache": False}

    with torch.inference_mode():
        scaled = Head(altered(pretrained, _Scaled(plain, 2.0), path))
        same = Head(altered(pretrained, _Scaled(plain, 1.0), path))
        assert scaled.pieces(inputs, state) is None
        assert same.pieces(inputs, state) is not None
        torch.testing.assert_close(scaled(inputs, state) * 2, same(inputs, state))
        assert (
            Head(altered(pretrained, other, pretrained.blocks_path)).pieces(inputs, state) is None
        )
        half = models.load(str(tmp_path / "llama"), dtype="bfloat16")
        assert Head(half).pieces(inputs, state.bfloat16()) is None


def test_sweeps_read_in_pieces_what_they_read_whole(tmp_path: Path, monkeypatch: Any) -> None:
    folder = checkpoint("gemma2", tmp_path / "gemma2")
    problem = Mixed(model=str(folder), length=24, cache="off", variants=["removal"],
                    sizes={"calibration": 2, "search": 6, "validation": 2})  # fmt: skip
    rows = np.random.default_rng(0).integers(0, 2, (10, 6))
    batches, reader = problem.data.batches("search"), problem.reader("search")
    before = problem.sweep().tally.heads
    calls, real = [], LanguageReader.in_pieces
    monkeypatch.setattr(LanguageReader, "in_pieces", lambda *a: calls.append(1) or real(*a))

    found = problem.sweep()(rows, batches, reader)
    heads = problem.sweep().tally.heads - before
    monkeypatch.setattr(Head, "pieces", lambda *a: None)
    whole = problem.sweep()(rows, batches, reader)

    assert len(calls) == heads > 0
    np.testing.assert_allclose(found, whole, atol=2e-6)


def test_groups_are_those_of_sorted_values() -> None:
    rng = np.random.default_rng(3)
    choices = rng.integers(0, 3, (30, 5)).astype(np.int16)
    rows, members = Rows(choices), np.sort(rng.permutation(30)[:17])

    for columns in ([0], [1, 4], [0, 1, 2, 3, 4]):
        found = rows.groups(members, columns)
        assert found is rows.groups(members, columns)
        values = np.unique(choices[members][:, columns], axis=0)
        assert [list(v) for v, _ in found] == values.tolist()
        for value, group in found:
            expected = [m for m in members if (choices[m, columns] == value).all()]
            assert group.tolist() == expected
    ((nothing, everyone),) = rows.groups(members, [])
    assert nothing == ()
    assert everyone.tolist() == members.tolist()
