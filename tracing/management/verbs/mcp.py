"""The verb ``mcp``: a server for coding agents."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from django.utils.autoreload import get_child_arguments

from tracing.management.verbs.base import WRONG, Run, Verb, fail

if TYPE_CHECKING:
    from argparse import ArgumentParser


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        action="store_true",
        help="print the entry for the client's configuration instead",
    )


def _mcp(run: Run) -> int:
    command = manage_command()
    if run.options["config"]:
        entry = {"command": command[0], "args": [*command[1:], "tracing", "mcp"]}
        run.terminal.json({"mcpServers": {"tracing": entry}})
        return 0
    if find_spec("mcp") is None:
        raise fail(
            "The server for agents needs the package mcp, version 2 or newer:\n"
            "  pip install 'django-signal-tracing[mcp]'",
            WRONG,
        )
    if sys.stdin is None:
        raise fail("An agent is expected on standard input, which is closed.", WRONG)
    from tracing.agents.server import serve  # noqa: PLC0415 (the extra may be absent)

    if sys.stdin.isatty():
        run.terminal.warn("An agent is expected on standard input; Ctrl-C ends this.")
    serve(command)
    return 0


def manage_command() -> list[str]:
    """Return what runs ``manage.py`` as this process was, without arguments."""
    try:
        arguments = [str(each) for each in get_child_arguments()]
    except RuntimeError:
        # Nothing that lies in a file: as in an embedded interpreter.
        return [sys.executable, "-m", "django"]
    return arguments[: len(arguments) - len(sys.argv[1:])]


VERBS = (
    Verb(
        "mcp",
        "answer a coding agent (Model Context Protocol)",
        _arguments,
        _mcp,
        "Six tools over standard input and output, read only. An agent's client starts it; --config "
        "prints what that client is told.",
    ),
)
