"""Reasons for which a receiver was not called, and their evidence.

Pure: over the spans of traces, what processes have written down of their connections, and the source
of the project, which is parsed and never imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracing.analysis.why_not import gaps
from tracing.analysis.why_not.calls import NOT_CALLED, call_answer
from tracing.analysis.why_not.connecting import (
    duplicate,
    ended,
    later,
    never_connected,
    passed_over,
)
from tracing.analysis.why_not.history import History, history_of, of_target
from tracing.analysis.why_not.imports import not_loaded
from tracing.analysis.why_not.relations import is_close, is_model, model_labels, relation
from tracing.analysis.why_not.running import Running
from tracing.analysis.why_not.sending import (
    Sending,
    same_sender,
    sent_in,
    was_prepared_before,
)
from tracing.analysis.why_not.syntax import ends_with
from tracing.analysis.why_not.target import Target, find_target, require_known
from tracing.analysis.why_not.words import Answer, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.why_not.gaps import Gap
    from tracing.analysis.why_not.history import Link
    from tracing.analysis.why_not.sending import Sent
    from tracing.analysis.why_not.source import Project
    from tracing.conf import Settings
    from tracing.spans.labels import ReceiverLabel
    from tracing.spans.processes import Connected, ProcessWiring
    from tracing.spans.records import Trace


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one receiver."""

    receiver: str
    signal: str = ""
    """Dotted path of a signal or its end; empty for any."""
    sender: str = ""


@dataclass(slots=True)
class Records:
    """All that there is to answer from."""

    project: Project
    settings: Settings
    here: ProcessWiring
    """This process."""
    signals: list[str] = field(default_factory=list)
    """The names of its signals, connected or not."""
    processes: list[ProcessWiring] = field(default_factory=list)
    """Those that have written down what they had connected, the newest first."""
    traces: list[tuple[Trace, ProcessWiring | None]] = field(default_factory=list)
    """The newest first, with the process that recorded each, if that is known."""
    labels: list[ReceiverLabel] = field(default_factory=list)
    """Receivers that the store knows of."""
    is_one: bool = False
    """One trace was asked for, and what is inside it."""
    is_paused: bool = False
    is_cut: str = ""
    """Why there may have been more traces; empty if these are all."""


def why_not(question: Question, records: Records) -> Answer:
    """Return why a receiver was not called, or that it was.

    Raises:
        UnknownNameError: No receiver is called so, or several are; or no signal or sender is.
    """
    signals, senders = _names(records)
    require_known("signal", question.signal, signals, records.project)
    require_known("sender", question.sender, senders, records.project)
    # One label is of many calls.
    labels = list({id(label): label for label in _labels(records)}.values())
    sites = {
        (each.file, each.line): each.receiver
        for process in (records.here, *records.processes)
        for each in process.connections
        if each.line
    }
    target = find_target(question.receiver, labels, records.project, sites)
    asked = frozenset(id(label) for label in labels if target.is_of(label))
    return _Inquiry(question, records, target, asked).answer()


def _names(records: Records) -> tuple[set[str], set[str]]:
    """Return the signals and senders that anybody knows of."""
    pairs: list[tuple[str, str]] = []
    for process in (records.here, *records.processes):
        pairs += [(each.signal, each.sender) for each in process.connections]
        pairs += [(each.signal, each.sender) for each in process.events]
        pairs += [(each.signal, each.sender) for each in process.waiting]
    for trace, _ in records.traces:
        pairs += [(each.signal, each.sender) for each in sent_in(trace)]
    signals = {*records.signals, *(signal for signal, _ in pairs)}
    return signals, {*model_labels(), *(sender for _, sender in pairs)}


def _labels(records: Records) -> Iterator[ReceiverLabel]:
    for process in (records.here, *records.processes):
        yield from [each.receiver for each in process.connections]
        yield from [each.receiver for each in process.events]
        yield from [each.receiver for each in process.waiting]
    for trace, _ in records.traces:
        for dispatch in trace.dispatches:
            yield from [call.receiver for call in dispatch.receiver_calls]
        yield from [each.receiver for each in trace.connection_changes]
        yield from [each.receiver for each in trace.lost_receivers]
    yield from records.labels


class _Inquiry:
    """One question about one receiver."""

    def __init__(
        self, question: Question, records: Records, target: Target, labels: frozenset[int]
    ) -> None:
        self.question = question
        self.records = records
        self.target = target
        self.labels = labels
        """The ids of those labels of the records, which live as long, that are of the target."""
        self.calls = 0
        self._own: dict[int, ProcessWiring] = {}
        """What processes have of the target, by the id of their records, which live as long."""

    def answer(self) -> Answer:
        """Return the answer."""
        found = [*self._called()]
        best = min(found, key=lambda answer: answer.order, default=None)
        if best is None:
            found = self._not_called()
            best = min(found, key=lambda answer: answer.order)
            best = self._unless_hidden(best)
        return replace(best, receiver=self.target.name, calls=self.calls)

    def _called(self) -> Iterator[Answer]:
        """Yield what came of each call."""
        for trace, process in self.records.traces:
            history: History | None = None
            for dispatch in (*trace.dispatches, *trace.unfinished):
                if not self._is_asked(dispatch.signal, dispatch.sender):
                    continue
                for call in dispatch.receiver_calls:
                    if id(call.receiver) not in self.labels:
                        continue
                    if history is None:
                        history = self._history(None, process)
                    answer = call_answer(self.target, trace, dispatch, call, history)
                    self.calls += answer.verdict not in NOT_CALLED
                    yield answer

    def _is_asked(self, signal: str, sender: str) -> bool:
        question = self.question
        return (not question.signal or ends_with(signal, question.signal)) and (
            not question.sender or same_sender(sender, question.sender)
        )

    # -- not called ----------------------------------------------------------------------------

    def _not_called(self) -> list[Answer]:
        if not self.records.traces:
            process = next(iter(self.records.processes), self.records.here)
            return [self._in(None, process)]
        return [self._in(trace, process) for trace, process in self.records.traces]

    def _in(self, trace: Trace | None, process: ProcessWiring | None) -> Answer:
        """Return why the receiver was not called in one trace."""
        wiring = process if process is not None else self.records.here
        history = self._history(trace, process)
        trace_id = trace.trace_id if trace is not None else ""
        if not history.links:
            answer = self._without_links(history, wiring)
            return answer.about(self.question.signal, self.question.sender, trace_id)
        if all(link.ended is not None for link in history.links):
            # An import that fails after connect() leaves receivers that nothing holds.
            failed = not_loaded(self.target, wiring, self.records.project)
            if failed is not None and failed.verdict == "import-failed":
                return failed.about("", "", trace_id)
        sent = sent_in(trace) if trace is not None else []
        modules = frozenset(process.modules) if process is not None else None
        answers = [
            answer.about("", "", trace_id)
            for answer in self._of_links(history, trace, sent, modules)
        ]
        answers += [
            duplicate(self.target, event)
            for event in history.ignored[-1:]
            if not _is_held(event, history)
        ]
        return min(answers, key=lambda answer: answer.order)

    def _history(self, trace: Trace | None, process: ProcessWiring | None) -> History:
        here = self.records.here
        is_another = process is None and trace is not None and trace.process != here.process
        wiring = process if process is not None else here
        own = self._own.get(id(wiring))
        if own is None:
            own = self._own[id(wiring)] = of_target(self.target, wiring)
        return history_of(self.target, own, trace, self.question.signal, is_another=is_another)

    def _without_links(self, history: History, wiring: ProcessWiring) -> Answer:
        elsewhere: list[tuple[ProcessWiring, Connected]] = []
        for other in (self.records.here, *self.records.processes):
            if other is wiring or _is_same(other, wiring):
                continue
            elsewhere += [
                (other, each)
                for each in other.connections
                if self.target.is_of(each.receiver)
                and (not self.question.signal or ends_with(each.signal, self.question.signal))
            ]
        return never_connected(self.target, history, wiring, elsewhere, self.records.project)

    def _of_links(
        self,
        history: History,
        trace: Trace | None,
        sent: list[Sent],
        modules: frozenset[str] | None,
    ) -> Iterator[Answer]:
        """Yield why each connection was not reached."""
        keys = dict.fromkeys((link.signal, link.sender) for link in history.links)
        for key in keys:
            links = [link for link in history.links if (link.signal, link.sender) == key]
            running = Running(self.records.project, trace, modules)
            yield self._of_route(links, history, running, sent).about(*key)

    def _of_route(
        self, links: list[Link], history: History, running: Running, sent: list[Sent]
    ) -> Answer:
        """Return why no sending reached the connections of one signal and sender."""
        link = links[-1]
        asked = self.question.sender
        if asked and same_sender(link.sender, asked):
            asked, sent = "", [each for each in sent if _may_be_meant(each.sender, link.sender)]
        elif asked:
            sent = [each for each in sent if same_sender(each.sender, asked)]
        exact = [
            each for each in sent if any(one.reaches(each.signal, each.sender) for one in links)
        ]
        if exact and not all(one.is_replaced for one in links):
            answers = [self._missed(links, each, history) for each in exact]
            return min(answers, key=lambda answer: answer.order)
        trace = running.trace
        begin = trace.started_ns if trace is not None else None
        end = begin + trace.duration_ns if trace is not None and begin is not None else None
        standing = [one for one in links if one.until_ns > (end or 0) or one.ended is None]
        if not standing:
            return ended(self.target, link)
        if end is not None and all(one.since_ns > end for one in standing):
            return later(self.target, standing[0], None)
        if was_prepared_before(standing[-1]):
            return later(self.target, standing[-1], None)
        sending = Sending(self.target, sent, running, asked)
        return next(sending.answers(standing[-1]))

    def _missed(self, links: list[Link], sent: Sent, history: History) -> Answer:
        """Return why a sending to the sender of *links* missed the receiver."""
        evidence = sent.evidence
        for link in links:
            if link.covers(sent.begin_ns, sent.end_ns):
                mute = history.mute_at(sent.begin_ns)
                return passed_over(self.target, link, mute, self.records.project, evidence)
        over = [link for link in links if link.until_ns <= sent.end_ns]
        if over:
            return ended(self.target, over[-1])
        return later(self.target, links[0], evidence)

    # -- what the records cannot tell -----------------------------------------------------------

    def _unless_hidden(self, answer: Answer) -> Answer:
        """Return *answer*, unless the records leave room for a call."""
        gap = next(self._gaps(answer), None)
        if gap is None:
            return answer
        return Answer(
            "not-recorded",
            f"The records cannot say whether {self.target.leaf} ran: {gap.text}.",
            [
                Evidence(gap.text, gap.file, gap.line),
                Evidence(f"as far as they go: {answer.sentence}"),
                *answer.evidence,
            ],
            gap.remedy,
            signal=answer.signal,
            sender=answer.sender,
            trace_id=answer.trace_id if self.records.is_one else "",
        )

    def _gaps(self, answer: Answer) -> Iterator[Gap]:
        """Yield what may hide a call, where *answer* would be given."""
        records = self.records
        is_certain = answer.verdict not in {"other-sender", "other-signal", "not-sent"}
        never = answer.verdict in _NEVER
        if never:
            if answer.verdict in {"never-connected", "other-process"}:
                # It may have been connected once, in what was forgotten.
                for process in (records.here, *records.processes):
                    yield from gaps.of_journal(process)
            return
        links = [
            (each.signal, each.sender)
            for process in (records.here, *records.processes)
            for each in process.connections
            if self.target.is_of(each.receiver)
        ]
        names = (self.target.name, *self.target.names)
        for gap in gaps.of_settings(records.settings, names, links):
            if gap.hides_receiver or not is_certain:
                yield gap
        if is_certain or (answer.verdict == "other-sender" and records.is_one):
            return
        for trace, _ in records.traces:
            yield from gaps.of_trace(trace)
        if not records.is_one and answer.verdict != "other-sender":
            yield from self._gaps_between_traces()

    def _gaps_between_traces(self) -> Iterator[Gap]:
        """Yield why there may have been more units of work than there are traces."""
        records = self.records
        yield from gaps.of_sampling(records.settings)
        if records.is_paused:
            yield gaps.Gap("recording is paused", "Resume with manage.py tracing resume.")
        for process in (records.here, *records.processes):
            yield from gaps.of_process(process, records.settings)
            yield from gaps.of_journal(process)
        if not records.processes:
            yield from gaps.of_exclusions(records.settings)
        if records.is_cut:
            yield gaps.Gap(
                records.is_cut, "Do it again and ask then, or keep traces longer: PRUNE in TRACING."
            )


_NEVER = frozenset(
    {
        "never-imported",
        "app-not-installed",
        "app-config-not-used",
        "import-failed",
        "never-connected",
        "duplicate-uid",
        "other-process",
    }
)
"""Verdicts that hold whatever was recorded: it was not connected at any time."""


def _is_same(one: ProcessWiring, other: ProcessWiring) -> bool:
    return (one.host, one.process, one.started_ns) == (other.host, other.process, other.started_ns)


def _may_be_meant(sender: str, waited: str) -> bool:
    """Return whether who asks for *waited* may mean what *sender* sent."""
    return sender == waited or not is_model(sender) or is_close(relation(waited, sender))


def _is_held(event: object, history: History) -> bool:
    """Return whether another connect() was ignored for the receiver."""
    signal, sender = getattr(event, "signal", ""), getattr(event, "sender", "")
    return any((link.signal, link.sender) == (signal, sender) for link in history.links)


__all__ = ["Answer", "Question", "Records", "Target", "why_not"]
