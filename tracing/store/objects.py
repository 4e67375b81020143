"""An index from objects to the dispatches about them.

It is made afterwards, of what all writers have committed, and block by block of ids: a recording process
pays nothing for it, and a store without a full block has none. Of each dispatch with an instance it has
24 bits of a hash and its place in the block, in one of 256 rows by eight more bits of the hash. Now and then
two objects share a hash: the dispatches themselves are looked at in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from django.db.models import Q

from tracing.clocks import time
from tracing.store.columns import full_instance
from tracing.store.generics import all_of
from tracing.store.ranges import chunks, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from tracing.store.backends import Database

WIDTH: Final = 1 << 17
"""Ids of a block: of dispatches and of their receiver calls."""
ROWS: Final = 256
"""Rows of a block; a row's id is the block's number times this, and eight bits of the hash."""
SETTLED_SECONDS: Final = 300
"""After this time nobody still writes under an id that was given away."""
_MARK, _MARKED_AT = "objects", "objects_at"
"""The last id that was given away when it was looked at, and when that was (s since the epoch)."""
_BYTES: Final = 3
"""Of a hash, and of a place."""
_BLOCKS_AT_ONCE: Final = 200
_KEYS_AT_ONCE: Final = 500


# -- Making it ------------------------------------------------------------------------------------


def index_objects(database: Database, is_late: Callable[[], bool]) -> bool:
    """Index what has settled since the last time; return whether it is all."""
    now = int(time.time())
    values: dict[str, int] = dict(
        database.rows(
            "SELECT name, value FROM tracing_sequence WHERE name IN (%s, %s, %s)",
            (_MARK, _MARKED_AT, "dispatch"),
        )
    )
    if now - values.get(_MARKED_AT, 0) < SETTLED_SECONDS:
        return True
    if not index_until(database, values.get(_MARK, 0), is_late):
        return False
    with database.transaction():
        marks = [(_MARK, values.get("dispatch", 0)), (_MARKED_AT, now)]
        database.upsert("tracing_sequence", ("name",), ("value",), marks)
    return True


def index_until(database: Database, last: int, is_late: Callable[[], bool]) -> bool:
    """Index the full blocks up to the id *last*; return whether it is all.

    One is made however late it is, so that a worker with much to prune gets on with it too.
    """
    ((made,),) = database.rows("SELECT MAX(id) FROM tracing_objectindex")
    ((first,),) = database.rows("SELECT MIN(id) FROM tracing_dispatch")
    if first is None:
        return True
    begin = first // WIDTH if made is None else made // ROWS + 1
    senders: dict[int, str] = {}
    for block in range(begin, (last + 1) // WIDTH):
        if block > begin and is_late():
            return False
        senders = senders or dict(database.rows("SELECT id, name FROM tracing_senderlabel"))
        _index(database, block, senders)
    return True


def _index(database: Database, block: int, senders: dict[int, str]) -> None:
    first = block * WIDTH
    found: list[list[int]] = [[] for _ in range(ROWS)]
    for key, sender, instance in database.rows(
        "SELECT id, sender_id, instance FROM tracing_dispatch "
        "WHERE id >= %s AND id < %s AND instance <> ''",
        (first, first + WIDTH),
    ):
        code = crc32(full_instance(instance, senders.get(sender, "")).encode())
        found[code & 0xFF].append(code >> 8 << 24 | key - first)
    rows = [
        (block * ROWS + place, _encoded(entries))
        for place, entries in enumerate(found)
        # Its first row says that a block is made, though it be empty.
        if entries or not place
    ]
    with database.transaction():
        # Two processes that make the same block make the same rows.
        database.upsert("tracing_objectindex", ("id",), ("entries",), rows)


def _encoded(entries: list[int]) -> bytes:
    """Return all hashes, then the place of each."""
    hashes = b"".join((entry >> 24).to_bytes(_BYTES, "big") for entry in entries)
    return hashes + b"".join((entry & 0xFFFFFF).to_bytes(_BYTES, "big") for entry in entries)


def forget_pruned(database: Database) -> None:
    """Delete the blocks of which no dispatch is left."""
    block = 0
    while True:
        ((found,),) = database.rows(
            "SELECT MIN(id) FROM tracing_dispatch WHERE id >= %s", (block * WIDTH,)
        )
        end = 2**62 if found is None else found // WIDTH * ROWS
        if end > block * ROWS:
            with database.transaction():
                database.execute(
                    "DELETE FROM tracing_objectindex WHERE id >= %s AND id < %s",
                    (block * ROWS, end),
                )
        if found is None:
            return
        block = found // WIDTH + 1


# -- Asking it ------------------------------------------------------------------------------------


def windows(
    using: str,
    names: Collection[str],
    short: Collection[str],
    begin: int | None,
    *,
    backwards: bool,
) -> Iterator[tuple[Q, int | None]]:
    """Yield conditions on dispatches, of which some are about an object.

    With each comes the last id up to which they answer; None with the last one. From the newest dispatch
    on, *backwards* from the oldest.

    Args:
        using: Alias of the store.
        names: How the object may be kept, in full.
        short: The same, and as the column may have it.
        begin: Only beyond this id.
        backwards: Upwards.
    """
    newest = keys_of(all_of("Dispatch", using).order_by("-pk")).first() or 0
    made = keys_of(all_of("ObjectIndex", using).order_by("-pk")).first()
    edge = 0 if made is None else (made // ROWS + 1) * WIDTH
    first, last = 0, newest
    if begin is not None:
        first, last = (begin + 1, last) if backwards else (first, min(begin - 1, last))
    parts = [
        _indexed(using, names, first, min(last, edge - 1), backwards=backwards),
        _not_indexed(short, max(first, edge), last, backwards=backwards),
    ]
    for part in parts if backwards else reversed(parts):
        yield from part
    yield Q(pk__in=()), None


def _not_indexed(
    short: Collection[str], first: int, last: int, *, backwards: bool
) -> Iterator[tuple[Q, int]]:
    """Yield what the rows themselves are asked, a block's worth at a time."""
    starts = range(first, last + 1, WIDTH)
    for low in starts if backwards else reversed(starts):
        high = min(low + WIDTH - 1, last)
        yield Q(pk__gte=low, pk__lte=high, instance__in=short), high if backwards else low


def _indexed(
    using: str, names: Collection[str], first: int, last: int, *, backwards: bool
) -> Iterator[tuple[Q, int]]:
    """Yield the ids that the index has."""
    wanted: dict[int, list[bytes]] = {}
    for name in names:
        code = crc32(name.encode(errors="replace"))
        wanted.setdefault(code & 0xFF, []).append((code >> 8).to_bytes(_BYTES, "big"))
    index: Any = all_of("ObjectIndex", using)
    order = range(first // WIDTH, last // WIDTH + 1)
    for blocks in chunks(order if backwards else order[::-1], _BLOCKS_AT_ONCE // len(wanted)):
        rows = [block * ROWS + place for block in blocks for place in wanted]
        keys: list[int] = []
        for row, entries in index.filter(pk__in=rows).values_list("pk", "entries"):
            block, place = divmod(row, ROWS)
            keys += (block * WIDTH + at for at in _places(bytes(entries), wanted[place]))
        keys = sorted((key for key in keys if first <= key <= last), reverse=not backwards)
        for some in chunks(keys, _KEYS_AT_ONCE):
            yield Q(pk__in=some), some[-1]
        low, high = min(blocks[0], blocks[-1]), max(blocks[0], blocks[-1])
        yield Q(pk__in=()), (high + 1) * WIDTH - 1 if backwards else low * WIDTH


def _places(entries: bytes, wanted: list[bytes]) -> Iterator[int]:
    """Yield the places in the block of what has one of the hashes."""
    half = len(entries) // 2
    for code in wanted:
        at = entries.find(code, 0, half)
        while at >= 0:
            if at % _BYTES:
                # From the middle of one hash into the next.
                at = entries.find(code, at + 1, half)
                continue
            yield int.from_bytes(entries[half + at : half + at + _BYTES], "big")
            at = entries.find(code, at + _BYTES, half)
