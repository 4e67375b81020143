"""The reasons of a receiver call: the steps that led to it, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from tracing.analysis.index import Index
from tracing.analysis.names import place, short_receiver, short_signal
from tracing.spans.records import Dispatch, Kind, Outcome, ReceiverCall, Trace
from tracing.units import format_ns, ordinal


@dataclass(slots=True, frozen=True)
class Step:
    """One link of the chain from the unit of work down to a receiver."""

    sentence: str
    file: str = ""
    line: int = 0
    number: int | None = None
    """Span number; None for the trace itself."""


def why(trace: Trace, number: int) -> list[Step]:
    """Return the reasons of the span *number*, a sentence for each step.

    Empty if the trace has no such span.
    """
    index = Index(trace)
    span = index.span(number)
    if span is None:
        return []
    chain = [span, *index.above(span)]
    chain.reverse()
    steps = [Step(opening(trace))]
    before: ReceiverCall | None = None
    for link in chain:
        if isinstance(link, Dispatch):
            steps.append(_sent(link, before))
        else:
            steps.append(_received(link, index.dispatch_of(link)))
            before = link
    return steps


def opening(trace: Trace) -> str:
    """Return what caused the trace, as a sentence."""
    if trace.kind is Kind.REQUEST:
        method = f"{trace.http_method} " if trace.http_method else ""
        route = f" ({trace.name})" if trace.http_path and trace.name != trace.http_path else ""
        return f"A {method}request for {trace.http_path or trace.name}{route} came in."
    if trace.kind is Kind.COMMAND:
        return f"The command {trace.name} was run."
    if trace.kind is Kind.TASK:
        return f"The task {trace.name} was run."
    if trace.kind is Kind.TEST:
        return f"The test {trace.name} was run."
    if trace.kind is Kind.BLOCK:
        return f"The block {trace.name} was entered."
    return "The signal was sent outside any unit of work."


def _sent(dispatch: Dispatch, sender_call: ReceiverCall | None) -> Step:
    signal = f"{short_signal(dispatch.signal)}{f' ({dispatch.action})' if dispatch.action else ''}"
    what = f"sent {signal} of {dispatch.sender}" if dispatch.sender != "None" else f"sent {signal}"
    if dispatch.instance:
        what += f" for {dispatch.instance}"
    if dispatch.created is not None:
        what += ", created" if dispatch.created else ", updated"
    if dispatch.is_detached and sender_call is not None:
        what += f", in work detached from {short_receiver(sender_call.receiver.name)}"
    site = dispatch.callsite
    if site is None:
        who = short_receiver(sender_call.receiver.name) if sender_call is not None else "Code"
        return Step(f"{who} {what}.", number=dispatch.number)
    sentence = f"{site.function} {what} at {place(site.file, site.line)}."
    return Step(sentence, site.file, site.line, dispatch.number)


def _received(call: ReceiverCall, dispatch: Dispatch) -> Step:
    total = len(dispatch.receiver_calls)
    which = (
        "the only receiver" if total == 1 else f"the {ordinal(call.position)} of {total} receivers"
    )
    name = short_receiver(call.receiver.name)
    where = place(call.receiver.file, call.receiver.line)
    where = f" ({where})" if where else ""
    if call.outcome is Outcome.SKIPPED:
        sentence = f"{name}{where}, {which}, was skipped, because an earlier one raised."
    elif call.outcome is Outcome.RAISED:
        sentence = f"{name}{where}, {which}, was called and raised {call.exception_type}."
    elif call.duration_ns:
        sentence = f"{name}{where}, {which}, was called and took {format_ns(call.duration_ns)}."
    else:
        sentence = f"{name}{where}, {which}, was called; how long it took was not seen."
    return Step(sentence, call.receiver.file, call.receiver.line, call.number)
