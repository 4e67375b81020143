"""Dispatches without receivers: counted per signal and sender, no rows.

The send loops count in line: what they find for a signal and a sender says in which trace it was counted
last, and in which cell. Only a dispatch in another trace looks for the cell of that one.

For a signal that caches, it is found where Django stores the same fact. Where a signal has no receiver at
all Django stores nothing, and may be given receivers past ``connect()``; there it is found by two
identities, and must be right without being checked: it is there only while signal and sender live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from django.core.signals import request_finished, request_started
from django.db.models.signals import post_init, pre_init
from django.dispatch import dispatcher

from tracing.instrumentation.attributes.names import is_class, popping, sender_name
from tracing.instrumentation.boundaries import begin as begin_boundary
from tracing.instrumentation.boundaries import boundaries
from tracing.instrumentation.connections.receiver_sets import ReceiverSet, receiver_set
from tracing.instrumentation.context import current
from tracing.instrumentation.failures import failed, is_own
from tracing.instrumentation.scopes import requests

if TYPE_CHECKING:
    from django.dispatch import Signal

    from tracing.instrumentation.buffer import OrphanCell, OrphanCounts


MOST_COUNTED: Final = 2_000
"""Pairs of signal and sender that one thread counts apart for a trace; the rest are counted together."""
MORE_SENDERS: Final = ReceiverSet(
    None, "(more senders)", (), 0, signal_name="(more signals and senders)"
)


class Orphan(list[Any]):
    """The mark of a sender without receivers, an empty list for Django."""

    __slots__ = ("receiver_set", "sender", "tally")

    receiver_set: ReceiverSet
    """Which signal and sender: without receivers."""
    sender: ref[Any] | None
    """Takes it out of ``known`` when the sender dies."""
    tally: tuple[OrphanCounts | None, OrphanCell]
    """The counts of the trace in which it was sent last, and its cell there.

    One tuple, so that no other thread comes between its halves.
    """

    def __init__(self, receiver_set: ReceiverSet) -> None:
        super().__init__()
        self.receiver_set = receiver_set
        self.sender = None
        self.tally = (None, [0, receiver_set])

    def begin(self, counts: OrphanCounts) -> None:
        """Count a dispatch, the first in its trace or after another's."""
        receiver_set = self.receiver_set
        if len(counts) >= MOST_COUNTED and receiver_set.number not in counts:
            receiver_set = MORE_SENDERS
        cell = counts.setdefault(receiver_set.number, [0, receiver_set])
        cell[0] += 1
        self.tally = (counts, cell)


known: Final[dict[int, dict[int, Orphan]]] = {}
"""What was sent without receivers, by the identities of signal and sender.

The death of either takes it out, before the identity can be given out again. Dictionaries of no class
of their own, whose items Python finds faster.
"""

_signals: Final[dict[int, tuple[ref[Signal], ref[Signal]]]] = {}
"""What takes a signal that dies out of ``known``, and itself out of here."""

_in_caches: Final[dict[int, ref[Signal]]] = {}
"""The signals in whose cache an ``Orphan`` stands for Django's own mark, by their identities."""

_NONE: Final[dict[int, Orphan]] = {}


def _orphan(signal: Signal, sender: Any) -> Orphan:
    """Return what counts a dispatch, and remember it where that is worth it."""
    orphan = known.get(id(signal), _NONE).get(id(sender))
    if orphan is None:
        orphan = Orphan(receiver_set(signal, sender_name(sender), (), 0))
        # Classes come again and live long; instances and strings are named each time. The two signals
        # around a request always take this way, on which more is done than counting.
        if (
            (sender is not None and not is_class(sender))
            or signal is request_started
            or signal is request_finished
            or id(signal) in boundaries
        ):
            return orphan
        by_sender = known.get(id(signal))
        if by_sender is None:
            key = id(signal)
            _signals[key] = ref(signal, popping(known, key)), ref(signal, popping(_signals, key))
            by_sender = known[key] = {}
        if sender is not None:
            orphan.sender = ref(sender, popping(by_sender, id(sender)))
        by_sender[id(sender)] = orphan
    if sender is not None and signal.use_caching and signal.receivers:
        _leave_in_cache(signal, sender, orphan)
    return orphan


def _leave_in_cache(signal: Signal, sender: Any, orphan: Orphan) -> None:
    """Put *orphan* in the place of Django's own mark, if that is there."""
    # Django takes no lock where it finds its mark, so nobody may have to wait for us. Not by acquire():
    # who interrupts between it and the next statement would leave the lock taken for ever.
    if signal.lock.locked():
        return
    with signal.lock:
        cache = signal.sender_receivers_cache
        if cache.get(sender) is dispatcher.NO_RECEIVERS:
            cache[sender] = orphan
            reference = _in_caches.get(id(signal))
            if reference is None or reference() is not signal:
                _in_caches[id(signal)] = ref(signal, popping(_in_caches, id(signal)))


def leave_caches() -> None:
    """Put Django's own mark back everywhere, which its ``asend`` needs."""
    while _in_caches:
        signal = _in_caches.popitem()[1]()
        if signal is None:
            continue
        with signal.lock:
            cache = signal.sender_receivers_cache
            for sender, receivers in list(cache.items()):
                if type(receivers) is Orphan:
                    cache[sender] = dispatcher.NO_RECEIVERS


def is_unknown(error: KeyError) -> bool:
    """Return whether a look into ``known`` has raised *error* itself."""
    entry = error.__traceback__
    if type(error) is KeyError and error.args and entry is not None and entry.tb_next is None:
        return True
    return is_own(error)


def count_orphan(signal: Signal, sender: Any) -> None:
    """Count a dispatch of *signal* in the running trace. Never raises."""
    try:
        buffer = current()
        counts = buffer.orphans if buffer is not None else None
        # Two for each instance of a model: to count them would cost more than all the rest.
        if counts is not None and signal is not pre_init and signal is not post_init:
            _orphan(signal, sender).begin(counts)
    except Exception as error:
        try:
            failed("count_orphan", error)
        except RecursionError:
            pass  # The end of the stack is the application's to meet.


def pass_orphan(signal: Signal, sender: Any, named: dict[str, Any]) -> None:
    """Count a dispatch; begin or end a request by it. Never raises."""
    try:
        after = begin_boundary(signal, named)
        if signal is request_started:
            requests.started(named)
        count_orphan(signal, sender)
        if signal is request_finished:
            requests.finished()
        if after is not None:
            after(None)
    except RecursionError:
        pass  # The end of the stack is the application's to meet.
