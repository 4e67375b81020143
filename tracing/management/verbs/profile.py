"""The verb ``profile``: which lines of a receiver took the time."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from django.core.management import call_command, get_commands

from tracing.analysis.line_profile import ReceiverProfile
from tracing.instrumentation.line_times import ProfilingError
from tracing.management.verbs.base import FOUND, WRONG, Run, Verb, add_format, fail
from tracing.spans.escapes import escape_control

if TYPE_CHECKING:
    from argparse import ArgumentParser


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("receiver", help="dotted path of a connected receiver, or its end")
    parser.add_argument(
        "--run",
        required=True,
        metavar="COMMAND",
        help='the management command to run, as "load_cars --limit 3"',
    )
    add_format(parser)


def _profile(run: Run) -> int:
    command = _words(run.options["run"])
    if command[:1] == [] or command[0] not in get_commands():
        named = escape_control(" ".join(command[:1]))
        raise fail(f"There is no management command {named!r} to run.", WRONG)
    try:
        profile = ReceiverProfile(run.options["receiver"])
        with profile:
            try:
                # What it prints is not what was asked for.
                options: dict[str, Any] = {"stdout": run.terminal.errors} if run.as_json else {}
                call_command(*command, **options)
            except (KeyboardInterrupt, SystemExit):
                # A server is ended so: what it has done until then is what was asked for.
                pass
    except ProfilingError as error:
        raise fail(str(error), WRONG) from None
    except LookupError as error:
        lines = map(escape_control, str(error).splitlines())
        raise fail("\n".join(lines), WRONG) from None
    if run.as_json:
        run.terminal.json(profile.document())
    elif profile.calls:
        for line in profile.text():
            run.terminal.say(line)
    else:
        run.terminal.say(
            f"{profile.receiver} was not called. Why: manage.py tracing why-not {profile.receiver}"
        )
    return 0 if profile.calls else FOUND


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise fail(f"--run cannot be read: {error}.", WRONG) from None


VERBS = (
    Verb(
        "profile",
        "which lines of a receiver took the time (Python 3.12 or newer)",
        _arguments,
        _profile,
        description="Run a management command and time each line of one receiver while it runs: for "
        "development. Needs Python 3.12. Exit codes: 0 it was called; 1 it was not; 2 wrong arguments.",
    ),
)
