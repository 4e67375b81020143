"""Traces for profile viewers: Speedscope, Chrome and Perfetto."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tracing.exporters.formats.attributes import span_attributes, trace_attributes
from tracing.spans.records import Dispatch, Outcome, ReceiverCall, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# -- Bars that do not overlap ----------------------------------------------------------------


@dataclass(slots=True)
class Bar:
    """A span as a bar of a flame chart; what is inside it is on the same lane."""

    name: str
    start_ns: int
    end_ns: int
    span: Dispatch | ReceiverCall
    file: str = ""
    line: int = 0
    bars: list[Bar] = field(default_factory=list)


def _bars(dispatches: Iterable[Dispatch], sent: Mapping[int, list[Dispatch]]) -> list[Bar]:
    made = []
    for dispatch in dispatches:
        site = dispatch.callsite
        bar = Bar(
            f"{dispatch.signal.rpartition('.')[2]} {dispatch.sender}",
            dispatch.start_ns,
            dispatch.start_ns + dispatch.duration_ns,
            dispatch,
            "" if site is None else site.file,
            0 if site is None else site.line,
        )
        for call in dispatch.receiver_calls:
            if call.outcome is Outcome.SKIPPED:
                continue
            label = call.receiver
            inner = Bar(
                label.name,
                call.start_ns,
                call.start_ns + call.duration_ns,
                call,
                label.file,
                label.line,
            )
            inner.bars = _bars(sent.get(call.number, ()), sent)
            bar.bars.append(inner)
        made.append(bar)
    return made


def lanes(trace: Trace) -> list[list[Bar]]:
    """Return the bars of *trace* in lanes in which none overlap.

    What ran at the same time as its sibling, or outlived its parent, gets a lane of its own: the
    receivers of ``asend``, callbacks after the commit, threads.
    """
    laid: list[list[Bar]] = [[]]
    ends = [0]

    def settle(bar: Bar) -> None:
        """Keep below *bar* what fits; send the rest to other lanes."""
        fitting: list[Bar] = []
        for inner in sorted(bar.bars, key=lambda other: other.start_ns):
            after = fitting[-1].end_ns if fitting else bar.start_ns
            if inner.start_ns >= after and inner.end_ns <= bar.end_ns:
                fitting.append(inner)
                settle(inner)
            else:
                place(inner, first=1)
        bar.bars = fitting

    def place(bar: Bar, first: int) -> None:
        for lane in range(first, len(laid)):
            if bar.start_ns >= ends[lane]:
                break
        else:
            lane = len(laid)
            laid.append([])
            ends.append(0)
        laid[lane].append(bar)
        ends[lane] = bar.end_ns
        settle(bar)

    for root in sorted(_bars(trace.roots, trace.sent_by()), key=lambda bar: bar.start_ns):
        place(root, first=0)
    for lane in laid:
        lane.sort(key=lambda bar: bar.start_ns)
    return [lane for lane in laid if lane]


def _title(trace: Trace) -> str:
    return f"{trace.kind} {trace.name}"


# -- Speedscope ------------------------------------------------------------------------------


def speedscope(traces: Iterable[Trace]) -> dict[str, Any]:
    """Return *traces* for speedscope.app: a profile for each lane."""
    frames: list[dict[str, Any]] = []
    known: dict[tuple[str, str, int], int] = {}

    def frame(bar: Bar) -> int:
        key = (bar.name, bar.file, bar.line)
        if key not in known:
            known[key] = len(frames)
            frames.append(
                {"name": bar.name} | ({"file": bar.file, "line": bar.line} if bar.file else {})
            )
        return known[key]

    def walk(bars: list[Bar]) -> Iterator[dict[str, Any]]:
        for bar in bars:
            number = frame(bar)
            yield {"type": "O", "frame": number, "at": bar.start_ns}
            yield from walk(bar.bars)
            yield {"type": "C", "frame": number, "at": bar.end_ns}

    profiles = []
    names = []
    for trace in traces:
        names.append(_title(trace))
        for number, lane in enumerate(lanes(trace)):
            beside = f" (beside, {number})" if number else ""
            profiles.append(
                {
                    "type": "evented",
                    "name": f"{_title(trace)} {trace.trace_id[:8]}{beside}",
                    "unit": "nanoseconds",
                    "startValue": 0,
                    "endValue": max(trace.duration_ns, *(bar.end_ns for bar in lane)),
                    "events": list(walk(lane)),
                }
            )
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "django-signal-tracing",
        "name": names[0] if len(names) == 1 else f"{len(names)} traces",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": profiles,
    }


# -- Chrome trace, Perfetto ------------------------------------------------------------------


def chrome_trace(traces: Iterable[Trace]) -> dict[str, Any]:
    """Return *traces* in Chrome's trace event format, in µs."""
    events: list[dict[str, Any]] = []

    def walk(bars: list[Bar], trace: Trace, process: int, thread: int) -> None:
        for bar in bars:
            events.append(
                {
                    "name": bar.name,
                    "cat": "dispatch" if isinstance(bar.span, Dispatch) else "receiver",
                    "ph": "X",
                    "ts": (trace.started_ns + bar.start_ns) / 1000,
                    "dur": (bar.end_ns - bar.start_ns) / 1000,
                    "pid": process,
                    "tid": thread,
                    "args": span_attributes(bar.span) | _place(bar),
                }
            )
            walk(bar.bars, trace, process, thread)

    for process, trace in enumerate(traces, 1):
        events.append(
            {
                "name": "process_name",
                "ph": "M",
                "pid": process,
                "args": {"name": f"{_title(trace)} {trace.trace_id}"},
            }
        )
        events.append(
            {
                "name": _title(trace),
                "cat": "trace",
                "ph": "X",
                "ts": trace.started_ns / 1000,
                "dur": trace.duration_ns / 1000,
                "pid": process,
                "tid": 0,
                "args": trace_attributes(trace),
            }
        )
        for thread, lane in enumerate(lanes(trace), 1):
            walk(lane, trace, process, thread)
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _place(bar: Bar) -> dict[str, Any]:
    return {"file": bar.file, "line": bar.line} if bar.file else {}
