"""Common parts of verbs: arguments, times, ids, errors that help."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils import timezone

from tracing.clocks import time
from tracing.conf import store_alias
from tracing.management.terminal import Terminal, text
from tracing.routers import misplaced
from tracing.search.query import EVERYTHING
from tracing.spans.escapes import escape_control
from tracing.store import traces
from tracing.store.availability import has_tables, make_tables
from tracing.store.embedded import makes_tables
from tracing.store.finding import find
from tracing.store.pages import TraceSearch
from tracing.units import format_ns, parse_age, parse_duration, parse_size, parse_timestamp, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.management.layout import Text
    from tracing.spans.summary import TraceSummary

FOUND: Final = 1
WRONG: Final = 2
NOT_FOUND: Final = 3
NO_STORE: Final = 4

_T = TypeVar("_T")


@dataclass(slots=True)
class Run:
    """One running of the command."""

    options: dict[str, Any]
    terminal: Terminal

    @property
    def as_json(self) -> bool:
        """Return whether a machine reads the output."""
        return bool(self.options.get("format") == "json")

    @property
    def shows_everything(self) -> bool:
        """Return whether also what is not mine is shown; JSON always holds it."""
        return self.as_json or bool(self.options["everything"])


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: what it is called, what it takes and what it does."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Run], int | None]
    """Returns the exit code; None is 0."""
    description: str = ""


# --- arguments -----------------------------------------------------------------------------------


def add_format(parser: argparse.ArgumentParser, *others: str) -> None:
    """Add ``--format``: text for people unless asked otherwise."""
    parser.add_argument(
        "--format",
        choices=["text", "json", *others],
        default="text",
        help="text for people (default), json for machines",
    )


def add_everything(parser: argparse.ArgumentParser) -> None:
    """Add ``--everything``: what is mine unless asked otherwise."""
    parser.add_argument(
        "--everything",
        action="store_true",
        help="also what only Django and installed packages did (JSON always has it)",
    )


def add_trace(parser: argparse.ArgumentParser) -> None:
    """Add the name of a trace, and ``--method``."""
    parser.add_argument("trace", help=NAMES_OF_TRACES)
    parser.add_argument(
        "--method",
        default="",
        type=str.upper,
        help="with last: of requests by this method, as POST",
    )


def hidden_line(note: str) -> Text:
    """Return *note*, which says how many are hidden, with the way to them."""
    return text(f"{note} (--everything)", "dim")


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add ``--since`` and ``--until``."""
    parser.add_argument(
        "--since", type=timestamp, metavar="WHEN", help="e.g. 2h, 3d, 2026-11-22, 2026-11-22T14:30"
    )
    parser.add_argument("--until", type=timestamp, metavar="WHEN", help="the same, the end")


def argument(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return *parse* as a type of argparse that keeps its error messages."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


duration: Final = argument(parse_duration)
"""Nanoseconds."""
age: Final = argument(parse_age)
size: Final = argument(parse_size)
"""Bytes."""
timestamp: Final = argument(lambda text: parse_timestamp(text, time.time_ns()))
"""Nanoseconds since the epoch."""


def positive(text: str) -> int:
    """Return a whole number above 0, as ``10_000_000``."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return number


# --- the store -----------------------------------------------------------------------------------


def fail(message: str, code: int) -> CommandError:
    """Return the error that ends the command with this message and exit code."""
    return CommandError(message, returncode=code)


def require_store() -> str:
    """Return the alias of the store after checking that it can be read.

    Raises:
        CommandError: It is not where the settings say, cannot be reached, or its tables are not
            there yet; with what to do.
    """
    problem = misplaced()
    if problem:
        raise fail(problem, NO_STORE)
    alias = store_alias()
    if makes_tables(alias) and (reason := make_tables(alias)):
        raise fail(
            f"The store (database alias {alias!r}) cannot be used: {escape_control(reason)}",
            NO_STORE,
        )
    try:
        is_there = has_tables(alias)
    except DatabaseError as error:
        raise fail(
            f"The store (database alias {alias!r}) cannot be reached: {escape_control(error)}",
            NO_STORE,
        ) from None
    if not is_there:
        database = "" if alias == "default" else f" --database {alias}"
        raise fail(
            f"The store (database alias {alias!r}) has no tables yet. "
            f"Create them with: manage.py migrate{database}",
            NO_STORE,
        )
    return alias


def require_traces() -> str:
    """Return the alias of the store, after checking that it has traces."""
    alias = require_store()
    if traces.is_empty():
        raise fail(
            "The store is empty. Use the site with tracing on (manage.py tracing status says "
            "whether it is), or read logs with manage.py tracing import.",
            NOT_FOUND,
        )
    return alias


_LISTED = 20
"""Traces that are listed where several are meant."""


LAST: Final = "last"
NAMES_OF_TRACES: Final = "trace id, the beginning of one, last, or last^ for the one before it"


def before_last(wanted: str) -> int | None:
    """Return how far *wanted*, as ``last^^`` or ``last~2``, counts back.

    None if it is another name.
    """
    match = re.fullmatch(rf"{LAST}(?:(\^*)|~([0-9]{{1,6}}))", wanted)
    if match is None:
        return None
    return int(match[2]) if match[2] else len(match[1])


def find_trace(wanted: str, *, method: str = "") -> TraceSummary:
    """Return the trace that *wanted* names, an id or ``last``.

    Of requests by *method* alone, if one is given.

    Raises:
        CommandError: There is none, or there are several; the message lists what comes close.
    """
    require_traces()
    if (back := before_last(wanted)) is not None:
        newest = traces.newest(1, skip=back, method=method)
        if not newest:
            count = traces.request_count(method) if method else traces.counts().traces
            of = f" of requests by {escape_control(method)}" if method else ""
            raise fail(f"The store has {plural(count, 'trace')}{of}.", NOT_FOUND)
        return newest[0]
    if method:
        raise fail("--method goes with last: show last --method POST", WRONG)
    prefix = wanted.lower().replace("-", "")
    if re.fullmatch(r"[0-9a-f]{1,32}|[0-9a-f]{32}/[0-9a-f]{1,16}", prefix):
        found = traces.beginning_with(prefix, _LISTED + 1)
        if len(found) == 1:
            return found[0]
        if found:
            more = f"\n  and more: list 'trace:{prefix}'" if len(found) > _LISTED else ""
            raise fail(
                f"Several traces begin with {prefix}:\n{_listed(found[:_LISTED])}{more}\n"
                "Name one by its second id, or write more of the first.",
                NOT_FOUND,
            )
    raise fail(_no_such(wanted, prefix), NOT_FOUND)


def no_span(address: str, number: int) -> CommandError:
    """Return the error that a trace has no span of that number."""
    way = f"show {address} --all --everything"
    return fail(f"The trace has no span {number}; its numbers are in: {way}", NOT_FOUND)


def last_text(back: int, method: str = "") -> str:
    """Return which trace it is that is *back* before the newest."""
    of = f"of requests by {method}" if method else "of all processes"
    return f"{back} before the newest trace {of}" if back else f"the newest trace {of}"


def _no_such(wanted: str, prefix: str) -> str:
    newest = traces.newest(500)
    by_id = {row.trace_id: row for row in reversed(newest)}
    heads = {trace_id[: len(prefix)]: trace_id for trace_id in by_id}
    near = [by_id[heads[head]] for head in get_close_matches(prefix, heads, n=3, cutoff=0.6)]
    hint = "The nearest ids are"
    if not near:
        near = find(EVERYTHING, wanted=TraceSearch(text=wanted), size=3).traces
        hint = "Traces of that name are"
    if not near:
        near, hint = newest[:3], "The newest traces are"
    return f"There is no trace {escape_control(wanted)}. {hint}:\n{_listed(near)}"


def _listed(rows: list[TraceSummary]) -> str:
    return "\n".join(
        escape_control(f"  {row.address}  {format_ns(row.duration_ns):>8}  {row.kind} {row.name}")
        for row in rows
    )


def when(row: TraceSummary) -> str:
    """Return when a trace started, in the zone of the project, to the second."""
    return timezone.localtime(row.started_at).strftime("%Y-%m-%d %H:%M:%S")
