"""Bypasses: writes without signals although receivers are connected.

``bulk_create``, ``bulk_update``, ``QuerySet.update``, raw deletes, what ``on_delete`` sets in other
rows and the database's own cascade reach the database without a signal. They are recognised when
their statement has run, by the function of Django that is on the stack; nothing is wrapped, so no
traceback grows.
"""

from __future__ import annotations

import re
from sys import _getframe as getframe
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.db.models import Model, QuerySet, deletion
from django.db.models import signals as model_signals
from django.db.models.deletion import Collector
from django.db.models.fields import related_descriptors
from django.db.models.sql.compiler import SQLInsertCompiler

from tracing.instrumentation.attributes.callsites import place_of
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections.receivers import entry_labels
from tracing.instrumentation.database.models import of_models
from tracing.instrumentation.failures import is_own
from tracing.instrumentation.inlining import code_of
from tracing.instrumentation.words import BYPASS, SQL_WRITE
from tracing.patterns import pattern

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from tracing.instrumentation.buffer import Buffer

_NEAREST: Final = 3
"""How many frames above ``note_write`` the caller of the cursor is, at the least."""
_DEEP: Final = 40
"""Frames looked at from there on."""


def _code(owner: Any, name: str) -> CodeType | None:
    return code_of(getattr(owner, name, None))


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

_INSERT: Final = _code(SQLInsertCompiler, "execute_sql")
_BY_NAME: Final = {code.co_name for code in _OPERATIONS}
_DB_CASCADE: Final = getattr(deletion, "DB_CASCADE", None)
"""Django 6.1: the database deletes by itself."""
_RELATIONS: Final = (model_signals.m2m_changed,)
_RELATION_FILE: Final = related_descriptors.__file__
_NEAR: Final = 4
"""Frames between the manager of a relation and the queryset that writes for it."""
_SAVES: Final = (model_signals.pre_save, model_signals.post_save)
_DELETES: Final = (model_signals.pre_delete, model_signals.post_delete)


def note_write(buffer: Buffer, cursor: Any, sql: str, start: int) -> None:
    """Record a bypass if the write *sql*, which has just run, was one."""
    # Most writes are saves. To look there makes an object of that frame alone, a search one of each.
    verb = sql[0]
    if verb in _distances:
        try:
            saving = getframe(_distances[verb])
            if saving.f_code is _DO_UPDATE:
                return
            if saving.f_code is _DO_INSERT:
                _note_saved(buffer, sql, saving, start)
                return
        except ValueError as error:
            if not is_own(error):
                raise
            # The stack is not that deep.
    frame: FrameType | None = getframe(_NEAREST)
    asked_by = _asking_frame(frame)
    if asked_by is not None and not _is_djangos(asked_by):
        _note_sql(buffer, cursor, sql, asked_by, start)
        return
    operation: str | None = None
    inserted: int | None = None
    for distance in range(_NEAREST, _NEAREST + _DEEP):
        if frame is None:
            return
        code = frame.f_code
        if code is _DO_UPDATE or code is _DO_INSERT:
            _distances[verb] = distance
            _note_saved(buffer, sql, frame, start)
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
        _note_collected(buffer, cursor, frame, sql, start)
    else:
        rows = inserted if operation == "bulk_create" else _rows_of(cursor)
        _note_operation(buffer, operation, rows, frame, start)


def _note_saved(buffer: Buffer, sql: str, frame: FrameType, start: int) -> None:
    """Record a row of a relation that was saved by itself, without signals.

    Args:
        buffer: Where to.
        sql: As ``INSERT INTO "shop_order_tags" (``.
        frame: That of ``_do_insert`` or ``_do_update``.
        start: When it was written.
    """
    if not apps.models_ready:
        return
    if frame.f_code is _DO_INSERT and sql[13 : sql.find(sql[12], 13)] in _tables_of_relations():
        model = type(frame.f_locals["self"])
        _note_rows(buffer, "save", model, frame, start)
        if model._meta.auto_created and any(_is_named(signal, model) for signal in _SAVES):
            _note(buffer, "save", model, _SAVES, 1, frame, start)


def _is_through(model: type[Model]) -> bool:
    """Return whether the rows of *model* are those of a many-to-many relation."""
    return bool(model._meta.auto_created) or (apps.models_ready and model in _through_models())


@of_models
def _through_models(models: list[type[Model]]) -> frozenset[type[Model]]:
    links = [link for model in models for link in model._meta.local_many_to_many]
    # The name of a model that is not there is still a string.
    return frozenset(
        [each for link in links if isinstance(each := link.remote_field.through, type)]
    )


@of_models
def _tables_of_relations(_models: list[type[Model]]) -> frozenset[str]:
    return frozenset([each._meta.db_table for each in _through_models()])


def _note_rows(
    buffer: Buffer, operation: str, model: type[Model], frame: FrameType, start: int
) -> None:
    """Record that rows of a relation were written without its manager."""
    heard = tuple([signal_name(each) for each in _RELATIONS if each.receivers])
    _offer_silent(buffer, operation, model, heard, frame, start)


def _note_operation(
    buffer: Buffer, operation: str, rows: int | None, frame: FrameType, start: int
) -> None:
    """Record what *operation*, which *frame* runs, has written."""
    model = getattr(frame.f_locals.get("self"), "model", None)
    if operation == "update" and (outer := frame.f_back) is not None:
        asking = _OPERATIONS.get(outer.f_code)
        if asking == "bulk_update":
            operation, frame = "bulk_update", outer
        elif asking == "collector":
            # Nobody there wrote update(): a row is deleted to which others point.
            operation = "on_delete"
    if model is None:
        return
    if operation == "update":
        _note_update_of_delete(buffer, model, frame, start)
    if _is_of_relation(frame):
        _note_silent(buffer, "m2m", model, _RELATIONS, frame, start)
    elif rows != 0 and _is_through(model):
        _note_rows(buffer, operation, model, frame, start)
    signals = _DELETES if operation == "delete" else _SAVES
    # Rows that Django keeps for a relation concern those alone who wait for that very model.
    if model._meta.auto_created and not any(_is_named(signal, model) for signal in signals):
        return
    _note(buffer, operation, model, signals, rows, frame, start)


def _note_update_of_delete(
    buffer: Buffer, model: type[Model], frame: FrameType, start: int
) -> None:
    """Record that a ``delete()`` of the project marks rows, and sends nothing."""
    heard = tuple([signal_name(each) for each in _DELETES if entry_labels(each, model)])
    code, _ = place_of(frame) if heard else (None, 0)
    if code is not None and code.co_name in {"delete", "adelete"}:
        _offer_silent(buffer, "update", model, heard, frame, start)


def _is_named(signal: Any, model: type[Model]) -> bool:
    """Return whether a receiver of *signal* waits for *model* by name."""
    return any(not label.any_sender for label in entry_labels(signal, model))


def _is_of_relation(frame: FrameType) -> bool:
    """Return whether a many-to-many manager asked for this write."""
    outer = frame.f_back
    for _ in range(_NEAR):
        if outer is None:
            return False
        if outer.f_code.co_filename == _RELATION_FILE:
            return True
        outer = outer.f_back
    return False


def note_unusual(buffer: Buffer, cursor: Any, sql: str, start: int) -> None:
    """Keep *sql* that ran, if it is not Django's own and may be a write."""
    if _WRITE_WORDS.search(sql, 0, _MOST_SQL) is not None:
        frame = _asking_frame(getframe(_NEAREST))
        if frame is not None and not _is_djangos(frame):
            _note_sql(buffer, cursor, sql, frame, start)


_WRITE_WORDS: Final = pattern(r"\b(?:insert|update|delete|merge|replace|truncate)\b", re.IGNORECASE)
_MOST_SQL: Final = 10_000
"""Characters of a statement in which tables are looked for."""
_PLUMBING: Final = frozenset(
    (
        "debug_toolbar",
        "sentry_sdk",
        "opentelemetry",
        "scout_apm",
        "newrelic",
        "ddtrace",
        "elasticapm",
    )
)
"""Packages that stand between a cursor and who asks it."""


def _asking_frame(frame: FrameType | None) -> FrameType | None:
    """Return the frame that asked a cursor to execute, from *frame* outwards."""
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if type(module) is not str or not (
            module.startswith(("django.db.backends.", "tracing."))
            or module.partition(".")[0] in _PLUMBING
        ):
            break
        frame = frame.f_back
    return frame


def _is_djangos(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return type(module) is str and module.startswith("django.")


def _note_sql(buffer: Buffer, cursor: Any, sql: str, frame: FrameType, start: int) -> None:
    """Keep a foreign statement, to be read in the worker."""
    rows = _rows_of(cursor)
    if rows != 0:
        code, instruction = place_of(frame)
        buffer.offer((SQL_WRITE, start, sql[:_MOST_SQL], rows, code, instruction))


def _rows_of(cursor: Any) -> int | None:
    """Return how many rows were written, None if the driver does not say."""
    rows = getattr(cursor, "rowcount", None)
    return rows if type(rows) is int and rows >= 0 else None


def _note_collected(buffer: Buffer, cursor: Any, frame: FrameType, sql: str, start: int) -> None:
    """Record rows deleted without signals: of relations, and by the database.

    Of the rows that Django keeps for a relation a collector sends nothing, not even to those who
    wait for them. What the database deletes by itself (Django 6.1) no collector sees.
    """
    values = frame.f_locals
    model = values.get("model")
    if model is not None and sql.startswith("UPDATE "):
        # Of rows that it has loaded on_delete makes no queryset.
        _note(buffer, "on_delete", model, _SAVES, _rows_of(cursor), frame, start)
        return
    if not sql.startswith("DELETE "):
        return
    deleted = getattr(values.get("self"), "data", None)
    if not deleted:
        return
    if model is not None and _is_through(model) and model._meta.db_table in sql:
        rows = _rows_of(cursor)
        if rows != 0 and not _is_of_relation(frame):
            _note_rows(buffer, "delete", model, frame, start)
        if model._meta.auto_created:
            _note(buffer, "delete", model, _DELETES, rows, frame, start)
    if _DB_CASCADE is None:
        return
    for model in list(deleted):
        table = model._meta.db_table
        for relation in model._meta.related_objects:
            if getattr(relation, "on_delete", None) is _DB_CASCADE and table in sql:
                related = relation.related_model
                _note(buffer, "db_cascade", related, _DELETES, None, frame, start)


def _note(
    buffer: Buffer,
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
    if not receivers:
        _note_silent(buffer, operation, model, signals, frame, start)
    if not receivers or buffer.events is None:
        return
    buffer.offer(
        (
            BYPASS,
            start,
            operation,
            model._meta.label,
            tuple(skipped),
            tuple(receivers),
            rows,
            *place_of(frame),
        )
    )


def _note_silent(
    buffer: Buffer,
    operation: str,
    model: type[Model],
    signals: tuple[Any, ...],
    frame: FrameType | None,
    start: int,
) -> None:
    """Record a write that nobody hears, if others of its signals are heard."""
    heard = tuple([signal_name(signal) for signal in signals if _waits_for_others(signal, model)])
    _offer_silent(buffer, operation, model, heard, frame, start)


def _offer_silent(
    buffer: Buffer,
    operation: str,
    model: type[Model],
    heard: tuple[str, ...],
    frame: FrameType | None,
    start: int,
) -> None:
    if not heard or buffer.events is None:
        return
    code, instruction = place_of(frame)
    buffer.offer((BYPASS, start, operation, model._meta.label, heard, (), None, code, instruction))


def _waits_for_others(signal: Any, model: type[Model]) -> bool:
    return bool(signal.receivers) and not entry_labels(signal, model)
