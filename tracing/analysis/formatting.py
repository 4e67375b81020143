"""Text for people: times, counts, names and places. The one place where numbers become words."""

from __future__ import annotations

import os
import re
import site
import sysconfig
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings

if TYPE_CHECKING:
    from tracing.capture.spans import Callsite, ReceiverLabel, Trace

_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_LARGE: Final = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
ELLIPSIS: Final = "…"


def human_ns(nanoseconds: float) -> str:
    """Return a duration as ns, µs, ms or s with three significant digits, as ``1.23 ms``.

    Whole nanoseconds are never given decimals; from 1,000 s on, all digits are kept.
    """
    if nanoseconds < 0:
        return f"-{human_ns(-nanoseconds)}"
    for size, unit in _UNITS:
        # A value that would round up to 1,000 of the smaller unit is written in the larger one.
        if nanoseconds >= size * 0.9995 or size == 1:
            if size == 1:
                return f"{nanoseconds:.0f} ns"
            return f"{_three_digits(nanoseconds / size)} {unit}"
    raise AssertionError("unreachable")  # pragma: no cover


def spent_ns(total_ns: float, nanoseconds: float | None = None) -> str:
    """Return a time of something that took *total_ns* in all; a dash for what was never timed.

    Nothing that ran took 0 ns: its end was not seen, or it was skipped. Of what took some time another
    time, as its own, may well be 0.
    """
    if not total_ns:
        return UNTIMED
    return human_ns(total_ns if nanoseconds is None else nanoseconds)


UNTIMED: Final = "-"


def _three_digits(value: float) -> str:
    if value >= 99.95:  # noqa: PLR2004 - from here on three digits need no decimal.
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"  # noqa: PLR2004 - the same.


def human_difference(nanoseconds: float) -> str:
    """Return a difference of durations with its sign, as ``+1.23 ms``; ``±0 ns`` for none."""
    if nanoseconds == 0:
        return "±0 ns"
    return f"+{human_ns(nanoseconds)}" if nanoseconds > 0 else human_ns(nanoseconds)


def human_count(count: float) -> str:
    """Return a count with thousands separated, and from 100,000 on in k, M or G."""
    if abs(count) < 100_000:  # noqa: PLR2004 - six digits are where reading becomes counting.
        return f"{count:,.0f}"
    for size, unit in _LARGE:
        if abs(count) >= size * 0.9995:
            return f"{_three_digits(count / size)} {unit}"
    raise AssertionError("unreachable")  # pragma: no cover


def human_bytes(count: float) -> str:
    """Return a size in bytes, kB, MB or GB (powers of ten) with three significant digits."""
    if count < 1000:  # noqa: PLR2004 - the unit's own size.
        return f"{count:.0f} bytes"
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size * 0.9995:
            return f"{_three_digits(count / size)} {unit}"
    raise AssertionError("unreachable")  # pragma: no cover


def human_percent(share: float) -> str:
    """Return a share between 0 and 1 as a percentage; ``<1 %`` for a little."""
    if 0 < share < 0.01:  # noqa: PLR2004 - one percent.
        return "<1 %"
    return f"{share * 100:.0f} %"


def plural(count: int, one: str, many: str = "") -> str:
    """Return *count* with the noun in its form, as ``1 query`` or ``3 queries``."""
    return f"{human_count(count)} {one if count == 1 else many or one + 's'}"


def signal_of(signal: str, sender: str) -> str:
    """Return a signal and its sender, as ``post_save of shop.Order``; without one the signal alone."""
    short = short_signal(signal)
    return short if sender == "None" else f"{short} of {sender}"


def write_text(operation: str) -> str:
    """Return the operation of a bypass as it is spoken of: ``update()``, ``UPDATE in SQL``."""
    if operation.startswith("sql_"):
        return f"{operation[4:].upper()} in SQL"
    if operation == "db_cascade":
        return "the database's cascade"
    return operation if operation == "on_delete" else f"{operation}()"


def unreadable_text(trace: Trace) -> str:
    """Return what of *trace* could not be read, and why; empty if all could."""
    counts: Counter[tuple[str, str]] = Counter()
    for what, why, count in trace.unreadable:
        counts[what, why] += count
    reasons = ", ".join(f"{what}: {why}" for what, why in sorted(counts))
    return f"{plural(counts.total(), 'thing')} unreadable ({reasons})" if counts else ""


def query_text(count: int) -> str:
    """Return *count* as ``1 query`` or ``3 queries``."""
    return plural(count, "query", "queries")


def ordinal(position: int) -> str:
    """Return the place of *position*, counted from 0, as ``1st``, ``2nd``, ``11th``."""
    number = position + 1
    teens = 10 <= number % 100 <= 20  # noqa: PLR2004 - eleventh to thirteenth are irregular.
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def shorten_middle(text: str, width: int) -> str:
    """Return *text* in at most *width* characters, its middle replaced by one ellipsis."""
    if len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    # The end of a dotted path or a file name says more than its beginning.
    tail = (width - 1) * 2 // 3
    head = width - 1 - tail
    return f"{text[:head]}{ELLIPSIS}{text[len(text) - tail :]}"


def short_signal(signal: str) -> str:
    """Return the last part of a signal's dotted path, as ``post_save``."""
    return signal.rpartition(".")[2] if not signal.endswith(")") else signal


@lru_cache(maxsize=4096)
def short_receiver(name: str) -> str:
    """Return a receiver's name without its modules, as ``Indexer.on_save``."""
    if name.startswith("functools.partial(") and name.endswith(")"):
        return f"partial({short_receiver(name[18:-1])})"
    call = "()" if name.endswith("()") else ""
    parts = name.removesuffix("()").split(".")
    first = len(parts) - 1
    # Classes and enclosing functions belong to the name; modules, in lower case, do not.
    while first and (parts[first - 1][:1].isupper() or parts[first - 1] == "<locals>"):
        first -= 2 if parts[first - 1] == "<locals>" and first > 1 else 1
    return ".".join(parts[max(first, 0) :]) + call


_INSTALLED: Final = re.compile(r"[\\/](site|dist)-packages[\\/]")


@lru_cache(maxsize=1)
def _library_roots() -> tuple[str, ...]:
    roots = {*site.getsitepackages()}
    roots.update(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    return tuple(root.rstrip(os.sep) + os.sep for root in roots)


def in_library(file: str) -> bool:
    """Return whether *file* belongs to an installed package or to Python, not to the project."""
    # A trace may come from another host or environment, whose roots are not those of this process.
    return not file or file.startswith(_library_roots()) or bool(_INSTALLED.search(file))


@lru_cache(maxsize=1)
def _roots() -> tuple[str, ...]:
    """Return the directories that need not be shown in a path, the most specific first."""
    roots = {str(Path.cwd())}
    base = getattr(settings, "BASE_DIR", None) if settings.configured else None
    if base:
        roots.add(str(Path(base).absolute()))
    slashed = {root.rstrip(os.sep) + os.sep for root in roots} | {*_library_roots()}
    # An environment may lie below the project: the longest root fits best.
    return tuple(sorted(slashed, key=len, reverse=True))


@lru_cache(maxsize=4096)
def short_path(file: str) -> str:
    """Return *file* relative to the project, the installed packages or the library."""
    for root in _roots():
        if file.startswith(root):
            return file[len(root) :]
    return file


def place(file: str, line: int = 0) -> str:
    """Return ``path:line`` as an editor and a terminal understand it; empty without a file."""
    if not file:
        return ""
    return f"{short_path(file)}:{line}" if line else short_path(file)


def receiver_text(label: ReceiverLabel) -> str:
    """Return a receiver with its place, as ``orders.receivers.place (orders/receivers.py:9)``."""
    where = place(label.file, label.line)
    return f"{label.name} ({where})" if where else label.name


def callsite_text(callsite: Callsite | None) -> str:
    """Return a callsite with its place, as ``Order.place (orders/models.py:40)``."""
    if callsite is None:
        return "unknown code"
    return f"{callsite.function} ({place(callsite.file, callsite.line)})"
