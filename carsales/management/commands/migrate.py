"""The command ``migrate``, for all databases of the site unless one is named.

Traces have a database of their own. With Django's command it would have to be migrated by name, and
whoever does the usual steps (``migrate``, ``runserver``) would have a site that stores no traces.
Django's test runner names the database, as always, and is not affected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.commands import migrate
from django.db import connections

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(migrate.Command):
    """Django's command, once for each database."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what Django's command takes; without ``--database``, all are meant."""
        super().add_arguments(parser)
        for action in parser._actions:  # noqa: SLF001 - argparse has no public way to an option.
            if action.dest == "database":
                action.default = None
                action.help = "Nominates a database to synchronize. Defaults to all of them."

    def get_check_kwargs(self, options: dict[str, Any]) -> dict[Any, Any]:
        """Return what the system checks are told: also, which databases they may look at."""
        kwargs: dict[Any, Any] = super().get_check_kwargs(options)
        return {**kwargs, "databases": _chosen(options)}

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate the database that was named, or one after the other."""
        aliases = _chosen(options)
        for alias in aliases:
            if len(aliases) > 1 and options["verbosity"] > 0:
                self.stdout.write(self.style.MIGRATE_HEADING(f"Database {alias}:"))
            super().handle(*args, **{**options, "database": alias})


def _chosen(options: dict[str, Any]) -> list[str]:
    """Return the aliases of the databases that the command is for."""
    return [options["database"]] if options["database"] else list(connections)
