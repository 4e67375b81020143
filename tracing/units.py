"""Durations, times, sizes and counts, read and written for people."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from tracing.patterns import pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * SECOND_NS
_HOUR_NS: Final = 60 * _MINUTE_NS
_DAY_NS: Final = 24 * _HOUR_NS
_DURATIONS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": _MINUTE_NS,
    "min": _MINUTE_NS,
    "h": _HOUR_NS,
    "d": _DAY_NS,
    "w": 7 * _DAY_NS,
}
_PERIODS: Final = {
    "second": SECOND_NS,
    "minute": _MINUTE_NS,
    "hour": _HOUR_NS,
    "day": _DAY_NS,
    "week": 7 * _DAY_NS,
}
"""Words that mean one of it where no number stands before them."""
_PREFIXES: Final = ("k", "M", "G", "T")
_SIZES: Final = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    **{f"{name.lower()}{end}": 1000**n for n, name in enumerate(_PREFIXES, 1) for end in ("", "b")},
    **{
        f"{name.lower()}i{end}": 1024**n for n, name in enumerate(_PREFIXES, 1) for end in ("", "b")
    },
}
DURATION_UNITS: Final = "ns, us, ms, s, m or min, h, d, w"
"""What messages and help say of the table of durations."""
SIZE_UNITS: Final = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"
"""The same of the table of sizes."""
_AMOUNT: Final = pattern(
    r"\s*((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|)\s*([a-zµμ]*)\s*",
    re.IGNORECASE,
)
_LARGEST: Final = 2**63 - 1
_SHOWN: Final = 60
_DIGITS_OF_MS: Final = 13
"""A moment in milliseconds since the epoch has so many; with more it is in microseconds."""


# --- reading -------------------------------------------------------------------------------------


def parse_duration(text: str) -> int:
    """Return the nanoseconds of *text*, as ``1.5s``, ``2h`` or ``day``.

    Raises:
        ValueError: It is no duration, or one of more than 292 years.
    """
    number, unit = _split(text)
    size = _DURATIONS.get(unit)
    if size is None or not number:
        size = _PERIODS.get(unit.removesuffix("s"))
    if size is None:
        raise ValueError(
            f"{_named(text)} is no duration: write a number and a unit, as 250ms, 1.5s or 2h "
            f"(units: {DURATION_UNITS})."
        )
    return _product(text, number or "1", size)


def parse_age(text: str) -> timedelta:
    """Return a duration, to microseconds.

    Raises:
        ValueError: As ``parse_duration``.
    """
    return timedelta(microseconds=parse_duration(text) // 1_000)


def parse_timestamp(text: str, now_ns: int) -> int:
    """Return the moment (ns since the epoch) that *text* means.

    It is said as a time ago (``2h``), a time of today (``10:30``), in ISO form (``2026-11-22T14:30``),
    in milliseconds or microseconds since the epoch, or as ``now``. Without an offset it is meant in
    Django's current time zone.

    Raises:
        ValueError: It is none of these, or before 1970.
    """
    text = text.strip()
    if text == "now":
        return now_ns
    try:
        return max(0, now_ns - parse_duration(text))
    except ValueError:
        pass
    zone = timezone.get_current_timezone()
    written = text
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", text):
        written = f"{datetime.fromtimestamp(now_ns / 1e9, tz=zone).date().isoformat()}T{text:0>5}"
    elif re.fullmatch(r"[0-9]{13,16}", text):
        return int(text) * (1_000_000 if len(text) == _DIGITS_OF_MS else 1_000)
    try:
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        found = int(moment.timestamp() * 1_000_000) * 1_000
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found < _LARGEST:
        raise ValueError(
            f"{_named(text)} is no time: write how long ago, as 2h or 3d (units: {DURATION_UNITS}), "
            "a time of today, as 10:30, or a date, as 2026-11-22 or 2026-11-22T14:30."
        )
    return found


def parse_size(text: str) -> int:
    """Return the bytes of *text*, as ``500M`` (1000) or ``1GiB`` (1024).

    Raises:
        ValueError: It is no size, or one of more than 8 EiB.
    """
    number, unit = _split(text)
    size = _SIZES.get(unit)
    if size is None or not number:
        raise ValueError(
            f"{_named(text)} is no size: write a number and a unit, as 500MB or 1.5GiB "
            f"(units: {SIZE_UNITS})."
        )
    return _product(text, number, size)


def _split(text: str) -> tuple[str, str]:
    match = _AMOUNT.fullmatch(text)
    # A unit that no table has, for what is not even a number and a word.
    return (match[1].replace(",", ""), match[2].lower()) if match is not None else ("", "?")


def _product(text: str, number: str, size: int) -> int:
    # Not a float: 0.1 of a second is so many nanoseconds, exactly.
    found = Decimal(number) * size
    if found > _LARGEST:
        raise ValueError(f"{_named(text)} is too much.")
    return round(found)


def _named(text: str) -> str:
    """Return *text* quoted, bounded and escaped for terminals."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


# --- writing -------------------------------------------------------------------------------------

_TIMES: Final = {"s": SECOND_NS, "ms": 1_000_000, "µs": 1_000}
_BYTES: Final = {"GB": 10**9, "MB": 10**6, "kB": 10**3}
_COUNTS: Final = {"G": 10**9, "M": 10**6, "k": 10**3}
_AGES: Final = {"d": _DAY_NS, "h": _HOUR_NS, "min": _MINUTE_NS, "s": SECOND_NS}
UNTIMED: Final = "-"
"""Stands for a time that was never taken."""


def format_ns(nanoseconds: float) -> str:
    """Return a duration with three significant digits, as ``1.23 ms``.

    Whole nanoseconds are never given decimals; from 1,000 s on, all digits are kept.
    """
    if nanoseconds < 0:
        return f"-{format_ns(-nanoseconds)}"
    return _scaled(nanoseconds, _TIMES) or f"{nanoseconds:.0f} ns"


def format_spent(total_ns: float, nanoseconds: float | None = None) -> str:
    """Return a time of what took *total_ns*; a dash if that is unknown.

    Nothing that ran took 0 ns: its end was not seen, or it was skipped. Of what took some time another
    time, as its own, may well be 0.
    """
    if not total_ns:
        return UNTIMED
    return format_ns(total_ns if nanoseconds is None else nanoseconds)


def format_difference(nanoseconds: float) -> str:
    """Return a signed difference of durations, as ``+1.23 ms``."""
    if nanoseconds == 0:
        return "±0 ns"
    return f"+{format_ns(nanoseconds)}" if nanoseconds > 0 else format_ns(nanoseconds)


def format_ago(nanoseconds: float) -> str:
    """Return how long ago something was, as ``3 h ago``; else ``now``."""
    for unit, size in _AGES.items():
        if nanoseconds >= size:
            return f"{int(nanoseconds // size)} {unit} ago"
    return "now"


def format_moment(nanoseconds: int) -> str:
    """Return a moment in Django's time zone, as ``2026-11-22 14:30``."""
    moment = datetime.fromtimestamp(nanoseconds // SECOND_NS, tz=timezone.get_current_timezone())
    return f"{moment:%Y-%m-%d %H:%M}"


def format_bytes(count: float) -> str:
    """Return a size with three significant digits, as ``1.23 MB``."""
    return _scaled(count, _BYTES) or plural(round(count), "byte")


def format_count(count: float) -> str:
    """Return a count with separators, and from 100,000 on as ``100 k``."""
    if abs(count) < 100_000:  # noqa: PLR2004 - six digits are where reading becomes counting.
        return f"{count:,.0f}"
    return _scaled(count, _COUNTS)


def format_percent(share: float) -> str:
    """Return a share between 0 and 1 as a percentage; ``<1 %`` for a little."""
    if 0 < share < 0.01:  # noqa: PLR2004 - one percent.
        return "<1 %"
    return f"{share * 100:.0f} %"


def plural(count: int, one: str, many: str = "") -> str:
    """Return *count* with its noun, as ``1 query`` or ``3 queries``."""
    return f"{format_count(count)} {one if count == 1 else many or one + 's'}"


def query_text(count: int) -> str:
    """Return *count* as ``1 query`` or ``3 queries``."""
    return plural(count, "query", "queries")


def ordinal(position: int) -> str:
    """Return *position*, from 0, as ``1st``, ``2nd``, ``11th``."""
    number = position + 1
    teens = 10 <= number % 100 <= 20  # noqa: PLR2004 - eleventh to thirteenth are irregular.
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _scaled(value: float, units: Mapping[str, int]) -> str:
    """Return *value* in the first of *units* that it fills; else empty.

    A value that would round up to 1,000 of a smaller unit is written in the larger one.
    """
    for unit, size in units.items():
        if abs(value) >= size * 0.9995:
            return f"{_three_digits(value / size)} {unit}"
    return ""


def _three_digits(value: float) -> str:
    size = abs(value)
    if size >= 99.95:  # noqa: PLR2004 - from here on three digits need no decimal.
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"  # noqa: PLR2004 - the same.
