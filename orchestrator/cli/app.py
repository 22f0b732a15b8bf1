"""The verbs, and what happens to errors: one place turns them into lines and an exit code.

A verb's module is loaded when the verb is named, so that `bnsweep --help` stays instant.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup
from typer.exceptions import TyperException

from orchestrator import streams
from orchestrator.cli import on_cluster
from orchestrator.cli.verbs import VERBS as VERBS
from orchestrator.cli.verbs import as_called, remember
from orchestrator.errors import BnsweepError, exit_code_of
from orchestrator.printable import printable
from orchestrator.store import permissions


class VerbGroup(TyperGroup):
    """Lists the verbs and loads one only to run it (or to show its help)."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The verb's real command in place of the line that stands for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, on_cluster.offer(name, _load(name)) if name else command, rest


def _load(verb: str) -> Any:
    module = importlib.import_module(f"orchestrator.cli.commands.{verb}")
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    examples = "\n".join(f"  {as_called(line)}" for line in module.EXAMPLES)
    app.command(verb, epilog=f"\b\nExamples:\n{examples}")(getattr(module, verb))
    return typer.main.get_command(app)


def _version(value: bool) -> None:
    if value:
        try:
            print(f"bnsweep {metadata.version('bnsweep')}")
        except metadata.PackageNotFoundError:
            print("bnsweep (run from its source, not installed)")
        raise typer.Exit


def _debug(value: bool) -> None:
    if value:
        os.environ["BNSWEEP_DEBUG"] = "1"


def _group() -> Any:
    app = typer.Typer(
        cls=VerbGroup,
        name="bnsweep",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    first_command = as_called("bnsweep launch sweeps/quickstart.yaml")

    @app.callback(epilog=f"\b\nBegin with:\n  {first_command}")
    def bnsweep(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=_version, is_eager=True, help="Show the version and exit."
            ),
        ] = False,
        debug: Annotated[
            bool, typer.Option("--debug", callback=_debug, help="Show tracebacks of errors.")
        ] = False,
    ) -> None:
        """Sweeps over depth, width and freezing mode: YAML to Ray Tune to MLflow."""

    for verb, help_line in VERBS.items():
        app.command(verb, help=help_line)(lambda: None)
    return typer.main.get_command(app)


def main() -> None:
    """The `bnsweep` command: runs the verb and exits with its code."""
    streams.use_utf8()
    streams.prepare()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; every error becomes lines on stderr."""
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        streams.lead_nowhere(sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            code = _say(error, f"standard output: {error.strerror}", code=code or 3)
    return code


def _run(arguments: Sequence[str]) -> int:
    # Where a person puts --debug does not matter: it means the same for every verb.
    rest = [a for a in arguments if a != "--debug"] or ["--help"]
    _debug("--debug" in arguments)
    remember(rest)
    try:
        code = _group().main(rest, prog_name="bnsweep", standalone_mode=False, obj=rest)
        return code if isinstance(code, int) else 0
    except BnsweepError as error:
        return _say(error, *error.lines, code=error.exit_code)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "bnsweep"
        return _say(error, f"{command}: {error.format_message()}", f"see: {command} --help", code=2)
    except typer.Abort:
        return _say(None, "nothing was started", code=4)
    except BrokenPipeError:
        # The reader went away (`bnsweep plan … | head`): nothing is wrong or left to say.
        streams.lead_nowhere(sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(error, permissions.in_a_line(error), code=exit_code_of(error))
    except ImportError as error:
        hint = (
            "the installation is not whole, or another package was installed over it: install "
            "bnsweep into a fresh environment"
        )
        return _say(error, f"{type(error).__name__}: {error}", hint, code=exit_code_of(error))
    except Exception as error:
        hint = (
            "a bug in bnsweep: please report it with the traceback (the same command with --debug)"
        )
        return _say(error, f"{type(error).__name__}: {error}", hint, code=exit_code_of(error))


def _say(error: BaseException | None, *lines: str, code: int) -> int:
    if error is not None and os.environ.get("BNSWEEP_DEBUG"):
        # Libraries put the addresses they call into their errors, passwords included.
        trace = "".join(traceback.format_exception(error))
        print(printable(re.sub(r"(\w://)[^/\s@]+@", r"\1", trace)), file=sys.stderr, end="")
    with contextlib.suppress(OSError):  # the exit code says it too
        for line in lines:
            print(printable(as_called(line)), file=sys.stderr)
    return code
