"""Sendings of the source that never came: dropped coroutines, mocks."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import place, short_signal, signal_of
from tracing.analysis.why_not.relations import method_of
from tracing.analysis.why_not.replaced import replaced
from tracing.analysis.why_not.running import function_at
from tracing.analysis.why_not.syntax import is_sent, last_name
from tracing.analysis.why_not.syntax import place as at
from tracing.analysis.why_not.unawaited import returns_before, unawaited
from tracing.analysis.why_not.words import Answer, Evidence
from tracing.spans.records import Method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.why_not.history import Link
    from tracing.analysis.why_not.running import Running
    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Place
    from tracing.analysis.why_not.target import Target

_METHODS: Final = {
    "pre_save": "save",
    "post_save": "save",
    "pre_delete": "delete",
    "post_delete": "delete",
}
"""The methods of a model that send its signals."""
_MOST_PLACES: Final = 5
"""Lines of the source that are told, which send a signal."""


def sending_lines(signal: str, project: Project) -> list[Evidence]:
    """Return where the source sends *signal*."""
    places = project.sends(short_signal(signal), *(method.value for method in Method))
    text = f"{short_signal(signal)} is sent here"
    return [Evidence(text, each.file, each.line) for each in places[:_MOST_PLACES]]


def senderless(link: Link, running: Running) -> bool:
    """Return whether the source sends a signal, and never with a sender."""
    signal, project = short_signal(link.signal), running.project
    places = project.sends(signal, *(method.value for method in Method))
    without = {(each.file, each.line) for each in project.search(_without_sender, signal)}
    return (
        bool(places)
        and all((each.file, each.line) in without for each in places)
        and any(map(running.may_have, places))
    )


def _without_sender(signal: str, project: Project) -> Iterator[Place]:
    methods = {method.value for method in Method}
    for module, node, chain in project.nodes(signal):
        if isinstance(node, ast.Call) and is_sent(node, signal, methods):
            senders = [
                *node.args[:1],
                *(k.value for k in node.keywords if k.arg in {"sender", None}),
            ]
            if all(isinstance(each, ast.Constant) and each.value is None for each in senders):
                yield at(module, node, chain)


def connected_at(target: Target, link: Link, text: str) -> Evidence:
    """Return where *target* was connected, or else where it is defined."""
    if link.line:
        return Evidence(text, link.file, link.line)
    return Evidence(text, target.file, target.line)


def never_awaited(target: Target, link: Link, running: Running) -> Iterator[Answer]:
    """Yield that the source drops the coroutine that would have sent."""
    signal = short_signal(link.signal)
    found = filter(running.may_have, running.project.search(unawaited, signal))
    first = next(found, None)
    if first is None:
        return
    places = sending_lines(link.signal, running.project)
    leaving = returns_before(first, running.project)
    yield Answer(
        "never-awaited",
        f"The coroutine of {signal}.asend() is dropped at {place(first.file, first.line)}: "
        "without await nothing is sent.",
        [
            Evidence("the coroutine is not awaited", first.file, first.line),
            *(
                [Evidence("what leaves here does not come to it", leaving.file, leaving.line)]
                if leaving is not None
                else ()
            ),
            *(each for each in places if (each.file, each.line) != (first.file, first.line)),
            connected_at(target, link, f"connected to {signal_of(link.signal, link.sender)}"),
        ],
        "Write await before it.",
    )


def overridden(link: Link, project: Project) -> Evidence | None:
    """Return the sender's method that need not come to Django's own."""
    name = _METHODS.get(short_signal(link.signal), "")
    method = method_of(link.sender, name)
    code = getattr(inspect.unwrap(method), "__code__", None) if method is not None else None
    if code is None or code.co_filename not in project.files:
        return None
    function = function_at(project.module(code.co_filename), code.co_firstlineno)
    if function is None:
        return None
    model = link.sender.rpartition(".")[2]
    leads = [
        call.lineno
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and last_name(call) in {name, "save_base"}
    ]
    if not leads:
        text = f"{model}.{name}() does not call super().{name}()"
        return Evidence(text, code.co_filename, function.lineno)
    leaving = [
        each
        for each in ast.walk(function)
        if isinstance(each, ast.Return | ast.Raise) and each.lineno < min(leads)
    ]
    if not leaving:
        return None
    first = min(leaving, key=lambda each: each.lineno)
    how = "return" if isinstance(first, ast.Return) else "raise"
    return Evidence(f"{model}.{name}() may {how} here", code.co_filename, first.lineno)


def send_replaced(target: Target, link: Link, running: Running) -> Iterator[Answer]:
    """Yield that a mock stands where the signal would have been sent."""
    signal = short_signal(link.signal)
    first = next(filter(running.may_have, running.project.search(replaced, signal)), None)
    if first is None:
        return
    yield Answer(
        "muted",
        f"What sends {signal} is replaced at {place(first.file, first.line)}, and what stands there "
        f"instead sent nothing: {target.leaf} is connected to a signal that was never sent.",
        [
            Evidence(f"{signal} is replaced here, or what sends it", first.file, first.line),
            connected_at(target, link, "it is connected here"),
        ],
        "Send outside of the patch, or patch the receiver alone.",
    )
