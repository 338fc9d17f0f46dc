"""What a user asks for by name: kinds of variants, allocators, an order of neurons."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evo.errors import ConfigError

from . import allocate, variants
from .allocate import Allocator

_PIECES = re.compile(r"(?:[;\s]+|,(?![\d.]+(?:[,;\s]|$)))(?![^()]*\))")
"""Commas before numbers join levels, those in brackets settings."""


def asked(names: Sequence[Any]) -> list[variants.Asked]:
    """Kinds with their levels, of a list or of one string of names; kinds themselves are let in.

    Raises:
        ConfigError: Nothing is named, or a name leads nowhere.
    """
    if isinstance(names, str):
        names = [piece for piece in _PIECES.split(re.sub(r"\s*,\s*", ",", names)) if piece]
    if not names:
        raise ConfigError("variants is empty", hint="name at least one kind, for example removal")
    return [variants.parse(name) for name in names]


def allocators(names: Sequence[str]) -> list[Allocator]:
    """Allocators, of a list or of one string of names.

    Raises:
        ConfigError: A name leads nowhere.
    """
    if isinstance(names, str):
        names = [piece for piece in _PIECES.split(names) if piece]
    return [allocate.find(name) for name in names]


def known_order(order: str) -> str:
    """The ranking of neurons and heads, if there is such a one.

    Raises:
        ConfigError: There is none.
    """
    if order not in ("output", "activation"):
        raise ConfigError(f"order must be 'output' or 'activation', got {order!r}")
    return order
