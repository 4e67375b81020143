"""Which values of ``TRACING`` cannot be used, and why."""

from __future__ import annotations

import re
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

from django.apps import apps
from django.utils.module_loading import import_string

from tracing.exporters import build
from tracing.pipeline import Options
from tracing.pipeline.filters import TAIL_KEYS
from tracing.presentation.links import EDITORS
from tracing.setup import build_trust
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tracing.conf import Settings


Wrong: TypeAlias = tuple[str, str, str]


def wrong_values(chosen: Settings) -> Iterator[Wrong]:
    """Yield (key, what is wrong, page of the documents) of what is no ratio."""
    yield from _unknown_keys(chosen)
    for name, value in chosen.pipeline.items():
        default = getattr(Options(), str(name).lower(), None)
        if default is not None and not _is_like(default, value):
            yield "PIPELINE", f"cannot have {name} = {value!r}", "docs/storage.md"
    try:
        build.build_retention(chosen)
    except (ValueError, TypeError) as error:
        problem = str(error).removeprefix('TRACING["PRUNE"]').strip(": .")
        yield "PRUNE", f"is wrong: {problem}", "docs/storage.md"
    known = {k: v for k, v in chosen.log.items() if str(k).lower() in build.LOG_KEYS}
    try:
        build.build_log_exporter(known)
    except (ValueError, TypeError) as error:
        problem = str(error).removeprefix('TRACING["LOG"]').strip(": .")
        yield "LOG", f"is wrong: {problem}", "docs/logs.md"
    try:
        re.compile(chosen.sensitive_keys)
    except re.error as error:
        yield "SENSITIVE_KEYS", f"is no regular expression: {error}", "docs/settings.md"
    yield from _wrong_trust(chosen)
    for label in chosen.clear_keys:
        try:
            apps.get_model(str(label))
        except (LookupError, ValueError):
            yield "CLEAR_KEYS", f"names {label!r}, which is no model", "docs/security.md"
    for name in chosen.exporters:
        problem = _wrong_exporter(name)
        if problem:
            yield "EXPORTERS", problem, "docs/storage.md"
    yield from _wrong_faces(chosen)


def _wrong_faces(chosen: Settings) -> Iterator[Wrong]:
    seconds = chosen.viewer.get("MAX_SECONDS", 1)
    if not _is_like(1.0, seconds) or seconds == 0:
        yield "VIEWER", f"has MAX_SECONDS = {seconds!r}, no number above 0", "docs/viewer.md"
    for key, given in (("VIEWER", chosen.viewer), ("PANEL", chosen.panel)):
        editor = str(given.get("EDITOR") or "vscode")
        if editor.lower() not in EDITORS and "{file}" not in editor:
            problem = f"has the EDITOR {editor!r}, which is no address with {{file}}"
            yield key, f"{problem}{_near(editor, EDITORS)}", "docs/viewer.md"


def _wrong_trust(chosen: Settings) -> Iterator[Wrong]:
    try:
        build_trust(chosen)
    except Exception as error:  # The module of a dotted path may raise anything.
        problem = f"is wrong: {error}; until it is mended nobody is trusted"
        yield "TRUSTED_PARENTS", problem, "docs/settings.md"


def _unknown_keys(chosen: Settings) -> Iterator[Wrong]:
    for key, given, known, page in (
        ("LOG", chosen.log, build.LOG_KEYS, "docs/logs.md"),
        ("OTLP", chosen.otlp, build.OTLP_KEYS, "docs/storage.md"),
        ("PIPELINE", chosen.pipeline, {item.name for item in fields(Options)}, "docs/storage.md"),
        ("KEEP", chosen.keep, TAIL_KEYS, "docs/settings.md"),
        ("VIEWER", chosen.viewer, {"EDITOR", "MAX_SECONDS"}, "docs/viewer.md"),
        ("PANEL", chosen.panel, {"EDITOR"}, "docs/panel.md"),
    ):
        for name in given:
            # What is for the worker may be written in either case, as its documents say.
            either = key in {"LOG", "OTLP", "PIPELINE"}
            if (str(name).lower() if either else name) not in known:
                yield key, f"has an unknown key {name!r}{_near(str(name), known)}", page


def wrong_ratios(chosen: Settings) -> Iterator[Wrong]:
    """Yield the same of ratios and of what depends on them."""
    page = "docs/settings.md"
    for kind, ratio in chosen.sample_by_kind.items():
        if kind not in set(Kind):
            known = {str(known) for known in Kind}
            yield "SAMPLE_BY_KIND", f"has an unknown kind {kind!r}{_near(str(kind), known)}", page
        if not _is_ratio(ratio):
            yield "SAMPLE_BY_KIND", f"has {ratio!r} for {kind!r}, no number from 0 to 1", page
    for pair in chosen.sample_by_path:
        match pair:
            case [str(), ratio] if _is_ratio(ratio):
                pass
            case _:
                yield "SAMPLE_BY_PATH", f"has {pair!r}, no pair of a pattern and a ratio", page
    rules = chosen.keep
    for name in ("errors", "hazards"):
        if not isinstance(rules.get(name, True), bool):
            yield "KEEP", f"has {name} = {rules[name]!r}, neither True nor False", page
    if rules.get("slow_ms") is not None and not _is_like(1.0, rules["slow_ms"]):
        yield "KEEP", f"has slow_ms = {rules['slow_ms']!r}, no number of milliseconds", page
    if not _is_ratio(rules.get("else", 1.0)):
        yield "KEEP", f"has else = {rules['else']!r}, no number from 0 to 1", page


def _near(name: str, known: Iterable[str]) -> str:
    near = {option.lower(): option for option in known}
    for found in get_close_matches(name.lower(), near, n=1):
        return f" (did you mean {near[found]!r}?)"
    return f" (known are {', '.join(sorted(near.values()))})"


def _is_like(default: object, value: object) -> bool:
    """Return whether *value* is of the kind of *default*; a number is none below 0."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return value in ("drop", "block")
    return isinstance(value, int | float) and value >= 0


def _is_ratio(value: object) -> bool:
    return _is_like(1.0, value) and 0 <= value <= 1  # type: ignore[operator]  # it is a number.


def _wrong_exporter(name: object) -> str:
    if name in ("database", "log", "memory", "otlp"):
        return ""
    if not isinstance(name, str) or "." not in name:
        return f"has {name!r}; there are database, log, memory, otlp and dotted paths of classes"
    try:
        import_string(name)
    except Exception as error:
        return f"has {name!r}, which cannot be imported: {error}"
    return ""
