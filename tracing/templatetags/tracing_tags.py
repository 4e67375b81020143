"""Template tags: a trace's tree, and words for times, counts, names."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString

from tracing import units
from tracing.analysis import names
from tracing.analysis.mine import view_of
from tracing.clocks import time
from tracing.patterns import pattern
from tracing.presentation.columns import COLUMNS
from tracing.presentation.links import Links, object_name, viewer_address
from tracing.presentation.templating import shows_everything
from tracing.spans.escapes import in_any_charset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.presentation.explanation import Line
    from tracing.spans.records import Trace

register = template.Library()
_ADDRESS: Final = "tracing.address."
"""Under this and its name the address of a page is kept while a template is rendered."""
register.filter(in_any_charset)
register.filter(names.short_signal)
register.filter(names.short_receiver)
register.filter("unreadable", names.unreadable_text)
register.filter("share", units.format_percent)

IN_VIEWER: Final = "Open in the viewer"
MAX_LINES: Final = 300
"""Lines of a tree in a page; what is left out is counted and linked."""


# --- words ---------------------------------------------------------------------------------------


@register.filter
def spent(total_ns: float | str, nanoseconds: float | None = None) -> str:
    """Return a time of what took *total_ns*; a dash if it is unknown."""
    return "" if isinstance(total_ns, str) else units.format_spent(total_ns, nanoseconds)


@register.filter
def duration(nanoseconds: float | str | None) -> str:
    """Return nanoseconds as a duration for people; empty for None."""
    return (
        "" if nanoseconds is None or isinstance(nanoseconds, str) else units.format_ns(nanoseconds)
    )


@register.filter
def difference(nanoseconds: float) -> str:
    """Return a difference of durations with its sign."""
    return units.format_difference(nanoseconds).replace("-", "−")  # noqa: RUF001 - a minus.


@register.filter
def amount(count: float | str | None) -> str:
    """Return a count with its thousands separated; empty for None."""
    return "" if count is None or isinstance(count, str) else units.format_count(count)


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
def plural(count: int, word: str) -> str:
    """Return *count* with *word*, as ``query`` or ``query,queries``."""
    one, _, many = word.partition(",")
    return units.plural(count, one, many)


@register.filter
def words(text: object) -> str:
    """Return ``rolled_back`` as ``rolled back``."""
    return str(text).replace("_", " ")


@register.filter
def location(value: Any) -> str:
    """Return ``path:line`` of what has a file and a line; empty for None."""
    return names.place(value.file, value.line) if value is not None else ""


@register.simple_tag
def name(text: object, width: int = 48) -> SafeString:
    """Return *text* shortened in the middle, with the whole of it on hover.

    A line may end behind a slash, a dot or an underscore within it.
    """
    return _written(clean(str(text)), width)


@lru_cache(maxsize=512)
def _written(whole: str, width: int) -> SafeString:
    shown = names.shorten_middle(whole, width)
    written = SafeString(_BREAK.sub("<wbr>", escape(shown)))
    if shown == whole:
        return format_html('<bdi class="name">{}</bdi>', written)
    return format_html(
        '<bdi class="name" title="{}" data-whole="{}">{}</bdi>',
        whole[:2_000],
        whole[:2_000],
        written,
    )


# Not behind the first slash, which would stand alone, nor before the end of a file's name.
_BREAK: Final = pattern(r"(?<=\S/)|(?<=\w[._])(?=\w)(?!py\b)")
_INVISIBLE: Final = {
    **{code: "\ufffd" for code in range(32) if code not in {9, 10, 13}},
    127: "\ufffd",
    # Characters that turn the direction of what follows would let a name pose as another.
    **dict.fromkeys(
        [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
        "\ufffd",
    ),
}


@register.filter
def clean(text: object) -> str:
    """Return *text* with control characters and directions visible."""
    whole = str(text)
    # None of them is printable, and most texts are: a page has thousands.
    return whole if whole.isprintable() else whole.translate(_INVISIBLE)


@register.filter
def cut(text: object, width: int = 2_000) -> str:
    """Return *text* cleaned, its middle cut out beyond *width*."""
    return names.shorten_middle(clean(text), width)


def _as_datetime(nanoseconds: int) -> datetime:
    time_utc = datetime.fromtimestamp(min(max(nanoseconds, 0), 2**61) // 1000 / 1_000_000, tz=UTC)
    return time_utc.astimezone(timezone.get_current_timezone())


@register.filter
def clock(nanoseconds: int) -> str:
    """Return the time of day of a timestamp (ns since the epoch)."""
    return f"{_as_datetime(nanoseconds):%H:%M:%S}"


@register.simple_tag
def timestamp(nanoseconds: int, style: str = "") -> SafeString:
    """Return a timestamp (ns since the epoch) as a time element.

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
    """Return how long ago a timestamp was, kept right by the script."""
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
    """Return the page's parameters with *changes*; None removes one."""
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


@register.simple_tag
def column(key: str) -> str:
    """Return the name of a column."""
    return COLUMNS[key]


@register.simple_tag(takes_context=True)
def span_link(
    context: template.Context, number: int, text: str = "", width: int = 60, title: str = ""
) -> SafeString:
    """Return *text* as a link to a span, in the viewer or in the panel."""
    links, said = context["links"], text or f"span {number}"
    address, shown, title = links.span(number), name(said, width), cut(title, 600)
    if links.rows is None:
        link = '<a class="open" href="{}" data-span title="{}">{}</a>'
        return format_html(link, address, title, shown)
    if (row := links.rows.get(number)) is not None:
        jump = '<button type="button" class="jump" data-row="{}" title="{}">{}</button>'
        shown = format_html(jump, row, title or "Show it in the tree", shown)
    if address:
        out = '{} <a href="{}" target="_blank" rel="noopener" title="{}" aria-label="{}">↗</a>'
        said = f"{cut(said, width)}: {IN_VIEWER}"
        return format_html(out, shown, address, IN_VIEWER, said)
    return shown


@register.simple_tag(takes_context=True)
def source_link(context: template.Context, file: str, line: int) -> SafeString:
    """Return a place in the source, as a link into the editor if it can be."""
    shown = cut(names.place(file, line), 200)
    if address := context["links"].editor(file, line):
        return format_html('<a href="{}" title="Open in the editor">{}</a>', address, shown)
    return format_html("<code>{}</code>", shown)


# --- the tree of a trace -------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def why_not(context: template.Context, receiver: str = "", **asked: str) -> SafeString:
    """Return the link to why *receiver* was not called; may be empty.

    Without a receiver it asks about those of ``signal``.
    """
    if _in_panel(context):
        # Its trace may not be stored yet.
        asked.pop("trace", None)
    given = {"receiver": receiver, **asked}
    query = {key: value for key, value in given.items() if value and value != "None"}
    return _question(context, "why-not", query, "Why not?")


@register.simple_tag(takes_context=True)
def explain(
    context: template.Context,
    *,
    signal: str = "",
    sender: str = "",
    receiver: str = "",
    name: str = "",
) -> SafeString:
    """Return the link to what follows; empty without a viewer.

    It asks about a *receiver*, the traces of a *name*, or a *signal* of a *sender*; one of the two
    may be missing.
    """
    query = {}
    if receiver or name:
        query["what"] = f"receiver:{receiver}" if receiver else f"name:{name}"
    elif sender and sender != "None":
        query = {"what": f"sender:{sender}", "signal": signal}
    else:
        query["what"] = f"signal:{signal}"
    return _question(
        context, "explain", {key: value for key, value in query.items() if value}, "Explain"
    )


@register.simple_tag(takes_context=True)
def ask_about(context: template.Context, line: Line) -> SafeString:
    """Return the links to what follows a line's step, and why not.

    What was asked about has no link to itself.
    """
    step, found = line.step, ""
    if line.is_receiver:
        follows = f"{explain(context, receiver=step.name)} " if line.level else ""
        found = f"{follows}{why_not(context, step.name)}"
    elif line.level:
        found = explain(context, signal=step.name, sender=step.sender)
    return SafeString(found)


@register.simple_tag
def cells(texts: Iterable[str]) -> SafeString:
    """Return *texts* as cells of numbers, quicker than a node each."""
    return SafeString("".join([f'<td class="num">{html.escape(each)}</td>' for each in texts]))


@register.simple_tag(takes_context=True)
def story(context: template.Context, told: object) -> SafeString:
    """Return the link to the story of an object, an instance or its name.

    Empty without a viewer, and for what has no key.
    """
    name = told if isinstance(told, str) else object_name(told)
    return _question(context, "story", {"object": name}, "Story") if name else format_html("{}", "")


def _in_panel(context: template.Context) -> bool:
    links = context.get("links")
    return isinstance(links, Links) and links.rows is not None


def _question(context: template.Context, page: str, query: dict[str, str], text: str) -> SafeString:
    """Return *text* as a link to a *page* that answers; may be empty."""
    # Made once for each page: a table has hundreds of links, of which this was most of the time.
    key = f"{_ADDRESS}{page}"
    parts = context.render_context.get(key)
    if parts is None:
        address = viewer_address(page)
        head = format_html('<a class="{}" href="{}?', page, address) if address else ""
        blank = ' target="_blank" rel="noopener"' if _in_panel(context) else ""
        parts = context.render_context[key] = (head, f'"{blank}>{text}</a>')
    head, tail = parts
    return SafeString(f"{head}{escape(urlencode(query))}{tail}" if head else "")


@register.inclusion_tag("tracing/trace_tree.html", takes_context=True)
def trace_tree(
    context: template.Context,
    trace: Trace | None,
    max_lines: int = MAX_LINES,
    everything: bool | None = None,  # noqa: FBT001 - tags are written with names.
) -> dict[str, Any]:
    """Show the tree of *trace*: dispatches, receivers, what they sent.

    Repetitions are folded. What is not mine is hidden until *everything* is ticked. The tree needs
    no script; its style sheet is ``{% trace_tree_styles %}``.

    Args:
        context: Of the page.
        trace: Finished spans, or None, which is said.
        max_lines: Lines shown; how many are left out is said.
        everything: Whether it begins with everything; None for what was chosen in the viewer.
    """
    # Here: Django imports tag libraries whenever a command checks the project.
    from tracing.presentation.rows import MAX_LEVEL, Tree, ticks  # noqa: PLC0415

    if trace is None:
        return {"trace": None}
    view, request = view_of(trace), context.get("request")
    links = Links(trace.address)
    tree = Tree(
        trace, max_rows=max_lines, max_level=MAX_LEVEL, mine=view.shown or None, links=links
    )
    rows = tree.rows()
    if everything is None:
        everything = request is not None and shows_everything(request)
    return {
        "trace": trace,
        "rows": rows,
        "ticks": ticks(tree.whole_ns),
        "is_static": True,
        "hidden": tree.count() - len(rows),
        "links": links,
        "heading": view.heading,
        "note": view.note,
        "everything": everything,
    }


@register.simple_tag
def trace_tree_styles() -> SafeString:
    """Return the link to the style sheet of ``trace_tree``."""
    return format_html('<link rel="stylesheet" href="{}">', asset("tracing/design.css"))
