"""The benchmark's site behind a real server: one mode, in a folder that several processes may share.

    BENCHMARK_MODE=complete BENCHMARK_FOLDER=... gunicorn benchmarks.served:wsgi

``python -m benchmarks.served`` with the same variables is the collector of the mode ``spool``.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.modes import MODES, Mode

if TYPE_CHECKING:
    from collections.abc import Callable

MODE = "BENCHMARK_MODE"
FOLDER = "BENCHMARK_FOLDER"


def set_up() -> Mode:
    """Configure Django as the environment says."""
    mode = MODES[os.environ[MODE]]()
    mode.set_up(Path(os.environ[FOLDER]), instances=False)
    return mode


@cache
def _application(name: str) -> Callable[..., Any]:
    mode = set_up()
    if name == "wsgi":
        from django.core.handlers.wsgi import WSGIHandler

        return mode.wrap(WSGIHandler())
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler()


def __getattr__(name: str) -> Any:
    """Return the application that a server asks for, ``wsgi`` or ``asgi``; one of them in a process."""
    if name in {"wsgi", "asgi"}:
        return _application(name)
    raise AttributeError(name)


def main() -> None:
    """Collect until told to end."""
    set_up()
    from django.core.management import call_command

    call_command("tracing", "collect")


if __name__ == "__main__":
    main()
