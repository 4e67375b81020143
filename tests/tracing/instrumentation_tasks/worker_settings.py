"""Settings of the small project whose Celery worker the tests start."""

from __future__ import annotations

import os

SECRET_KEY = "only for a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tracing"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
TRACING = {"EXPORTERS": ["log"], "LOG": {"path": os.environ.get("WORKER_LOG", "")}}
