"""A run of tests: its signs, and what of the project it must not touch."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType

_is_test_run = False
_are_wanted = False
_own_databases: dict[str, tuple[str, ...]] = {}
"""Where each alias led before any test database was made."""


def is_test_run() -> bool:
    """Return whether this process runs tests, or did."""
    if not _is_test_run and (_django_tests() or _pytest_runs()):
        mark_test_run()
    return _is_test_run


def mark_test_run() -> None:
    """Take this process and its forks for a run of tests from now on."""
    global _is_test_run  # noqa: PLW0603 - a fact about the process.
    _is_test_run = True


def want_traces() -> None:
    """Have what the tests of this process record written."""
    global _are_wanted  # noqa: PLW0603 - as above.
    _are_wanted = True


def are_traces_wanted() -> bool:
    """Return whether somebody asked for what tests record."""
    return _are_wanted


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


class _AsTheyStand:
    """Finds the modules of tracing, which hold no assertions, before pytest."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where Python finds a module of tracing; None for others."""
        return PathFinder.find_spec(name, path, target) if name.startswith("tracing.") else None


_as_they_stand: Final = _AsTheyStand()


def leave_unrewritten() -> None:
    """Have pytest import modules of tracing as they stand. Idempotent.

    Pytest parses whatever belongs to a plugin, in order to rewrite its assertions. That takes three times
    as long as to compile it, and our worker imports beside the tests: where two threads parse at once
    Python 3.11 may raise SystemError in either, in an import of the project's as well.
    """
    if "_pytest.assertion.rewrite" in sys.modules and _as_they_stand not in sys.meta_path:
        sys.meta_path.insert(0, _as_they_stand)


def is_test_command(command: object) -> bool:
    """Return whether *command* is ``manage.py test``, or made of it."""
    module = sys.modules.get("django.core.management.commands.test")
    return module is not None and isinstance(command, module.Command)


def address(database: dict[str, Any]) -> tuple[str, ...]:
    """Return what tells one database of ``DATABASES`` from another."""
    return tuple(str(database.get(key) or "") for key in ("ENGINE", "NAME", "HOST", "PORT"))


def remember_own_databases() -> None:
    """Remember, once, where the aliases lead before test databases."""
    from django.db import connections  # noqa: PLC0415 - not before the settings.

    for alias, database in connections.settings.items():
        _own_databases.setdefault(alias, address(database))


def is_test_database(alias: str) -> bool:
    """Return whether *alias* leads to a database made for tests."""
    from django.db import connections  # noqa: PLC0415 - see above.

    known = _own_databases.get(alias)
    return known is not None and address(connections.settings[alias]) != known


def log_path_of_tests(path: Path) -> Path:
    """Return where the lines of tests go instead of the log at *path*."""
    return path.with_stem(f"{path.stem}.tests")
