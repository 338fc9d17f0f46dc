from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
from local_data import data

from evo.errors import DataError
from problems.pruning.pairs import read_pairs
from problems.pruning.text import Text, documents, paragraphs
from problems.pruning.topics import python_topics


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# ----------------------------------------------------------------------------------------- sources


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
        ("a.txt.gz", gzip.compress(b"cut off here", mtime=0)[:-9], "not a readable gz file"),
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


# --------------------------------------------------------------------------------------- data sets


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


# ----------------------------------------------------------------------------------- topics, prose


def test_paragraphs_join_wrapped_lines_and_split_long_ones():
    wrapped = "one two three\nfour five\n\nsix seven eight nine\n"
    long = "\n".join(f"line {i}" + " goes on" * 20 for i in range(2))
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
    assert documents().documents == texts


def test_topics_file_is_parsed_and_never_run(tmp_path):
    prose = "This is a sentence that has more than eight words in it."
    listing = "y = f(x[0], 1) + 2**3 - {4: 5} | 6 == 7 != 8."
    topic = f"Title\n*****\n\n* {prose}\n\n   {listing}\n"
    code = f"topics = {{'b': {topic!r}, 'a': {prose!r}}}\n"
    path = _write(tmp_path, "topics.py", f"raise SystemExit\n{code}")

    assert python_topics(path) == (prose,)
    path.write_text("topics = {'a': open('x').read()}")
    with pytest.raises(DataError, match="no readable documentation topics"):
        python_topics(path)


# ------------------------------------------------------------------------------------------- pairs


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


def test_published_pairs_have_their_sizes():
    sizes = [len(read_pairs(data("sts", f"stsb-en-{s}.csv"))) for s in ("train", "dev", "test")]
    semeval = [read_pairs(path) for path in sorted(data("sts", "semeval").glob("*.tsv"))]

    assert sizes == [5749, 1500, 1379]
    assert len(semeval) == 11
    assert all(pairs.gold.min() >= 0 and pairs.gold.max() <= 5 for pairs in semeval)
