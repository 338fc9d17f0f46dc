from __future__ import annotations

import gzip
import hashlib
import lzma
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.errors import DataError
from problems.pruning import splits as splits_module
from problems.pruning.pairs import read_pairs
from problems.pruning.splits import TextConfig, passage_splits, window_splits
from problems.pruning.text import Text, documents, paragraphs
from problems.pruning.topics import python_topics
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


# ------------------------------------------------------------------------------------ sources


def test_file_without_separator_is_one_untouched_document(tmp_path):
    path = _write(tmp_path, "a.txt", "  one\n\ntwo \n")

    assert documents(path) == Text(("  one\n\ntwo \n",), "a.txt", complete=True)


def test_separator_cuts_only_at_lines_that_equal_it(tmp_path):
    text = "a <end> b\nc <end>\n <end> \r\n\n second \n<end>\n<end>\nthird\n<end>"
    path = _write(tmp_path, "a.txt", text)

    assert documents(path, "<end>").documents == ("a <end> b\nc <end>", "second", "third")


@pytest.mark.parametrize(("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_packed_files_read_like_plain_ones(tmp_path, suffix, pack):
    (tmp_path / f"a.txt{suffix}").write_bytes(pack("früh\n".encode()))

    assert documents(tmp_path / f"a.txt{suffix}").documents == ("früh\n",)


def test_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone")

    assert documents(tmp_path / "a.txt").documents == ("one",)


def test_json_lines_are_documents(tmp_path):
    path = _write(tmp_path, "a.jsonl", '{"text": "one"}\n\n{"text": "two", "id": 3}\n')

    assert documents(path).documents == ("one", "two")
    assert documents({"path": str(path), "join": " + "}).documents == ("one + two",)


def test_folder_is_read_by_name_and_other_files_are_left_aside(tmp_path):
    _write(tmp_path, "b.txt", "bee")
    _write(tmp_path, "a.jsonl", '{"text": "ant"}')
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"cow"))
    (tmp_path / "model.bin").write_bytes(b"\xff\x00")

    assert documents(str(tmp_path)).documents == ("ant", "bee", "cow")


@pytest.mark.parametrize("packed", [False, True])
def test_long_file_is_cut_back_to_whole_lines(tmp_path, packed):
    lines = "".join(f"line {i}\n" for i in range(100))
    path = tmp_path / ("a.txt.xz" if packed else "a.txt")
    path.write_bytes(lzma.compress(lines.encode()) if packed else lines.encode())

    text = documents(path, megabytes=20e-6)

    assert text == Text(("line 0\nline 1\n",), path.name, complete=False)


def test_endless_line_is_cut_at_a_whole_character(tmp_path):
    path = _write(tmp_path, "a.txt", "é" * 50)

    for limit in (9, 10, 11):
        assert documents(path, megabytes=limit * 1e-6).documents == ("é" * (limit // 2),)


def test_folder_shares_one_allowance(tmp_path):
    for name in "abc":
        _write(tmp_path, f"{name}.txt", "four\n" * 2)

    text = documents(tmp_path, megabytes=10e-6)

    assert text.documents == ("four\nfour\n",)
    assert not text.complete


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"good\xff bad", "a.txt is not UTF-8 text: byte 0xff at position 4"),
        ("a.txt", b"\xef\xbb\xbfab\xff", "byte 0xff at position 5"),
        ("a.txt", b"ab\0c", "byte 0x00 at position 2"),
        ("a.txt", b" \n\n", "a.txt holds no text"),
        ("a.txt.xz", b"plain", "not a readable xz file"),
        ("a.txt.gz", b"plain", "not a readable gz file"),
        ("a.txt.gz", gzip.compress(b"cut off here")[:-9], "not a readable gz file"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', "line 2 has no text in a field 'text'"),
        ("a.jsonl", b'{"text": 3}', "line 1 has no text in a field 'text'"),
        ("a.jsonl", b"[", "line 1 is not JSON"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)

    with pytest.raises(DataError) as caught:
        documents(tmp_path / name)

    assert said in caught.value.message


def test_missing_paths_and_bad_settings_are_named(tmp_path):
    for source, said in [
        (tmp_path / "no.txt", "no text file or folder at"),
        ({"path": str(tmp_path / "no.parquet")}, "no data set at"),
        (tmp_path, "holds no text files"),
        ("hub:a:b:c:d:e", "not hub:NAME:CONFIG:COLUMN:SPLIT"),
        ({"nome": "x"}, "unknown key 'nome'"),
        ({"name": "x", "path": "y"}, "exactly one of name and path"),
    ]:
        with pytest.raises(DataError) as caught:
            documents(source)
        assert said in caught.value.message
        assert caught.value.hint


# ---------------------------------------------------------------------------------- data sets


@pytest.fixture
def table(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = {"text": ["one", "", "three"], "title": ["x", "y", "z"], "year": [1, 2, 3]}
    return datasets.Dataset.from_dict(rows)


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_table_files_read_through_datasets(tmp_path, table, kind):
    path = tmp_path / f"t.{kind}"
    getattr(table, f"to_{kind}")(str(path))

    assert documents(path).documents == ("one", "three")
    assert documents({"path": path, "column": "title"}).documents == ("x", "y", "z")
    assert not list((tmp_path / "cache").rglob("*.arrow"))  # streamed, not copied


def test_saved_data_set_reads_its_split_and_joins_rows(tmp_path, table):
    import datasets

    table.save_to_disk(str(tmp_path / "one"))
    both = datasets.DatasetDict({"train": table, "test": table.select([2])})
    both.save_to_disk(str(tmp_path / "two"))

    assert documents(tmp_path / "one").documents == ("one", "three")
    assert documents({"path": tmp_path / "two", "split": "test"}).documents == ("three",)
    joined = documents({"path": tmp_path / "two", "join": "\n"})
    assert joined.documents == ("one\n\nthree",)
    with pytest.raises(DataError, match="no split 'dev'"):
        documents({"path": tmp_path / "two", "split": "dev"})


def test_rows_stop_at_the_allowance(tmp_path, table):
    table.save_to_disk(str(tmp_path / "one"))

    text = documents(tmp_path / "one", megabytes=2e-6)

    assert text.documents == ("one",)
    assert not text.complete


@pytest.mark.parametrize(
    ("column", "said"), [("body", "no column 'body'"), ("year", "column 'year' holds no text")]
)
def test_unusable_columns_are_named(tmp_path, table, column, said):
    table.save_to_disk(str(tmp_path / "one"))

    with pytest.raises(DataError, match=said):
        documents({"path": tmp_path / "one", "column": column})


def test_lone_string_column_needs_no_name_but_two_do(tmp_path, table):
    table.remove_columns(["text"]).save_to_disk(str(tmp_path / "one"))
    table.rename_column("text", "body").save_to_disk(str(tmp_path / "two"))

    assert documents(tmp_path / "one").documents == ("x", "y", "z")
    with pytest.raises(DataError, match="several columns") as caught:
        documents(tmp_path / "two")
    assert "body, title, year" in str(caught.value.hint)


def test_hub_fields_reach_datasets_and_its_errors_become_one_sentence(table, monkeypatch):
    import datasets

    asked = []

    def load(name, config, **settings):
        asked.append((name, config, settings))
        if name == "far/away":
            raise ConnectionError("cannot reach the hub\nlong trace")
        return table

    monkeypatch.setattr(datasets, "load_dataset", load)

    assert documents("hub:some/set::title:test").documents == ("x", "y", "z")
    assert documents({"name": "some/set", "config": "en"}).origin == "some/set:en"
    with pytest.raises(DataError) as caught:
        documents("hub:far/away")
    assert asked[0] == ("some/set", None, {"split": "test", "streaming": True})
    assert asked[1] == ("some/set", "en", {"split": "train", "streaming": True})
    assert caught.value.message == "data set 'far/away' cannot be read: cannot reach the hub"


# -------------------------------------------------------------------------------- topics, prose


def test_paragraphs_join_wrapped_lines_and_split_long_ones():
    wrapped = "one two three\nfour five\n\nsix seven eight nine\n"
    long = "\n".join(f"{_sentence(i, 60)}" for i in range(2))
    listed = "a sentence of five words\nanother sentence of five words"

    assert paragraphs([wrapped]) == ["one two three four five", "six seven eight nine"]
    assert paragraphs([long + "\n\nshort but four words"])[:2] == long.splitlines()
    assert paragraphs([listed]) == listed.splitlines()
    assert paragraphs(["two words\n"]) == []


def test_python_topics_are_prose_without_repeats():
    texts = python_topics()
    found = paragraphs(texts)

    assert len(texts) > 30
    assert len(found) > 500
    assert len(set(found)) == len(found)
    assert not [p for p in found if "::=" in p or ">>>" in p]
    assert documents().documents == tuple(texts)


def test_topics_file_is_parsed_and_never_run(tmp_path):
    prose = "This is a sentence that has more than eight words in it."
    listing = "y = f(x[0], 1) + 2**3 - {4: 5} | 6 == 7 != 8."
    topic = f"Title\n*****\n\n* {prose}\n\n   {listing}\n"
    code = f"topics = {{'b': {topic!r}, 'a': {prose!r}}}\n"
    path = _write(tmp_path, "topics.py", f"raise SystemExit\n{code}")

    assert python_topics(path) == [prose]
    path.write_text("topics = {'a': open('x').read()}")
    with pytest.raises(DataError, match="no readable documentation topics"):
        python_topics(path)


# ------------------------------------------------------------------------------------- windows


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


# ------------------------------------------------------------------------------------ passages


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


# -------------------------------------------------------------------------------------- splits


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

    assert {s: len(getattr(made, s)) for s in splits_module.SIDES} == dict(splits_module.SIZES)


# --------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", '"a, one",b,4.5\nc,d,0\n'),
        ("a.csv", 'score,id,sentence2,sentence1\n4.5,1,b,"a, one"\n0,2,d,c\n'),
        ("a.tsv", "4.5\ta, one\tb\r\n\n0\tc\td"),
        ("a.tsv", "sentence1\tsentence2\tscore\na, one\tb\t4.5\nc\td\t0\n"),
    ],
)
def test_pairs_read_with_and_without_header(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode())

    pairs = read_pairs(tmp_path / name)

    assert (pairs.left, pairs.right) == (("a, one", "c"), ("b", "d"))
    assert pairs.gold.tolist() == [4.5, 0.0]


def test_pairs_in_tsv_keep_quotes(tmp_path):
    pairs = read_pairs(_write(tmp_path, "a.tsv", '1\t"odd quote\tb\n2\tc\td'))

    assert pairs.left == ('"odd quote', "c")


def test_pairs_take_and_hash(tmp_path):
    pairs = read_pairs(_write(tmp_path, "a.csv", "a,b,1\nc,d,2\ne,f,3\n"))

    some = pairs.take([2, 0])

    assert (some.left, some.right, some.gold.tolist()) == (("e", "a"), ("f", "b"), [3.0, 1.0])
    assert len(some) == 2
    assert len({pairs.fingerprint, some.fingerprint, pairs.take([0, 2]).fingerprint}) == 3


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "a,b,1\nc,d,x\n", "line 2 is not two sentences and a score"),
        ("a.csv", "a,b,nan\n", "line 1 is not"),
        ("a.csv", "a,,1\n", "line 1 is not"),
        ("a.tsv", "1\ta\n", "line 1 is not"),
        ("a.csv", "\n", "holds no pairs"),
        ("a.csv", "sentence1,sentence2,score\n", "a header and no pairs"),
        ("a.csv", "a,b,1\n\0", "is not UTF-8 text"),
    ],
)
def test_bad_pairs_are_named(tmp_path, name, text, said):
    with pytest.raises(DataError, match=said):
        read_pairs(_write(tmp_path, name, text))


def test_missing_pairs_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no file at .*no\.csv"):
        read_pairs(tmp_path / "no.csv")


# -------------------------------------------------------------------- published data and models


def _data(*parts: str) -> Path:
    root = os.environ.get("EVO_DATA")
    if not root:
        pytest.skip("EVO_DATA is not set to a folder with models/, text/ and sts/")
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


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
    text = documents(_data("text", "tinystories", "valid.txt"), "<|endoftext|>")

    found = _perplexity(_data("models", "stories260K", "hf"), text, 64)

    assert found == pytest.approx(4.63, abs=0.005)


@pytest.mark.slow
def test_books_have_their_published_perplexity():
    text = documents(_data("text", "books", "valid.txt"))

    found = _perplexity(_data("models", "books2m"), text, 32)

    assert found == pytest.approx(60.3, abs=0.05)


def test_first_megabyte_of_a_packed_book_file_has_the_windows_of_the_whole():
    from transformers import AutoTokenizer

    path = _data("text", "books", "train.txt.xz")
    tokenizer = AutoTokenizer.from_pretrained(_data("models", "books2m"))

    one, two = (
        windows(documents(path, megabytes=m), tokenizer, length=256).take(slice(32))
        for m in (0.1, 0.5)
    )

    assert one.fingerprint == two.fingerprint


def test_published_pairs_have_their_sizes():
    sizes = [len(read_pairs(_data("sts", f"stsb-en-{s}.csv"))) for s in ("train", "dev", "test")]
    semeval = [read_pairs(path) for path in sorted(_data("sts", "semeval").glob("*.tsv"))]

    assert sizes == [5749, 1500, 1379]
    assert len(semeval) == 11
    assert all(pairs.gold.min() >= 0 and pairs.gold.max() <= 5 for pairs in semeval)
