"""The record of one hazard."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

from tracing.spans.fields import Count, Record

_NUMBERS: Final = re.compile(r"[\d.,]+")


class Hazard(Record):
    """A diagnosis: a named bug in the spans of one trace or of several."""

    hazard: str
    """Id of the rule, as ``slow-receiver``."""
    severity: str
    """error, warning or info."""
    message: str
    """One sentence that names functions with file and line."""
    trace_id: str | None = None
    """None for a finding that belongs to no trace."""
    signal: str = ""
    sender: str = ""
    receiver: str = ""
    file: str = ""
    line: Count = 0
    numbers: list[Count] = []
    """Span numbers of the evidence."""
    evidence: list[str] = []
    """The same for a reader: one line per fact."""
    remedy: str = ""
    known: str = ""
    """Why the project accepts it, as it was marked; empty if it is not marked as known."""
    root_span_id: str = ""
    """Of the trace: it tells it from others that share the id."""

    def values(self) -> dict[str, Any]:
        """Return its fields by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def subject(self) -> tuple[str, ...]:
        """Return what it is about: the same for the same thing found again."""
        about: tuple[str, ...] = (self.signal, self.sender, self.receiver, self.file)
        if not any(about):
            # About a trace as a whole, as an exceeded budget is: only the message names it. How much it
            # was differs from time to time.
            about = (_NUMBERS.sub("", self.message),)
        return (self.hazard, *about, str(self.line))

    @property
    def fingerprint(self) -> str:
        """Return 32 hex digits that are the same for the same thing found again."""
        text = "\x1f".join(self.subject)
        return blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()
