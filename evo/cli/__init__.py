"""The command line: verbs, ids, flags; results on standard output, commentary on standard error.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Every error is one sentence that
starts with ``evo:``, with what to do next below it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnknownCommandError, UnusedCliTokensError

from .. import __version__
from ..errors import EvoError
from ..suggest import did_you_mean
from . import (
    building,
    checking,
    comparing,
    creating,
    looking,
    profiling,
    pruning,
    reading,
    searching,
    studying,
)
from .output import Crashed, Interrupted, tell_error

COMMANDS = {
    searching.run: (
        "run synthetic/zdt1 --population 20 --generations 10",
        'run prune/mixed --objective drift --objective params --constraint "params < 12e6"',
    ),
    searching.resume: ("resume runs/1123-prune-mixed-s0", "resume runs/x --generations +100"),
    studying.study: ("study study.toml", "study study.toml --jobs 2 --out runs/mine --json"),
    looking.list_: ("list problems", "list runs --json"),
    looking.show: ("show synthetic/knapsack", "show runs/1123-prune-mixed-s0"),
    reading.front: ("front runs/x --sort params", 'front runs/x --where "drift < 0.1" --csv'),
    reading.report: ("report runs/x", "report runs/x runs/y --out both.html"),
    profiling.profile: ("profile runs/x", "profile runs/x --json"),
    comparing.compare: ("compare runs/x", "compare runs/x runs/y --json"),
    building.export: (
        "export runs/x knee --to small",
        'export runs/x best:drift --where "params < 12e6" --to small',
    ),
    pruning.prune: (
        "prune default --method 2ssp --sparsity 0.25 --to small",
        "prune my-llama --method 2ssp --sparsity 0.25 --set method.alpha=2 --json",
    ),
    creating.new: ("new problem my-depots", "new operator my-steps --to plugins --package"),
    checking.check: ("check my_problem:MyProblem", "check level-step --kind operator"),
    checking.doctor: ("doctor", "doctor --json"),
}
"""Command → examples that work offline, shown by its help."""

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Words after ``evo``; those of the process when None.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    for out in (sys.stdout, sys.stderr):
        if hasattr(out, "reconfigure"):
            out.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = build_app()(
            tokens, exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except CycloptsError as error:
        return _refuse(*_usage(error))
    except EvoError as error:
        if debug:
            traceback.print_exc()
        return _refuse(error.message, error.hint)
    except Interrupted as stop:
        tell_error("interrupted", stop.hint)
        return INTERRUPTED
    except KeyboardInterrupt:
        tell_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader left, as `head` does; nothing may be flushed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # the edge of the program
        return _fail(error, debug)


def build_app() -> App:
    """The command line application with all its commands."""
    app = App(
        name="evo",
        help="Pareto searches over pruned neural networks, graphs and learning rules.",
        version=f"evo {__version__}",
        help_flags=["--help", "-h"],
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
        help_epilogue="Any command shows the traceback of an error with --debug.",
    )
    for command, examples in COMMANDS.items():
        shown = "\n".join(f"  evo {example}" for example in examples)
        app.command(command, name=command.__name__.rstrip("_"), help_epilogue=f"Examples:\n{shown}")
    return app


def _refuse(sentence: str, hint: str | None) -> int:
    tell_error(sentence, hint)
    return WRONG_USAGE


def _fail(error: Exception, debug: bool) -> int:
    cause = error.__cause__ if isinstance(error, Crashed) and error.__cause__ else error
    hint = "the same command with --debug shows where"
    if isinstance(error, Crashed):
        hint = f"the traceback is in {error.log}"
    if debug:
        traceback.print_exception(cause)
        hint = ""
    tell_error(f"unexpected {type(cause).__name__}: {_one_line(str(cause))}", hint)
    return FAILED


def _usage(error: CycloptsError) -> tuple[str, str | None]:
    """The sentence and the hint of an error of parsing."""
    error.verbose = False
    command = " ".join(("evo", *(error.command_chain or ())))
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        word = error.unused_tokens[0]
        names = [n for n in build_app() if not n.startswith("-")]
        hint = f"commands: {', '.join(names)}"
        return f"no command called {word!r}{did_you_mean(word, names)}", hint
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        words = " ".join(map(repr, error.unused_tokens))
        return f"{command} takes no further argument, got {words}", f"{command} --help"
    sentence = _one_line(str(error)).rstrip(".").replace(". Did you mean", "; did you mean")
    return sentence[:1].lower() + sentence[1:], f"{command} --help"


def _one_line(text: str) -> str:
    return " ".join(text.split())
