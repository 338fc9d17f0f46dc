from __future__ import annotations

from itertools import combinations, islice
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint, tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.cli import main
from evo.errors import ConfigError, DataError
from problems.pruning import models, sampling
from problems.pruning.data import SPLITS, Data
from problems.pruning.sampling import concepts, coverage, least
from problems.pruning.searches import Mixed
from problems.pruning.splits import TextConfig, passage_splits, window_splits

TOY = [set("abc"), set("ab"), set("de"), set("f"), set("cdeg")]
SIZES = {"calibration": 6, "search": 10, "validation": 4}
SETS = st.lists(st.sets(st.integers(0, 12), max_size=6), min_size=1, max_size=12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------- greedy coverage


def test_the_worked_example_is_picked_in_order_and_covers_everything():
    picks = list(islice(coverage(TOY, rng()), 3))

    assert picks == [4, 0, 3]
    assert set().union(*(TOY[i] for i in picks)) == set("abcdefg")


def test_equal_gains_go_to_the_larger_set_and_then_to_the_earlier_one():
    assert list(coverage([{1}, {2, 3}, {4, 5, 6, 7}, {2, 3, 4}], rng())) == [2, 3, 0, 1]
    assert list(coverage([set(), {1}, {1}, {1}], rng())) == [1, 2, 3, 0]


@settings(max_examples=80, deadline=None)
@given(SETS)
def test_coverage_is_the_greedy_path_of_a_plain_loop(sets):
    covered: set[int] = set()
    left, wanted = list(range(len(sets))), []
    while left:
        best = max(left, key=lambda i: (len(sets[i] - covered), len(sets[i]), -i))
        wanted.append(best)
        left.remove(best)
        covered |= sets[best]

    assert list(coverage(sets, rng())) == wanted


@settings(max_examples=50, deadline=None)
@given(SETS)
def test_gains_never_rise_and_greedy_reaches_its_share_of_the_best_coverage(sets):
    picks, covered, gains = list(coverage(sets, rng())), set(), []
    for k, pick in enumerate(picks, start=1):
        gains.append(len(sets[pick] - covered))
        covered |= sets[pick]
        if k <= 3:
            best = max(len(set().union(*chosen)) for chosen in combinations(sets, k))
            assert len(covered) >= (1 - 1 / np.e) * best

    assert sorted(picks) == list(range(len(sets)))
    assert gains == sorted(gains, reverse=True)


def test_a_pool_beyond_the_limit_is_looked_at_in_drawn_parts():
    sets = [{i, -i} if i % 7 else {i, i + 1000, i + 2000} for i in range(1, 60)]

    first, again = (list(islice(coverage(sets, rng(1), pool=5), 8)) for _ in range(2))
    other = list(islice(coverage(sets, rng(2), pool=5), 8))

    drawn = np.sort(rng(1).choice(np.arange(59), 5, replace=False))
    assert first[0] == max(drawn, key=lambda i: (len(sets[i]), -i))
    assert first == again != other
    assert sorted(coverage(sets, rng(1), pool=5)) == list(range(59))


def test_at_most_two_thousand_candidates_need_no_chance():
    sets = [{i % 97, i % 31 + 100} for i in range(sampling.POOL)]

    assert list(islice(coverage(sets, rng(1)), 9)) == list(islice(coverage(sets, rng(2)), 9))


# -------------------------------------------------------------------------------------- concepts


class Letters:
    """Reads token 0 as special, 1 and 2 as one word, 3 as a blank, 4 as another word."""

    all_special_ids = (0,)

    def decode(self, ids: list[int]) -> str:
        return ["<s>", " The", "▁the", "  ", "cat "][ids[0]]


def test_concepts_have_no_case_no_spaces_and_no_special_tokens():
    rows = [np.array([0, 1, 2, 3]), np.array([4, 1, 4]), np.array([0, 3])]

    assert concepts(rows, Letters()) == [{"the"}, {"cat", "the"}, set()]
    assert concepts([], Letters()) == []


def test_the_order_and_the_number_of_a_sequences_words_do_not_matter():
    rows = [r.numpy() for r in window_splits(tokenizer(), TextConfig(length=24)).search.ids]
    shuffled = [np.tile(rng(i).permutation(row), 1 + i % 3) for i, row in enumerate(rows)]

    wanted = list(coverage(concepts(rows, tokenizer()), rng()))

    assert list(coverage(concepts(shuffled, tokenizer()), rng())) == wanted


# ------------------------------------------------------------------------------------ perplexity


def test_least_takes_small_losses_first_and_draws_from_a_large_pool():
    rows = [np.array([i]) for i in range(9)]

    def losses(some: Any) -> np.ndarray:
        return np.array([abs(int(row[0]) - 4) - 1e-6 * row[0] for row in some])

    assert list(least(rows, losses, rng())) == [4, 3, 5, 2, 6, 1, 7, 0, 8]
    drawn = set(rng().permutation(9)[:3].tolist())
    some = list(least(rows, losses, rng(), pool=3))
    assert set(some[:3]) == drawn
    assert some[:3] == sorted(drawn, key=lambda i: (abs(i - 4), i))
    assert sorted(some) == list(range(9))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoint("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return checkpoint("bert", tmp_path_factory.mktemp("models") / "bert")


def load(folder: Any, sampled: str, cache: Any = None, **settings: Any) -> Data:
    more: dict[str, Any] = {
        "sources": {}, "separator": None, "length": 24, "sizes": SIZES, "seed": 0, "pairs": None,
        "validation_pairs": None, "pooling": None, "tokens_at_once": 96,
    }  # fmt: skip
    pretrained = models.load(str(folder))
    return Data.load(pretrained, sampled=sampled, cache=cache, **more | settings)


def test_perplexity_keeps_the_windows_that_the_dense_model_predicts_best(llama, monkeypatch):
    pools: list[Any] = []
    monkeypatch.setattr(
        sampling, "least",
        lambda rows, losses, rng, _least=least: (pools.append(rows), _least(rows, losses, rng))[1],
    )  # fmt: skip

    data = load(llama, "perplexity")

    model, losses = models.load(str(llama)).model, []
    with torch.inference_mode():
        for row in pools[0]:
            ids = torch.from_numpy(row)[None]
            losses.append(float(model(input_ids=ids, labels=ids).loss))
    best = np.argsort(losses)[: SIZES["calibration"]]
    chosen = torch.cat([b.ids for b in data.batches("calibration")])
    assert chosen.tolist() == [pools[0][i].tolist() for i in best]
    assert len(pools[0]) > 100


def test_perplexities_are_computed_once(llama, tmp_path, monkeypatch):
    first = load(llama, "perplexity", tmp_path)
    monkeypatch.setattr(sampling, "_entropy", None)  # would fail if it were asked again

    assert load(llama, "perplexity", tmp_path).fingerprints == first.fingerprints


def test_perplexity_is_refused_for_an_encoder(bert):
    with pytest.raises(ConfigError, match=r"needs a language model; bert is an encoder"):
        load(bert, "perplexity")


# ------------------------------------------------------------------------------------- in a run


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_only_calibration_depends_on_the_sampling(family, request):
    folder = request.getfixturevalue(family)
    dealt, sampled = load(folder, "random"), load(folder, "zipcal")

    for split in ("search", "validation"):
        assert dealt.fingerprints[split] == sampled.fingerprints[split]
    assert dealt.fingerprints["calibration"] != sampled.fingerprints["calibration"]
    rows = {s: {tuple(r) for b in sampled.batches(s) for r in b.ids.tolist()} for s in SPLITS}
    assert {s: len(r) for s, r in rows.items()} == SIZES
    assert not rows["calibration"] & (rows["search"] | rows["validation"])
    assert "picked out of" in sampled.facts["calibration text"]
    assert load(folder, "zipcal").fingerprints == sampled.fingerprints


def test_zipcal_covers_more_words_than_chance(bert):
    def words(data: Data) -> int:
        return len({int(i) for b in data.batches("calibration") for i in b.ids.reshape(-1)})

    assert words(load(bert, "zipcal")) > 1.2 * words(load(bert, "random"))


def test_search_text_is_the_same_whatever_overlapping_calibration_text_is_picked(tmp_path):
    """The calibration source comes first here, and its windows also occur in the search text."""
    docs = [" ".join(rng(i).choice(["the", "is", "of", "and", "object"], 64)) for i in range(8)]
    for name, chosen in (("one", docs[:6]), ("two", docs[2:])):
        (tmp_path / f"{name}.txt").write_text("\n---\n".join(chosen))
    one, two = str(tmp_path / "one.txt"), str(tmp_path / "two.txt")
    config = TextConfig(
        calibration=one, validation=one, search=two, separator="---", length=8, begin=None,
        sizes={"calibration": 3, "search": 9, "validation": 3},
    )  # fmt: skip

    plain = window_splits(tokenizer(), config)
    sought = {tuple(r) for r in plain.search.ids.tolist()}

    def those_of_search_first(rows: Any) -> Any:
        return iter(sorted(range(len(rows)), key=lambda i: (tuple(rows[i]) not in sought, -i)))

    picked = window_splits(tokenizer(), config, those_of_search_first)

    assert torch.equal(plain.search.ids, picked.search.ids)
    assert torch.equal(plain.validation.ids, picked.validation.ids)
    assert not torch.equal(plain.calibration.ids, picked.calibration.ids)
    seen = {tuple(r) for r in torch.cat([picked.search.ids, picked.validation.ids]).tolist()}
    assert not seen & {tuple(r) for r in picked.calibration.ids.tolist()}


def test_sizes_in_tokens_take_passages_until_they_are_filled():
    sizes: dict[Any, Any] = {"calibration": "70 tokens"}

    splits = passage_splits(
        tokenizer(), TextConfig(length=24, sizes=sizes), lambda rows: iter(range(len(rows)))
    )

    lengths = splits.calibration.lengths[splits.calibration.order.argsort()]
    assert int(lengths.sum()) >= 70 > int(lengths[:-1].sum())


def test_the_calibration_text_is_part_of_a_problems_fingerprint(llama, tmp_path):
    made = [
        Mixed(model=str(llama), variants=["wanda@0.5"], length=24, sizes=SIZES, sampling=s,
              cache=str(tmp_path)).fingerprint()
        for s in ("random", "zipcal", "perplexity")
    ]  # fmt: skip

    assert len({f["calibration text"] for f in made}) == 3
    assert len({f["search text"] for f in made}) == 1


def test_an_unknown_sampling_is_one_sentence_and_exit_code_2(capsys):
    assert main(["run", "prune/mixed", "--set", "problem.sampling=zipkal"]) == 2
    assert "no sampling called 'zipkal'; did you mean 'zipcal'?" in capsys.readouterr().err


# -------------------------------------------------------------------------------------- legible


def test_text_of_unknown_tokens_is_refused(tmp_path, llama):
    (tmp_path / "other.txt").write_text("zyxw vutsr qponm " * 500)

    with pytest.raises(
        DataError, match=r"the text for calibration \(other.txt\).*100% of its tokens"
    ):
        load(
            llama, "random", sources={"text": "default", "calibration": str(tmp_path / "other.txt")}
        )


def test_text_that_the_tokenizer_loses_is_refused(tmp_path, llama):
    """Half of the tokens are unknown, but all of the letters: fused unknown signs look so."""
    (tmp_path / "other.txt").write_text("zyxw the , the " * 500)
    (tmp_path / "lost.txt").write_text("zyxwvutsrqponm . " * 500)
    source = str(tmp_path / "lost.txt")

    with pytest.raises(DataError, match=r"0% of its letters and digits come back"):
        load(llama, "random", sources={"text": "default", "calibration": source})
    load(llama, "random", sizes={**SIZES, "calibration": 2},
         sources={"text": "default", "calibration": str(tmp_path / "other.txt")})  # fmt: skip


def test_words_cut_by_the_rules_of_another_tokenizer_are_refused(tmp_path, llama):
    """Qwen 2 reads every tokenizer's words as pairs of bytes; of this one hardly any are left."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, intermediate_size=16,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "wrong")
    tokenizer().save_pretrained(tmp_path / "wrong")

    with pytest.raises(
        DataError, match=r"text for calibration, search, validation .*: \d+% of its letters"
    ):
        load(tmp_path / "wrong", "random")


def test_a_tokenizer_with_more_tokens_than_the_model_embeds_is_refused(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "small")
    tokenizer().save_pretrained(tmp_path / "small")

    with pytest.raises(DataError, match=r"beside small makes token 1\d\d, but .* 50 tokens only"):
        load(tmp_path / "small", "random")
