"""Templates: traces that recorded the same as one before, but for values.

The requests of one view mostly send the same signals, from the same places, to the same receivers. What
tells two of them apart are moments, primary keys, the ends of transactions and the name of the thread. A
template knows where in a buffer these stand, and what all else has to be: then the spans are
copied and given them, in a fraction of the time that reading takes.

Only what one thread recorded, as sends, queries and transactions, has a template; all else is read.
"""

from __future__ import annotations

from operator import itemgetter, sub
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tracing.instrumentation.assembly.details import instance_name
from tracing.instrumentation.assembly.events import DETAILS
from tracing.instrumentation.assembly.state import set_block
from tracing.instrumentation.recent import Recent
from tracing.instrumentation.words import QUERY, RETURNED, TRANSACTION
from tracing.spans.records import Dispatch, Method, ReceiverCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.instrumentation.assembly.segments import Segments
    from tracing.instrumentation.buffer import ActiveTrace

    _Getter = Callable[[list[Any]], tuple[Any, ...]]

_SENDS: Final = (Method.SEND.value, Method.SEND_ROBUST.value)
_MOST_VALUES: Final = 2_000
"""Of a buffer: what recorded more is hardly ever the same again."""
_MOST_HELD: Final = 50_000
"""Values that all templates together are made of: some megabytes."""
_MOST_NAMES: Final = 50
_MOST_OF_A_NAME: Final = 4
"""Templates of one name and length."""


class _Call(NamedTuple):
    """A receiver call of a template, and which of the values are its own."""

    call: ReceiverCall
    start: int
    end: int
    inside: tuple[tuple[int, int], ...]
    """Start and end of what it sent."""
    asked: tuple[int, ...]
    statements: tuple[tuple[str, int, tuple[int, ...]], ...]


class _Dispatch(NamedTuple):
    """The same of a dispatch."""

    dispatch: Dispatch
    start: int
    end: int
    block: int | None
    label: str
    key: int | None
    asked_from: int
    asked_to: int
    calls: tuple[_Call, ...]


class Values(NamedTuple):
    """The values of a trace that its template has not."""

    moments: tuple[int, ...]
    """When a dispatch opened, or a receiver returned, since the start of the trace."""
    keys: tuple[Any, ...]
    """Primary keys of the instances that dispatches were about."""
    blocks: tuple[Any, ...]
    asked: list[int]
    """How long each query took."""


class Template:
    """The spans of all traces that recorded the same.

    Args:
        items: What one of them recorded, in its only buffer.
        dispatches: What was read of it.
        reading: Its reading.

    Raises:
        LookupError: They have none.
    """

    __slots__ = (
        "_asked_since",
        "_asked_until",
        "_blocks",
        "_code_ids",
        "_codes",
        "_depths",
        "_dispatches",
        "_held",
        "_keys",
        "_moments",
        "_same",
        "_same_items",
        "call_count",
        "pairs",
    )

    def __init__(self, items: list[Any], dispatches: Sequence[Dispatch], reading: Segments) -> None:
        found = _Learning(items, dispatches, reading)
        found.learn()
        self._dispatches: tuple[_Dispatch, ...] = tuple(found.made)
        self.call_count = sum(len(each.calls) for each in self._dispatches)
        self.pairs = tuple(dict.fromkeys((each.signal, each.sender) for each in dispatches))
        self._same, self._codes = _getter(found.same), _getter(found.codes)
        self._moments, self._keys = _getter(found.moments), _getter(found.keys)
        self._asked_since = _getter([place + 1 for place in found.asked])
        self._asked_until = _getter([place + 2 for place in found.asked])
        self._blocks = _getter(found.blocks)
        self._depths = [items[place].depth for place in found.blocks]
        self._same_items = self._same(items)
        # Held, so that their identities are given to no others: two functions may have equal code.
        self._held = self._codes(items)
        self._code_ids = [*map(id, self._held)]

    def values(self, items: list[Any], began: int) -> Values | None:
        """Return the values of a trace that has this template; None if it has not.

        Args:
            items: What it recorded, as many values as all that have this template.
            began: When it began.
        """
        if (
            self._same(items) != self._same_items
            or [*map(id, self._codes(items))] != self._code_ids
        ):
            return None
        moments, blocks = self._moments(items), self._blocks(items)
        if {*map(type, moments)} != _INTEGERS or None in blocks:
            return None
        if [block.depth for block in blocks] != self._depths:
            return None
        if (began, *moments) != tuple(sorted((began, *moments))):
            return None  # A clock went back.
        keys = self._keys(items)
        if _has_none(keys):
            return None
        asked = [*map(sub, self._asked_until(items), self._asked_since(items))]
        return Values(tuple([moment - began for moment in moments]), keys, blocks, asked)

    def spans(
        self, values: Values, thread: str, key_text: Callable[[str, object], str]
    ) -> list[Dispatch]:
        """Return the spans of a trace of these *values*."""
        moments, keys, blocks, asked = values
        fates = [block.outcome for block in blocks]
        found = []
        for (
            dispatch,
            start,
            end,
            block,
            label,
            key,
            asked_from,
            asked_to,
            calls,
        ) in self._dispatches:
            made = dispatch.__copy__()
            made.start_ns = begun = moments[start]
            made.duration_ns = moments[end] - begun
            made.thread = thread
            if key is not None:
                made.instance = instance_name(label, keys[key], key_text)
            if block is not None:
                made.transaction = fates[block]
            if asked_from < asked_to:
                made.query_ns = sum(asked[asked_from:asked_to])
            made.receiver_calls = made_calls = []
            for call, call_start, call_end, inside, own, statements in calls:
                copy = call.__copy__()
                copy.start_ns = begun = moments[call_start]
                copy.duration_ns = duration = moments[call_end] - begun
                for opened, closed in inside:
                    duration -= moments[closed] - moments[opened]
                copy.self_ns = duration
                if own:
                    copy.query_ns = sum([asked[place] for place in own])
                    copy.statements = tuple(
                        (sql, count, sum([asked[place] for place in places]))
                        for sql, count, places in statements
                    )
                made_calls.append(copy)
            found.append(made)
        return found


_INTEGERS: Final = {int}


def _getter(places: list[int]) -> _Getter:
    """Return what returns the values at these *places*."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda items: tuple([items[place] for place in places])


def _has_none(keys: tuple[Any, ...]) -> bool:
    """Return whether an instance has no key, and is told apart by identity."""
    return any(type(key) is tuple and len(key) == 1 for key in keys)


class _Open:
    """A dispatch that is open at a point of a buffer."""

    __slots__ = (
        "asked",
        "call_start",
        "calls",
        "inside",
        "place",
        "start",
        "statements",
        "waiting",
    )

    def __init__(self, dispatch: Dispatch, place: int, start: int) -> None:
        self.place = place
        self.start = self.call_start = start
        self.waiting = [*reversed(dispatch.receiver_calls)]
        self.calls: list[_Call] = []
        self.begin_call()

    def begin_call(self) -> None:
        """Begin with a receiver call."""
        self.inside: list[tuple[int, int]] = []
        self.asked: list[int] = []
        self.statements: dict[str, list[int]] = {}

    def end_call(self, moment: int) -> None:
        """End the receiver call that runs."""
        statements = [(sql, len(places), tuple(places)) for sql, places in self.statements.items()]
        self.calls.append(
            _Call(
                self.waiting.pop().__copy__(),
                self.call_start,
                moment,
                tuple(self.inside),
                tuple(self.asked),
                tuple(statements),
            )
        )
        self.call_start = moment
        self.begin_call()


class _Learning:
    """The making of a template: what in a buffer is which value of a span."""

    def __init__(self, items: list[Any], dispatches: Sequence[Dispatch], reading: Segments) -> None:
        self._items = items
        self._reading = reading
        self._waiting = [*reversed(dispatches)]
        self._stack: list[_Open] = []
        self._open_blocks: dict[str, Any] = {}
        self.made: list[Any] = []
        self.same: list[int] = []
        self.codes: list[int] = []
        self.moments: list[int] = []
        self.keys: list[int] = []
        self.blocks: list[int] = []
        self.asked: list[int] = []

    def learn(self) -> None:
        """Go through the buffer.

        Raises:
            LookupError: Something in it has no place in a template.
        """
        items, place = self._items, 0
        while place < len(items):
            word = items[place]
            if type(word) is int:
                self._return(place)
                place += 1
                continue
            self.same.append(place)
            if word in _SENDS:
                place = self._open(place)
            elif word == RETURNED:
                self._return(place + 1)
                self.same.append(place + 2)
                place += 3
            elif word == QUERY:
                self._query(place)
                place += 5
            elif word == TRANSACTION:
                self._transaction(place)
                place += 3
            else:
                raise LookupError(word)
        if place != len(items) or self._stack or self._waiting:
            raise LookupError("the end of a dispatch")

    def _open(self, place: int) -> int:
        """Read an opening; return the place after it."""
        items, dispatch = self._items, self._waiting.pop()
        if not self._reading._receiver_set(items[place + 2]).is_final:
            raise LookupError("the name of a signal")
        after = place + 5 + DETAILS[items[place + 5]]
        self.codes.append(place + 3)
        self.same += (place + 2, place + 4, place + 5)
        label, key = "", None
        if items[place + 5] is not None:
            label = items[place + 6]
            self.same += (place + 6, *range(place + 8, after))
            if label:
                key = len(self.keys)
                self.keys.append(place + 7)
        block = None
        if dispatch.transaction_depth:
            blocks, using = self._open_blocks, dispatch.using
            block = blocks[using] if using else next(reversed(blocks.values()))
        self._stack.append(_Open(dispatch, len(self.made), len(self.moments)))
        self.made.append((dispatch.__copy__(), block, label, key, len(self.asked)))
        self.moments.append(place + 1)
        return after

    def _return(self, place: int) -> None:
        opened, moment = self._stack[-1], len(self.moments)
        self.moments.append(place)
        opened.end_call(moment)
        if opened.waiting:
            return
        self._stack.pop()
        dispatch, block, label, key, asked = self.made[opened.place]
        calls, start = tuple(opened.calls), opened.start
        self.made[opened.place] = _Dispatch(
            dispatch, start, moment, block, label, key, asked, len(self.asked), calls
        )
        if self._stack:
            self._stack[-1].inside.append((start, moment))

    def _query(self, place: int) -> None:
        _, _, _, alias, statement = self._items[place : place + 5]
        number = len(self.asked)
        self.asked.append(place)
        if self._stack:
            opened = self._stack[-1]
            opened.asked.append(number)
            self.same += (place + 3, place + 4)
            if statement:
                sql = self._reading._normalised(alias, statement)
                opened.statements.setdefault(sql, []).append(number)

    def _transaction(self, place: int) -> None:
        _, connection, block = self._items[place : place + 3]
        self.same.append(place + 1)
        if block is None:
            self.same.append(place + 2)
            set_block(self._open_blocks, connection, None)
        else:
            set_block(self._open_blocks, connection, len(self.blocks))  # type: ignore[arg-type]
            self.blocks.append(place + 2)


class _Known:
    """The templates of traces of one name and length."""

    __slots__ = ("_length", "count", "templates")

    def __init__(self, length: int) -> None:
        self._length = length
        self.count = 0
        """Traces that had none of them."""
        self.templates: list[Template] = []

    @property
    def held(self) -> int:
        """Return how many values its templates are made of."""
        return self._length * len(self.templates)


_known: Final[Recent[tuple[str, int], _Known]] = Recent(_MOST_NAMES)


def recorded_in(active: ActiveTrace) -> list[Any] | None:
    """Return what an ended trace recorded if that may have a template."""
    buffer = active.root
    items = buffer.recorded
    if (
        not items
        or len(items) > _MOST_VALUES
        or len(active.buffers) != 1
        or buffer.spans is not None
        or buffer.late
    ):
        return None
    return items


def recall(items: list[Any], active: ActiveTrace) -> tuple[Template, Values] | None:
    """Return the template of a trace, and its own values; None without one."""
    known = _known.get((active.name, len(items)))
    for template in known.templates if known is not None else ():
        values = template.values(items, active.start)
        if values is not None:
            return template, values
    return None


def learn(
    items: list[Any], active: ActiveTrace, dispatches: list[Dispatch], reading: Segments
) -> None:
    """Make a template of a trace that had none, if its like comes again."""
    name = active.name, len(items)
    known = _known.get(name)
    if known is None:
        known = _Known(len(items))
        _known.put(name, known)
    known.count += 1
    if not 1 < known.count <= 1 + _MOST_OF_A_NAME or not dispatches:
        return
    try:
        template = Template(items, dispatches, reading)
        values = template.values(items, active.start)
        if values is None:
            return
        spans = template.spans(values, active.root.thread, reading._key_text)
    except (LookupError, ValueError):
        return
    if spans == dispatches:
        if sum(each.held for each in _known.values()) > _MOST_HELD:
            # What comes often is soon learned again.
            _known.clear()
        known.templates.append(template)
