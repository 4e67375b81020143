"""Bypasses: writes that send no signals although receivers are connected for them.

``bulk_create``, ``bulk_update``, ``QuerySet.update``, raw deletes, what ``on_delete`` sets in other
rows and the database's own cascade reach the database without a signal. They are recognised when
their statement has run, by the function of Django that is on the stack; nothing is wrapped, so no
traceback grows.
"""

from __future__ import annotations

from sys import _getframe as getframe
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Model, QuerySet, deletion
from django.db.models import signals as model_signals
from django.db.models.deletion import Collector
from django.db.models.sql.compiler import SQLInsertCompiler

from tracing.capture.callsites import application_frame
from tracing.capture.context import BYPASS, Stream
from tracing.capture.signal_names import signal_name
from tracing.capture.wirings import entry_labels

if TYPE_CHECKING:
    from types import CodeType, FrameType

_NEAREST: Final = 3
"""How many frames above ``note_write`` the caller of the cursor is, at the least."""
_DEEP: Final = 40
"""Frames looked at from there on."""


def _code(owner: Any, name: str) -> CodeType | None:
    return getattr(getattr(owner, name, None), "__code__", None)


_OPERATIONS: Final[dict[CodeType, str]] = {
    code: operation
    for owner, name, operation in (
        (QuerySet, "bulk_create", "bulk_create"),
        (QuerySet, "bulk_update", "bulk_update"),
        (QuerySet, "update", "update"),
        (QuerySet, "_raw_delete", "delete"),
        (Model, "save_base", ""),
        (Collector, "delete", "collector"),
    )
    if (code := _code(owner, name)) is not None
}
"""What the innermost of these on the stack says about a write; empty: signals were sent."""

_DO_INSERT: Final = _code(Model, "_do_insert")
_DO_UPDATE: Final = _code(Model, "_do_update")
_distances: Final[dict[str, int]] = {"I": 6, "U": 6}
"""How many frames above ``note_write`` a save was found last, by the first letter of its statement.

It depends on the release of Django, and on whether a debug cursor is between.
"""

_INSERT: Final = SQLInsertCompiler.execute_sql.__code__
_BY_NAME: Final = {code.co_name for code in _OPERATIONS}
_DB_CASCADE: Final = getattr(deletion, "DB_CASCADE", None)
"""Django 6.1: the database deletes by itself."""
_SAVES: Final = (model_signals.pre_save, model_signals.post_save)
_DELETES: Final = (model_signals.pre_delete, model_signals.post_delete)


def note_write(stream: Stream, cursor: Any, sql: str, start: int) -> None:
    """Record a bypass if the write *sql*, which has just run, was one."""
    # Most writes are saves. To look there makes an object of that frame alone, a search one of each.
    verb = sql[0]
    if verb in _distances:
        try:
            code = getframe(_distances[verb]).f_code
            if code is _DO_UPDATE or code is _DO_INSERT:
                return
        except ValueError:
            pass  # The stack is not that deep.
    frame: FrameType | None = getframe(_NEAREST)
    operation: str | None = None
    inserted: int | None = None
    for distance in range(_NEAREST, _NEAREST + _DEEP):
        if frame is None:
            return
        code = frame.f_code
        if code is _DO_UPDATE or code is _DO_INSERT:
            _distances[verb] = distance
            return
        if code is _INSERT:
            # The driver does not count rows that are inserted and returned.
            inserted = len(frame.f_locals["self"].query.objs)
        elif code.co_name in _BY_NAME:
            operation = _OPERATIONS.get(code)
            if operation is not None:
                break
        frame = frame.f_back
    if not operation or frame is None:
        return
    if operation == "collector":
        _note_cascade(stream, frame, sql, start)
        return
    model = getattr(frame.f_locals.get("self"), "model", None)
    if operation == "update":
        outer = frame.f_back
        asking = _OPERATIONS.get(outer.f_code) if outer is not None else None
        if asking == "bulk_update":
            operation, frame = "bulk_update", outer
        elif asking == "collector":
            # Nobody there wrote update(): a row is deleted to which others point.
            operation = "on_delete"
    if model is None or model._meta.auto_created:
        return
    signals = _DELETES if operation == "delete" else _SAVES
    rows = inserted if operation == "bulk_create" else getattr(cursor, "rowcount", None)
    if type(rows) is not int or rows < 0:
        rows = None
    _note(stream, operation, model, signals, rows, frame, start)


def _note_cascade(stream: Stream, frame: FrameType, sql: str, start: int) -> None:
    """Record rows that the database deletes by itself with those of the collector (Django 6.1)."""
    if _DB_CASCADE is None or not sql.startswith("DELETE "):
        return
    collector = frame.f_locals.get("self")
    deleted = getattr(collector, "data", None)
    if not deleted:
        return
    for model in list(deleted):
        table = model._meta.db_table
        for relation in model._meta.related_objects:
            if getattr(relation, "on_delete", None) is _DB_CASCADE and table in sql:
                related = relation.related_model
                _note(stream, "db_cascade", related, _DELETES, None, frame, start)


def _note(
    stream: Stream,
    operation: str,
    model: type[Model],
    signals: tuple[Any, ...],
    rows: int | None,
    frame: FrameType | None,
    start: int,
) -> None:
    if rows == 0:
        return
    skipped = []
    receivers = []
    for signal in signals:
        labels = entry_labels(signal, model)
        if labels:
            skipped.append(signal_name(signal))
            receivers.extend(labels)
    if not receivers or stream.events is None:
        return
    place = application_frame(frame)
    stream.offer(
        (
            BYPASS,
            start,
            operation,
            model._meta.label,
            tuple(skipped),
            tuple(receivers),
            rows,
            place.f_code if place is not None else None,
            place.f_lasti if place is not None else 0,
        )
    )
