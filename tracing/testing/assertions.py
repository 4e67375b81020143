"""Assertions of tests about the dispatches that they captured."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.redaction import known_as
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.spans.records import Dispatch, Outcome, ReceiverCall
from tracing.testing.capture import Captured, capture_dispatches
from tracing.testing.muting import ANY_SENDER
from tracing.testing.snapshots import assert_dispatch_tree
from tracing.units import format_ns, plural, query_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.dispatch import Signal

SignalName: TypeAlias = "Signal | str"
"""A signal, its dotted path, its last part (``post_save``) or a pattern with ``*``."""
ReceiverName: TypeAlias = "Callable[..., Any] | str"
"""A receiver, its dotted path, its last part or a pattern with ``*``."""


def _matches(text: str, wanted: str) -> bool:
    """Return whether a dotted path is wanted: whole, its end, or a pattern."""
    if "*" in wanted or "?" in wanted:
        return fnmatchcase(text, wanted)
    return text == wanted or text.endswith(f".{wanted}")


def _signal_text(signal: SignalName) -> str:
    return signal if isinstance(signal, str) else signal_name(signal)


def _sender_text(sender: Any) -> str:
    if isinstance(sender, str):
        return sender
    if sender is ANY_SENDER:
        return ""
    return names.sender_name(sender)


def _receiver_text(receiver: ReceiverName) -> str:
    return receiver if isinstance(receiver, str) else names.receiver_label(receiver).name


def _is_wanted(name: str, of: str, signal: SignalName | None, sender: Any) -> bool:
    """Return whether the signal *name* of a sender is one that was asked for."""
    return (signal is None or _matches(name, _signal_text(signal))) and (
        sender is ANY_SENDER or _matches(of, _sender_text(sender))
    )


def _dispatches(captured: Captured, signal: SignalName | None, sender: Any) -> list[Dispatch]:
    return [
        each for each in captured.dispatches if _is_wanted(each.signal, each.sender, signal, sender)
    ]


def _orphans(captured: Captured, signal: SignalName | None, sender: Any) -> int:
    """Return how many dispatches without receivers match."""
    orphans = captured.trace.orphans
    return sum(count for name, of, count in orphans if _is_wanted(name, of, signal, sender))


def _what(signal: SignalName | None, sender: Any) -> str:
    text = "a signal" if signal is None else _signal_text(signal)
    return text if sender is ANY_SENDER else f"{text} from {_sender_text(sender)}"


def _fail(message: str, captured: Captured) -> AssertionError:
    return AssertionError(f"{message}\n\n{captured.tree()}")


def _times(count: int) -> str:
    return plural(count, "time")


def assert_dispatched(
    captured: Captured,
    signal: SignalName,
    *,
    sender: Any = ANY_SENDER,
    instance: str = "",
    times: int | None = None,
) -> list[Dispatch]:
    """Assert that *signal* was sent, and return its dispatches.

    A dispatch without receivers counts too; it cannot be told by *instance*.

    Args:
        captured: What ``capture_dispatches`` yielded.
        signal: A signal, its dotted path, the end of it, or a pattern with ``*``.
        sender: A class, a model label or dotted path; None for signals sent with no sender.
        instance: As ``orders.Order:42``.
        times: Exactly how often; at least once if None.

    Raises:
        AssertionError: It was not, or not so often; the message shows the whole tree.
    """
    __tracebackhide__ = True
    found = _dispatches(captured, signal, sender)
    count = len(found) + _orphans(captured, signal, sender)
    what = _what(signal, sender)
    if instance:
        found = [dispatch for dispatch in found if dispatch.instance in known_as(instance)]
        count = len(found)
        what += f" for {instance}"
    if times is None and not count:
        raise _fail(f"{what} was not dispatched.", captured)
    if times is not None and count != times:
        raise _fail(f"{what} was dispatched {_times(count)}, not {_times(times)}.", captured)
    return found


def assert_not_dispatched(
    captured: Captured, signal: SignalName | None = None, *, sender: Any = ANY_SENDER
) -> None:
    """Assert that *signal*, or any signal, was not sent.

    Raises:
        AssertionError: It was; the message shows the whole tree.
    """
    __tracebackhide__ = True
    count = len(_dispatches(captured, signal, sender)) + _orphans(captured, signal, sender)
    if count:
        raise _fail(f"{_what(signal, sender)} was dispatched {_times(count)}.", captured)


def _calls(
    captured: Captured, receiver: ReceiverName, signal: SignalName | None, sender: Any
) -> list[ReceiverCall]:
    wanted = _receiver_text(receiver)
    return [
        call
        for dispatch in _dispatches(captured, signal, sender)
        for call in dispatch.receiver_calls
        if _matches(call.receiver.name, wanted) and call.outcome is not Outcome.SKIPPED
    ]


def assert_received(
    captured: Captured,
    receiver: ReceiverName,
    *,
    signal: SignalName | None = None,
    sender: Any = ANY_SENDER,
    outcome: Outcome | str | None = None,
    times: int | None = None,
) -> list[ReceiverCall]:
    """Assert that *receiver* was called, and return its calls.

    Args:
        captured: What ``capture_dispatches`` yielded.
        receiver: A receiver, its dotted path, the end of it, or a pattern with ``*``.
        signal: Only calls for this signal.
        sender: Only calls for this sender.
        outcome: Only calls that ended so: ``returned``, ``raised`` or ``cancelled``.
        times: Exactly how often; at least once if None.

    Raises:
        AssertionError: It was not, or not so often; the message shows the whole tree.
    """
    __tracebackhide__ = True
    calls = _calls(captured, receiver, signal, sender)
    what = f"{_receiver_text(receiver)} was"
    if outcome is not None:
        calls = [call for call in calls if call.outcome == outcome]
        what = f"{_receiver_text(receiver)} {outcome}"
    by = "" if signal is None and sender is ANY_SENDER else f" by {_what(signal, sender)}"
    called = f"{what} called" if outcome is None else what
    if times is None and not calls:
        text = f"{what} not called{by}" if outcome is None else f"No call of {what}{by}"
        raise _fail(f"{text}.", captured)
    if times is not None and len(calls) != times:
        raise _fail(f"{called}{by} {_times(len(calls))}, not {_times(times)}.", captured)
    return calls


def assert_not_received(
    captured: Captured,
    receiver: ReceiverName,
    *,
    signal: SignalName | None = None,
    sender: Any = ANY_SENDER,
) -> None:
    """Assert that *receiver* was not called.

    Raises:
        AssertionError: It was; the message shows the whole tree.
    """
    __tracebackhide__ = True
    calls = _calls(captured, receiver, signal, sender)
    if calls:
        raise _fail(f"{_receiver_text(receiver)} was called {_times(len(calls))}.", captured)


def assert_dispatch_budget(
    captured: Captured,
    *,
    dispatches: int | None = None,
    receiver_calls: int | None = None,
    queries: int | None = None,
    receiver_ms: float | None = None,
) -> None:
    """Assert that no more was done than this. What is None is not limited.

    Args:
        captured: What ``capture_dispatches`` yielded.
        dispatches: Those that had a receiver.
        receiver_calls: Of receivers that were not skipped.
        queries: Of receivers alone.
        receiver_ms: Milliseconds inside dispatches. Machines differ: set it generously.

    Raises:
        AssertionError: Something took more; the message shows all that did, and the tree.
    """
    __tracebackhide__ = True
    trace = captured.trace
    calls = captured.receiver_calls
    in_receivers = sum(call.query_count for call in calls)
    called = sum(call.outcome is not Outcome.SKIPPED for call in calls)
    over = []
    if dispatches is not None and len(trace.dispatches) > dispatches:
        over.append(
            f"{plural(len(trace.dispatches), 'dispatch', 'dispatches')}, {dispatches} allowed"
        )
    if receiver_calls is not None and called > receiver_calls:
        over.append(f"{plural(called, 'receiver call')}, {receiver_calls} allowed")
    if queries is not None and in_receivers > queries:
        over.append(f"{query_text(in_receivers)} in receivers, {queries} allowed")
    if receiver_ms is not None and trace.signal_ns > receiver_ms * 1_000_000:
        over.append(f"{format_ns(trace.signal_ns)} in dispatches, {receiver_ms:g} ms allowed")
    if over:
        raise _fail(f"Over budget: {'; '.join(over)}.", captured)


def assert_no_hazards(captured: Captured, *, ignore: Sequence[str] = ()) -> None:
    """Assert that the hazard rules find nothing but what is ignored.

    Raises:
        AssertionError: They do; the message names each finding, and shows the tree.
    """
    __tracebackhide__ = True
    found = [hazard for hazard in captured.hazards if hazard.hazard not in ignore]
    if found:
        listed = "\n".join(f"- {hazard.hazard}: {hazard.message}" for hazard in found)
        raise _fail(f"{plural(len(found), 'hazard')} found:\n{listed}", captured)


class DispatchAssertions:
    """The same assertions for ``unittest``: mix it into a test case.

    First ``with self.captureDispatches() as captured: ...``, after it
    ``self.assertDispatched(captured, post_save, sender=Order)``.
    """

    captureDispatches = staticmethod(capture_dispatches)  # noqa: N815 - unittest's spelling.
    assertDispatched = staticmethod(assert_dispatched)  # noqa: N815 - the same.
    assertNotDispatched = staticmethod(assert_not_dispatched)  # noqa: N815 - the same.
    assertReceived = staticmethod(assert_received)  # noqa: N815 - the same.
    assertNotReceived = staticmethod(assert_not_received)  # noqa: N815 - the same.
    assertDispatchBudget = staticmethod(assert_dispatch_budget)  # noqa: N815 - the same.
    assertNoHazards = staticmethod(assert_no_hazards)  # noqa: N815 - the same.
    assertDispatchTree = staticmethod(assert_dispatch_tree)  # noqa: N815 - the same.
