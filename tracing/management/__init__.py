"""Management: the command ``manage.py tracing`` and its verbs."""

from __future__ import annotations
