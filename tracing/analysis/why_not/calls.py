"""Calls of a receiver in a trace, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place, receiver_text, signal_of
from tracing.analysis.why_not.words import Answer, Evidence
from tracing.spans.records import Outcome, TransactionOutcome

if TYPE_CHECKING:
    from tracing.analysis.why_not.history import History
    from tracing.analysis.why_not.target import Target
    from tracing.spans.records import Dispatch, ReceiverCall, Trace

_UNDONE: Final = frozenset(
    {TransactionOutcome.ROLLED_BACK, TransactionOutcome.SAVEPOINT_ROLLED_BACK}
)
_COROUTINES: Final = frozenset({"coroutine", "async_generator", "generator"})
NOT_CALLED: Final = frozenset({"skipped", "send-failed", "muted"})


def call_answer(
    target: Target,
    trace: Trace,
    dispatch: Dispatch,
    call: ReceiverCall,
    history: History,
) -> Answer:
    """Return what came of one call of *target* in a trace."""
    answer = _answer(target, dispatch, call)
    mute = history.mute_at(trace.started_ns + dispatch.start_ns) if history.muted else None
    if mute is not None and call.was_called:
        answer = Answer(
            "muted",
            f"{target.leaf} was muted while {signal_of(dispatch.signal, dispatch.sender)} was sent.",
            [Evidence("muted here", mute.file, mute.line), _sent(dispatch)],
            "Send outside of mute().",
        )
    return answer.about(dispatch.signal, dispatch.sender, trace.trace_id)


def _sent(dispatch: Dispatch) -> Evidence:
    site = dispatch.callsite
    what = f"{signal_of(dispatch.signal, dispatch.sender)} was sent"
    return Evidence(what, site.file, site.line) if site is not None else Evidence(what)


def _own(target: Target) -> Evidence:
    return Evidence(f"{target.name} is defined here", target.file, target.line)


def _answer(target: Target, dispatch: Dispatch, call: ReceiverCall) -> Answer:
    site = dispatch.callsite
    at = f" at {place(site.file, site.line)}" if site is not None else ""
    what = signal_of(dispatch.signal, dispatch.sender)
    if not call.was_called or call.outcome is Outcome.UNKNOWN:
        failed = _not_called(target, dispatch, call, what)
        if failed is not None:
            return failed
    if (
        call.response_type in _COROUTINES
        and call.outcome is Outcome.RETURNED
        and not call.receiver.is_async
    ):
        return Answer(
            "never-awaited",
            f"{target.leaf} was called for {what}{at} and gave a {call.response_type}, which nobody "
            "awaited: its body never ran.",
            [_own(target), _sent(dispatch)],
            "Connect an `async def` itself, which Django awaits, or do not make it async.",
        )
    if call.outcome in {Outcome.RAISED, Outcome.CANCELLED}:
        return Answer(
            "ran-raised",
            f"{target.leaf} was called for {what}{at} and raised {_raised(call)}.",
            [_sent(dispatch), _own(target)],
            "Mend the receiver.",
        )
    if dispatch.transaction in _UNDONE:
        is_inner = dispatch.transaction is TransactionOutcome.SAVEPOINT_ROLLED_BACK
        block = "savepoint" if is_inner else "transaction"
        return Answer(
            "ran-undone",
            f"{target.leaf} was called for {what}{at}, and the {block} around it was rolled back.",
            [_sent(dispatch), _own(target)],
            f"Find what rolled the {block} back.",
        )
    return Answer(
        "ran", f"{target.leaf} was called for {what}{at}.", [_sent(dispatch), _own(target)]
    )


def _raised(call: ReceiverCall) -> str:
    message = f": {call.exception_message}" if call.exception_message else ""
    return f"{call.exception_type}{message}".rstrip(".")


def _not_called(target: Target, dispatch: Dispatch, call: ReceiverCall, what: str) -> Answer | None:
    """Return why a reached receiver was not called; None if it may be."""
    raising = next(
        (
            each
            for each in dispatch.receiver_calls
            if each is not call and each.outcome in {Outcome.RAISED, Outcome.CANCELLED}
        ),
        None,
    )
    if raising is not None and not call.was_called:
        label = raising.receiver
        return Answer(
            "skipped",
            f"{receiver_text(label)}, an earlier receiver of the same {what}, raised "
            f"{_raised(raising)}, so {target.leaf} was skipped.",
            [
                Evidence(f"{label.name} raised {raising.exception_type}", label.file, label.line),
                _sent(dispatch),
            ],
            "Mend that receiver, or send with send_robust().",
        )
    if dispatch.exception_type or not call.was_called:
        error = dispatch.exception_type or "an error"
        loop = (
            ": send() calls async receivers, and cannot where an event loop is running"
            if dispatch.in_event_loop
            else ""
        )
        return Answer(
            "send-failed",
            f"Sending {what} failed with {error} before {target.leaf} was called{loop}.",
            [_sent(dispatch), _own(target)],
            "Send with `await signal.asend(...)`." if loop else "Mend what the sending fails of.",
        )
    return None
