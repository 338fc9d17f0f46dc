"""Losses, divergences, embeddings and rank correlations against torch and scipy."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, rel_entr, softmax
from scipy.stats import spearmanr

from evo import Context, Genomes
from evo.errors import ConfigError
from problems.pruning.cost import pruned_model
from problems.pruning.data import pooling_of
from problems.pruning.quality import (
    DriftReader,
    EmbeddingReader,
    LanguageReader,
    TeacherReader,
    pooled,
    spearman,
)
from problems.pruning.searches import Mixed

B, T, V = 3, 7, 40
SIZES = {"calibration": 2, "search": 6, "validation": 2}

# ---- language models


def logits(seed: int, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(B, T, V, generator=torch.Generator().manual_seed(seed))


def readings(dense: torch.Tensor, pruned: torch.Tensor, top: int) -> np.ndarray:
    """Cross-entropy and divergence, (B, 2)."""
    ids = torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(9))
    batch, kept = SimpleNamespace(ids=ids, mask=None), []
    assert TeacherReader(kept, top)(0, batch, dense).shape == (B, 0)
    return LanguageReader(kept)(0, batch, pruned).numpy()


def divergence(dense: torch.Tensor, pruned: torch.Tensor) -> np.ndarray:
    """The full divergence by scipy, averaged over the predictions of each sequence, (B,)."""
    p, q = (softmax(x.double().numpy()[:, :-1], axis=-1) for x in (dense, pruned))
    return rel_entr(p, q).sum(-1).mean(-1)


@pytest.mark.parametrize("top", [V, V + 88])
def test_divergence_is_exact_when_all_tokens_are_kept(top: int) -> None:
    dense, pruned = logits(1), logits(2)

    got = readings(dense, pruned, top)

    np.testing.assert_allclose(got[:, 1], divergence(dense, pruned), rtol=1e-5)


@pytest.mark.parametrize("top", [1, 5, 39])
def test_with_fewer_tokens_the_others_count_as_one(top: int) -> None:
    dense, pruned = logits(1), logits(2)
    expected = []
    for p, q in zip(dense.double().numpy(), pruned.double().numpy(), strict=True):
        total = 0.0
        for one, two in zip(softmax(p[:-1], axis=-1), softmax(q[:-1], axis=-1), strict=True):
            best = np.argsort(one)[::-1][:top]
            joined = [[*x[best], 1 - x[best].sum()] for x in (one, two)]
            total += rel_entr(*joined).sum()
        expected.append(total / (T - 1))

    got = readings(dense, pruned, top)[:, 1]

    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert (got <= divergence(dense, pruned) + 1e-6).all()


def test_the_bound_grows_with_the_tokens_kept() -> None:
    found = [readings(logits(1), logits(2), top)[:, 1] for top in (1, 4, 16, 39, 40)]

    assert all((a <= b + 1e-6).all() for a, b in itertools.pairwise(found))
    assert (found[0] < found[-1]).all()


@pytest.mark.parametrize("spread", [0.0, 3.0, 60.0])
@pytest.mark.parametrize("top", [3, V])
def test_a_model_does_not_diverge_from_itself(spread: float, top: int) -> None:
    dense = logits(1, spread)

    np.testing.assert_allclose(readings(dense, dense, top)[:, 1], 0, atol=1e-6)


def test_a_teacher_that_is_sure_gives_a_finite_divergence() -> None:
    got = readings(logits(1, 200.0), logits(2, 200.0), 3)[:, 1]

    assert np.isfinite(got).all()
    assert (got > 10).all()


def test_a_pruned_model_that_is_sure_has_a_finite_divergence() -> None:
    dense = logits(1)

    got = readings(dense, 80 * dense, 3)[:, 1]  # nothing is left for all other tokens

    assert np.isfinite(got).all()
    assert (got > 1).all()


def test_cross_entropy_is_that_of_torch() -> None:
    pruned, ids = logits(2), torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(9))
    expected = [
        torch.nn.functional.cross_entropy(x[:-1].double(), row[1:]).item()
        for x, row in zip(pruned, ids, strict=True)
    ]

    np.testing.assert_allclose(readings(logits(1), pruned, 5)[:, 0], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: Any) -> Mixed:
    folder = checkpoint("llama", tmp_path_factory.mktemp("models") / "llama")
    return Mixed(
        model=str(folder), length=24, sizes=SIZES, cache="off", variants=["removal", "width@0.5"]
    )


def judged(problem: Mixed, rows: Any, **context: Any) -> Any:
    genomes = Genomes({"choices": np.array(rows, dtype=np.int16)})
    return problem.batch(genomes, Context(**context))


def test_objectives_of_a_language_model_are_means_over_all_predictions(llama: Mixed) -> None:
    rows = np.zeros((3, 6), dtype=np.int16)
    rows[1, 3], rows[2] = 1, [1, 2, 1, 2, 1, 2]
    batch = judged(llama, rows)
    values = {o.name: o.fn(batch) for o in llama.objectives if o.name != "latency"}

    for k, row in enumerate(rows):
        model = pruned_model(llama.pretrained, llama.table, row)
        losses, full = [], []
        with torch.inference_mode():
            for part in llama.data.batches("search"):
                said = model(part.ids).logits[:, :-1].double().numpy()
                dense = llama.pretrained.model(part.ids).logits[:, :-1].double().numpy()
                targets = part.ids[:, 1:, None].numpy()
                losses.append(logsumexp(said, -1) - np.take_along_axis(said, targets, -1)[..., 0])
                full.append(rel_entr(softmax(dense, -1), softmax(said, -1)).sum(-1))
        loss, kl = np.concatenate(losses).mean(), np.concatenate(full).mean()
        assert values["loss"][k] == pytest.approx(loss, rel=1e-5)
        assert values["perplexity"][k] == pytest.approx(math.exp(loss), rel=1e-5)
        assert values["kl"][k] <= kl + 1e-6  # 128 of 200 tokens are kept
        assert values["kl"][k] == pytest.approx(kl, rel=0.05, abs=1e-6)
    assert values["kl"][0] == pytest.approx(0, abs=1e-6)
    assert (values["kl"][1:] > 0.1).all()


def test_validation_is_judged_on_other_text_and_fidelity_on_less(llama: Mixed) -> None:
    row = [[0, 1, 0, 2, 0, 1]]
    parts = {s: torch.cat([b.ids for b in llama.data.batches(s)]) for s in ("search", "validation")}

    assert judged(llama, row, split="validation").readings.shape == (1, 2, 2)
    assert judged(llama, row).readings.shape == (1, 6, 2)
    assert not (parts["search"][:, None] == parts["validation"][None]).all(-1).any()


def test_a_closed_problem_holds_nothing_and_judges_alike_again(llama: Mixed) -> None:
    rows = np.array([[0] * len(llama.table), [1] * len(llama.table)], dtype=np.int16)
    before = np.array(judged(llama, rows).readings)
    assert llama._sweep is not None
    assert llama._references

    llama.close()

    assert not {"_sweep", "_references"} & set(vars(llama))
    assert np.array_equal(np.array(judged(llama, rows).readings), before)


def test_a_perplexity_beyond_all_numbers_is_infinite_and_quiet(
    llama: Mixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = judged(llama, [[0] * 6])
    monkeypatch.setattr(type(batch), "readings", np.full((1, 6, 2), 5000.0))

    assert batch.perplexity.tolist() == [math.inf]


# ---- encoders


HIDDEN = torch.tensor([[[3.0, 4.0], [0.0, 2.0], [9.0, 9.0]], [[1.0, 0.0], [5.0, 5.0], [5.0, 5.0]]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[1.5, 3.0], [1.0, 0.0]]),
        ("cls", [[3.0, 4.0], [1.0, 0.0]]),
        ("last", [[0.0, 2.0], [1.0, 0.0]]),
    ],
)
def test_pooling_by_hand_leaves_padding_out(pooling: str, expected: Any) -> None:
    wanted = np.array(expected) / np.linalg.norm(expected, axis=1, keepdims=True)

    found = pooled(HIDDEN, MASK, pooling)

    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_without_a_mask_all_tokens_are_real() -> None:
    whole = pooled(HIDDEN, torch.ones(2, 3, dtype=torch.bool), "mean")

    assert torch.equal(pooled(HIDDEN, None, "mean"), whole)
    assert torch.equal(EmbeddingReader("mean", 2)(0, SimpleNamespace(mask=None), HIDDEN), whole)
    np.testing.assert_allclose(pooled(HIDDEN, None, "last")[0], [0.5**0.5] * 2)


def test_drift_is_one_minus_the_cosine_per_sequence() -> None:
    batch = SimpleNamespace(mask=MASK)
    dense = pooled(HIDDEN, MASK, "mean")
    turned = torch.stack([dense[0], -dense[1]])
    square = torch.stack([torch.tensor([-dense[0, 1], dense[0, 0]]), dense[1]])

    for reference, expected in ((dense, [0, 0]), (turned, [0, 2]), (square, [1, 0])):
        found = DriftReader("mean", [reference])(0, batch, HIDDEN)
        assert found.shape == (2, 1)
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-12)


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: Any) -> Path:
    """Twelve pairs of sentences of many lengths; some scores are equal."""
    words = ["the", "statement", "is", "a", "function", "of", "values", "given", "by", "object"]
    rng = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    with path.open("w", newline="") as file:
        for k in range(12):
            some = [" ".join(rng.choice(words, rng.integers(2, 14))) for _ in range(2)]
            csv.writer(file).writerow([*some, k % 5])
    return path


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_objectives_of_an_encoder_are_those_of_single_sentences(
    pooling: str, pairs_file: Path, tmp_path: Path
) -> None:
    folder = checkpoint("bert", tmp_path / "bert")
    problem = Mixed(
        model=str(folder), length=24, sizes=SIZES, cache="off", variants=["removal", "width@0.5"],
        pairs=str(pairs_file), validation_pairs=str(pairs_file), pooling=pooling, tokens_at_once=60,
    )  # fmt: skip
    rows = np.array([[0] * 6, [0, 1, 0, 2, 0, 0], [2, 2, 0, 1, 1, 1]]) % problem.table.sizes
    batch = judged(problem, rows)
    table = list(csv.reader(pairs_file.read_text().splitlines()))
    gold = [float(score) for _, _, score in table]

    def embedding(model: Any, ids: Any) -> np.ndarray:
        with torch.inference_mode():
            hidden = model(torch.tensor([ids])).last_hidden_state[0].double().numpy()
        taken = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
        return taken / np.linalg.norm(taken)

    tokenizer = problem.pretrained.tokenizer
    text = [
        row[:length].tolist()
        for b in problem.data.batches("search")
        for row, length in zip(
            b.ids, b.mask.sum(1) if b.mask is not None else [b.ids.shape[1]] * len(b.ids),
            strict=True,
        )
    ]  # fmt: skip
    dense = [embedding(problem.pretrained.model, ids) for ids in text]
    for k, row in enumerate(rows):
        model = pruned_model(problem.pretrained, problem.table, row)
        drift = np.mean([1 - embedding(model, i) @ d for i, d in zip(text, dense, strict=True)])
        assert batch.readings[k, :, 0].mean() == pytest.approx(drift, abs=1e-6)
        cosines = [
            embedding(model, tokenizer(a)["input_ids"])
            @ embedding(model, tokenizer(b)["input_ids"])
            for a, b, _ in table
        ]
        assert batch.spearman[k] == pytest.approx(100 * spearmanr(cosines, gold).statistic)
    assert len(set(batch.spearman.round(3))) == 3


# ---- rank correlation

NUMBERS = st.lists(st.integers(-3, 3), min_size=8, max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=4), NUMBERS)
def test_rank_correlation_is_that_of_scipy(first: list[list[int]], second: list[int]) -> None:
    rows, gold = np.array(first, dtype=float), np.array(second, dtype=float)

    found = spearman(rows, gold)

    for row, got in zip(rows, found, strict=True):
        if np.ptp(row) == 0 or np.ptp(gold) == 0:
            assert got == 0
        else:
            assert got == pytest.approx(100 * spearmanr(row, gold).statistic, abs=1e-9)


def test_rank_correlation_by_hand() -> None:
    found = spearman(np.array([[1.0, 2, 9, 10], [4, 3, 2, 1], [1, 1, 1, 1]]), np.arange(4.0))

    np.testing.assert_allclose(found, [100, -100, 0])


def test_what_is_no_number_has_no_rank() -> None:
    found = spearman(np.array([[1.0, 2, np.nan, 4], [1.0, 2, 3, 4]]), np.arange(4.0))

    assert np.isnan(found).tolist() == [True, False]


# ---- how a folder says it pools


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        (None, "mean"),
    ],
)
def test_pooling_is_read_from_the_folder(said: Any, expected: str, tmp_path: Path) -> None:
    if said is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(said))

    assert pooling_of(tmp_path, None) == expected
    assert pooling_of(tmp_path, "cls") == "cls"


def test_an_unknown_pooling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pooling must be 'mean', 'cls' or 'last', got 'max'"):
        pooling_of(tmp_path, "max")


@pytest.mark.parametrize("text", ["{", "[1]", "\x00"])
def test_a_damaged_pooling_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(text)

    with pytest.raises(ConfigError, match=r"1_Pooling/config\.json cannot be read"):
        pooling_of(tmp_path, None)


@pytest.mark.parametrize("mode", ["pooling_mode_max_tokens", "pooling_mode_weightedmean_tokens"])
def test_a_pooling_that_is_not_offered_is_named(mode: str, tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(f'{{"{mode}": true}}')

    with pytest.raises(ConfigError, match=f"pools by {mode}, which is not offered"):
        pooling_of(tmp_path, None)
