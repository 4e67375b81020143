"""Kinds of processes: web, a worker, a command, tests, a shell."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from tracing.instrumentation.in_tests import is_test_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WEB: Final = "web"
SHELL: Final = "shell"
TESTS: Final = "tests"
COMMAND: Final = "command"
WORKER: Final = "worker"
SCRIPT: Final = "script"
RELOADER: Final = "autoreloader"
"""The parent of ``runserver``, which serves nothing and begins the serving process anew."""

COLLECTOR: Final = "collector"
"""It exports what other processes recorded."""
UNCOMPARED: Final = frozenset({COLLECTOR, RELOADER})
"""Kinds in which nothing of the application runs."""
LONGEST: Final = 100
"""Characters of a kind; the rest is cut."""

_MANAGERS: Final = frozenset({"manage.py", "django-admin", "django-admin.py"})
_SERVERS: Final = frozenset(
    {"daphne", "granian", "gunicorn", "hypercorn", "mod_wsgi", "uvicorn", "uwsgi", "waitress-serve"}
)
_COMMANDS: Final = {
    "runserver": WEB,
    "runserver_plus": WEB,
    "testserver": WEB,
    "shell": SHELL,
    "shell_plus": SHELL,
    "test": TESTS,
    "db_worker": f"{WORKER} django.tasks",
    "rqworker": f"{WORKER} rq",
    "rqworker-pool": f"{WORKER} rq",
    "rundramatiq": f"{WORKER} dramatiq",
    "run_huey": f"{WORKER} huey",
    "qcluster": f"{WORKER} django-q",
    "procrastinate": f"{WORKER} procrastinate",
}
"""Commands of ``manage.py`` that are something else than a command."""
_RELOADING: Final = {"runserver": "RUN_MAIN", "runserver_plus": "WERKZEUG_RUN_MAIN"}
"""Commands that begin a process anew, and what is set in that one."""
_WORKERS: Final = frozenset({"celery", "dramatiq", "huey_consumer", "huey_consumer.py", "rq"})
_VERBS: Final = {
    "celery": ("worker", "beat", "events", "flower", "inspect", "control", "purge", "shell"),
    "rq": ("worker", "worker-pool", "scheduler", "info"),
}
"""What a program does, by the word for it; where there is none it is a worker."""


def kind_of_process() -> str:
    """Return the kind of this process, as ``web`` or ``command migrate``."""
    if is_test_run():
        return TESTS
    return kind_of(sys.argv, os.environ, sys.modules)


def kind_of(argv: Sequence[str], environ: Mapping[str, str], modules: Mapping[str, object]) -> str:
    """Return the kind of the process that was started as *argv*.

    It holds no argument but the name of a verb: others may be secret.

    Args:
        argv: The arguments, the program first.
        environ: Its environment.
        modules: The modules it has loaded, by name.
    """
    path = PurePath(argv[0]) if argv and argv[0] else PurePath()
    program = path.name
    # python -m celery, python -m gunicorn
    package = path.parent.name if program == "__main__.py" else ""
    words = [word for word in argv[1:] if _is_word(word)]
    if words[:2] == ["tracing", "collect"]:
        return COLLECTOR
    if program in _MANAGERS or package == "django":
        return _of_command(words, argv, environ)
    program = package or program
    if program in _WORKERS:
        name = program.removesuffix(".py").removesuffix("_consumer")
        verb = next((word for word in words if word in _VERBS.get(name, ())), WORKER)
        return f"{WORKER} {name}" if verb.startswith(WORKER) else f"{COMMAND} {name} {verb}"
    if program in _SERVERS or _is_served(environ, modules):
        return WEB
    if hasattr(modules.get("sys"), "ps1"):
        return SHELL
    return SCRIPT if program in {"", "-c"} else f"{SCRIPT} {program}"[:LONGEST]


def _of_command(words: Sequence[str], argv: Sequence[str], environ: Mapping[str, str]) -> str:
    verb = argv[1] if len(argv) > 1 and argv[1] in words else ""
    kind = _COMMANDS.get(verb, f"{COMMAND} {verb}".strip()[:LONGEST])
    if verb in _RELOADING and "--noreload" not in argv and environ.get(_RELOADING[verb]) != "true":
        return RELOADER
    return kind


def _is_word(text: str) -> bool:
    """Return whether *text* may be the name of a verb."""
    return text[:1].isalpha() and text.replace("_", "").replace("-", "").isalnum()


def _is_served(environ: Mapping[str, str], modules: Mapping[str, object]) -> bool:
    """Return whether the ``wsgi`` or ``asgi`` module of the project is loaded."""
    name = environ.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0]
    return (
        any(f"{name}.{interface}" in modules for interface in ("wsgi", "asgi")) if name else False
    )
