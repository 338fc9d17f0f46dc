"""Documents and paragraphs out of files, data sets, or the text that comes with every Python.

A source is written in one of these ways::

    None or "default"              documentation topics of the interpreter itself
    "folder/valid.txt"             one document, or several between lines that equal ``separator``
    "train.txt.xz", "part.txt.gz"  the same, compressed
    "stories.jsonl"                one document a line, in its field "text"
    "folder"                       every text file directly in it, by name; or a saved data set
    "table.parquet" .csv .json     one document a row, through `datasets`
    "hub:NAME:CONFIG:COLUMN:SPLIT" a data set of the hub; all but the name may be left out
    {name or path, config, column, split, join}
                                   the same as a mapping; ``join`` glues all rows into one document

Nothing here runs code out of a folder: files are decoded, tables are read as tables.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from evo.errors import DataError

from .topics import python_topics

Source = str | Path | Mapping[str, Any] | None

MEGABYTES = 4.0  # of text read from one source: about a million tokens, seconds to tokenise
TEXT = (".txt", ".md", ".jsonl")
PACKED = {".xz": lzma.open, ".gz": gzip.open}
TABLES = {".parquet": "parquet", ".csv": "csv", ".json": "json"}
KEYS = ("name", "path", "config", "column", "split", "join")


@dataclass(frozen=True, slots=True)
class Text:
    """Documents of one source, in its order, none of them blank.

    Args:
        documents: At least one string.
        origin: The source in a few words, for facts and messages.
        complete: Whether all of the source was read, not only its first megabytes.
    """

    documents: tuple[str, ...]
    origin: str
    complete: bool = True


def documents(
    source: Source = None, separator: str | None = None, *, megabytes: float = MEGABYTES
) -> Text:
    """Read a source and cut it into documents.

    Args:
        source: See the top of this module.
        separator: A line that stands between documents, such as ``<|endoftext|>``; documents
            are then stripped. Without one every file, line of JSON or row is a document as it is.
        megabytes: At most so much UTF-8 is read, cut back to whole lines or rows.

    Raises:
        DataError: The source is missing, empty, not text, or has no such column.
    """
    reader = _Reader(int(megabytes * 1e6))
    found = list(_read(source, reader))
    if separator is not None:
        found = [part.strip() for text in found for part in _parts(text, separator)]
    found = [text for text in found if text.strip()]
    if not found:
        raise DataError(
            f"{_origin(source)} holds no text", hint="give a source with at least one document"
        )
    return Text(tuple(found), _origin(source), not reader.cut)


def paragraphs(texts: Iterable[str], *, words: int = 4) -> list[str]:
    """Passages for encoders: the paragraphs of all documents, each on one line, in order.

    Blocks between blank lines are paragraphs when their lines are short (wrapped by hand);
    otherwise, and in a document without blank lines, every line is one. Paragraphs of fewer than
    ``words`` words are dropped.
    """
    found = (" ".join(p.split()) for text in texts for p in _paragraphs(text))
    return [p for p in found if p.count(" ") + 1 >= words]


def _paragraphs(text: str) -> Iterator[str]:
    blocks = re.split(r"\n[ \t]*\n", text)
    for block in blocks:
        lines = block.splitlines()
        if len(blocks) > 1 and all(len(line) <= 120 for line in lines):
            yield block
        else:
            yield from lines


def _parts(text: str, separator: str) -> list[str]:
    """The text between lines that equal the separator, apart from blanks around it."""
    return re.split(rf"(?m)^[ \t]*{re.escape(separator.strip())}[ \t]*\r?$", text)


def read_file(path: Path) -> str:
    """The whole of one plain, .xz or .gz file as text.

    Raises:
        DataError: It is missing, cannot be unpacked, or is not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"no file at {path}", hint="check the path")
    return _Reader(sys.maxsize - 1).file(path)


class _Reader:
    """What may still be read of a source, in bytes, and whether anything was left out."""

    def __init__(self, allowance: int) -> None:
        self.left = max(1, allowance)
        self.cut = False

    def file(self, path: Path) -> str:
        """Text of a plain or packed file, decoded strictly; whole lines when cut short."""
        data = self._bytes(path)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            at = error.start + 3 * data.startswith(b"\xef\xbb\xbf")
            raise _not_text(path, data[at], at) from None
        if (at := data.find(b"\0")) >= 0:
            raise _not_text(path, 0, at)
        self.left -= len(data)
        return text

    def rows(self, rows: Iterable[str]) -> Iterator[str]:
        """Rows until the allowance is used up; always at least the first."""
        for row in rows:
            if self.left <= 0:
                self.cut = True
                return
            self.left -= len(row.encode())
            yield row

    def _bytes(self, path: Path) -> bytes:
        opener = PACKED.get(path.suffix.lower(), open)
        try:
            with opener(path, "rb") as file:
                return self._head(file)
        except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(
                f"{path} is not a readable {path.suffix[1:]} file: {error}",
                hint="pack it again or give the plain text",
            ) from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None

    def _head(self, file: BinaryIO | Any) -> bytes:
        data = file.read(self.left + 1 if self.left < sys.maxsize - 1 else -1)
        if len(data) <= self.left:
            return data
        self.cut = True
        end = data.rfind(b"\n", 0, self.left)
        if end < 0:  # one endless line: finish at a whole character
            end = self.left - 1
            while end > 0 and data[end + 1] & 0xC0 == 0x80:
                end -= 1
        return data[: end + 1]


def _not_text(path: Path, byte: int, at: int) -> DataError:
    return DataError(
        f"{path} is not UTF-8 text: byte 0x{byte:02x} at position {at:,}",
        hint="convert it to UTF-8, or give another file",
    )


def _origin(source: Source) -> str:
    if source is None or source == "default":
        return "the documentation topics of Python"
    if isinstance(source, Mapping):
        named = str(source.get("name") or Path(str(source.get("path", ""))).name)
        return ":".join(str(p) for p in (named, source.get("config")) if p)
    text = str(source)
    return text.removeprefix("hub:") if text.startswith("hub:") else Path(text).name


def _read(source: Source, reader: _Reader) -> Iterator[str]:
    if source is None or source == "default":
        return reader.rows(python_topics())
    if isinstance(source, Mapping):
        return _data_set(source, reader)
    if str(source).startswith("hub:"):
        fields = str(source).removeprefix("hub:").split(":")
        if len(fields) > 4 or not fields[0]:
            raise DataError(
                f"{source!r} is not hub:NAME:CONFIG:COLUMN:SPLIT",
                hint='all but NAME may be left out, as in "hub:roneneldan/TinyStories"',
            )
        keys = ("name", "config", "column", "split")
        return _data_set(dict(zip(keys, fields, strict=False)), reader)
    return _path(Path(source).expanduser(), reader)


def _path(path: Path, reader: _Reader, column: str | None = None) -> Iterator[str]:
    if not path.exists():
        raise DataError(
            f"no text file or folder at {path}",
            hint=f"for a data set of the hub write hub:{path}",
        )
    if path.is_dir():
        yield from _folder(path, reader, column)
    elif path.suffix.lower() in TABLES:
        yield from _data_set({"path": str(path), "column": column}, reader)
    elif _plain_suffix(path) == ".jsonl":
        yield from _json_lines(path, reader, column or "text")
    else:
        yield reader.file(path)


def _folder(path: Path, reader: _Reader, column: str | None) -> Iterator[str]:
    if _saved(path):
        yield from _data_set({"path": str(path), "column": column}, reader)
        return
    files = [p for p in sorted(path.iterdir()) if p.is_file() and _plain_suffix(p) in TEXT]
    files = files or [p for p in sorted(path.iterdir()) if p.suffix.lower() in TABLES]
    if not files:
        raise DataError(
            f"{path} holds no text files",
            hint="expected .txt, .md or .jsonl (also packed as .xz or .gz), .parquet, .csv, .json, "
            "or a saved data set",
        )
    for file in files:
        if reader.left <= 0:
            reader.cut = True
            return
        yield from _path(file, reader, column)


def _saved(path: Path) -> bool:
    """Whether a folder was written by ``save_to_disk`` of `datasets`."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _plain_suffix(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def _json_lines(path: Path, reader: _Reader, field: str) -> Iterator[str]:
    for number, line in enumerate(reader.file(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {number} is not JSON: {error.msg}") from None
        if not isinstance(value, dict) or not isinstance(value.get(field), str):
            raise DataError(
                f"{path} line {number} has no text in a field {field!r}",
                hint="every line must be an object with that field; name another one as `column`",
            )
        yield value[field]


def _data_set(settings: Mapping[str, Any], reader: _Reader) -> Iterator[str]:
    unknown = sorted(set(settings) - set(KEYS))
    if unknown or bool(settings.get("name")) == bool(settings.get("path")):
        problem = (
            f"unknown key {unknown[0]!r}" if unknown else "exactly one of name and path is needed"
        )
        raise DataError(
            f"a text source {dict(settings)} has a mistake: {problem}",
            hint=f"keys: {', '.join(KEYS)}",
        )
    glue, column = settings.get("join"), settings.get("column") or None
    path = Path(str(settings.get("path") or "")).expanduser()
    if settings.get("path") and not (path.suffix.lower() in TABLES or _saved(path)):
        rows = _path(path, reader, column)
    else:
        rows = reader.rows(_rows(settings, path, column))
    if glue is None:
        yield from rows
    else:
        yield str(glue).join(rows)


def _rows(settings: Mapping[str, Any], path: Path, column: str | None) -> Iterator[str]:
    """One string a row of a data set, read as a stream; any trouble becomes one sentence."""
    where = str(settings.get("name") or path)
    try:
        rows = _open(settings, path)
        found = None
        for row in rows:
            found = found or _column(row, column, where)
            yield str(row[found] or "")
    except Exception as error:  # the edge to a library that raises a dozen kinds for "cannot read"
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"data set {where!r} cannot be read: {_first_line(error)}",
            hint="check the name, configuration, split and the network, or give a local file",
        ) from error


def _open(settings: Mapping[str, Any], path: Path) -> Iterable[Any]:
    """Rows of a data set of the hub, of a saved one, or of a table file."""
    import datasets

    split = str(settings.get("split") or "train")
    if settings.get("name"):
        config = settings.get("config") or None
        return datasets.load_dataset(str(settings["name"]), config, split=split, streaming=True)
    if not path.exists():
        raise DataError(f"no data set at {path}", hint="check the path")
    if not path.is_dir():
        kind, files = TABLES[path.suffix.lower()], str(path)
        return datasets.load_dataset(kind, data_files=files, split="train", streaming=True)
    saved = datasets.load_from_disk(str(path))
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise DataError(
            f"{path} has no split {split!r}", hint=f"splits: {', '.join(map(str, saved))}"
        )
    return saved[split]


def _column(row: Mapping[str, Any], column: str | None, where: str) -> str:
    strings = [name for name, value in row.items() if isinstance(value, str)]
    if column is None:
        column = "text" if "text" in row else strings[0] if len(strings) == 1 else None
    if column is None or column not in row:
        problem = "several columns could be text" if column is None else f"no column {column!r}"
        raise DataError(
            f"data set {where!r}: {problem}", hint=f"name one of {', '.join(row)} as `column`"
        )
    if not isinstance(row[column], str | None):
        raise DataError(f"data set {where!r}: column {column!r} holds no text")
    return column


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
