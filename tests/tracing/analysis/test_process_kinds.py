"""Tests of the kinds of processes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tracing.analysis.process_kinds import kind_of, kind_of_process

SERVED = {"RUN_MAIN": "true"}


@pytest.mark.parametrize(
    ("started_as", "kind"),
    [
        ("manage.py migrate --database tracing", "command migrate"),
        ("/srv/app/manage.py load_cars", "command load_cars"),
        ("/srv/.venv/lib/python3.12/site-packages/django/__main__.py check", "command check"),
        ("manage.py", "command"),
        ("manage.py runserver 8001", "web"),
        ("manage.py shell", "shell"),
        ("manage.py test shop", "tests"),
        ("/usr/bin/gunicorn site.wsgi -w 4", "web"),
        ("/site-packages/uvicorn/__main__.py site.asgi:application", "web"),
        ("/usr/bin/celery -A shop worker -Q mail", "worker celery"),
        ("/site-packages/celery/__main__.py -A shop worker", "worker celery"),
        ("celery -A shop beat", "command celery beat"),
        ("rq worker high low", "worker rq"),
        ("manage.py rqworker", "worker rq"),
        ("manage.py db_worker", "worker django.tasks"),
        ("-c tracing collect --until-idle", "collector"),
        ("manage.py tracing collect", "collector"),
        ("bin/nightly.py --token s3cret", "script nightly.py"),
        ("-c", "script"),
        ("", "script"),
    ],
)
def test_process_is_of_the_kind_that_its_program_says(started_as, kind):
    assert kind_of(started_as.split(" "), SERVED, {}) == kind


def test_parent_that_reloads_serves_nothing():
    assert kind_of(["manage.py", "runserver"], {}, {}) == "autoreloader"
    assert kind_of(["manage.py", "runserver_plus"], SERVED, {}) == "autoreloader"
    assert kind_of(["manage.py", "runserver", "--noreload"], {}, {}) == "web"


def test_server_without_a_program_of_its_own_has_loaded_the_interface():
    environ = {"DJANGO_SETTINGS_MODULE": "config.settings.live"}

    assert kind_of(["bin/serve"], environ, {"config.wsgi": sys}) == "web"
    assert kind_of(["bin/serve"], environ, {"other.wsgi": sys}) == "script serve"


def test_interpreter_that_asks_is_a_shell():
    assert kind_of([""], {}, {"sys": SimpleNamespace(ps1=">>> ")}) == "shell"


def test_this_process_runs_tests():
    assert kind_of_process() == "tests"
