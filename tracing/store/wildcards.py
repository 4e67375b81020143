"""Names with ``*`` in them, compared without backtracking.

A name may come from anybody, as the path of a request does. A regular expression of several ``.*``
takes minutes for some of them, and SQLite's is a Python function: no deadline interrupts one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import BooleanField, F, Func

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


def fits(pattern: str, text: str) -> bool:
    """Return whether *text* fits *pattern*, where ``*`` is any text."""
    pattern, text = pattern.lower(), text.lower()
    first, *parts = pattern.split("*")
    if not parts:
        return text == pattern
    last = parts.pop()
    end = len(text) - len(last)
    if end < len(first) or not text.startswith(first) or not text.endswith(last):
        return False
    at = len(first)
    for part in parts:
        # The earliest place is as good as any: what follows has the most room there.
        place = text.find(part, at, end)
        if place < 0:
            return False
        at = place + len(part)
    return True


class FitsWildcard(Func):
    """A condition in SQL: a column fits a pattern, in any case.

    Args:
        column: Name of the column, as in a lookup.
        pattern: What it must fit; ``*`` stands for any text.
    """

    def __init__(self, column: str, pattern: str) -> None:
        super().__init__(F(column), output_field=BooleanField())
        self.pattern = pattern

    def as_sql(  # type: ignore[override]  # as Django's own, without the unused rest.
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        """Return the comparison as the database writes ``icontains``."""
        column, params = compiler.compile(self.source_expressions[0])
        operations = connection.ops
        parts = [operations.prep_for_like_query(part) for part in self.pattern.split("*")]
        column = operations.lookup_cast("icontains", "CharField") % column
        comparison = connection.operators["icontains"]  # type: ignore[attr-defined]  # each backend has it.
        return f"{column} {comparison}", (*params, "%".join(parts))
