"""Whole projects that are set up otherwise than most: each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300
"""Seconds to wait for the end of a process: only a failure waits so long."""

PROJECT = '''
import io, json, logging, os, sys
import django
from django.conf import settings
from django.urls import include, path

kind = sys.argv[1]
store = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.abspath("traces.sqlite3")}
chosen = {
    "DEBUG": True,
    "SECRET_KEY": "x" * 50,
    "ROOT_URLCONF": "__main__",
    "INTERNAL_IPS": ["127.0.0.1"],
    "ALLOWED_HOSTS": ["*"],
    "INSTALLED_APPS": ["tracing"],
    "DATABASES": {"default": {}, "tracing": store},
    "DATABASE_ROUTERS": ["tracing.routers.TracingRouter"],
    "LOGGING_CONFIG": None,
    "DEFAULT_AUTO_FIELD": "django.db.models.SmallAutoField",
    "TRACING": {"EXPORTERS": ["database"]},
}
if kind == "no database":
    chosen |= {"DATABASES": {}, "DATABASE_ROUTERS": []}
if kind == "users of its own":
    os.mkdir("people")
    open("people/__init__.py", "w").close()
    with open("people/models.py", "w") as module:
        module.write("""
import uuid
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models

class Person(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)
    USERNAME_FIELD = "email"

    def has_perm(self, name, obj=None):
        return self.is_staff and not name.endswith("prune_trace")
""")
    sys.path.insert(0, os.getcwd())
    chosen |= {
        "DEBUG": False,
        "AUTH_USER_MODEL": "people.Person",
        "DATABASES": {"default": {**store, "ATOMIC_REQUESTS": True}},
        "INSTALLED_APPS": [
            "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
            "people", "tracing",
        ],
        "MIDDLEWARE": [
            "tracing.middleware.TracingMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
    }
settings.configure(**chosen)
django.setup()

from django.core.management import CommandError, call_command
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import Client
import tracing

paid = Signal()
def receive(sender, **named):
    pass
paid.connect(receive)
def pay(request):
    paid.send(None)
    if kind == "users of its own":
        request.user.pk
    return HttpResponse("paid")
urlpatterns = [path("pay/", pay), path("tracing/", include("tracing.viewer.urls"))]

told = io.StringIO()
call_command("check", stdout=told, stderr=told)
if kind != "no database":
    alias = "default" if kind == "users of its own" else "tracing"
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
client = Client(raise_request_exception=False)
if kind == "users of its own":
    from people.models import Person
    boss = Person.objects.create(email="boss@shop.example", is_staff=True)
    client.force_login(boss)
paid_with = client.get("/pay/").content.decode()
stored = kind != "no database" and tracing.flush(60)
rows = client.get("/tracing/traces.json").json().get("traces", [])
key = rows[0]["trace_id"] if rows else "0" * 32
pages = [
    "", "live/", "charts/", "searches/", "map/", "statistics/", "statistics/heat/", "compare/",
    "compare/periods/", "hazards/", "recorder/", f"traces/{key}/", f"traces/{key}/table/",
    f"traces/{key}/spans/1/", "traces.json", "charts.json", "recorder.json", f"traces/{key}.json",
]
posts = [
    ("searches/", {"name": "mine", "query": "q=a"}), (f"traces/{key}/note/", {"note": "x"}),
    ("recorder/prune/", {}),
]
verbs = {}
for verb in (["list"], ["status"], ["stats"], ["hazards"], ["wiring"], ["show", "last"]):
    try:
        call_command("tracing", *verb, stdout=io.StringIO(), stderr=io.StringIO())
        verbs[verb[0]] = "ran"
    except (CommandError, SystemExit) as error:
        verbs[verb[0]] = str(error)
print(json.dumps({
    "check": told.getvalue(),
    "paid": paid_with,
    "rows": len(rows),
    "user": rows[0]["user_id"] if rows and rows[0]["user_id"] else "",
    "boss": str(boss.pk) if kind == "users of its own" else "",
    "pages": {page: client.get(f"/tracing/{page}").status_code for page in pages},
    "posts": [client.post(f"/tracing/{page}", data).status_code for page, data in posts],
    "verbs": verbs,
    "by": client.get("/tracing/searches.json").json().get("searches", []),
}))
'''


@pytest.fixture(params=["bare", "no database", "users of its own"])
def project(request, tmp_path):
    """Return the kind of project and what it saw of the tracer."""
    done = subprocess.run(
        [sys.executable, "-c", PROJECT, request.param],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout.splitlines()[-1])


def test_project_is_served_and_shown(project):
    kind, seen = project

    assert seen["paid"] == "paid"
    if kind == "no database":
        assert "which has no ENGINE" in seen["check"]
        assert set(seen["pages"].values()) == {503}
        assert seen["posts"][:2] == [503, 503]
        assert "has no ENGINE in DATABASES" in seen["verbs"]["list"]
    else:
        assert (seen["rows"] > 0, set(seen["pages"].values())) == (True, {200})
        assert set(seen["verbs"].values()) == {"ran"}
    if kind == "bare":
        assert seen["posts"] == [302, 302, 200]
        assert "TEMPLATES has no engine" in seen["check"]
    if kind == "users of its own":
        assert seen["posts"] == [302, 302, 403]
        assert seen["user"] == seen["boss"]
        assert [search["created_by"] for search in seen["by"]] == ["boss@shop.example"]
