"""The values that fields may hold, and the base of all records.

The limits are those of a reader of the log: the columns of the store hold no more. Nothing else verifies
them; assembly makes no other values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, TypeAlias

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from typing import Self

LARGEST: Final = 2**62
Nanoseconds: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST)]
Moment: TypeAlias = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
"""Nanoseconds that a clock of another thread, or what is left of a duration, may put below 0."""
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Rows: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST)]
Number: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Small: TypeAlias = Annotated[int, Meta(ge=0, le=2**15 - 1)]
TraceId: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
SpanId: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
Statements: TypeAlias = tuple[tuple[str, Rows, Nanoseconds], ...]


class Record(Struct, gc=False, omit_defaults=True):
    """A part of a trace that names what its ``repr`` leaves out."""

    unshown: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of its ``repr``."""

    if TYPE_CHECKING:

        def __copy__(self) -> Self:
            """Return a copy that shares what this one holds; msgspec has it."""
            raise NotImplementedError

    def __repr__(self) -> str:
        shown = (name for name in self.__struct_fields__ if name not in self.unshown)
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({fields})"
