"""ASGI entry of the project, with the static files that the toolbar needs."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.asgi_project.settings")

application = ASGIStaticFilesHandler(get_asgi_application())
