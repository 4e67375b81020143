"""The receivers that a test leaves otherwise than it found them.

Told from the lists of receivers themselves, before and after; where it was done, from what is written down of
``connect()``, ``disconnect()`` and ``mute()`` meanwhile. The lists hold whatever changed them.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from operator import is_
from pathlib import Path
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, Final

import django

from tracing.analysis.senders import Senders
from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections import journal, registry
from tracing.instrumentation.patching import hold_connections
from tracing.spans.processes import CONNECTED, DISCONNECTED, IGNORED, MUTED, UNMUTED
from tracing.testing.leftovers import Leftover
from tracing.testing.muting import Muted, is_one
from tracing.testing.replaced import Methods

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from django.dispatch import Signal

    from tracing.instrumentation.connections.registry import Place
    from tracing.spans.labels import ReceiverLabel
    from tracing.testing.replaced import Replacement

_NOWHERE: Final[Place] = ("", 0)
_IMPORT: Final = "<frozen importlib._bootstrap>"
_PLUGGY: Final = str(Path("pluggy", "_callers.py"))
_DJANGO: Final = f"{Path(django.__file__).absolute().parent}{os.sep}"


@dataclass(slots=True, eq=False)
class _Kept:
    """One signal as it was."""

    signal: Signal
    entries: list[Any]


_Lists = dict[int, _Kept]


class _State:
    """All signals as they were."""

    __slots__ = ("lists", "methods")

    def __init__(self) -> None:
        self.lists = _lists()
        self.methods = Methods()


@dataclass(frozen=True, slots=True)
class _Change:
    """A difference of one list of receivers."""

    signal: Signal
    gone: Any
    """The entry that went; None if one only came."""
    come: Any
    found: Leftover
    is_allowed: bool = False

    @property
    def undone(self) -> _Change:
        """Return the opposite change."""
        return replace(self, gone=self.come, come=self.gone)

    def is_same(self, other: _Change) -> bool:
        """Return whether *other* did the same to the same receiver."""
        return _are_one(self.gone, other.gone) and _are_one(self.come, other.come)


@dataclass(frozen=True, slots=True)
class _Event:
    """A change as it was seen when it was made."""

    change: str
    signal: registry.SignalReference
    sender: str
    label: ReceiverLabel
    place: Place
    in_import: bool


@dataclass(slots=True)
class _Fixture:
    """The changes by the setup of a fixture of several tests."""

    name: str
    changes: list[_Change]
    replaced: list[Replacement]


class Guard:
    """A guard over the receivers of every signal, test after test.

    A connection that a module made while it was imported is nobody's fault, nor is one that Django made of
    its own; so is one whose receiver or sender has died. What fixtures of several tests change is theirs.

    Args:
        ignore: Patterns of dotted paths of receivers that may be left in any way.
    """

    def __init__(self, ignore: Iterable[str] = ()) -> None:
        self._ignore: Final = tuple(ignore)
        self._states: list[_State] = []
        """What is to be found at the end of the test, then of each fixture that is being set up in it."""
        self._events: list[_Event] = []
        self._fixtures: dict[object, _Fixture] = {}
        self._ended: list[_Fixture] = []
        """Fixtures of several tests that have ended during this test."""
        self._modules = 0
        """How many there were when their signals were looked for."""
        for signal in registry.living_signals():
            registry.connections_of(signal)
        self._release = hold_connections()
        self._unwatch = journal.watch(self._note)

    def close(self) -> None:
        """Let go of everything."""
        self._unwatch()
        self._release()

    def begin(self) -> None:
        """Take what is connected now for what a test finds."""
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            registry.adopt_known_signals()
        self._events.clear()
        self._ended.clear()
        self._states = [_State()]

    @contextmanager
    def fixture(self, key: object, name: str) -> Generator[None]:
        """Have what the block changes belong to the fixture *name*."""
        before = _State()
        self._states.append(before)
        try:
            yield
        finally:
            self._states.pop()
            changes = self._changes(before.lists)
            replaced = before.methods.replaced()
            for state in self._states:
                _apply(state.lists, changes)
                state.methods.apply(replaced)
            theirs = [change for change in changes if not change.is_allowed]
            if theirs or replaced:
                self._fixtures[key] = _Fixture(name, theirs, replaced)

    def end_fixture(self, key: object) -> None:
        """Expect that what the fixture *key* changed is as before it."""
        fixture = self._fixtures.pop(key, None)
        if fixture is None:
            return
        self._ended.append(fixture)
        for state in self._states:
            _apply(state.lists, [change.undone for change in reversed(fixture.changes)])
            state.methods.apply([each.undone for each in fixture.replaced])

    def left(self, alive: Collection[object] = ()) -> list[Leftover]:
        """Return what is not as the test found it, by signal.

        Args:
            alive: What the runner alone still holds: weak receivers among it are as good as dead.
        """
        if not self._states:
            return []
        changes = self._blamed(alive)
        if any(change.come is not None and registry.is_weak(change.come) for change in changes):
            # They may be dead already, and wait in a circle for the collector.
            gc.collect()
            changes = self._blamed(alive)
        found = [self._attributed(change) for change in changes]
        found += [self._named(each) for each in self._states[0].methods.replaced()]
        return sorted(found, key=lambda each: (each.signal, each.change, each.receiver))

    def put_back(self) -> None:
        """Put all back as it was found, but for what is nobody's fault."""
        if not self._states:
            return
        wanted = self._states[0]
        changes = [change for change in self._changes(wanted.lists) if not change.is_allowed]
        now = _lists()
        _apply(now, [change.undone for change in reversed(changes)])
        for number in {id(change.signal) for change in changes}:
            _put(now[number], wanted.lists.get(number))
        for each in wanted.methods.replaced():
            each.put_back()

    # --- inside ------------------------------------------------------------------------------

    def _note(
        self, change: str, signal: Signal, sender: str, label: ReceiverLabel, at: Place
    ) -> None:
        if change != IGNORED:
            frame = sys._getframe(1)  # noqa: SLF001 - who connects stands above.
            known = registry.SignalReference(signal)
            self._events.append(_Event(change, known, sender, label, at, _in_import(frame)))

    def _changes(self, before: _Lists) -> list[_Change]:
        """Return in what the signals differ from *before*."""
        found = []
        senders: Senders | None = None
        for signal in registry.remembered_signals():
            kept = before.get(id(signal))
            now = _entries(signal)
            earlier = kept.entries if kept is not None else []
            if len(earlier) == len(now) and all(map(is_, earlier, now)):
                continue
            if kept is None and not _is_held(signal):
                continue  # The test made it, and nobody else can meet it.
            senders = senders or Senders()
            for gone, come in _differences(earlier, now):
                found.append(self._change(signal, gone, come, senders))
        return found

    def _change(self, signal: Signal, gone: Any, come: Any, senders: Senders) -> _Change:
        """Return what is known of the entry that went, the one that came, or both."""
        entry = gone if come is None or _is_muted(come) else come
        key = entry[0][1]
        any_sender = key == registry.dispatcher.NONE_ID
        sender = "None" if any_sender else senders.name(key, [entry])
        label = registry.entry_label(_unmuted(entry))
        change = _word(gone, come)
        event = self._event(change, signal, label)
        remembered = registry.get(signal, entry)
        if remembered is not None:
            connected = remembered.file, remembered.line
        else:
            connected = journal.connected_at(signal, label)
        if event is not None:
            at = event.place
        elif change == CONNECTED:
            at = connected
        else:
            at = _NOWHERE
            change = MUTED if change == DISCONNECTED else change
        found = Leftover(change, signal_name(signal), sender, label.name, *at)
        if change != CONNECTED:
            found = replace(found, connected_file=connected[0], connected_line=connected[1])
        is_allowed = (
            (event is not None and event.in_import)
            or (label.file.startswith(_DJANGO) and at[0].startswith(_DJANGO))
            or any(fnmatchcase(label.name, pattern) for pattern in self._ignore)
        )
        return _Change(signal, gone, come, found, is_allowed)

    def _event(self, change: str, signal: Signal, label: ReceiverLabel) -> _Event | None:
        """Return the last that was seen of such a change."""
        for event in reversed(self._events):
            if event.change == change and event.label == label and event.signal.leads_to(signal):
                return event
        return None

    def _blamed(self, alive: Collection[object]) -> list[_Change]:
        return [
            change
            for change in self._changes(self._states[0].lists)
            if not change.is_allowed and not _is_held_by(alive, change.come)
        ]

    def _attributed(self, change: _Change) -> Leftover:
        """Return what was found, with the fixture that did it."""
        for fixture in self._ended:
            for theirs in fixture.changes:
                if theirs.is_same(change):
                    return replace(theirs.found, fixture=fixture.name)
        return change.found

    def _named(self, replacement: Replacement) -> Leftover:
        """Return the words about a replaced method, with its fixture."""
        for fixture in self._ended:
            for theirs in fixture.replaced:
                if (theirs.owner, theirs.name) == (replacement.owner, replacement.name):
                    return replace(theirs.found, fixture=fixture.name)
        return replacement.found


# --- lists of receivers ------------------------------------------------------------------------


def _entries(signal: Signal) -> list[Any]:
    """Return the receivers of *signal*; none if it has no list."""
    try:
        return [entry for entry in signal.receivers if type(entry) is tuple]
    except TypeError:
        return []


def _lists() -> _Lists:
    """Return the receivers of every signal that was connected to."""
    signals = registry.remembered_signals()
    return {id(signal): _Kept(signal, _entries(signal)) for signal in signals}


def _is_alive(entry: Any) -> bool:
    return registry.receiver_of(entry) is not None and registry.sender_lives(entry)


def _is_muted(entry: Any) -> bool:
    return entry is not None and isinstance(entry[1], Muted)


def _unmuted(entry: Any) -> Any:
    """Return *entry*, or the one in whose place it stands."""
    return entry[1].entry if _is_muted(entry) else entry


def _word(gone: Any, come: Any) -> str:
    if gone is None:
        return MUTED if _is_muted(come) else CONNECTED
    if come is None:
        return DISCONNECTED
    return MUTED if _is_muted(come) else UNMUTED


def _are_one(entry: Any, other: Any) -> bool:
    """Return whether both entries are one connection, or neither is any."""
    if entry is None or other is None or entry is other:
        return entry is other
    if entry[0] != other[0]:
        return False
    first, second = registry.receiver_of(entry), registry.receiver_of(other)
    return first is not None and is_one(first, second)


def _differences(before: list[Any], now: list[Any]) -> list[tuple[Any, Any]]:
    """Return (gone, come) of each difference; both where one was muted.

    The dead are left out.
    """
    come = list(now)
    gone = []
    for entry in before:
        position = next((at for at, new in enumerate(come) if _are_one(entry, new)), None)
        if position is not None:
            del come[position]
        elif _is_alive(entry):
            gone.append(entry)
    pairs: list[tuple[Any, Any]] = []
    for entry in filter(_is_alive, come):
        twin = next((old for old in gone if _are_one(_unmuted(old), _unmuted(entry))), None)
        if twin is not None:
            gone.remove(twin)
        pairs.append((twin, entry))
    return [*((entry, None) for entry in gone), *pairs]


def _apply(lists: _Lists, changes: Iterable[_Change]) -> None:
    """Make *lists* what they are after *changes*."""
    for change in changes:
        kept = lists.setdefault(id(change.signal), _Kept(change.signal, []))
        if change.gone is not None:
            kept.entries = [each for each in kept.entries if not _are_one(each, change.gone)]
        if change.come is not None:
            kept.entries.append(change.come)


def _put(wanted: _Kept, earlier: _Kept | None) -> None:
    """Have a signal hold the *wanted* receivers, in the order of *earlier*."""
    order = [entry[0] for entry in earlier.entries] if earlier is not None else []
    last = len(order)
    wanted.entries.sort(key=lambda entry: order.index(entry[0]) if entry[0] in order else last)
    signal = wanted.signal
    with signal.lock:
        signal.receivers = wanted.entries
        # One may have died meanwhile; Django then clears it away at the next chance.
        signal._dead_receivers = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's flag.
        signal.sender_receivers_cache.clear()


def _is_held(signal: Signal) -> bool:
    """Return whether a module or its class holds *signal* for other tests."""
    return any(held is signal for _path, held in names.held_by_modules(type(signal)))


def _is_held_by(holders: Collection[object], entry: Any) -> bool:
    """Return whether *entry* is weak, and one of *holders* holds it."""
    if entry is None or not registry.is_weak(entry):
        return False
    receiver = registry.receiver_of(entry)
    owner = receiver.__self__ if isinstance(receiver, MethodType) else receiver
    held = [*holders]
    for holder in holders:
        held += getattr(holder, "__dict__", {}).values()
    return any(each is owner for each in held)


def _in_import(frame: FrameType | None) -> bool:
    """Return whether *frame* runs in an import that the test began."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name == _IMPORT:
            return True
        if name.endswith(_PLUGGY):
            return False
        frame = frame.f_back
    return False
