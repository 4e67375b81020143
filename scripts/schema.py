"""Write down the statements of the migrations for the embedded store: python scripts/schema.py.

``--check`` writes nothing and fails where a file is not what its migration says.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "tracing" / "store" / "schema"


def statements(name: str) -> str:
    """Return the statements of a migration on SQLite, one a line, without its transaction."""
    from django.core.management import call_command

    printed = io.StringIO()
    call_command("sqlmigrate", "tracing", name, database="tracing", stdout=printed)
    lines = [line for line in printed.getvalue().splitlines() if not line.startswith("--")]
    return "".join(f"{line}\n" for line in lines if line not in {"", "BEGIN;", "COMMIT;"})


def current() -> dict[str, str]:
    """Return the text of each file by its name."""
    from django.db import connections
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(connections["default"], replace_migrations=False)
    names = sorted(name for app, name in loader.disk_migrations if app == "tracing")
    return {f"{name}.sql": statements(name) for name in names}


def main() -> int:
    sys.path.insert(0, str(REPOSITORY))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "carsales.settings")

    import django

    django.setup()
    files = current()
    stale = [file for file in FOLDER.glob("*.sql") if file.name not in files]
    changed = [
        FOLDER / name
        for name, text in files.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]
    for file in [*stale, *changed]:
        print(file.relative_to(REPOSITORY))
    if "--check" in sys.argv:
        return bool(stale or changed)
    for file in stale:
        file.unlink()
    for file in changed:
        file.write_text(files[file.name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
