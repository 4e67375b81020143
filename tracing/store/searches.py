"""Searches that people keep under a name."""

from __future__ import annotations

from typing import NamedTuple

from tracing.clocks import time
from tracing.store.models import SavedSearch

_MOST = 200


class Saved(NamedTuple):
    """A search under a name."""

    key: int
    name: str
    query: str
    """Parameters of the list's address."""
    created_by: str


def _saved(row: SavedSearch) -> Saved:
    return Saved(row.pk, row.name, row.query, row.created_by)


def saved() -> list[Saved]:
    """Return the searches that are kept, by name."""
    return [_saved(row) for row in SavedSearch.objects.all()[:_MOST]]


def named(name: str) -> Saved | None:
    """Return the search of this name."""
    row = SavedSearch.objects.filter(name=name).first()
    return None if row is None else _saved(row)


def of_key(key: int) -> Saved | None:
    """Return the search of this key."""
    row = SavedSearch.objects.filter(pk=key).first()
    return None if row is None else _saved(row)


def add(name: str, query: str, by: str) -> tuple[Saved, bool]:
    """Keep *query* under *name*; return what is kept, and whether it is new.

    Of two who keep one name at once, the second gets the first one's.
    """
    given = {"query": query, "created_ns": time.time_ns(), "created_by": by}
    row, is_new = SavedSearch.objects.get_or_create(name=name, defaults=given)
    return _saved(row), is_new


def replace(search: Saved, query: str) -> None:
    """Keep *query* in the place of what *search* says."""
    SavedSearch.objects.filter(pk=search.key).update(query=query, created_ns=time.time_ns())


def delete(search: Saved) -> None:
    """Keep *search* no longer."""
    SavedSearch.objects.filter(pk=search.key).delete()
