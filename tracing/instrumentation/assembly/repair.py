"""Spans that every exporter can take: the rest is cut or left out.

Used where an exporter has refused a trace, so that one odd value costs itself and not the trace.
"""

from __future__ import annotations

from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from tracing.instrumentation.attributes.names import exact, qualname_of

if TYPE_CHECKING:
    from tracing.spans.records import Trace

LARGEST: Final = 2**63 - 1
"""Of a number in a database, in JSON and in OTLP."""
LONGEST: Final = 10_000
"""Characters of a text."""
DEEPEST: Final = 50
"""Values within one another, of those that are no spans."""


def clean_text(text: str) -> str:
    """Return *text* without what no database takes: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


class _Repair:
    """One trace that is being repaired."""

    def __init__(self) -> None:
        self.changed = 0
        self._made: dict[int, Any] = {}
        """Records by the identity of what they were made of; many calls share one label."""

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return *value* as it can be written."""
        kind = type(value)
        if value is None or kind is bool or issubclass(kind, Enum):
            return value
        if issubclass(kind, str):
            return self._text(value)
        if issubclass(kind, int):
            return self._number(value)
        if kind is float:
            return self._noted(value, value if isfinite(value) else 0.0)
        if depth >= DEEPEST:
            return self._noted(value, "…")
        if kind in {list, tuple}:
            return kind([self.value(item, depth + 1) for item in value])
        if kind is dict:
            return {
                str(self.value(key, depth + 1)): self.value(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, Struct):
            return self._span(value)
        return self._noted(value, f"<{exact(qualname_of(kind))}>")

    def _noted(self, before: Any, after: Any) -> Any:
        self.changed += before is not after
        return after

    def _text(self, value: str) -> str:
        text = exact(value)
        cleaned = clean_text(text[:LONGEST])
        self.changed += cleaned != text or type(value) is not str
        return cleaned

    def _number(self, value: int) -> int:
        number = int.__int__(value)
        if -LARGEST <= number <= LARGEST:
            return number
        self.changed += 1
        return LARGEST if number > 0 else -LARGEST

    def _span(self, span: Any) -> Any:
        made = self._made.get(id(span))
        if made is None:
            made = self._made[id(span)] = type(span)(
                **{name: self.value(getattr(span, name)) for name in span.__struct_fields__}
            )
        return made


def repaired(trace: Trace, why: str = "") -> Trace:
    """Return a copy of *trace* that can be written.

    Args:
        trace: The trace, which stays as it is.
        why: The exception that an exporter raised over it, to be told of if something was changed.
    """
    repair = _Repair()
    made: Trace = repair.value(trace)
    if why and repair.changed:
        made.unreadable.append(("a value", why, repair.changed))
    return made
