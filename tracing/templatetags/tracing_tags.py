"""Template tags: a trace's tree anywhere, and the words for times, counts and names."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html

from tracing import units
from tracing.analysis import names, tree
from tracing.spans.escapes import in_any_charset
from tracing.spans.records import Dispatch, Outcome, ReceiverCall, Trace

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

    from tracing.analysis.tree import Node

register = template.Library()
register.filter(in_any_charset)

MAX_LINES: Final = 300
"""Lines of a tree in a page; what is left out is counted and linked."""


# --- words ---------------------------------------------------------------------------------------


@register.filter
def spent(total_ns: float | str, nanoseconds: float | None = None) -> str:
    """Return a time of what took *total_ns* in all; a dash for what was never timed."""
    return "" if isinstance(total_ns, str) else units.format_spent(total_ns, nanoseconds)


@register.filter
def duration(nanoseconds: float | str | None) -> str:
    """Return nanoseconds as a duration for people; empty for None and for what is not there."""
    return (
        "" if nanoseconds is None or isinstance(nanoseconds, str) else units.format_ns(nanoseconds)
    )


@register.filter
def difference(nanoseconds: float) -> str:
    """Return a difference of durations with its sign."""
    return units.format_difference(nanoseconds).replace("-", "−")  # noqa: RUF001 - a minus.


@register.filter
def amount(count: float | str | None) -> str:
    """Return a count with its thousands told apart; empty for None and for what is not there."""
    return "" if count is None or isinstance(count, str) else units.format_count(count)


@register.filter
def unreadable(trace: Trace) -> str:
    """Return what of a trace could not be read, and why."""
    return names.unreadable_text(trace)


@register.filter
def signed(count: int) -> str:
    """Return a difference of counts with its sign."""
    text = units.format_count(count)
    return f"+{text}" if count > 0 else text.replace("-", "−")  # noqa: RUF001 - a minus.


@register.filter
def size(count: float | None) -> str:
    """Return a number of bytes for people; empty for None."""
    return "" if count is None else units.format_bytes(count)


@register.filter
def share(fraction: float) -> str:
    """Return a fraction of 1 as a percentage."""
    return units.format_percent(fraction)


@register.filter
def plural(count: int, word: str) -> str:
    """Return *count* with *word* in its form; ``word`` may be ``query,queries``."""
    one, _, many = word.partition(",")
    return units.plural(count, one, many)


@register.filter
def words(text: object) -> str:
    """Return a word of the code as people read it: ``rolled_back`` as ``rolled back``."""
    return str(text).replace("_", " ")


@register.filter
def short_signal(name: str) -> str:
    """Return the last part of a signal's path."""
    return names.short_signal(name)


@register.filter
def short_receiver(name: str) -> str:
    """Return a receiver without its modules."""
    return names.short_receiver(name)


@register.filter
def location(value: Any) -> str:
    """Return ``path:line`` of anything that has a file and a line; empty for None."""
    return names.place(value.file, value.line) if value is not None else ""


@register.simple_tag
def name(text: object, width: int = 48) -> SafeString:
    """Return *text* shortened in the middle, with the whole of it on hover."""
    whole = clean(str(text))
    shown = names.shorten_middle(whole, width)
    if shown == whole:
        return format_html('<bdi class="name">{}</bdi>', whole)
    return format_html(
        '<bdi class="name" title="{}" data-whole="{}">{}</bdi>', whole[:2_000], whole[:2_000], shown
    )


_INVISIBLE: Final = {
    **{code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if code not in {9, 10, 13}},
    127: "\N{REPLACEMENT CHARACTER}",
    # Characters that turn the direction of what follows would let a name pose as another.
    **dict.fromkeys(
        [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
        "\N{REPLACEMENT CHARACTER}",
    ),
}


@register.filter
def clean(text: object) -> str:
    """Return *text* with control characters and marks of direction made visible."""
    whole = str(text)
    # None of them is printable, and most texts are: a page has thousands.
    return whole if whole.isprintable() else whole.translate(_INVISIBLE)


@register.filter
def cut(text: object, width: int = 2_000) -> str:
    """Return at most *width* characters of *text*, cleaned, its middle left out."""
    return names.shorten_middle(clean(text), width)


def _as_datetime(nanoseconds: int) -> datetime:
    moment = datetime.fromtimestamp(min(max(nanoseconds, 0), 2**61) // 1000 / 1_000_000, tz=UTC)
    return moment.astimezone(timezone.get_current_timezone())


@register.filter
def clock(nanoseconds: int) -> str:
    """Return the time of day of a moment (ns since the epoch)."""
    return f"{_as_datetime(nanoseconds):%H:%M:%S}"


@register.simple_tag
def moment(nanoseconds: int, style: str = "") -> SafeString:
    """Return a moment (ns since the epoch) as a time element.

    The hour is shown, the whole date on hover, and how long ago it was is kept by the script. The
    style ``full`` shows the date too, the style ``hour`` the day and no seconds.
    """
    local = _as_datetime(nanoseconds)
    whole = f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {local.tzname()}"
    shown = whole if style == "full" else f"{local:%H:%M:%S}"
    # Not timezone.localdate(), which needs USE_TZ.
    today = datetime.now(tz=timezone.get_current_timezone()).date()
    if style == "hour" or (style != "full" and local.date() != today):
        shown = f"{local:%d %b %H:%M}"
    return format_html('<time datetime="{}" title="{}">{}</time>', local.isoformat(), whole, shown)


@register.simple_tag
def ago(nanoseconds: int, now_ns: int | None = None) -> SafeString:
    """Return how long ago a moment was, as a time element that the script keeps right."""
    local = _as_datetime(nanoseconds)
    now_ns = time.time_ns() if now_ns is None else now_ns
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        local.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}",
        units.format_ago(now_ns - nanoseconds),
    )


@register.simple_tag(takes_context=True)
def address(context: template.Context, **changes: Any) -> str:
    """Return the parameters of this page's address with *changes*; None takes one away."""
    request = context.get("request")
    if request is None:
        return ""
    # Not a copy of the QueryDict: a page has hundreds of addresses, and copying is deep.
    parameters = dict(request.GET.lists())
    for key, value in changes.items():
        if value is None or value == "":
            parameters.pop(key, None)
        else:
            parameters[key] = [str(value)]
    return f"?{urlencode(parameters, doseq=True)}"


@register.simple_tag
def asset(path: str) -> str:
    """Return the address of one of the tracer's static files.

    A storage that has not collected it (ManifestStaticFilesStorage) refuses: the page is drawn
    all the same, with the plain address.
    """
    try:
        return static(path)
    except (ValueError, ImproperlyConfigured):
        return urljoin(str(settings.STATIC_URL or "/static/"), path)


# --- the tree of a trace -------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class TreeLine:
    """One line of the tree that ``trace_tree`` shows."""

    node: Node
    level: int
    """0 at the top."""
    dispatch: Dispatch | None
    call: ReceiverCall | None
    failed: bool
    outcome: str
    where: str
    title: str
    left: str
    """Percent of the trace's duration."""
    width: str
    address: str
    """Of the span in the viewer; empty if the project has no viewer."""


@register.inclusion_tag("tracing/trace_tree.html")
def trace_tree(trace: Trace | None, max_lines: int = MAX_LINES) -> dict[str, Any]:
    """Show the tree of *trace*: dispatches, their receivers, and what those sent.

    Repetitions are folded. The tree needs no script; its style sheet is ``{% trace_tree_styles %}``.

    Args:
        trace: Finished spans, or None, which is said.
        max_lines: Lines shown; how many are left out is said.
    """
    if trace is None:
        return {"trace": None}
    nodes = list(tree.flatten(tree.fold(trace)))
    whole = tree.extent_ns(trace)
    return {
        "trace": trace,
        "lines": [_tree_line(trace, node, whole) for node in nodes[:max_lines]],
        "hidden": max(0, len(nodes) - max_lines),
        "address": _address("tracing:trace", trace.address),
        "status": tree.status_word(trace),
    }


@register.simple_tag
def trace_tree_styles() -> SafeString:
    """Return the link to the style sheet of ``trace_tree``."""
    return format_html('<link rel="stylesheet" href="{}">', asset("tracing/tree.css"))


def _tree_line(trace: Trace, node: Node, whole_ns: int) -> TreeLine:
    span = node.span
    call = span if isinstance(span, ReceiverCall) else None
    dispatch = span if isinstance(span, Dispatch) else None
    if call is not None:
        where = names.place(call.receiver.file, call.receiver.line)
        outcome = "" if call.outcome is Outcome.RETURNED else str(call.outcome)
    else:
        site = dispatch.callsite if dispatch is not None else None
        where = names.place(site.file, site.line) if site is not None else ""
        outcome = "raised" if dispatch is not None and dispatch.exception_type else ""
    left = min(max(span.start_ns / whole_ns * 100, 0.0), 100.0 - tree.MIN_WIDTH)
    width = min(max(span.duration_ns / whole_ns * 100, tree.MIN_WIDTH), 100.0 - left)
    return TreeLine(
        node=node,
        level=min(node.depth, 24),
        dispatch=dispatch,
        call=call,
        failed=tree.failed(span),
        outcome=outcome,
        where=where,
        title=tree.title(span),
        left=f"{left:.3f}",
        width=f"{width:.3f}",
        address=_address("tracing:span", trace.address, span.number),
    )


def _address(view: str, *parts: object) -> str:
    try:
        return reverse(view, args=parts)
    except NoReverseMatch:
        return ""
