"""``manage.py tracing``: read, diagnose, compare and keep traces."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress as suppress_errors
from typing import TYPE_CHECKING, Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from tracing.api import leave_out
from tracing.instrumentation.context import OWN
from tracing.management.terminal import OutputError, Terminal, opened
from tracing.management.verbs import VERBS, Run
from tracing.management.verbs.base import NO_STORE, WRONG
from tracing.spans.escapes import escape_control
from tracing.store.choice import NotAnsweredError, asks_clickhouse
from tracing.units import DURATION_UNITS, SIZE_UNITS

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from django.core.management.base import CommandParser

EPILOG = f"""
A TIME is a number and a unit, as 250ms, 1.5s or 2h (units: {DURATION_UNITS}); WHEN is how long ago,
or a date; a SIZE is a number of bytes, as 500MB or 1GiB (units: {SIZE_UNITS}).

Exit codes: 0 all is well; 1 something was found that you asked to be told of (wiring --check,
hazards --fail-on, compare --fail, review --fail-on-change); 2 wrong arguments, no record, or a file or the
output cannot be written; 3 no such trace, or nothing to show; 4 the store is missing, unreachable or not
migrated; 5 the records cannot say (why-not). A reader who has gone, as head, is none of these.
"""


_VERDICTS = ("check", "fail", "fail_on", "fail_on_change")
"""Options by which the exit code says what was found, and not only whether it could be told."""


class Command(BaseCommand):
    """Read, diagnose, compare and keep traces."""

    help = "Read, diagnose, compare and keep the traces of Django signals."
    requires_system_checks = []

    def __init__(
        self, stdout: TextIO | None = None, stderr: TextIO | None = None, **colours: bool
    ) -> None:
        super().__init__(opened(stdout, sys.stdout), opened(stderr, sys.stderr), **colours)

    def add_arguments(self, parser: CommandParser) -> None:
        """Add one subparser per verb."""
        parser.epilog = EPILOG
        verbs: _SubParsersAction[Any] = parser.add_subparsers(
            dest="verb", metavar="verb", required=True, title="verbs"
        )
        for verb in VERBS:
            sub = verbs.add_parser(verb.name, help=verb.help, description=verb.description)
            verb.add_arguments(sub)
            _take_common_options(sub)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the verb that was asked for."""
        verb = next(verb for verb in VERBS if verb.name == options["verb"])
        terminal = Terminal(
            self.stdout,
            self.stderr,
            no_color=bool(options.get("no_color")),
            force_color=bool(options.get("force_color")),
            outlives_reader=any(options.get(name) for name in _VERDICTS),
        )
        # What the command itself sends is nobody's business.
        with leave_out(OWN):
            try:
                code = verb.run(Run(options, terminal))
                # Now, while a reader who has gone can be told from a failure.
                terminal.flush()
                if terminal.has_lost_reader:
                    _write_to_nowhere()
            except KeyboardInterrupt:
                code = 130
            except DatabaseError as error:
                told = escape_control(f"The store cannot be asked: {error}.")
                if asks_clickhouse():
                    raise CommandError(told, returncode=NO_STORE) from error
                advice = "Are its tables of this release? manage.py migrate brings them up to date."
                raise CommandError(f"{told} {advice}", returncode=NO_STORE) from error
            except NotAnsweredError as error:
                raise CommandError(str(error), returncode=WRONG) from None
            except BrokenPipeError:
                # `| head` has read enough.
                _write_to_nowhere()
                code = 0
            except OutputError as error:
                _write_to_nowhere()
                raise CommandError(
                    f"The output cannot be written: {error}", returncode=WRONG
                ) from None
        if code:
            sys.exit(code)


def _write_to_nowhere() -> None:
    """Have what Python still writes when it closes stdout be no error."""
    with suppress_errors(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _take_common_options(parser: CommandParser) -> None:
    """Let what every command of Django takes follow the verb, too.

    A parser of a verb knows only its own. Without defaults: what stood before the verb holds.
    """
    hidden: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    for option in ("--settings", "--pythonpath"):
        parser.add_argument(option, **hidden)
    for option in ("--traceback", "--no-color", "--force-color"):
        parser.add_argument(option, action="store_true", **hidden)
    parser.add_argument("-v", "--verbosity", type=int, choices=(0, 1, 2, 3), **hidden)
