"""A review as documents: Markdown, SARIF, annotations of GitHub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tracing.analysis.names import short_receiver, short_signal
from tracing.analysis.review import KINDS
from tracing.presentation.documents import fields_of
from tracing.units import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.analysis.review import Change
    from tracing.analysis.review.changes import Value

NO_CHANGE: Final = "No change"
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_MOST_TESTS: Final = 10
"""Tests that a comment names of one change."""


def as_dict(change: Change) -> dict[str, Any]:
    """Return a change as a JSON object."""
    return fields_of(change, "kind", "signal", "receiver", "sender", "tests", "before", "after")


def subject(change: Change) -> str:
    """Return what a change is about: ``notify on post_save of shop.Order``."""
    signal = short_signal(change.signal) if change.signal else "several signals"
    sender = "several senders" if change.sender is None else change.sender
    sent = signal if sender == "None" else f"{signal} of {sender}"
    return f"{short_receiver(change.receiver)} on {sent}" if change.receiver else sent


def difference(change: Change) -> str:
    """Return what was and what is, as ``2 → 5``."""
    if change.kind == "receivers-bypassed":
        return f"by {change.after}"
    if change.kind in {"receiver-added", "receiver-removed"}:
        return ""
    if change.kind in {"dispatch-added", "dispatch-removed"}:
        count = change.after or change.before
        return f"sent {plural(count, 'time')}" if isinstance(count, int) else ""
    if change.kind in {"receiver-renamed", "signal-changed"}:
        names = [short_receiver(str(name)) for name in (change.before, change.after)]
        return " → ".join(names)
    unit = {"queries-changed": " queries a call", "calls-changed": " calls"}.get(change.kind, "")
    return f"{_value(change.before)} → {_value(change.after)}{unit}"


def _value(value: Value) -> str:
    if isinstance(value, list):
        return ", ".join(short_receiver(name) for name in value)
    return "-" if value is None else str(value)


def sentence(change: Change) -> str:
    """Return a change in one line, without its tests."""
    told = difference(change)
    return f"{subject(change)}: {told}" if told else subject(change)


def location(change: Change) -> str:
    """Return where a change shows in the source, as ``shop/models.py:12``."""
    return f"{change.file}:{change.line}" if change.file and change.line else change.file


# --- Markdown ------------------------------------------------------------------------------------


def markdown(changes: Sequence[Change], tests: int) -> str:
    """Return a comment for a pull request."""
    compared = f"{plural(tests, 'test')} compared."
    if not changes:
        return f"### Signals: {NO_CHANGE}\n\n{compared}\n"
    lines = [
        f"### Signals: {plural(len(changes), 'change')}",
        "",
        "| change | what | before → after | where | tests |",
        "|---|---|---|---|---|",
    ]
    lines += [
        "| "
        + " | ".join(
            (
                change.kind,
                _code(subject(change)),
                _cell(difference(change)),
                _code(location(change)),
                str(len(change.tests)),
            )
        )
        + " |"
        for change in changes
    ]
    lines += ["", "<details><summary>Tests</summary>", ""]
    for change in changes:
        named = ", ".join(_code(test) for test in change.tests[:_MOST_TESTS])
        more = len(change.tests) - _MOST_TESTS
        lines.append(
            f"- {change.kind}, {_code(subject(change))}: {named}"
            + (f" and {more} more" if more > 0 else "")
        )
    lines += ["", "</details>", "", compared]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Return *text* for a cell of a table, with no Markdown in it."""
    escaped = text.replace("\\", "\\\\").replace("\n", " ")
    for sign in "`*_<>[]|#":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


def _code(text: str) -> str:
    """Return *text* as code for a cell of a table."""
    if not text:
        return ""
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"


# --- GitHub --------------------------------------------------------------------------------------


def github(changes: Sequence[Change]) -> str:
    """Return workflow commands, shown beside the lines of a pull request."""
    return "".join(f"{_command(change)}\n" for change in changes)


def _command(change: Change) -> str:
    file, line = _shown_at(change)
    place = f"file={_property(file)},line={line},title={_property(change.kind)}"
    return f"::warning {place}::{_data(_message(change))}"


def _message(change: Change) -> str:
    return f"{change.kind}: {sentence(change)} ({_tests(change)})"


def _shown_at(change: Change) -> tuple[str, int]:
    """Return the file and line to show it at: a test's, if no other is known."""
    if change.file:
        return change.file, max(change.line, 1)
    return change.tests[0].partition("::")[0], 1


def _tests(change: Change) -> str:
    first, *others = change.tests
    return f"{first} and {len(others)} more" if others else first


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# --- SARIF ---------------------------------------------------------------------------------------


def sarif(changes: Sequence[Change], version: str) -> dict[str, Any]:
    """Return a log of SARIF 2.1.0, a result for each change."""
    rules = list(KINDS)
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "django-signal-tracing",
                        "version": version,
                        "rules": [
                            {"id": kind, "shortDescription": {"text": meaning}}
                            for kind, meaning in KINDS.items()
                        ],
                    }
                },
                "results": [_result(change, rules.index(change.kind)) for change in changes],
            }
        ],
    }


def _result(change: Change, rule: int) -> dict[str, Any]:
    file, line = _shown_at(change)
    return {
        "ruleId": change.kind,
        "ruleIndex": rule,
        "level": "warning",
        "message": {"text": _message(change)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(file), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": line},
                }
            }
        ],
        "partialFingerprints": {
            "change/v1": "|".join(
                (change.kind, change.signal or "", change.receiver or "", change.sender or "")
            )
        },
        "properties": as_dict(change),
    }
