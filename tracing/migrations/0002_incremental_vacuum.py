"""Let a SQLite file of traces give its free pages back: pruning then makes it smaller."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import migrations

from tracing.conf import store_alias
from tracing.routers import has_own_database

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import StateApps


_USUAL_MODES = {0o644, 0o664, 0o666}
"""What a file has that was made without a thought of its mode."""


def make_private(path: Path) -> None:
    """Leave a file of traces to its owner, unless somebody has given it a mode of its own."""
    with suppress(OSError):
        if stat.S_IMODE(path.stat().st_mode) in _USUAL_MODES:
            path.chmod(0o600)


def set_incremental_vacuum(_apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    connection = editor.connection
    if connection.vendor != "sqlite" or connection.is_in_memory_db():
        return
    # A database that is shared with the application stays as it is: VACUUM rewrites the whole file.
    if not has_own_database() or connection.alias != store_alias():
        return
    make_private(Path(connection.settings_dict["NAME"]))
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        # The setting takes effect when the file is rewritten, and it is nearly empty now.
        cursor.execute("VACUUM")


class Migration(migrations.Migration):
    atomic = False  # VACUUM refuses to run inside a transaction.

    dependencies = [("tracing", "0001_initial")]

    operations = [
        migrations.RunPython(
            set_incremental_vacuum,
            migrations.RunPython.noop,
            elidable=False,
            hints={"tracing": True},
        ),
    ]
