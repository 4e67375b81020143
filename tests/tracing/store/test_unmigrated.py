"""Models of the embedded store: nothing to the migrations of others, and yet with permissions."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

REPOSITORY = Path(__file__).resolve().parents[3]
PERMITTED = {"trace", "hazard", "recorderstate", "recordercontrol", "savedsearch"}
PROJECT = """
    import json, sys
    import django
    from django.apps import apps
    from django.conf import settings
    from django.core.management import call_command

    names = {
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.auth"],
        "BASE_DIR": sys.argv[1],
        "USE_TZ": True,
    }
    import tracing
    tracing.install(names, ENABLED=False)
"""
STATE = """
    settings.configure(**names)
    django.setup()
    from django.db.migrations.state import StateApps

    own = apps.get_app_config("tracing")
    state = StateApps(["tracing"], {})
    print(json.dumps([len(list(own.get_models())), len(state.get_models()), len(own.models)]))
"""


def run(code: str, folder: Path):
    """Return what *code* of a project in *folder* prints as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROJECT + code), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_migrations_of_others_do_not_copy_the_models(tmp_path):
    shown, copied, all_models = run(STATE, tmp_path)

    assert shown == copied == 0
    assert all_models > len(PERMITTED)


@pytest.mark.parametrize(
    "change",
    [
        'names["MIGRATION_MODULES"] = {}',
        'names["DATABASES"]["tracing"].pop("TRACING_MAKES_TABLES")',
    ],
    ids=["migrated", "made by syncdb"],
)
def test_models_whose_tables_django_makes_are_shown(tmp_path, change):
    shown, copied, all_models = run(f"    {change}\n{STATE}", tmp_path)

    assert shown == copied == all_models


def test_migrate_gives_the_permissions_all_the_same(tmp_path):
    permissions, types, again = run(
        """
    settings.configure(**names)
    django.setup()
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    call_command("migrate", verbosity=0)
    own = Permission.objects.filter(content_type__app_label="tracing")
    found = sorted(own.values_list("content_type__model", "codename"))
    call_command("migrate", verbosity=0)
    call_command("flush", verbosity=0, interactive=False)
    types = ContentType.objects.filter(app_label="tracing").values_list("model", flat=True)
    again = sorted(own.values_list("content_type__model", "codename"))
    print(json.dumps([found, sorted(types), again]))
    """,
        tmp_path,
    )

    assert again == permissions
    assert set(types) == {model for model, _ in permissions} == PERMITTED
    named = {name for _, name in permissions}
    assert named > {"view_trace", "view_source", "prune_trace", "view_hazard", "add_savedsearch"}


def test_autodetector_finds_nothing_to_do(tmp_path):
    code = """
    settings.configure(**names)
    django.setup()
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    call_command("migrate", verbosity=0)
    call_command("migrate", check_unapplied=True, verbosity=0)
    print("true")
    """

    assert run(code, tmp_path) is True


def test_permissions_that_cannot_be_given_do_not_stop_migrate(tmp_path):
    failures = run(
        """
    settings.configure(**names)
    django.setup()
    from tracing.instrumentation import failures
    from tracing.store import unmigrated

    unmigrated._PERMITTED = ("Nothing",)
    call_command("migrate", verbosity=0)
    print(json.dumps(failures.counts["permissions: LookupError"]))
    """,
        tmp_path,
    )

    assert failures == 1
