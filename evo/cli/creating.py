"""The command that begins something new."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..skeletons import Kind, skeleton
from .output import Flag, say, say_json


def new(
    kind: Kind,
    name: str,
    /,
    *,
    to: Path = Path(),
    package: Flag = False,
    json: Flag = False,
) -> None:
    """Write a small working example of a plug-in or a study, and the test of a plug-in.

    Args:
        kind: What to begin: problem, objective, operator, algorithm or study.
        name: What it is called: lower-case letters, digits, and - or _ between them.
        to: Folder to write into; nothing there is overwritten.
        package: Write an installable package, found by its id from anywhere.
        json: Write what was written and what to type next as JSON.
    """
    made = skeleton(kind, name, package=package)
    made.write(to)
    files = [str(to / file) for file in made.files]
    enter = () if to.resolve() == Path.cwd() else (f"cd {shlex.quote(str(to))}",)
    commands = [*enter, *made.commands]
    if json:
        say_json({"kind": kind, "name": name, "files": files, "commands": commands})
        return
    say([f"wrote {', '.join(files)}", *(f"  {command}" for command in commands)])
