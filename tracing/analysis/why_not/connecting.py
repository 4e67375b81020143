"""Reasons for which a receiver was not connected when its signal was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place, short_signal, signal_of
from tracing.analysis.why_not.imports import not_loaded
from tracing.analysis.why_not.words import Answer, Evidence
from tracing.spans.processes import DIED

if TYPE_CHECKING:
    from tracing.analysis.why_not.history import History, Link
    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Place
    from tracing.analysis.why_not.target import Target
    from tracing.spans.processes import Connected, ProcessWiring, WiringEvent


CLASS_PREPARED: Final = "django.db.models.signals.class_prepared"


def never_connected(
    target: Target,
    history: History,
    wiring: ProcessWiring,
    elsewhere: list[tuple[ProcessWiring, Connected]],
    project: Project,
) -> Answer:
    """Return why *target* has no connection at all in a process.

    Args:
        target: The receiver.
        history: What the process did to it.
        wiring: The process.
        elsewhere: Other processes in which it is connected.
        project: Its source.
    """
    if history.ignored:
        return duplicate(target, history.ignored[-1])
    if elsewhere:
        return other_process(target, wiring, *elsewhere[0], project)
    answer = not_loaded(target, wiring, project)
    if answer is not None:
        return answer
    if history.waiting:
        waiting = history.waiting[-1]
        return Answer(
            "never-connected",
            f"{target.leaf} waits for a model {waiting.sender!r}, which never came: "
            "connect() with the name of a model connects it when that model is loaded.",
            [
                Evidence(f"connect() names {waiting.sender!r}", waiting.file, waiting.line)
                if waiting.line
                else _definition(target),
            ],
            f"Write the label of a model that exists in the place of {waiting.sender!r}.",
            signal=waiting.signal,
            sender=waiting.sender,
        )
    holder = _holder_of_uid(target, wiring, project)
    return holder if holder is not None else _no_connect(target, project)


def _definition(target: Target) -> Evidence:
    return Evidence(f"{target.name} is defined here", target.file, target.line)


def _no_connect(target: Target, project: Project) -> Answer:
    places = [each for each in project.connects(target.leaf) if each.file and project.files]
    if places:
        evidence = [_not_run(each) for each in places]
        where = ".".join(places[0].scope)
        why = f": {where}() was not called" if where else ""
        return Answer(
            "never-connected",
            f"The connect() of {target.leaf} did not run{why}.",
            [*evidence, _definition(target)],
            "Have it called when the application starts, in ready() of its AppConfig.",
        )
    line = project.undecorating(target.file, target.line)
    if line:
        return Answer(
            "never-connected",
            f"Nothing connects {target.leaf}: a receiver() of its file decorates nothing.",
            [Evidence("without @ it decorates nothing", target.file, line), _definition(target)],
            f"Write it with @ above {target.leaf}.",
        )
    return Answer(
        "never-connected",
        f"Nothing connects {target.leaf}: it has no @receiver, and no connect() names it.",
        [_definition(target)],
        "Write @receiver(signal, sender=...) above it.",
    )


def _not_run(found: Place) -> Evidence:
    scope = ".".join(found.scope)
    return Evidence(
        f"connect() in {scope} did not run" if scope else "connect() did not run",
        found.file,
        found.line,
    )


def _holder_of_uid(target: Target, wiring: ProcessWiring, project: Project) -> Answer | None:
    """Return that another receiver has its dispatch_uid."""
    uid, line = project.uid_of(target.file, target.line, target.leaf)
    if not uid:
        return None
    for each in wiring.connections:
        if each.receiver.dispatch_uid == uid and not target.is_of(each.receiver):
            evidence = [
                Evidence(f"connect() with dispatch_uid {uid!r} did nothing", *line),
                Evidence(
                    f"{each.receiver.name} has it",
                    each.file or each.receiver.file,
                    each.line or each.receiver.line,
                ),
            ]
            return Answer(
                "duplicate-uid",
                f"connect() ignored {target.leaf}: {each.receiver.name} was connected before it "
                f"with the same dispatch_uid {uid!r}.",
                evidence,
                "Give it a dispatch_uid of its own.",
                signal=each.signal,
                sender=each.sender,
            )
    return None


def duplicate(target: Target, event: WiringEvent) -> Answer:
    """Return that connect() was ignored for the dispatch_uid's holder."""
    holder = event.holder
    name = holder.name if holder is not None else "another receiver"
    uid = event.receiver.dispatch_uid
    file, line = event.holder_file, event.holder_line
    if holder is not None and not line:
        file, line = holder.file, holder.line
    shown = f"the same dispatch_uid {uid!r}" if uid else "the same key"
    return Answer(
        "duplicate-uid",
        f"connect() ignored {target.leaf}: {name} was connected before it with {shown}.",
        [
            Evidence(
                f"this connect() did nothing, its dispatch_uid {uid!r} is taken",
                event.file,
                event.line,
            ),
            Evidence(f"{name} has it, connected here", file, line),
        ],
        "Give each receiver a dispatch_uid of its own.",
        signal=event.signal,
        sender=event.sender,
    )


def other_process(
    target: Target, wiring: ProcessWiring, other: ProcessWiring, held: Connected, project: Project
) -> Answer:
    """Return that it is connected in a process other than the recording."""
    here = f"{other.kind or 'another process'} ({other.process})"
    there = f"{wiring.kind or 'the process'} ({wiring.process})"
    file, line = held.file, held.line
    if not line:
        file, line = held.receiver.file, held.receiver.line
    evidence = [
        Evidence(f"connected here in {here}, not in {there}, which recorded", file, line),
    ]
    why = not_loaded(target, wiring, project)
    if why is not None:
        evidence += why.evidence
    return Answer(
        "other-process",
        f"{target.leaf} is connected in {here}, and was not in {there}, which recorded.",
        evidence,
        "Connect it in ready() of an AppConfig, which every process runs.",
        signal=held.signal,
        sender=held.sender,
    )


def ended(target: Target, link: Link) -> Answer:
    """Return that a connection had ended, or its receiver had died."""
    event = link.ended
    what = signal_of(link.signal, link.sender)
    connected = [Evidence("it was connected here", link.file, link.line)] if link.line else []
    if event is not None and event.change == DIED:
        first = connected or [_definition(target)]
        return Answer(
            "collected",
            f"{target.leaf} was connected to {what} weakly, and nothing else kept it: it was "
            "collected as garbage before the signal was sent.",
            [
                *(
                    Evidence(
                        "connected weakly here; nothing else refers to it", each.file, each.line
                    )
                    for each in first
                ),
                *([_definition(target)] if connected else []),
            ],
            "Connect it with weak=False, or keep a reference to it as long as it is to run.",
        )
    file, line = (event.file, event.line) if event is not None else ("", 0)
    at = f" at {place(file, line)}" if line else ""
    return Answer(
        "disconnected",
        f"{target.leaf} was disconnected from {what}{at} before the signal was sent.",
        [Evidence("disconnect() was called here", file, line), *connected],
        "Connect it again after that, or take the disconnect() away.",
    )


def later(target: Target, link: Link, sent: Evidence | None) -> Answer:
    """Return that it was connected after the signal had been sent."""
    what = signal_of(link.signal, link.sender)
    at = f" at {place(link.file, link.line)}" if link.line else ""
    return Answer(
        "connected-later",
        f"{what} was sent before {target.leaf} was connected{at}.",
        [
            Evidence(
                "it was connected here, too late",
                link.file or target.file,
                link.line or target.line,
            )
        ]
        + ([sent] if sent is not None else []),
        "Do it in ready() for each of apps.get_models(), or connect without a sender before any model "
        "is loaded."
        if link.signal == CLASS_PREPARED
        else "Connect it when the application starts: import its module in ready() of the AppConfig.",
    )


def passed_over(
    target: Target, link: Link, mute: WiringEvent | None, project: Project, sent: Evidence | None
) -> Answer:
    """Return why a connected receiver was passed over: muted, or uncached."""
    places = [
        Evidence("the receivers of a signal are changed by hand here", each.file, each.line)
        for each in project.touching_receivers()
    ]
    connected = Evidence("it is connected here", link.file or target.file, link.line or target.line)
    signal = short_signal(link.signal)
    rest = [*places, connected, *([sent] if sent is not None else [])]
    if link.is_stale:
        return Answer(
            "stale-cache",
            f"{target.leaf} stands among the receivers of {signal}, but the cache of its senders "
            "was made before and knows nothing of it.",
            rest,
            f"Connect by {signal}.connect(), or call {signal}.sender_receivers_cache.clear() after "
            "changing receivers by hand.",
        )
    first = [Evidence("muted here", mute.file, mute.line)] if mute is not None and mute.line else []
    return Answer(
        "muted",
        f"{target.leaf} is connected to {signal}, but the receivers of the signal were replaced or "
        "emptied while it was sent.",
        [*first, *rest],
        "Send outside of what mutes the signal, as mute_signals() or mute().",
    )
