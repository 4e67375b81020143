"""Values as short text: redacted, capped in size, never evaluated.

Only instances of exactly the built-in types are looked into. Everything else is named by its type:
a queryset is not run, a lazy object not resolved, no ``__repr__``, ``__str__`` or ``__class__`` of
the application is called. The text of an exception is the one exception, since nobody can debug
without it: its ``__str__`` is called, and what goes wrong in it stays there.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from decimal import Decimal
from itertools import islice
from pathlib import PosixPath, WindowsPath
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Model

from tracing.instrumentation.attributes.arguments import PLAIN_TYPES, instance_key
from tracing.instrumentation.attributes.names import dotted, exact, qualname_of
from tracing.instrumentation.attributes.redaction import (
    key_text,
    name_of,
    number_text,
    policy,
    redact_text,
)
from tracing.instrumentation.attributes.spoken import HIDDEN
from tracing.instrumentation.failures import is_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_MESSAGE: Final = 500
"""Characters kept of an exception's message."""


_OWN_TEXTS: Final = frozenset(
    kind.__str__
    for kind in (BaseException, OSError, KeyError, UnicodeError, ImportError, SyntaxError)
)
"""How Python's own exceptions make their text: from their arguments, which they ask for theirs."""


def _says_plain_things(error: BaseException) -> bool:
    """Return whether the text of *error* is made of plain values alone.

    The argument may be a queryset, whose text is a query. A class with a ``__str__`` of its own is
    trusted: what it says is what its author wants to be read.
    """
    if type(error).__str__ not in _OWN_TEXTS:
        return True
    # Of one string the text is the string itself; several things are written out whole.
    lengths = (len(argument) for argument in error.args if type(argument) is str)
    if sum(lengths) > MAX_MESSAGE and (len(error.args) > 1 or isinstance(error, KeyError)):
        return False
    return all(type(argument) in PLAIN_TYPES for argument in error.args)


def error_text(error: BaseException) -> tuple[str, str]:
    """Return (dotted type, message) of an exception, the message cut.

    Its secrets are taken out in the worker.
    """
    kind = type(error)
    name = dotted(kind)
    if not policy.messages:
        return name, ""
    if not _says_plain_things(error):
        return name, ", ".join(_AS_TEXT.text(argument) for argument in error.args[:5])[:MAX_MESSAGE]
    try:
        message = str(error)
    except BaseException as failure:
        # Its own code: what that raises is not the application's outcome. What interrupts it is.
        if not is_own(failure):
            raise
        return name, f"<{exact(qualname_of(kind))}: its text cannot be had>"
    if type(message) is not str:
        message = str.__str__(message)
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + "…"
    return name, message


MAX_SIZE: Final = 200
"""Bytes of a ``Decimal`` that is still written out."""


class Redaction:
    """The text of an application's values, redacted by their names.

    Args:
        max_text: Characters kept of one string.
        max_items: Items kept of one collection.
        max_depth: Collections looked into within one another.
        max_length: Characters of a collection after which no more of its items are read.
    """

    __slots__ = ("max_depth", "max_items", "max_length", "max_text")

    def __init__(
        self,
        *,
        max_text: int = 200,
        max_items: int = 20,
        max_depth: int = 3,
        max_length: int = 2_000,
    ) -> None:
        self.max_text = max_text
        self.max_items = max_items
        self.max_depth = max_depth
        self.max_length = max_length

    def named(self, named: Mapping[str, Any]) -> dict[str, str]:
        """Return each named argument as text."""
        texts = {
            exact(name): self._entry(name, value, 0)
            for name, value in islice(named.items(), self.max_items)
        }
        if len(named) > self.max_items:
            texts["…"] = f"{len(named) - self.max_items} more"
        return texts

    def _entry(self, key: object, value: object, depth: int) -> str:
        name = name_of(key)
        if name is None and type(key) not in PLAIN_TYPES:
            # A lazy text, a member of an enum: what it says cannot be told without asking it.
            return HIDDEN
        if name is not None and policy.is_sensitive(name):
            return HIDDEN
        return self.text(value, depth)

    def text(self, value: object, depth: int = 0) -> str:
        """Return *value* as text."""
        kind = type(value)
        if kind is str:
            return self._string(value)  # type: ignore[arg-type]
        if kind is Decimal and value.__sizeof__() > MAX_SIZE:
            return "<Decimal of many digits>"
        if kind is int:
            return number_text(value)  # type: ignore[arg-type]
        if kind in PLAIN_TYPES:
            return repr(_without_foreign_zone(value))
        if kind is bytes:
            return f"<bytes: {len(value)}>"  # type: ignore[arg-type]
        if kind is dict:
            return self._mapping(value, depth)  # type: ignore[arg-type]
        if kind in {list, tuple, set, frozenset}:
            return self._collection(value, depth)
        if issubclass(kind, type):
            return f"<class {dotted(value)}>"  # type: ignore[arg-type]
        if issubclass(kind, Model):
            label, pk = instance_key(value)
            return f"<{label}:{key_text(label, pk)}>"
        return f"<{dotted(kind)}>"

    def _string(self, value: str) -> str:
        # Whole as far as the rules look, so that none of them meets a secret without its end.
        redacted = redact_text(value[: 4 * self.max_text])
        return repr(redacted if len(redacted) <= self.max_text else redacted[: self.max_text] + "…")

    def _mapping(self, value: dict[Any, Any], depth: int) -> str:
        if depth >= self.max_depth:
            return f"<dict: {len(value)}>"
        texts = (
            f"{self._key(key)}: {self._entry(key, item, depth + 1)}"
            for key, item in _first(value.items(), self.max_items)
        )
        return "{" + self._joined(texts, len(value)) + "}"

    def _key(self, key: object) -> str:
        name = name_of(key)
        return self.text(key, self.max_depth) if name is None else self._string(name)

    def _collection(self, value: Any, depth: int) -> str:
        kind = type(value)
        if depth >= self.max_depth:
            return f"<{kind.__name__}: {len(value)}>"
        texts = self._items(_first(value, self.max_items), depth + 1, kind in {list, tuple})
        return f"{kind.__name__}({self._joined(texts, len(value))})"

    def _items(self, items: list[Any], depth: int, ordered: bool) -> Iterator[str]:
        """Yield *items* as texts, in order what follows a sensitive name hidden.

        That is a pair of a name and its value, or an option of a command line.
        """
        before: str | None = None
        for item in items:
            is_hidden = before is not None and policy.is_sensitive(before)
            yield HIDDEN if is_hidden else self.text(item, depth)
            before = name_of(item) if ordered and not is_hidden else None

    def _joined(self, texts: Iterator[str], length: int) -> str:
        """Return *texts* up to a length, and how many are left out."""
        kept: list[str] = []
        room = self.max_length
        for text in texts:
            kept.append(text)
            room -= len(text)
            if room <= 0:
                break
        if length > len(kept):
            kept.append(f"… {length - len(kept)} more")
        return ", ".join(kept)


def _first(items: Iterable[Any], count: int) -> list[Any]:
    """Return the first *count* of *items*, whatever other threads do."""
    try:
        return list(islice(items, count))
    except RuntimeError as error:
        if not is_own(error):
            raise
        return []


_AS_TEXT: Final = Redaction()

MAX_ATTRIBUTE: Final = 200
"""Characters kept of an attribute of a trace."""


def attribute_text(name: str, value: object, limit: int = MAX_ATTRIBUTE) -> str:
    """Return an attribute of a trace as text, calling no foreign code.

    Args:
        name: Its name, which may say that the value is to be hidden.
        value: Of whatever type.
        limit: Characters kept.
    """
    if policy.is_sensitive(exact(name)):
        return HIDDEN
    kind = type(value)
    if kind is int:
        return number_text(value)  # type: ignore[arg-type]
    if issubclass(kind, str):
        return redact_text(str.__str__(value)[: 4 * limit])[:limit]
    is_plain = kind in PLAIN_TYPES or kind in _PRINTABLE
    text = str(_without_foreign_zone(value)) if is_plain else _AS_TEXT.text(value)
    return text[:limit]


_OWN_ZONES: Final = frozenset({type(None), dt.timezone, zoneinfo.ZoneInfo})
"""Time zones that tell their offset and their name without code of the application."""


def _without_foreign_zone(value: object) -> object:
    """Return a moment, without a zone that would be asked for its offset."""
    kind = type(value)
    if kind is dt.datetime or kind is dt.time:
        return value if type(value.tzinfo) in _OWN_ZONES else value.replace(tzinfo=None)  # type: ignore[attr-defined]
    return value


_PRINTABLE: Final = frozenset({PosixPath, WindowsPath, dt.time, dt.timedelta})
"""Further types whose text runs nobody's code."""
