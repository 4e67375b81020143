"""Diagnosing a long trace while it runs, segment by segment.

What only several segments show together is found, and what was found once is not found again. For
that some dispatches of earlier segments are kept per running trace: of each signal and sender the
last ones, bounded in all. What is further apart than that, ``manage.py tracing hazards`` finds, which
looks at the whole trace.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from tracing.analysis.hazards import diagnose, find
from tracing.spans.records import CallbackQueries, Carried, Dispatch

if TYPE_CHECKING:
    from tracing.spans.records import Trace

KEPT_PER_SENDER: Final = 50
"""Dispatches of earlier segments that are kept of each signal and sender."""
KEPT: Final = 2_000
"""Dispatches of earlier segments that are kept of a trace."""
MAX_TRACES: Final = 256
"""Running traces that are remembered; one that never ends is forgotten when it is the oldest."""


class RunningDiagnosis:
    """The memory of a running trace."""

    __slots__ = (
        "_asked_later",
        "_earlier",
        "_found",
        "_kept",
        "_pinned",
        "_receiver_queries",
        "hazard_count",
    )

    def __init__(self) -> None:
        self.hazard_count = 0
        """Hazards found so far."""
        self._found: set[str] = set()
        """Fingerprints of what was found, known hazards too."""
        self._earlier: OrderedDict[tuple[str, str], deque[Dispatch]] = OrderedDict()
        """Dispatches by signal and sender; what was sent longest ago comes first."""
        self._kept = 0
        self._pinned: dict[int, Dispatch] = {}
        """Dispatches with side effects whose transaction had not ended, by the number of the call."""
        self._receiver_queries = 0
        self._asked_later: deque[CallbackQueries] = deque(maxlen=KEPT)

    def diagnose(self, segment: Trace) -> None:
        """Put into *segment* what is new in it, or with those before it."""
        earlier = [dispatch for kept in self._earlier.values() for dispatch in kept]
        diagnosis_context = segment.diagnosis_context or Carried()
        self._asked_later += diagnosis_context.callback_queries
        together = sorted([*earlier, *segment.dispatches], key=lambda dispatch: dispatch.number)
        whole = replace(
            segment,
            dispatches=together,
            diagnosis_context=Carried(
                unfinished=[*self._pinned.values(), *segment.unfinished],
                receiver_queries=self._receiver_queries - sum(map(_receiver_queries, earlier)),
                callback_queries=list(self._asked_later),
            ),
        )
        found = find(whole)
        new = [hazard for hazard in found if hazard.fingerprint not in self._found]
        self._found.update(hazard.fingerprint for hazard in found)
        segment.hazards = [hazard for hazard in new if not hazard.known]
        segment.known_hazards = [hazard for hazard in new if hazard.known]
        self.hazard_count += len(segment.hazards)
        segment.hazard_count = self.hazard_count
        if not segment.final:
            self._pin(segment)
            self._keep(segment)

    def _pin(self, segment: Trace) -> None:
        """Keep the receiver calls whose side effects will be told later."""
        diagnosis_context = segment.diagnosis_context or Carried()
        waiting = {effect.parent_number for effect in diagnosis_context.pending_effects}
        kept = {number: self._pinned[number] for number in self._pinned if number in waiting}
        for dispatch in (*segment.unfinished, *segment.dispatches) if waiting else ():
            for call in dispatch.receiver_calls:
                if call.number in waiting:
                    kept[call.number] = dispatch
        self._pinned = kept

    def _keep(self, segment: Trace) -> None:
        self._receiver_queries += sum(map(_receiver_queries, segment.dispatches))
        last: dict[tuple[str, str], list[Dispatch]] = {}
        for dispatch in reversed(segment.dispatches):
            of_sender = last.setdefault((dispatch.signal, dispatch.sender), [])
            if len(of_sender) < KEPT_PER_SENDER:
                of_sender.append(dispatch)
        for key in reversed(last):
            kept = self._earlier.setdefault(key, deque(maxlen=KEPT_PER_SENDER))
            self._earlier.move_to_end(key)
            self._kept -= len(kept)
            kept.extend(reversed(last[key]))
            self._kept += len(kept)
        while self._kept > KEPT:
            _key, dropped = self._earlier.popitem(last=False)
            self._kept -= len(dropped)


def _receiver_queries(dispatch: Dispatch) -> int:
    return sum(call.query_count for call in dispatch.receiver_calls)


_ongoing: OrderedDict[str, RunningDiagnosis] = OrderedDict()


def diagnose_segment(trace: Trace) -> None:
    """Put the hazards of *trace* into it; of a segment those that are new.

    Segments come in their order, and from one thread at a time.
    """
    if trace.final and not trace.segment:
        diagnose(trace)
        return
    key = trace.root_span_id
    ongoing = _ongoing.pop(key, None) or RunningDiagnosis()
    if not trace.final:
        _ongoing[key] = ongoing
        while len(_ongoing) > MAX_TRACES:
            _ongoing.popitem(last=False)
    ongoing.diagnose(trace)
