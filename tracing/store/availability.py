"""The presence of a store to ask."""

from __future__ import annotations

from django.db import connections
from django.db.migrations.loader import MigrationLoader

from tracing.store.backends import open_database


def has_tables(alias: str) -> bool:
    """Return whether the database *alias* has the tables of the store."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        return "tracing_trace" in connection.introspection.table_names(cursor)


def waits_for_migration(alias: str) -> bool:
    """Return whether the store lacks a migration, as after an upgrade.

    It reads all migrations of the project: to be asked when something has failed.
    """
    loader = MigrationLoader(connections[alias])
    return any(
        app == "tracing" for app, _ in loader.disk_migrations.keys() - loader.applied_migrations
    )


def vendor(alias: str) -> str:
    """Return the kind of the database *alias*, as Django calls it."""
    return connections[alias].vendor


def make_tables(alias: str) -> str:
    """Make the tables of the embedded store; return why not, or nothing."""
    database = open_database(alias)
    try:
        database.connect()
    except Exception as error:  # noqa: BLE001 - drivers raise what they like.
        return str(database.translate(error))
    finally:
        database.close()
    return ""
