"""Prose that every Python brings along: the topics behind ``help()``."""

from __future__ import annotations

import ast
import re
import sysconfig
from functools import cache
from pathlib import Path

from evo.errors import DataError


def python_topics(path: Path | None = None) -> tuple[str, ...]:
    """Prose of the topics, one document each, by name; the interpreter's own are read once.

    The file is parsed, never imported: its dictionary of strings is read as a literal. Tables,
    grammar and code are left out, wrapped lines are joined, paragraphs stand apart by a blank
    line and occur once. Another Python version has somewhat other text.

    Args:
        path: Another copy of the file; by default that of the running interpreter.

    Raises:
        DataError: The file is missing, or holds no dictionary of strings.
    """
    return _own_topics() if path is None else _read(path)


@cache
def _own_topics() -> tuple[str, ...]:
    return _read(Path(sysconfig.get_path("stdlib"), "pydoc_data", "topics.py"))


def _read(path: Path) -> tuple[str, ...]:
    try:
        topics = _literal(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"this Python brings no readable documentation topics at {path}: {error}",
            hint="give a text file instead",
        ) from None
    seen: set[str] = set()
    cleaned = ("\n\n".join(_prose(topics[name], seen)) for name in sorted(topics))
    return tuple(text for text in cleaned if text)


def _literal(code: str) -> dict[str, str]:
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            found = ast.literal_eval(node.value)
            if all(isinstance(part, str) for pair in found.items() for part in pair):
                return found
    raise ValueError("no dictionary of strings in it")


def _prose(topic: str, seen: set[str]) -> list[str]:
    """Paragraphs that read as sentences and were not seen before; ``seen`` takes them in."""
    kept: list[str] = []
    for block in re.split(r"\n[ \t]*\n", topic):
        text = re.sub(r"^(\*|\[?\d+[\].]|-)\s+", "", " ".join(block.split()))
        text = re.sub(r"\*{1,2}([^*\s][^*]*?)\*{1,2}", r"\1", text)
        if _is_prose(text) and text not in seen:
            seen.add(text)
            kept.append(text)
    return kept


def _is_prose(text: str) -> bool:
    words = text.split()
    plain = sum(c.isalpha() or c in " ,.'" for c in text)
    sentence = text[:1].isalpha() and text.endswith((".", ".)", ":"))
    return len(words) >= 8 and sentence and plain >= 0.85 * len(text)
