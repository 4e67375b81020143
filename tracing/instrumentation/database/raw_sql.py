"""Raw SQL: the tables that a statement writes to, read in the worker.

Not a parser of SQL: it knows where a table is named that is written to, and what stands there but
writes to none (``FOR UPDATE``, ``ON CONFLICT DO UPDATE``, comments, literals).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from django.apps import apps
from django.db.models import signals as model_signals

from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections.receivers import entry_labels
from tracing.instrumentation.database.models import of_models

if TYPE_CHECKING:
    from django.db.models import Model

    from tracing.spans.records import ReceiverLabel

_TOKEN: Final = re.compile(
    r"""--[^\n]*|\#[^\n]*|/\*.*?\*/|\s+            # nothing
      |[eE]?'(?:[^'\\]|''|\\.)*'|\$(\w*)\$.*?\$\1\$  # literals
      |(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[\w[^\]]*\])
      |(?P<word>[^\W\d][\w$]*)
      |(?P<sign>[.,;()])
      |.""",
    re.DOTALL | re.VERBOSE,
)
_MODIFIERS: Final = frozenset(
    ("LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "ONLY", "TABLE", "INTO", "FROM")
)
_NO_WRITES_AFTER: Final = frozenset(("FOR", "ON", "DO", "KEY", "THEN", "OR", "BEFORE", "AFTER"))
"""``FOR UPDATE``, ``ON DELETE``, ``DO UPDATE``, ``ON DUPLICATE KEY UPDATE``, ``THEN INSERT`` …"""
_VERBS: Final = frozenset(("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE"))

_Token = tuple[str, bool]
"""(text, whether it was quoted)."""


def _tokens(sql: str) -> list[_Token]:
    found: list[_Token] = []
    for match in _TOKEN.finditer(sql):
        quoted = match["quoted"]
        if quoted is not None:
            mark = quoted[-1]
            found.append((quoted[1:-1].replace(mark * 2, mark), True))
        elif match.lastgroup is not None:
            found.append((match[match.lastgroup], False))
    return found


@lru_cache(maxsize=1_000)
def tables_written(sql: str) -> tuple[tuple[str, str], ...]:
    """Return (verb, table without schema) of each table *sql* writes."""
    tokens = _tokens(sql)
    if tokens and tokens[0][0].upper() == "EXPLAIN":
        return ()
    found: dict[tuple[str, str], None] = {}
    for place, (text, quoted) in enumerate(tokens):
        verb = text.upper()
        if quoted or verb not in _VERBS or _is_no_write(tokens, place):
            continue
        at = place + 1
        while True:
            table, at = _table(tokens, at)
            if table:
                found[verb.lower(), table] = None
            if not table or verb not in {"UPDATE", "TRUNCATE"} or _sign(tokens, at) != ",":
                break
            at += 1
    return tuple(found)


def _is_no_write(tokens: list[_Token], place: int) -> bool:
    """Return whether a verb is a clause, a function or a column."""
    before, quoted = tokens[place - 1] if place else (";", False)
    if not quoted and before.upper() in _NO_WRITES_AFTER:
        return True
    return before in {".", ","} or _sign(tokens, place + 1) in {"(", ",", "."}


def _sign(tokens: list[_Token], at: int) -> str:
    return tokens[at][0] if at < len(tokens) and not tokens[at][1] else ""


def _table(tokens: list[_Token], at: int) -> tuple[str, int]:
    """Return the table's name at a place, and what follows its alias."""
    if _sign(tokens, at).upper() == "OR":
        at += 2  # INSERT OR REPLACE of SQLite.
    while _sign(tokens, at).upper() in _MODIFIERS:
        at += 1
    if at >= len(tokens) or tokens[at] in {(sign, False) for sign in ".,;()"}:
        return "", at
    table = tokens[at][0]
    at += 1
    while _sign(tokens, at) == "." and at + 1 < len(tokens):
        table = tokens[at + 1][0]
        at += 2
    if _sign(tokens, at).upper() == "FROM":
        return _table(tokens, at)  # DELETE alias FROM table, of MariaDB.
    if _sign(tokens, at).upper() == "AS":
        at += 1
    if at < len(tokens) and _sign(tokens, at) not in {",", ";", "(", ")", "."}:
        at += 1
    return table, at


# --- models ------------------------------------------------------------------------------------


@of_models
def _tables(models: list[type[Model]]) -> dict[str, type[Model]]:
    """Return the models whose rows tables hold, by their names in lower case."""
    found: dict[str, type[Model]] = {}
    for model in models:
        if not model._meta.proxy:
            name = model._meta.db_table.rpartition(".")[2].strip('"`[]')
            found.setdefault(name.lower(), model)
    return found


def writes_past_receivers(
    sql: str,
) -> list[tuple[str, str, tuple[str, ...], tuple[ReceiverLabel, ...]]]:
    """Return (operation, model, signals, receivers) that *sql* went past."""
    found = []
    for verb, table in tables_written(sql):
        model = _tables().get(table.lower()) if apps.models_ready else None
        if model is None:
            continue
        skipped: list[str] = []
        receivers: list[ReceiverLabel] = []
        for signal in _DELETES if verb in {"delete", "truncate"} else _SAVES:
            labels = entry_labels(signal, model)
            if labels:
                skipped.append(signal_name(signal))
                receivers += labels
        if receivers:
            found.append((f"sql_{verb}", model._meta.label, tuple(skipped), tuple(receivers)))
    return found


_SAVES: Final = (model_signals.pre_save, model_signals.post_save)
_DELETES: Final = (model_signals.pre_delete, model_signals.post_delete)
