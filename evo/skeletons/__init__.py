"""Working examples under the user's name, to begin a plug-in or a study with."""

from __future__ import annotations

import io
import keyword
import re
import shlex
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from ..errors import ConfigError

Kind = Literal["problem", "objective", "operator", "algorithm", "study"]

_CATALOGUE = '''"""What this package adds; listing it imports nothing."""

CATALOGUE = {{"{kind}": {{"{id}": "{module}:{attribute}"}}}}
"""Kind → id → ``module:attr``, or a pair of that and fixed settings."""
'''
_RUN = {
    "problem": "run {ref}",
    "objective": "run synthetic/layers --objective loss --objective {ref}",
    "operator": "run synthetic/zdt1 --set algorithm.mutation={ref}",
    "algorithm": "run synthetic/layers --algorithm {ref}",
}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is written, and what to type next.

    Args:
        files: Text by path relative to the folder.
        commands: To be typed in the folder, in this order.
    """

    files: Mapping[str, str]
    commands: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write all files below a folder, which need not exist; nothing is overwritten.

        Raises:
            ConfigError: One of them exists, or the folder cannot be used; nothing was written.
        """
        for file in self.files:
            if (folder / file).exists():
                raise ConfigError(
                    f"{str(folder / file)!r} exists already and is not overwritten",
                    hint="choose another name, or another folder with --to",
                )
        try:
            for file, text in self.files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                with (folder / file).open("x", encoding="utf-8") as out:
                    out.write(text)
        except OSError as error:
            why = f"folder {str(folder)!r} cannot be written: {error.strerror}"
            raise ConfigError(why, hint="name another one with --to") from error


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
        raise ConfigError(f"there is no skeleton of a {kind!r}", hint=f"kinds are {', '.join(get_args(Kind))}")
    word = _word(name)
    if kind == "study":
        if package:
            raise ConfigError("a study is one file, so it cannot be written as a package")
        run = f"evo study {word}.toml --out {word}"
        return Skeleton({f"{word}.toml": _template("study.toml")}, (run, f"evo compare {word}"))
    dashed = word.replace("_", "-")
    id_ = f"mine/{dashed}" if kind == "problem" else dashed
    module = f"{word}.{kind}" if package else word
    attribute = word if kind == "objective" else dashed.title().replace("-", "")
    said = {
        f"evo.skeletons.{kind}": module,
        f"New{kind.title()}": attribute,
        f"new_{kind}": word,
        f"new-{kind}": dashed,
    }
    code, test = _template(f"{kind}.py"), _template(f"test_{kind}.py")
    _check_free(name, attribute, (code, test))
    path = module.replace(".", "/") + ".py"
    texts = {path: _replaced(code, said), f"test_{word}.py": _replaced(test, said)}
    if package:
        row = {"kind": kind, "id": id_, "module": module, "attribute": attribute}
        texts[f"{word}/__init__.py"] = _CATALOGUE.format(**row)
        told = {"new-package": dashed, "new_package": word}
        texts["pyproject.toml"] = _replaced(_template("package.toml"), told)
    ref = id_ if package else f"{module}:{attribute}"
    return Skeleton(texts, (*(["pip install -e ."] if package else []), *_commands(kind, ref, word)))


def quoted(folder: Path) -> str:
    """A folder as a shell takes it."""
    return shlex.quote(str(folder))


def _commands(kind: str, ref: str, word: str) -> tuple[str, ...]:
    on = " --problem synthetic/layers" if kind == "objective" else ""
    run = _RUN[kind].format(ref=ref)
    return (
        f"evo check {ref}{on}",
        f"evo {run} --population 20 --generations 10",
        f"pytest test_{word}.py",
    )


def _word(name: str) -> str:
    """The name as an identifier.

    Raises:
        ConfigError: It is none, or a module of that name is installed.
    """
    word = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", word) or keyword.iskeyword(word):
        raise ConfigError(
            f"{name!r} is no name for a module",
            hint="take lower-case letters, digits, and - or _ between them, for example my-tour",
        )
    return word


def _check_free(name: str, attribute: str, code: tuple[str, str]) -> None:
    """Raise unless the name is free for a module and inside the skeleton.

    Raises:
        ConfigError: It is taken by an installed module or by something that the skeleton uses.
    """
    word = name.replace("-", "_")
    if find_spec(word) is not None:
        raise ConfigError(
            f"a module called {word!r} is there already, and one would hide the other",
            hint="choose another name",
        )
    tokens = (t.string for text in code for t in tokenize.generate_tokens(io.StringIO(text).readline))
    if attribute in set(tokens) or keyword.iskeyword(attribute):
        raise ConfigError(
            f"{attribute!r} means something else in the skeleton", hint="choose another name"
        )


def _template(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = re.sub(rf"\b{re.escape(old)}(?=\b|Batch)", new, text)
    return text
