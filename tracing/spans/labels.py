"""Labels: receivers and callsites, which many spans share."""

from __future__ import annotations

from msgspec import Struct

from tracing.spans.fields import Count


class ReceiverLabel(Struct, gc=False, omit_defaults=True, frozen=True, eq=False):
    """A receiver as connected: a function may have several labels."""

    name: str
    """Dotted path; ``functools.partial(path)`` for a partial, ``path.Class()`` for a callable object."""
    file: str = ""
    """Absolute path of the source file; empty for code without one."""
    line: Count = 0
    """First line, 1-based; 0 if unknown."""
    dispatch_uid: str = ""
    weak: bool = True
    is_async: bool = False
    app: str = ""
    """Label of the application that defines it; empty if it belongs to none."""
    any_sender: bool = False
    """Connected without a sender: it hears every sender of its signal."""
    mine: bool = False
    """The project's own, as the recording process decided. No part of which receiver it is."""

    def _identity(self) -> tuple[object, ...]:
        return (
            self.name,
            self.file,
            self.line,
            self.dispatch_uid,
            self.weak,
            self.is_async,
            self.app,
            self.any_sender,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReceiverLabel):
            return NotImplemented
        return self is other or self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


class Callsite(Struct, gc=False, omit_defaults=True, frozen=True):
    """The frame of the application that sent a signal."""

    file: str
    line: Count
    function: str
    """Qualified name within its module."""
