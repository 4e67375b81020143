"""Names and places as text: of signals, receivers, writes and files."""

from __future__ import annotations

import os
import site
import sysconfig
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings

from tracing.instrumentation.attributes.callsites import is_foreign
from tracing.units import plural

if TYPE_CHECKING:
    from tracing.spans.records import Callsite, ReceiverLabel, Trace

ELLIPSIS: Final = "…"


def signal_of(signal: str, sender: str) -> str:
    """Return a signal and its sender, as ``post_save of shop.Order``."""
    short = short_signal(signal)
    return short if sender == "None" else f"{short} of {sender}"


def write_text(operation: str) -> str:
    """Return the operation of a bypass: ``update()``, ``UPDATE in SQL``."""
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


def shorten_middle(text: str, width: int) -> str:
    """Return *text* in at most *width* characters, cut in its middle."""
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


@lru_cache(maxsize=1)
def _library_roots() -> tuple[str, ...]:
    roots = {*site.getsitepackages()}
    roots.update(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    return tuple(root.rstrip(os.sep) + os.sep for root in roots)


def in_library(file: str) -> bool:
    """Return whether *file* is an installed package's or Python's."""
    return not file or is_foreign(file)


def is_of_library(label: ReceiverLabel) -> bool:
    """Return whether a receiver is a package's that is not called *mine*."""
    return not label.mine and in_library(label.file)


@lru_cache(maxsize=1)
def _roots() -> tuple[str, ...]:
    """Return directories left out of paths, the most specific first."""
    roots = {str(Path.cwd())}
    base = getattr(settings, "BASE_DIR", None) if settings.configured else None
    if base:
        roots.add(str(Path(base).absolute()))
    slashed = {root.rstrip(os.sep) + os.sep for root in roots} | {*_library_roots()}
    # An environment may lie below the project: the longest root fits best.
    return tuple(sorted(slashed, key=len, reverse=True))


@lru_cache(maxsize=4096)
def short_path(file: str) -> str:
    """Return *file* relative to the project, the packages or the library."""
    for root in _roots():
        if file.startswith(root):
            return file[len(root) :]
    return file


def place(file: str, line: int = 0) -> str:
    """Return ``path:line``, which editors understand; empty without a file."""
    if not file:
        return ""
    return f"{short_path(file)}:{line}" if line else short_path(file)


def receiver_text(label: ReceiverLabel) -> str:
    """Return a receiver with its place, as ``orders.place (views.py:9)``."""
    where = place(label.file, label.line)
    return f"{label.name} ({where})" if where else label.name


def callsite_text(callsite: Callsite | None) -> str:
    """Return a callsite, as ``Order.place (orders/models.py:40)``."""
    if callsite is None:
        return "unknown code"
    return f"{callsite.function} ({place(callsite.file, callsite.line)})"
