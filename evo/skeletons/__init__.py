"""Working examples under the user's name, to begin a plug-in or a study with."""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from ..errors import ConfigError

Kind = Literal["problem", "objective", "operator", "algorithm", "study"]

_CATALOGUE = '''"""What this package adds; listing it imports nothing else."""

CATALOGUE = {{"{kind}": {{"{id}": "{module}:{attribute}"}}}}
"""Kind → id → ``module:attr``, or a pair of that and fixed settings."""
'''
_RUN = {
    "problem": "evo run {ref}",
    "objective": "evo run synthetic/layers --objective loss --objective {ref}",
    "operator": "evo run synthetic/zdt1 --set algorithm.mutation={ref}",
    "algorithm": "evo run synthetic/layers --algorithm {ref}",
}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is to be written, and what to type next.

    Args:
        module: Name under which Python will find it; None for a study.
        files: Text by path relative to the folder.
        commands: To be typed in the folder, in this order.
    """

    module: str | None
    files: Mapping[str, str]
    commands: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write all files below a folder, which need not exist; nothing is overwritten.

        Raises:
            ConfigError: One of them exists, a module of that name is installed, or the folder
                cannot be used; nothing was written in the first two cases.
        """
        for file in self.files:
            if (folder / file).exists():
                raise ConfigError(
                    f"{str(folder / file)!r} exists already and is not overwritten",
                    hint="choose another name, or another folder with --to",
                )
        if self.module is not None and _installed(self.module):
            raise ConfigError(
                f"there is a module called {self.module!r} already, and one would hide the other",
                hint="choose another name",
            )
        try:
            for file, text in self.files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                with (folder / file).open("x", encoding="utf-8") as out:
                    out.write(text)
        except OSError as error:
            why = f"folder {str(folder)!r} cannot be written: {error.strerror}"
            raise ConfigError(why, hint="name another one with --to") from error


@dataclass(frozen=True, slots=True)
class _Names:
    """What a plug-in is called, from its kind, its name as an identifier and where it lies."""

    kind: str
    word: str
    package: bool

    @property
    def dashed(self) -> str:
        return self.word.replace("_", "-")

    @property
    def module(self) -> str:
        return f"{self.word}.{self.kind}" if self.package else self.word

    @property
    def attribute(self) -> str:
        return self.word if self.kind == "objective" else self.dashed.title().replace("-", "")

    @property
    def id(self) -> str:
        return f"mine/{self.dashed}" if self.kind == "problem" else self.dashed

    @property
    def ref(self) -> str:
        return self.id if self.package else f"{self.module}:{self.attribute}"

    def told(self, text: str) -> str:
        """A template with these names in place of its own."""
        return _replaced(
            text,
            {
                f"evo.skeletons.{self.kind}": self.module,
                f"New{self.kind.title()}": self.attribute,
                f"new_{self.kind}": self.word,
                f"new-{self.kind}": self.dashed,
            },
        )


def skeleton(kind: Kind, name: str, *, package: bool = False) -> Skeleton:
    """A small example of a kind that works as it is.

    Args:
        kind: What is to be begun.
        name: What it is called: lower-case letters, digits, and - or _ between them. A problem,
            operator or algorithm becomes a class, ``my-tour`` being ``MyTour``.
        package: Whether to make a package that is found by its id once it is installed.

    Raises:
        ConfigError: There is no such kind, the name cannot be used, or a study is to be a package.
    """
    if kind not in get_args(Kind):
        kinds = ", ".join(get_args(Kind))
        raise ConfigError(f"there is no skeleton of a {kind!r}", hint=f"kinds are {kinds}")
    word = _word(name)
    if kind == "study":
        return _study(word, package)
    names = _Names(kind, word, package)
    code, test = _template(f"{kind}.py"), _template(f"test_{kind}.py")
    _check_unused(names.attribute, (code, test))
    path = names.module.replace(".", "/") + ".py"
    texts = {path: names.told(code), f"test_{word}.py": names.told(test)}
    return Skeleton(word, {**texts, **(_packaging(names) if package else {})}, _commands(names))


def _study(word: str, package: bool) -> Skeleton:
    if package:
        raise ConfigError("a study is one file, which cannot be written as a package")
    run = f"evo study {word}.toml --out {word}"
    return Skeleton(None, {f"{word}.toml": _template("study.toml")}, (run, f"evo compare {word}"))


def _packaging(names: _Names) -> dict[str, str]:
    """The files that let an installed package be found by its entry point."""
    row = {k: getattr(names, k) for k in ("kind", "id", "module", "attribute")}
    said = {"new-package": names.dashed, "new_package": names.word}
    return {
        f"{names.word}/__init__.py": _CATALOGUE.format(**row),
        "pyproject.toml": _replaced(_template("package.toml"), said),
    }


def _commands(names: _Names) -> tuple[str, ...]:
    install = ("pip install -e .",) if names.package else ()
    on = " --problem synthetic/layers" if names.kind == "objective" else ""
    run = _RUN[names.kind].format(ref=names.ref)
    return (
        *install,
        f"evo check {names.ref}{on}",
        f"{run} --population 20 --generations 10",
        f"pytest test_{names.word}.py",
    )


def _word(name: str) -> str:
    """The name as an identifier.

    Raises:
        ConfigError: It cannot be one.
    """
    word = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", word) or keyword.iskeyword(word):
        raise ConfigError(
            f"{name!r} cannot be the name of a module",
            hint="take lower-case letters, digits, and - or _ between them, for example my-tour",
        )
    return word


def _check_unused(attribute: str, code: tuple[str, ...]) -> None:
    """Raise unless the name is free inside the skeleton.

    Raises:
        ConfigError: The skeleton uses it for something else.
    """
    readers = (io.StringIO(text).readline for text in code)
    used = {token.string for reader in readers for token in tokenize.generate_tokens(reader)}
    if attribute in used or keyword.iskeyword(attribute):
        raise ConfigError(
            f"{attribute!r} means something else inside the skeleton", hint="choose another name"
        )


def _installed(module: str) -> bool:
    """Whether Python finds a module of that name; a folder without one hides nothing."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


def _template(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = re.sub(rf"\b{re.escape(old)}(?=\b|Batch)", new, text)
    return text
