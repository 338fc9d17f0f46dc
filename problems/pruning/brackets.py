"""Settings in brackets behind a name, as in ``owl(spread=0.1)``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from evo.errors import ConfigError
from evo.suggest import did_you_mean

_NAME = re.compile(r"([^()]*)(?:\(([^()]*)\))?")


def split(text: str) -> tuple[str, str | None]:
    """The name, and what stands in its brackets; None without brackets."""
    found = _NAME.fullmatch(text)
    return (found[1], found[2]) if found else (text, None)


def read(what: str, made: Any, text: str, hidden: Collection[str] = ()) -> dict[str, Any]:
    """Changed fields of a frozen dataclass, each of the type that its field has by default.

    Args:
        what: Whose settings they are, for messages, e.g. ``variant 'width'``.
        made: The thing with its defaults.
        text: What stands in the brackets.
        hidden: Fields that are no settings.

    Raises:
        ConfigError: A setting is unknown or its value is of another type.
    """
    offered = {f.name: getattr(made, f.name) for f in fields(made)} if is_dataclass(made) else {}
    offered = {k: v for k, v in offered.items() if k not in hidden and not isinstance(v, tuple)}
    changed: dict[str, Any] = {}
    for key, value in _pairs(what, text):
        if key not in offered:
            raise ConfigError(
                f"{what} has no setting {key!r}{did_you_mean(key, offered)}; "
                f"its settings: {', '.join(offered) or 'none'}"
            )
        changed[key] = _value(what, key, value, offered[key])
    return changed


def _pairs(what: str, text: str) -> Iterator[tuple[str, str]]:
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        if not equals:
            raise ConfigError(f"settings of {what} are name=value, got {piece!r}")
        yield key.strip(), value.strip()


def _value(what: str, key: str, text: str, default: Any) -> Any:
    wanted = float if default is None else type(default)
    if wanted is bool and text in ("true", "false"):
        return text == "true"
    try:
        if wanted is bool:
            raise ValueError
        return None if text == "none" and default is None else wanted(text)
    except ValueError:
        kind = {float: "a number", int: "a whole number", bool: "true or false"}
        raise ConfigError(
            f"{key} of {what} must be {kind.get(wanted, wanted.__name__)}, got {text!r}"
        ) from None
