"""A run of tests: how it is known, and what of the project's own it must not touch."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_is_test_run = False
_own_databases: dict[str, tuple[str, ...]] = {}
"""Where each alias led before any test database was made."""


def is_test_run() -> bool:
    """Return whether this process runs tests, or did: what is left then is of tests as well."""
    if not _is_test_run and (_django_tests() or _pytest_runs()):
        mark_test_run()
    return _is_test_run


def mark_test_run() -> None:
    """Take this process, and those that it forks, for a run of tests from now on."""
    global _is_test_run  # noqa: PLW0603 - a fact about the process.
    _is_test_run = True


def _django_tests() -> bool:
    """Return whether Django's test environment is set up at this moment."""
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


def _pytest_runs() -> bool:
    """Return whether pytest runs here, with or without a plugin for Django.

    A program that a test starts inherits the variables, one that only imports pytest the module.
    """
    return "_pytest.main" in sys.modules and (
        "PYTEST_VERSION" in os.environ or "PYTEST_CURRENT_TEST" in os.environ
    )


def is_test_command(command: object) -> bool:
    """Return whether *command* is ``manage.py test``, or made of it."""
    module = sys.modules.get("django.core.management.commands.test")
    return module is not None and isinstance(command, module.Command)


def address(database: dict[str, Any]) -> tuple[str, ...]:
    """Return what tells one database of ``DATABASES`` from another."""
    return tuple(str(database.get(key) or "") for key in ("ENGINE", "NAME", "HOST", "PORT"))


def remember_own_databases() -> None:
    """Remember where the aliases lead, before a runner makes test databases. Once for a process."""
    from django.db import connections  # noqa: PLC0415 - not before the settings.

    for alias, database in connections.settings.items():
        _own_databases.setdefault(alias, address(database))


def is_test_database(alias: str) -> bool:
    """Return whether *alias* leads to a database that a runner made for the tests."""
    from django.db import connections  # noqa: PLC0415 - see above.

    known = _own_databases.get(alias)
    return known is not None and address(connections.settings[alias]) != known


def log_path_of_tests(path: Path) -> Path:
    """Return where the lines of tests go instead of the log at *path*."""
    return path.with_stem(f"{path.stem}.tests")
