"""Values of the application as short text: redacted by key, capped in size and depth, never evaluated.

Only instances of exactly the built-in types are looked into. Everything else is named by its type:
a queryset is not run, a lazy object not resolved, no ``__repr__``, ``__str__`` or ``__class__`` of
the application is called. The text of an exception is the one exception, since nobody can debug
without it: its ``__str__`` is called, and what goes wrong in it stays there.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Model

from tracing.capture.details import PLAIN_TYPES, instance_key
from tracing.capture.names import dotted, qualname_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HIDDEN: Final = "********************"
SENSITIVE: Final = re.compile(
    r"API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|HTTP_COOKIE|SESSION|CSRF|CARD", re.IGNORECASE
)
"""Keys whose values are hidden: Django's own list for its debug pages, and a few more."""

MAX_MESSAGE: Final = 500
"""Characters kept of an exception's message."""


_OWN_TEXTS: Final = frozenset(
    kind.__str__
    for kind in (BaseException, OSError, KeyError, UnicodeError, ImportError, SyntaxError)
)
"""How Python's own exceptions make their text: from their arguments, which they ask for theirs."""


def _says_plain_things(error: BaseException) -> bool:
    """Return whether the text of *error* is made without asking an argument that is no plain value.

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
    """Return (dotted type, message) of an exception; the message is cut, empty if it cannot be had."""
    kind = type(error)
    name = dotted(kind)
    if not _says_plain_things(error):
        return name, ", ".join(_AS_TEXT.text(argument) for argument in error.args[:5])[:MAX_MESSAGE]
    try:
        message = str(error)
    except BaseException:  # Its own code: whatever it raises is not the application's outcome.
        return name, f"<{qualname_of(kind)}: its text cannot be had>"
    if type(message) is not str:
        message = str.__str__(message)
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + "…"
    return name, message


MAX_BITS: Final = 256
"""Size of a number that is still written out."""
MAX_SIZE: Final = 200
"""Bytes of a ``Decimal`` that is still written out."""


class Redaction:
    """How named arguments become text.

    Args:
        sensitive: Pattern of keys whose values are hidden, searched ignoring case.
        max_text: Characters kept of one string.
        max_items: Items kept of one collection.
        max_depth: Collections looked into within one another.
        max_length: Characters of a collection after which no more of its items are read.
    """

    __slots__ = ("max_depth", "max_items", "max_length", "max_text", "sensitive")

    def __init__(
        self,
        sensitive: re.Pattern[str] = SENSITIVE,
        *,
        max_text: int = 200,
        max_items: int = 20,
        max_depth: int = 3,
        max_length: int = 2_000,
    ) -> None:
        self.sensitive = sensitive
        self.max_text = max_text
        self.max_items = max_items
        self.max_depth = max_depth
        self.max_length = max_length

    def named(self, named: Mapping[str, Any]) -> dict[str, str]:
        """Return each named argument as text."""
        texts = {
            name: self._entry(name, value, 0)
            for name, value in islice(named.items(), self.max_items)
        }
        if len(named) > self.max_items:
            texts["…"] = f"{len(named) - self.max_items} more"
        return texts

    def _entry(self, key: object, value: object, depth: int) -> str:
        if type(key) is str and self.sensitive.search(key):
            return HIDDEN
        return self.text(value, depth)

    def text(self, value: object, depth: int = 0) -> str:
        """Return *value* as text."""
        kind = type(value)
        if kind is str:
            return repr(value if len(value) <= self.max_text else value[: self.max_text] + "…")  # type: ignore[arg-type, index]
        if kind is Decimal and value.__sizeof__() > MAX_SIZE:
            return "<Decimal of many digits>"
        if kind is int and isinstance(value, int):
            # The decimal digits of a huge number cost time that grows with its square.
            return (
                repr(value)
                if value.bit_length() <= MAX_BITS
                else f"<int of {int.bit_length(value)} bits>"
            )
        if kind in PLAIN_TYPES:
            return repr(value)
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
            return f"<{label}:{pk}>"
        return f"<{dotted(kind)}>"

    def _mapping(self, value: dict[Any, Any], depth: int) -> str:
        if depth >= self.max_depth:
            return f"<dict: {len(value)}>"
        texts = (
            f"{self.text(key, self.max_depth)}: {self._entry(key, item, depth + 1)}"
            for key, item in _first(value.items(), self.max_items)
        )
        return "{" + self._joined(texts, len(value)) + "}"

    def _collection(self, value: Any, depth: int) -> str:
        kind = type(value)
        if depth >= self.max_depth:
            return f"<{kind.__name__}: {len(value)}>"
        texts = (self.text(item, depth + 1) for item in _first(value, self.max_items))
        return f"{kind.__name__}({self._joined(texts, len(value))})"

    def _joined(self, texts: Iterator[str], length: int) -> str:
        """Return *texts* until they are long enough, and how many of *length* are left out."""
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
    """Return the first *count* of *items*, less if another thread changes them meanwhile."""
    try:
        return list(islice(items, count))
    except RuntimeError:
        return []


_AS_TEXT: Final = Redaction()
