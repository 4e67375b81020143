"""A trace turned into the source of a test that asserts its tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracing.analysis.index import Index, roots
from tracing.analysis.mine import spans_of_mine
from tracing.analysis.names import callsite_text, signal_of
from tracing.presentation.stable_tree import stable_tree
from tracing.spans.escapes import escape_control
from tracing.spans.records import Dispatch, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracing.analysis.index import Span
    from tracing.spans.records import Trace

_LONGEST_NAME: Final = 60
_BEGIN: Final = "# --- The action begins."
_END: Final = "# --- The action ends."
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS: Final = frozenset({*_BODILESS, "POST", "PUT", "PATCH", "DELETE"})


def made_test(trace: Trace, *, span: Span | None = None) -> str:
    """Return a module with one test that asserts the tree of *trace*.

    The action is written where the trace tells it: the request of the client, the command. Elsewhere, and
    where a body is to be sent, which no trace holds, the place is marked.

    Args:
        trace: The whole trace.
        span: Only a dispatch, or what a receiver call sent; None for all.
    """
    is_request = span is None and trace.kind is Kind.REQUEST and bool(trace.http_path)
    is_command = span is None and trace.kind is Kind.COMMAND
    # Whoever chooses a span that is nobody's of the project wants that one.
    everything = span is not None and span.number not in spans_of_mine(trace)
    tops = _tops(trace, span)
    tree = stable_tree(trace, everything=everything, tops=tops)
    action = _action(trace, span, is_request=is_request, is_command=is_command)
    is_logged_in = is_request and bool(trace.user_id)
    fixtures = ("client, admin_user" if is_logged_in else "client") if is_request else ""
    imports = ["from django.core.management import call_command"] if is_command else []
    lines = [
        '"""A test made of a recorded trace."""',
        "",
        "from __future__ import annotations",
        "",
        "import pytest",
        *imports,
        "",
        "from tracing.testing import assert_dispatch_tree, capture_dispatches",
        "",
        "",
        f"# {escape_control(f'{_title(trace, span)} ({trace.trace_id})')}",
        f"@pytest.mark.django_db{_options(trace, tops)}",
        f"def {_name(trace, span)}({fixtures}):",
        "    # Add here what was there before: the trace does not hold it.",
    ]
    if is_logged_in:
        lines += [
            "    # Somebody was logged in: here it is a superuser.",
            "    client.force_login(admin_user)",
        ]
    lines += [
        "",
        "    with capture_dispatches() as captured:",
        f"        {_BEGIN}",
        *(f"        {line}" for line in action),
        f"        {_END}",
        "",
    ]
    if is_request and trace.http_status is not None:
        lines.append(f"    assert response.status_code == {trace.http_status}")
    lines += _assertion(tree, everything=everything)
    return "".join(f"{line}\n" for line in lines)


def _tops(trace: Trace, span: Span | None) -> Sequence[Span]:
    """Return the spans at the top of what the test is to capture."""
    if span is None:
        return roots(trace)
    if isinstance(span, Dispatch):
        return [span]
    return trace.sent_by().get(span.number, [])


def _title(trace: Trace, span: Span | None) -> str:
    of = f"{trace.kind} {trace.name}"
    return of if span is None else f"{_said(trace, span)}, in the {of}"


def _said(trace: Trace, span: Span) -> str:
    """Return what is to be done to have *span* happen."""
    if isinstance(span, Dispatch):
        what = signal_of(span.signal, span.sender)
        by = f": {callsite_text(span.callsite)} does" if span.callsite is not None else ""
        return f"send {what}{by}"
    parent = Index(trace).dispatch_of(span)
    return f"call {span.receiver.name}, as {signal_of(parent.signal, parent.sender)} does"


def _action(trace: Trace, span: Span | None, *, is_request: bool, is_command: bool) -> list[str]:
    """Return lines that do again what was recorded, or ask for it."""
    if is_request:
        method = trace.http_method.upper()
        path = _literal(trace.http_path)
        call = method.lower() if method in _METHODS else "generic"
        arguments = path if call != "generic" else f"{_literal(method)}, {path}"
        if method in _BODILESS:
            return [f"response = client.{call}({arguments})"]
        return [
            "# The body was not recorded: give what was sent as data.",
            f"response = client.{call}({arguments}{'' if call == 'generic' else ', data={}'})",
        ]
    if is_command:
        return [
            "# Its arguments were not recorded: add them.",
            f"call_command({_literal(trace.name)})",
        ]
    said = _said(trace, span) if span is not None else f"do what the {trace.kind} {trace.name} did"
    return [f"pytest.fail({_literal(f'Replace this line: {said}.')})"]


def _options(trace: Trace, tops: Sequence[Span]) -> str:
    """Return the arguments of the database's marker."""
    used = sorted({dispatch.using for dispatch in trace.dispatches if dispatch.using})
    options = []
    if any(alias != "default" for alias in used):
        aliases = ", ".join(map(_literal, sorted({"default", *used})))
        options.append(f"databases=[{aliases}]")
    if any(dispatch.is_detached for dispatch in trace.dispatches) and tops:
        options.append("transaction=True")
    return f"({', '.join(options)})" if options else ""


def _name(trace: Trace, span: Span | None) -> str:
    if isinstance(span, Dispatch):
        text = signal_of(span.signal, span.sender)
    elif span is not None:
        text = span.receiver.name.rpartition(".")[2]
    elif trace.http_path:
        text = f"{trace.http_method} {trace.http_path}"
    else:
        text = trace.name
    words = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return f"test_{words[:_LONGEST_NAME].rstrip('_') or 'trace'}"


def _literal(text: str) -> str:
    """Return *text* as a literal of Python, preferably in double quotes."""
    return f'"{text}"' if text.isprintable() and not {'"', "\\"} & {*text} else repr(text)


def _assertion(tree: str, *, everything: bool) -> list[str]:
    lines = tree.splitlines()
    options = ["        everything=True,"] if everything else []
    if '"""' in tree or "\\" in tree or not all(map(str.isprintable, lines)):
        # Names that only the escapes of a literal can hold.
        expected = [
            "        expected=(",
            *(f"            {f'{line}{chr(10)}'!r}" for line in lines),
            "        ),",
        ]
    else:
        expected = [
            '        expected="""',
            *(f"            {line}" for line in lines),
            '        """,',
        ]
    return ["    assert_dispatch_tree(", "        captured,", *expected, *options, "    )"]
