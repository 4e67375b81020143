"""Settings of the small project whose tasks lie in files."""

from __future__ import annotations

import json
import os

import django

SECRET_KEY = "only for a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "tracing"]
if django.VERSION < (6, 0):
    INSTALLED_APPS.append("django_tasks")
DATABASES = json.loads(os.environ["TASKS_DATABASES"])
DATABASE_ROUTERS = ["tracing.routers.TracingRouter"]
USE_TZ = True
TASKS = {
    "default": {"BACKEND": "tests.tracing.instrumentation_tasks.file_tasks.FileBackend"},
}
TRACING = {"EXPORTERS": ["database"]}
