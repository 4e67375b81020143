"""Dispatches that nobody received: counted per signal and sender, no rows.

The send loops count in line, with two identities and three dictionaries, so what they ask must be
right without being checked: a pair is in ``numbers`` only while both its signal and its sender live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from django.core.signals import request_finished, request_started
from django.db.models.signals import post_init, pre_init

from tracing.capture import requests
from tracing.capture.context import current
from tracing.capture.failures import failed
from tracing.capture.names import is_class, sender_name
from tracing.capture.wirings import wiring_number

if TYPE_CHECKING:
    from django.dispatch import Signal

numbers: Final[dict[int, dict[int, int]]] = {}
"""Wiring number of an unheard dispatch by the identities of its signal and its sender."""

_references: Final[dict[int, ref[Any]]] = {}
"""What tells us of the death of a signal or sender in ``numbers``, by its identity."""

_NONE: Final[dict[int, int]] = {}


class _Reference(ref[Any]):
    """A weak reference that knows whose it was."""

    __slots__ = ("identity",)

    identity: int


def _forget(reference: _Reference) -> None:
    """Forget a signal or sender that has died, before its identity can be given out again."""
    identity = reference.identity
    _references.pop(identity, None)
    numbers.pop(identity, None)
    for by_sender in list(numbers.values()):
        by_sender.pop(identity, None)


def _number(signal: Signal, sender: Any) -> int:
    """Return the wiring number of an unheard dispatch, and remember it where that is worth it."""
    number = numbers.get(id(signal), _NONE).get(id(sender))
    if number is not None:
        return number
    number = wiring_number(signal, sender_name(sender), (), 0)
    # Classes come again and live long; instances and strings are named each time. The two signals
    # around a request always take this way, on which more is done than counting.
    if (
        (sender is None or is_class(sender))
        and signal is not request_started
        and signal is not request_finished
    ):
        for target in (signal, sender):
            if target is not None and id(target) not in _references:
                reference = _Reference(target, _forget)
                reference.identity = id(target)
                _references[reference.identity] = reference
        numbers.setdefault(id(signal), {})[id(sender)] = number
    return number


def count_unheard(signal: Signal, sender: Any) -> None:
    """Count a dispatch of *signal* from *sender* in the running trace. Never raises."""
    try:
        stream = current()
        counts = stream.unheard if stream is not None else None
        # Two for each instance of a model: to count them would cost more than all the rest.
        if counts is not None and signal is not pre_init and signal is not post_init:
            counts[_number(signal, sender)] += 1
    except Exception as error:
        failed("count_unheard", error)


def pass_unheard(signal: Signal, sender: Any, named: dict[str, Any]) -> None:
    """Count a dispatch, and begin or end a request if that is what it tells. Never raises."""
    try:
        if signal is request_started:
            requests.started(named)
        count_unheard(signal, sender)
        if signal is request_finished:
            requests.finished()
    except RecursionError:
        pass  # The end of the stack is the application's to meet.
