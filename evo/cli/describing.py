"""Words for things of code, out of their signatures, docstrings and attributes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

_ENTRY = re.compile(r"(?P<name>\*{0,2}\w+)(\s*\(.*\))?:\s*(?P<text>.*)")
_SECTION = re.compile(r"[A-Z]\w+:$")


def first_sentence(target: Any) -> str:
    """First paragraph of the docstring on one line; empty without one of its own."""
    doc = inspect.getdoc(target) or ""
    generated = doc.startswith(f"{getattr(target, '__name__', '')}(")  # what dataclasses write
    return "" if generated else " ".join(doc.split("\n\n")[0].split())


def settings_of(target: Any, fixed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, default and meaning of each setting of a callable, in order.

    Args:
        target: Class or function.
        fixed: Settings that its catalogue row carries; they replace the defaults.
    """
    if not callable(target):
        return []
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # some compiled callables have no signature
        return []
    docs = argument_docs(target)
    return [
        {
            "name": p.name,
            "required": p.default is p.empty and p.name not in fixed,
            "default": fixed.get(p.name, None if p.default is p.empty else p.default),
            "doc": docs.get(p.name, ""),
        }
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]


def argument_docs(target: Any) -> dict[str, str]:
    """What ``Args:`` sections say of each argument: of a class, those it stands on included.

    The class itself wins over its bases, and its constructor over both.
    """
    bases = reversed(target.__mro__) if inspect.isclass(target) else [target]
    found: dict[str, str] = {}
    for source in (*bases, getattr(target, "__init__", None)):
        found |= _section(inspect.getdoc(source) or "", "Args:")
    return found


def offered(batch: Any) -> list[dict[str, str]]:
    """Public attributes of a batch with the first sentence of each; none of them is computed."""
    kind = type(batch)
    names = {n for n in dir(kind) if not callable(inspect.getattr_static(kind, n, None))}
    names |= set(getattr(batch, "__dict__", {}))
    public = sorted(n for n in names if not n.startswith("_"))
    return [{"name": n, "doc": _attribute_doc(kind, n)} for n in public]


def _attribute_doc(kind: type, name: str) -> str:
    found = inspect.getattr_static(kind, name, None)
    if found is None or isinstance(found, str | int | float | tuple):
        return argument_docs(kind).get(name, "")
    if inspect.ismemberdescriptor(found):  # a slot of a dataclass
        return argument_docs(kind).get(name, "")
    return first_sentence(found)


def _section(doc: str, title: str) -> dict[str, str]:
    """Entries ``name: text`` of one section of a Google docstring, continued lines joined."""
    lines = doc.splitlines()
    if title not in (line.strip() for line in lines):
        return {}
    start = next(i for i, line in enumerate(lines) if line.strip() == title) + 1
    found: dict[str, str] = {}
    name, indent = None, None
    for line in lines[start:]:
        depth = len(line) - len(line.lstrip())
        if not line.strip() or _SECTION.match(line.strip()) or depth == 0:
            break
        indent = depth if indent is None else indent
        entry = _ENTRY.match(line.strip()) if depth == indent else None
        if entry:
            name = entry["name"].lstrip("*")
            found[name] = entry["text"]
        elif name is not None:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
