"""Values of ``TRACING`` that settings alone cannot see to be wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from django.apps import apps
from django.conf import settings as django_settings
from django.utils.module_loading import import_string

from tracing.conf.shapes import near
from tracing.exporters.build import NAMES
from tracing.presentation.links import EDITORS
from tracing.setup import build_trust
from tracing.spool import starting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.conf import Settings


Wrong: TypeAlias = tuple[str, str, str]


def wrong_values(chosen: Settings) -> Iterator[Wrong]:
    """Yield (key, what is wrong, page of the documents) of what names nothing."""
    try:
        re.compile(chosen.sensitive_keys)
    except re.error as error:
        yield "SENSITIVE_KEYS", f"is no regular expression: {error}", "docs/reference/settings.md"
    try:
        build_trust(chosen)
    except Exception as error:  # The module of a dotted path may raise anything.
        problem = f"is wrong: {error}; until it is mended nobody is trusted"
        yield "TRUSTED_PARENTS", problem, "docs/reference/settings.md"
    for label in chosen.clear_keys:
        try:
            apps.get_model(label)
        except (LookupError, ValueError):
            yield "CLEAR_KEYS", f"names {label!r}, which is no model", "docs/security.md"
    for name in chosen.exporters:
        problem = _wrong_exporter(name)
        if problem:
            yield "EXPORTERS", problem, "docs/guides/storage.md"
    if problem := _wrong_collector(chosen):
        yield "COLLECTOR", problem, "docs/guides/production.md"
    for key, editor in (("VIEWER", chosen.viewer.editor), ("PANEL", chosen.panel.editor)):
        if editor and editor.lower() not in EDITORS and "{file}" not in editor:
            problem = f"has the EDITOR {editor!r}, which is no address with {{file}}"
            yield key, f"{problem}{near(editor, EDITORS)}", "docs/guides/viewer.md"


def _wrong_collector(chosen: Settings) -> str:
    module = getattr(django_settings, "SETTINGS_MODULE", None) or ""
    why = starting.impossible(module) if chosen.collector == "process" else ""
    return f"is 'process', but {why}; each process exports by itself" if why else ""


def _wrong_exporter(name: str) -> str:
    if name in NAMES:
        return ""
    if "." not in name:
        named = ", ".join(sorted(NAMES))
        return f"has {name!r}; there are {named} and dotted paths of classes"
    try:
        import_string(name)
    except Exception as error:
        return f"has {name!r}, which cannot be imported: {error}"
    return ""
