"""Bounded memories that recover: the least recently used goes.

No lock is ever waited for: a memory is asked on the traced thread, where a collection may run a
finaliser that asks the same memory again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Generic, TypeVar

from tracing.instrumentation.process import process_lock

K = TypeVar("K")
V = TypeVar("V")

forgotten: Final[Counter[str]] = Counter()
"""What bounded memories had no room for since the process began, by what it was."""

FORGOTTEN: Final = "(forgotten)"
"""Name of what is known no more; and of the counts beside the exporters in a recorder's state."""

_ONE: Final[Any] = object()


class Recent(Generic[K, V]):
    """A memory of two generations, which forgets what is not asked for.

    Args:
        size: Entries of one generation; the memory holds that many to twice as many.
        counted_as: Under what name entries that go are counted; empty where they are only made again.
    """

    __slots__ = ("_counted_as", "_lock", "_new", "_old", "_size")

    def __init__(self, size: int, counted_as: str = "") -> None:
        self._size = size
        self._counted_as = counted_as
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._lock = process_lock()

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: K) -> V | None:
        """Return what is remembered under *key*, None if nothing is."""
        value: Any = self._new.get(key, _ONE)
        if value is _ONE:
            value = self._old.get(key, _ONE)
            if value is _ONE:
                return None
            self.put(key, value)
        return value  # type: ignore[no-any-return]

    def put(self, key: K, value: V) -> None:
        """Remember *value* under *key*."""
        if len(self._new) >= self._size and self._lock.acquire(blocking=False):
            try:
                if len(self._new) >= self._size:
                    gone, self._old, self._new = self._old, self._new, {}
                    self.dropped({k: gone[k] for k in gone.keys() - self._old.keys()})
            finally:
                self._lock.release()
        self._new[key] = value

    def take(self, key: K) -> V | None:
        """Return what is remembered under *key* and forget it; None if nothing is."""
        old = self._old.pop(key, None)
        return self._new.pop(key, old)

    def dropped(self, gone: dict[K, V]) -> None:
        """Do what is due when *gone* is let go: count it."""
        if self._counted_as:
            forgotten[self._counted_as] += len(gone)

    def values(self) -> list[V]:
        """Return all that is remembered."""
        return [*self._old.values(), *self._new.values()]

    def clear(self) -> None:
        """Forget everything."""
        self._new, self._old = {}, {}
