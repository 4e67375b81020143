"""From what was recorded to plain values, which another process assembles.

Everything that only this process knows is told in them: names stand in the place of code objects,
receiver sets and labels, outcomes in that of transactions, and no text has a secret any more. The
events stay as they are otherwise. That takes a fraction of the instructions of an assembly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracing.instrumentation.assembly.details import MAX_PLAIN_KEY
from tracing.instrumentation.assembly.events import DETAILS, OPENINGS, READ
from tracing.instrumentation.assembly.knowledge import Knowledge
from tracing.instrumentation.assembly.recorded import Fate, Receivers, Recorded, RecordedBuffer
from tracing.instrumentation.assembly.unread import reading_lock
from tracing.instrumentation.attributes.names import MAX_NAME, exact, qualname_of
from tracing.instrumentation.attributes.redaction import key_text
from tracing.instrumentation.connections import missed
from tracing.instrumentation.connections.receiver_sets import find
from tracing.instrumentation.database.raw_sql import writes_past_receivers
from tracing.instrumentation.failures import failed
from tracing.instrumentation.words import (
    ASYNC_OPEN,
    BYPASS,
    CALL_END,
    CONNECTION,
    EFFECT,
    LOST_RECEIVER,
    QUERY,
    RAISED,
    REGISTERED,
    SQL_WRITE,
    TRANSACTION,
    VALUES,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.instrumentation.connections.receiver_sets import ReceiverSet
    from tracing.spans.records import LostReceiver, MissedReceiver

MOST_NAMES: Final = 10_000
"""Names of each sort that are remembered; beyond it begins anew, with new numbers."""


class UnwritableError(Exception):
    """A name that cannot be written.

    Its trace is told in spans, which can be repaired.
    """


class Name(NamedTuple):
    """A name: its number, and what a reader has to know of it as bytes."""

    number: int
    written: bytes


class SetName:
    """The name of a receiver set, and the callsite that sent it last.

    Mostly that is the only one.
    """

    __slots__ = ("code", "instruction", "number", "pair", "site", "written")

    def __init__(self, name: Name, pair: tuple[str, str]) -> None:
        self.number, self.written = name
        self.pair = pair
        """Signal and sender."""
        self.code: CodeType | None = None
        self.instruction = 0
        self.site: Name | None = None


class Names:
    """The names that this process has given numbers.

    Args:
        write: Returns a number and its value as bytes. The value is a text, a label, a callsite or
            ``Receivers``.
    """

    def __init__(self, write: Callable[[int, Any], bytes]) -> None:
        self._write = write
        self._last = 0
        self.sets: dict[int, SetName] = {}
        """By the number of the receiver set."""
        self.sites: dict[tuple[int, int], tuple[CodeType, Name]] = {}
        """By the identity of the code and the offset in it. It is kept: the identity is no other's."""
        self.statements: dict[str, dict[str, Name]] = {}
        """By the alias of the database and the statement as it was sent."""
        self._others: dict[Any, Name] = {}

    def new(self, value: Any) -> Name:
        """Return a name for *value* with a number that no other has.

        Raises:
            UnwritableError: It cannot be written.
        """
        # Below zero: above are those of the spans in the same file.
        self._last -= 1
        try:
            return Name(self._last, self._write(self._last, value))
        except (TypeError, ValueError, OverflowError) as error:
            raise UnwritableError(exact(qualname_of(type(error)))) from error

    def of(self, value: Any) -> Name:
        """Return the name of a text, a label or a callsite."""
        name = self._others.get(value)
        if name is None:
            name = make_room(self._others)[value] = self.new(value)
        return name


def make_room(names: dict[Any, Any]) -> dict[Any, Any]:
    """Return *names*, emptied if there are too many."""
    if len(names) >= MOST_NAMES:
        names.clear()
    return names


class _Resolving(Knowledge):
    """One ended trace that is being resolved."""

    def __init__(self, active: ActiveTrace, names: Names) -> None:
        super().__init__(active)
        self._names = names
        self.used: dict[int, bytes] = {}
        """The names that it needs, by number."""
        self._pairs: dict[tuple[str, str], None] = {}
        """Signal and sender of all that was sent, in its order."""
        self._fates: list[Fate] = []
        self._places: dict[int, int] = {}
        """Of blocks among the fates, by their identity."""

    def result(self, lost: list[LostReceiver]) -> Recorded:
        """Return the trace in plain values. Leaves its buffers as they are."""
        active = self.active
        # From the last one to the first: what a later one holds was announced in an earlier one.
        taken = [
            (buffer, [*buffer.recorded])
            for buffer in reversed(active.buffers)
            if buffer.recorded is not None
        ]
        buffers = []
        for buffer, events in reversed(taken):
            for key, block in (buffer.late or {}).items():
                events.extend((TRANSACTION, key, block))
            self._resolve(events)
            buffers.append(RecordedBuffer(buffer.number, buffer.origin, buffer.thread, events))
        orphans = self._resolve_orphans()
        costs = self._costs
        return Recorded(
            head=self._head(final=True),
            start=active.start,
            end=active.end if active.end is not None else active.start + active.duration_ns(),
            costs=(costs.dispatch_ns, costs.call_ns, costs.query_ns),
            blocks=self._fates,
            buffers=buffers,
            orphans=orphans,
            lost=lost,
            missed=self._missed(),
            unreadable=[(*what, count) for what, count in self._unreadable.items()],
        )

    def _missed(self) -> list[MissedReceiver]:
        return missed.find(self._pairs, self.active.start)

    def _name(self) -> str:
        """Return its name; that of a nameless one is made in the reading."""
        return super()._name() if self.active.name else ""

    def _resolve(self, events: list[Any]) -> None:
        """Put plain values into *events*, of one buffer."""
        place, end = 0, len(events)
        while place < end:
            word = events[place]
            if type(word) is int:
                place += 1
                continue
            size = 1
            try:
                size, resolve = _WORDS[word]
                if place + size > end:
                    del events[place:]  # The writer is not through with it.
                    return
                if resolve is not None and (changed := resolve(self, events, place)) is not None:
                    size, end = changed, len(events)
            except UnwritableError:
                raise
            except Exception as error:
                # One that cannot be read costs itself alone, as where it is assembled.
                self._note_unreadable("an event", error)
                if size > 1 and word in OPENINGS and place + size < end:
                    size += DETAILS.get(events[place + size], 1)
                del events[place : place + size]
                end = len(events)
                continue
            place += size

    # -- Names

    def _use(self, name: Name | SetName) -> int:
        self.used[name.number] = name.written
        return name.number

    def _name_of_set(self, found: ReceiverSet) -> SetName:
        signal = self._signal(found)
        value = Receivers(
            signal, found.sender, found.receivers, found.sync_count, found.duplicate_of
        )
        name = SetName(self._names.new(value), (signal, found.sender))
        if found.is_final:
            make_room(self._names.sets)[found.number] = name
        return name

    def _site_name(self, code: CodeType, instruction: int) -> Name | None:
        known = self._names.sites.get((id(code), instruction))
        if known is not None and known[0] is code:
            return known[1]
        site = self._site(code, instruction)
        if site is None:
            return None
        name = self._names.of(site)
        make_room(self._names.sites)[id(code), instruction] = (code, name)
        return name

    def _note_site(self, sent: SetName, code: CodeType, instruction: int) -> None:
        """Note from where a receiver set is sent now."""
        site = self._site_name(code, instruction)
        sent.site = site
        # One that could not be told is asked for each time, and counted.
        sent.code, sent.instruction = (None if site is None else code), instruction

    def _put_site(self, events: list[Any], place: int) -> None:
        """Put the number of a callsite where code and instruction stand."""
        if events[place] is not None:
            site = self._site_name(events[place], events[place + 1])
            events[place] = None if site is None else self._use(site)
            events[place + 1] = 0

    # -- Events

    def _opening(self, events: list[Any], place: int, further: int = 0) -> int:
        """Resolve an opening; return how many values it is, 0 if incomplete."""
        code_at = place + 3 + 2 * further
        shape = code_at + 2
        size = shape - place
        size += DETAILS[events[shape]] if shape < len(events) else 1
        if place + size > len(events):
            del events[place:]
            return 0
        # Written out: this runs for each dispatch.
        used, at = self.used, place + 2 + further
        name = self._names.sets.get(events[at]) or self._name_of_set(find(events[at]))
        number = events[at] = name.number
        code = events[code_at]
        if number not in used:
            used[number] = name.written
            self._pairs[name.pair] = None
        if code is not None:
            if code is not name.code or events[code_at + 1] != name.instruction:
                self._note_site(name, code, events[code_at + 1])
            site = name.site
            if site is None:
                events[code_at] = None
            else:
                events[code_at] = site.number
                used[site.number] = site.written
            events[code_at + 1] = 0
        if events[shape] is not None:
            key = events[shape + 2]
            if type(key) is not int or not -MAX_PLAIN_KEY < key < MAX_PLAIN_KEY:
                return size + self._resolve_key(events, shape, key)
        return size

    def _async_opening(self, events: list[Any], place: int) -> int:
        return self._opening(events, place, 1)

    def _resolve_key(self, events: list[Any], shape: int, key: Any) -> int:
        """Put a primary key as text where it is none that all may see.

        Return by how many values the details are more than before: they go if that fails.
        """
        label = events[shape + 1]
        if not label or (type(key) is tuple and len(key) == 1):
            return 0
        try:
            events[shape + 2] = key_text(label, key)
        except Exception as error:
            self._note_unreadable("the details of a dispatch", error)
            before = DETAILS[events[shape]]
            events[shape : shape + before] = [None]
            return 1 - before
        return 0

    def _query(self, events: list[Any], place: int) -> None:
        alias, statement = events[place + 3], events[place + 4]
        if not statement:
            return
        of_alias = self._names.statements.get(alias)
        if of_alias is None:
            of_alias = make_room(self._names.statements)[alias] = {}
        name = of_alias.get(statement)
        if name is None:
            name = self._names.of(self._normalised(alias, statement))
            make_room(of_alias)[statement] = name
        self.used[name.number] = name.written
        events[place + 4] = name.number

    def _transaction(self, events: list[Any], place: int) -> None:
        block = events[place + 2]
        if block is None:
            return
        number = self._places.get(id(block))
        if number is None:
            number = self._places[id(block)] = len(self._fates)
            fate = Fate(block.alias, block.depth, block.application_depth, block.outcome)
            self._fates.append(fate)
        events[place + 2] = number

    def _raised(self, events: list[Any], place: int) -> None:
        events[place + 3] = self._redacted(events[place + 3])

    def _call_end(self, events: list[Any], place: int) -> None:
        events[place + 4] = self._redacted(events[place + 4])

    def _values(self, events: list[Any], place: int) -> None:
        events[place + 2] = {
            name[:MAX_NAME]: self._redacted(text) for name, text in events[place + 2].items()
        }

    def _effect(self, events: list[Any], place: int) -> None:
        events[place + 3] = self._redacted(events[place + 3])
        self._put_site(events, place + 6)
        events[place + 8] = self._redacted(events[place + 8])

    def _bypass(self, events: list[Any], place: int) -> None:
        events[place + 5] = [self._use(self._names.of(label)) for label in events[place + 5]]
        self._put_site(events, place + 7)

    def _sql_write(self, events: list[Any], place: int) -> int:
        """Put in its place what it wrote past receivers that are connected."""
        _, start, sql, rows, code, instruction = events[place : place + 6]
        try:
            writes = writes_past_receivers(sql)
        except Exception as error:
            failed("raw SQL", error)
            writes = []
        found: list[Any] = []
        for operation, model, signals, receivers in writes:
            found += (BYPASS, start, operation, model, signals, receivers, rows, code, instruction)
            self._bypass(found, len(found) - 9)
        events[place : place + 6] = found
        return len(found)

    def _registered(self, events: list[Any], place: int) -> None:
        if events[place + 3] is not None:
            events[place + 3] = self._use(self._names.of(self._function(events[place + 3])))
        self._put_site(events, place + 4)

    def _lost_receiver(self, events: list[Any], place: int) -> None:
        self._put_signal(events, place + 1)
        events[place + 3] = self._use(self._names.of(events[place + 3]))

    def _connection(self, events: list[Any], place: int) -> None:
        self._put_signal(events, place + 3)
        events[place + 5] = self._use(self._names.of(events[place + 5]))
        self._put_site(events, place + 6)

    def _put_signal(self, events: list[Any], place: int) -> None:
        if type(events[place]) is not str:
            events[place] = events[place].name

    def _resolve_orphans(self) -> list[tuple[int, int]]:
        """Return the counts of orphans by number of the receiver set."""
        before = self.active.root.counted_before
        # Buffers of one thread share their counts.
        each = {id(before): before} | {
            id(buffer.orphans): buffer.orphans for buffer in self.active.buffers
        }
        found = []
        for counts in each.values():
            for count, receiver_set in list((counts or {}).values()):
                known = self._names.sets.get(receiver_set.number)
                name = known or self._name_of_set(receiver_set)
                found.append((self._use(name), count))
                self._pairs[name.pair] = None
        return found


_RESOLVE: Final[dict[str, Any]] = {
    **dict.fromkeys(OPENINGS, _Resolving._opening),
    ASYNC_OPEN: _Resolving._async_opening,
    QUERY: _Resolving._query,
    TRANSACTION: _Resolving._transaction,
    RAISED: _Resolving._raised,
    CALL_END: _Resolving._call_end,
    VALUES: _Resolving._values,
    EFFECT: _Resolving._effect,
    BYPASS: _Resolving._bypass,
    SQL_WRITE: _Resolving._sql_write,
    REGISTERED: _Resolving._registered,
    LOST_RECEIVER: _Resolving._lost_receiver,
    CONNECTION: _Resolving._connection,
}
"""What is done with the events that hold more than plain values."""
_WORDS: Final = {word: (size, _RESOLVE.get(word)) for word, (size, _read) in READ.items()}
"""Of each word, how many values it stands for with its fields, and how they are resolved."""


def resolve(
    active: ActiveTrace, names: Names, lost: list[LostReceiver]
) -> tuple[Recorded, dict[int, bytes]]:
    """Return an ended trace in plain values, and its names by number.

    Leaves the trace as it is.

    Args:
        active: The trace, of which nothing has been read.
        names: The names of this process.
        lost: Receivers found dead before it, outside any trace.

    Raises:
        UnwritableError: A name cannot be written.
    """
    with reading_lock:
        resolving = _Resolving(active, names)
        return resolving.result(lost), resolving.used
