"""A new project, two lines from the wheel, and its first trace on a page."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE = 120
"""Seconds to wait for what must come: only a failure waits so long, also on a busy machine."""

SETTINGS = """
import tracing

tracing.install(globals())
"""
URLS = """
from tracing import tracing_urls

urlpatterns = [*tracing_urls(), *urlpatterns]
"""
TOOLBAR_SETTINGS = """
INSTALLED_APPS += ["debug_toolbar"]
MIDDLEWARE.insert(0, "debug_toolbar.middleware.DebugToolbarMiddleware")
INTERNAL_IPS = ["127.0.0.1"]
"""
TOOLBAR_URLS = """
from debug_toolbar.toolbar import debug_toolbar_urls

urlpatterns += debug_toolbar_urls()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


class Project:
    """What startproject makes."""

    def __init__(self, folder, installed):
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DJANGO_", "CARSALES_"))},
            "PYTHONPATH": str(installed),
            "PYTHONWARNINGS": "error",
        }
        self.run("-m", "django", "startproject", "shop", ".")

    def append(self, file, text):
        path = self.folder / "shop" / file
        path.write_text(path.read_text() + text)

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments):
        return self.run("manage.py", *arguments)


@pytest.fixture
def project(tmp_path, installed):
    return Project(tmp_path, installed)


@pytest.fixture
def serve(project):
    """Return a function that serves the project and returns its address."""
    servers = []

    def serve():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "manage.py", "runserver", "--noreload", str(port)]
        with (project.folder / "server.log").open("w") as log:
            servers.append(
                subprocess.Popen(
                    command, cwd=project.folder, env=project.environment, stdout=log, stderr=log
                )
            )
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: httpx.get(f"{address}/nowhere/").status_code == 404, project)
        return address

    yield serve

    for server in servers:
        server.terminate()
        server.wait()


def wait_for(answer, project):
    """Return what *answer* returns as soon as that is true."""
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        try:
            if found := answer():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"It did not come. {(project.folder / 'server.log').read_text()}")


@pytest.mark.process
@pytest.mark.parametrize(
    "toolbar",
    [
        pytest.param(False, marks=pytest.mark.slow, id="alone"),
        pytest.param(True, id="with the toolbar"),
    ],
)
def test_two_lines_and_runserver_show_the_first_trace(project, serve, toolbar):
    if toolbar:
        project.append("settings.py", TOOLBAR_SETTINGS)
        project.append("urls.py", TOOLBAR_URLS)
    project.append("settings.py", SETTINGS)
    project.append("urls.py", URLS)

    address = serve()
    first = httpx.get(f"{address}/admin/login/")
    wait_for(lambda: "GET /admin/login/" in viewer(address), project)

    assert first.status_code == 200
    assert ("SignalTracePanel" in first.text) is toolbar
    assert sorted(path.name for path in project.folder.iterdir() if path.suffix != ".log") == [
        *("db.sqlite3", "logs", "manage.py", "shop"),
        *sorted(path.name for path in project.folder.glob("traces.sqlite3*")),
    ]


WITHOUT_EXTRAS = """
import sys

for name in ("debug_toolbar", "opentelemetry", "psycopg", "rich"):
    sys.modules[name] = None
"""
VERBS = (
    ["list", "--everything"],
    ["show", "last", "--everything", "--totals"],
    ["tail", "--tree"],
    ["stats", "--everything"],
    ["hazards"],
    ["wiring"],
    ["diff", "last", "last"],
    ["prune", "--max-rows", "9", "--dry-run"],
    ["export", "last", "--format", "csv"],
    ["status"],
)
# In one process: each starts for a second.
SAY = f"""
import io, json
from django.core.management import call_command

said = {{}}
for verb in {VERBS!r}:
    call_command("tracing", *verb, stdout=(written := io.StringIO()))
    said[verb[0]] = written.getvalue()
print(json.dumps(said))
"""


@pytest.mark.process
def test_package_alone_has_pages_a_log_and_a_readable_terminal(project, serve):
    (project.folder / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    project.environment["PYTHONPATH"] += f"{os.pathsep}{project.folder}"
    project.append("settings.py", SETTINGS)
    project.append("urls.py", URLS)

    address = serve()
    httpx.get(f"{address}/admin/login/")
    wait_for(lambda: "GET /admin/login/" in viewer(address), project)
    said = json.loads(project.manage("shell", "--verbosity=0", "--command", SAY))

    assert "GET /admin/login/" in (project.folder / "logs" / "tracing.jsonl").read_text()
    assert all(text.strip() and "\x1b" not in text for text in said.values())
    heading, *lines = said["list"].splitlines()
    assert heading.split()[:3] == ["trace", "started", "time"]
    assert all(line.index("request") == heading.index("kind") for line in lines)


def viewer(address):
    """Return the list of traces, which is open on the machine itself."""
    return httpx.get(f"{address}/tracing/").text


@pytest.mark.slow
@pytest.mark.process
def test_two_lines_leave_migrations_and_checks_as_they_are(project):
    before = {
        "check": project.manage("check", "--fail-level", "INFO"),
        "makemigrations": project.manage("makemigrations", "--check"),
        "showmigrations": project.manage("showmigrations"),
        "migrate": project.manage("migrate"),
    }
    project.append("settings.py", SETTINGS)
    project.append("urls.py", URLS)

    assert project.manage("check", "--fail-level", "INFO") == before["check"]
    assert project.manage("makemigrations", "--check") == before["makemigrations"]
    assert "No planned" in project.manage("migrate", "--plan")
    project.manage("migrate", "--check")
    (project.folder / "db.sqlite3").unlink()
    migrated = project.manage("migrate").splitlines()
    assert [line for line in before["migrate"].splitlines() if line not in migrated] == []
    assert "MIGRATION_MODULES: tracing" in project.manage("tracing", "status")


@pytest.mark.process
def test_viewer_behind_a_proxy_is_closed(project, serve):
    project.append("settings.py", SETTINGS)
    project.append("urls.py", URLS)

    address = serve()

    assert httpx.get(f"{address}/tracing/").status_code == 200
    for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Host": "shop.localhost"}):
        assert httpx.get(f"{address}/tracing/", headers=headers).status_code == 302
