from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from local_data import data

from evo.errors import DataError
from problems.pruning.splits import SIDES, SIZES, TextConfig, passage_splits, window_splits
from problems.pruning.text import Text, documents
from problems.pruning.windows import Passages, Windows, passages, windows

WORDS = [f"w{i}" for i in range(50)]


@pytest.fixture(scope="module")
def plain():
    """Word-level tokenizer of a language model: <s> is 0, <unk> 1, w0 … w49 from 2 on."""
    return _tokenizer({"<s>": 0, "<unk>": 1}, bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def framed():
    """Word-level tokenizer of an encoder: adds [CLS] (1) in front and [SEP] (2) at the end."""
    from tokenizers.processors import TemplateProcessing

    special = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3}
    frame = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return _tokenizer(special, frame, unk_token="[UNK]", pad_token="[PAD]")


def _tokenizer(special, frame=None, words=WORDS, **names):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = special | {word: i + len(special) for i, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=names["unk_token"]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if frame is not None:
        tokenizer.post_processor = frame
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _sentence(start: int, n_words: int) -> str:
    rng = np.random.default_rng(start)
    return " ".join(rng.choice(WORDS, n_words))


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _rows(side) -> set[bytes]:
    if isinstance(side, Windows):
        return {row.numpy().tobytes() for row in side.ids}
    return {ids[mask].numpy().tobytes() for ids, mask in zip(side.ids, side.mask, strict=True)}


# ----------------------------------------------------------------------------------------- windows


def test_windows_are_cut_by_hand(plain):
    several = Text(("w0 w1 w2", "w3 w4", "w5"), "t")

    assert windows(several, plain, length=4).ids.tolist() == [[0, 2, 3, 4], [0, 5, 6, 0]]
    assert windows(several, plain, length=3, begin=None).ids.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert windows(several, plain, length=5, begin=9).ids.tolist() == [[9, 2, 3, 4, 9]]
    assert windows(Text(("w0 w1",), "t"), plain, length=2).ids.tolist() == [[2, 3]]


def test_windows_add_no_special_tokens(framed):
    assert windows(Text(("w0 w1", "w2 w3"), "t"), framed, length=4).ids.tolist() == [[4, 5, 6, 7]]


def test_text_shorter_than_a_window_says_how_much_came(plain):
    with pytest.raises(DataError, match=r"t is shorter than one window: 3 tokens came, 4 are"):
        windows(Text(("w0 w1 w2",), "t"), plain, length=4)


def test_windows_chunk_take_and_hash():
    made = Windows(torch.arange(20).reshape(5, 4))

    assert [len(c) for c in made.chunks(2)] == [2, 2, 1]
    assert torch.equal(torch.cat([c.ids for c in made.chunks(2)]), made.ids)
    assert made.take([4, 0]).ids[:, 0].tolist() == [16, 0]
    assert made.tokens == 20
    digest = hashlib.blake2b(b"(5, 4)" + np.arange(20, dtype="<i8").tobytes(), digest_size=16)
    assert made.fingerprint == digest.hexdigest()
    assert made.fingerprint != Windows(made.ids.reshape(4, 5)).fingerprint


# ---------------------------------------------------------------------------------------- passages


def test_passages_are_framed_truncated_and_sorted(framed):
    made = passages(["w0 w1 w2 w3", "w4", "w5 w6"], framed, length=5)

    assert made.ids.tolist() == [[1, 8, 2, 0, 0], [1, 9, 10, 2, 0], [1, 4, 5, 6, 2]]
    assert made.mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert made.order.tolist() == [1, 2, 0]
    assert made.tokens == 12
    assert made.restore(torch.tensor([10, 20, 30])).tolist() == [30, 10, 20]


def test_one_passage_is_a_batch_of_one_and_none_is_an_error(framed):
    made = passages(["w0"], framed, length=8)

    assert [c.ids.tolist() for c in made.chunks()] == [[[1, 4, 2]]]
    with pytest.raises(DataError, match="at least one text"):
        passages([], framed, length=8)


def test_text_without_tokens_is_an_error(plain):
    with pytest.raises(DataError, match="no token of ''"):
        passages(["w0", ""], plain, length=8)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    tokens=st.integers(1, 200),
    waste=st.floats(0, 0.9),
)
@settings(max_examples=60, deadline=None)
def test_chunks_hold_every_row_once_within_limits(lengths, tokens, waste):
    ordered = torch.tensor(sorted(lengths))
    mask = torch.arange(int(ordered.max())) < ordered[:, None]
    ids = torch.where(mask, torch.arange(mask.numel()).reshape(mask.shape), 0)
    made = Passages(ids, mask, torch.arange(len(lengths)))

    chunks = list(made.chunks(tokens=tokens, waste=waste))

    assert torch.cat([c.order for c in chunks]).tolist() == list(range(len(lengths)))
    assert torch.equal(torch.cat([c.ids[c.mask] for c in chunks]), ids[mask])
    for chunk in chunks:
        assert bool(chunk.mask[-1].all())
        if len(chunk) > 1:
            assert chunk.ids.numel() <= tokens
            assert chunk.tokens >= (1 - waste) * chunk.ids.numel() - 1e-9


def test_passage_fingerprint_ignores_padding_only(framed):
    made = passages(["w0 w1", "w2"], framed, length=8)
    other_pad = Passages(made.ids.masked_fill(~made.mask, 7), made.mask, made.order)
    swapped = Passages(made.ids, made.mask, made.order.flip(0))

    assert made.fingerprint == other_pad.fingerprint
    assert made.fingerprint != swapped.fingerprint


# ------------------------------------------------------------------------------------------ splits


def _stories(folder: Path, n: int, n_words: int = 9) -> Path:
    return _write(folder, "s.txt", "\n<end>\n".join(_sentence(i, n_words) for i in range(n)))


SMALL = {"calibration": 3, "search": 5, "validation": 4}


def test_shared_text_is_dealt_by_documents(tmp_path, plain):
    path = _stories(tmp_path, 40)  # 9 words and a begin token: one window of 10 each
    config = TextConfig(text=path, separator="<end>", length=10, sizes=SMALL)

    made = window_splits(plain, config)

    sides = [made.calibration, made.search, made.validation]
    assert [len(s) for s in sides] == [3, 5, 4]
    assert all((s.ids[:, 0] == 0).all() for s in sides)  # whole documents: each window is one
    assert len(set.union(*map(_rows, sides))) == 12


def test_one_long_document_is_dealt_by_windows(tmp_path, plain):
    path = _write(tmp_path, "a.txt", _sentence(0, 100))
    every = _rows(windows(documents(path), plain, length=8))

    made = window_splits(plain, TextConfig(text=path, length=8, sizes=SMALL))

    sides = [made.calibration, made.search, made.validation]
    assert [len(s) for s in sides] == [3, 5, 4]
    assert len(set.union(*map(_rows, sides))) == 12  # of twelve whole windows, all are used
    assert set.union(*map(_rows, sides)) == every


def test_splits_depend_on_text_and_seed_only(tmp_path, plain):
    path = _stories(tmp_path, 60)
    configs = [
        TextConfig(text=path, separator="<end>", length=10, sizes=SMALL, seed=s) for s in (0, 0, 1)
    ]

    same, again, other = (window_splits(plain, config).fingerprint for config in configs)

    assert same == again
    assert same != other


def test_sizes_in_tokens_take_the_fewest_sequences(tmp_path, plain, framed):
    path = _write(tmp_path, "a.txt", "\n".join(_sentence(i, 6) for i in range(30)))
    sizes = {"calibration": "17 tokens", "search": "1,6 tokens", "validation": 1}
    config = TextConfig(text=path, length=8, sizes=sizes)

    by_windows, by_passages = window_splits(plain, config), passage_splits(framed, config)

    assert [len(by_windows.calibration), len(by_windows.search)] == [3, 2]
    assert [len(by_passages.calibration), len(by_passages.search)] == [3, 2]
    assert len(by_passages.validation) == 1


def test_equal_passages_never_land_on_two_sides(tmp_path, framed):
    lines = [_sentence(i % 13, 6) for i in range(100)]
    path = _write(tmp_path, "a.txt", "\n".join(lines))

    made = passage_splits(framed, TextConfig(text=path, length=16, sizes=SMALL))

    assert sum(len(_rows(s)) for s in (made.calibration, made.search, made.validation)) == 12
    assert len(_rows(made.calibration) | _rows(made.search) | _rows(made.validation)) == 12
    assert "87 repeated pieces" in made.facts["validation, search, calibration duplicates"]


def test_passages_equal_after_truncation_count_as_equal(tmp_path, framed):
    path = _write(tmp_path, "a.txt", "\n".join(f"w0 w1 w2 w{i}" for i in range(12)))

    with pytest.raises(DataError, match="4 passages for validation and 5 passages for search"):
        passage_splits(framed, TextConfig(text=path, length=4, sizes=SMALL))


def test_own_files_are_used_from_their_start(tmp_path, plain):
    files = {
        side: _write(tmp_path, f"{side}.txt", _sentence(i, 99)) for i, side in enumerate(SMALL)
    }
    config = TextConfig(**files, length=8, sizes=SMALL)

    made = window_splits(plain, config)

    for side, n in SMALL.items():
        every = windows(documents(files[side]), plain, length=8)
        assert torch.equal(getattr(made, side).ids, every.ids[:n])
        assert made.facts[f"{side} text"] == f"{n} windows, {8 * n} tokens of {side}.txt"
    assert set(made.facts) == {f"{side} text" for side in SMALL}


def test_overlapping_files_lose_their_duplicates_and_say_so(tmp_path, plain):
    shared, own = _sentence(0, 32), _sentence(1, 40)
    validation = _write(tmp_path, "v.txt", shared)
    search = _write(tmp_path, "s.txt", f"{shared} {own}")
    config = TextConfig(text=search, validation=validation, length=8, sizes=SMALL | {"search": 2})

    made = window_splits(plain, config)

    assert len(made.validation) == 4
    assert not _rows(made.validation) & (_rows(made.search) | _rows(made.calibration))
    assert made.facts["search, calibration duplicates"].startswith("4 repeated pieces of s.txt")


def test_own_files_lose_what_validation_has_and_say_so(tmp_path, plain):
    shared, own = _sentence(0, 32), _sentence(1, 40)
    files = {"validation": shared, "search": f"{shared} {own}", "calibration": own}
    paths = {side: _write(tmp_path, f"{side}.txt", text) for side, text in files.items()}
    config = TextConfig(**paths, length=8, sizes={"calibration": 1, "search": 4, "validation": 4})

    made = window_splits(plain, config)

    every = windows(documents(paths["search"]), plain, length=8)
    assert torch.equal(made.search.ids, every.ids[4:8])
    assert made.calibration.ids.tolist() == every.ids[8:9].tolist()
    assert made.facts["search duplicates"] == "4 repeated pieces of search.txt were left out"


def test_files_of_one_name_in_two_folders_are_two_sources(tmp_path, plain):
    for i, side in enumerate(SMALL):
        (tmp_path / side).mkdir()
        _write(tmp_path / side, "a.txt", _sentence(i, 8 * SMALL[side]))
    paths = {side: tmp_path / side / "a.txt" for side in SMALL}

    made = window_splits(plain, TextConfig(**paths, length=8, sizes=SMALL))

    assert [len(made.calibration), len(made.search), len(made.validation)] == [3, 5, 4]


def test_same_file_named_twice_is_shared(tmp_path, plain):
    path = _write(tmp_path, "a.txt", _sentence(0, 100))
    other = _write(tmp_path, "b.txt", _sentence(1, 100))
    config = TextConfig(calibration=other, search=path, validation=str(path), length=8, sizes=SMALL)

    made = window_splits(plain, config)

    assert not _rows(made.search) & _rows(made.validation)
    assert len(made.search) + len(made.validation) == 9


def test_text_for_some_sides_only_is_an_error(tmp_path, plain):
    path = _write(tmp_path, "a.txt", _sentence(0, 100))

    with pytest.raises(
        DataError, match=r"search got a text of its own, validation and calibration"
    ):
        window_splits(plain, TextConfig(search=path))


def test_too_little_text_says_what_came_and_what_was_asked(tmp_path, plain):
    path = _write(tmp_path, "a.txt", _sentence(0, 50))

    with pytest.raises(DataError) as caught:
        window_splits(plain, TextConfig(text=path, length=8))

    assert caught.value.message == (
        "a.txt gives 50 tokens in 6 windows of at most 8, repeated ones included; 512 tokens for "
        "validation and 512 tokens for search and 256 tokens for calibration were asked for"
    )


@pytest.mark.parametrize("size", [0, -1, 2.5, "many", "3 words", True])
def test_sizes_that_are_no_numbers_are_errors(plain, size):
    with pytest.raises(DataError, match="the size of search is"):
        window_splits(plain, TextConfig(sizes={"search": size}))


def test_windows_of_one_token_are_an_error(plain):
    with pytest.raises(DataError, match="at least 2 tokens"):
        window_splits(plain, TextConfig(length=1))


def test_unknown_side_is_an_error(plain):
    with pytest.raises(DataError, match="no side 'serach'"):
        window_splits(plain, TextConfig(sizes={"serach": 3}))  # type: ignore[dict-item]


def test_default_text_fills_default_sizes():
    words = sorted({word for text in documents().documents for word in text.split()})
    special = {"[PAD]": 0, "[UNK]": 1}
    tokenizer = _tokenizer(special, words=words, unk_token="[UNK]", pad_token="[PAD]")

    made = passage_splits(tokenizer, TextConfig(length=64))

    assert {s: len(getattr(made, s)) for s in SIDES} == dict(SIZES)


# -------------------------------------------------------------------------------- published models


def _perplexity(model_folder: Path, text: Text, n_windows: int) -> float:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    some = windows(text, tokenizer, length=256).take(slice(n_windows))
    losses = []
    with torch.inference_mode():
        for chunk in some.chunks(4):
            logits = model(chunk.ids).logits[:, :-1].flatten(0, 1)
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits, chunk.ids[:, 1:].flatten(), reduction="none"
                )
            )
    assert len(some) == n_windows
    return math.exp(torch.cat(losses).mean())


def test_stories_have_their_published_perplexity():
    text = documents(data("text", "tinystories", "valid.txt"), "<|endoftext|>")

    found = _perplexity(data("models", "stories260K", "hf"), text, 64)

    assert found == pytest.approx(4.63, abs=0.005)


@pytest.mark.slow
def test_books_have_their_published_perplexity():
    text = documents(data("text", "books", "valid.txt"))

    found = _perplexity(data("models", "books2m"), text, 32)

    assert found == pytest.approx(60.3, abs=0.05)


def test_first_megabyte_of_a_packed_book_file_has_the_windows_of_the_whole():
    from transformers import AutoTokenizer

    path = data("text", "books", "train.txt.xz")
    tokenizer = AutoTokenizer.from_pretrained(data("models", "books2m"))

    one, two = (
        windows(documents(path, megabytes=m), tokenizer, length=256).take(slice(32))
        for m in (0.1, 0.5)
    )

    assert one.fingerprint == two.fingerprint
