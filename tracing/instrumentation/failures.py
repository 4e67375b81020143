"""Our own failures: swallowed, counted and logged here, and nowhere else.

The traced program comes first. A failure of the recording is logged once per kind and place with
its traceback, counted, and shown in the viewer; it never reaches the application.

What is raised into the recording from outside is no failure of it: a signal handler, a timer or a soft
time limit interrupts whatever the thread does. That exception is the application's and is passed on.
"""

from __future__ import annotations

import logging
import threading

# Not those of ``signal``, which make members of enums first: that takes a millisecond.
from _signal import getsignal, valid_signals  # type: ignore[import-not-found]
from collections import Counter
from dis import opmap, opname
from itertools import pairwise
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

logger = logging.getLogger("tracing")

counts: Counter[str] = Counter()
"""Failures by place, since the process began."""

_LOGGED_PLACES = 100
"""Kinds of failures that are counted and logged apart; the rest are counted together."""


class _Thread(threading.local):
    is_traced = True
    """Whether it runs the application: nothing is raised into the worker from outside."""


thread: Final = _Thread()


def failed(place: str, error: BaseException) -> None:
    """Count a failure at *place*; log the first of each kind.

    Called where *error* is handled. Never raises anything but *error* itself, where that was raised
    into the recording from outside and belongs to the application.
    """
    foreign = False
    try:
        foreign = thread.is_traced and not is_own(error)
        if not foreign:
            _count(place, error)
    except Exception as broken:  # Even logging may be broken; there is nobody left to tell.
        if thread.is_traced and not is_own(broken):
            raise
    if foreign:
        raise error


def _count(place: str, error: BaseException) -> None:
    key = f"{place}: {type(error).__name__}"
    if key not in counts and len(counts) >= _LOGGED_PLACES:
        key = "elsewhere"
    known = counts[key]
    counts[key] = known + 1
    if not known:
        logger.error(
            "Recording failed in %s; the application is not affected.", place, exc_info=error
        )


# --- whose exception it is ---------------------------------------------------------------------

_PAUSES: Final = frozenset({opmap["RESUME"], opmap["JUMP_BACKWARD"]})
"""Instructions that neither call nor raise: Python only looks there whether somebody interrupts."""
_CALLS: Final = frozenset(
    number
    for number, name in enumerate(opname)
    if ("CALL" in name and "INTRINSIC" not in name) or name.startswith("POP_JUMP_BACKWARD")
)
"""Instructions after which Python looks there, too, and which may as well have failed themselves."""
_RAISED_BARE: Final = (StopIteration, StopAsyncIteration, MemoryError)
"""What C functions raise without any argument."""
_TAKES_KEYWORDS: Final = 0x08
_TAKES_MORE: Final = 0x04


def is_own(error: BaseException) -> bool:
    """Return whether our own code raised *error*, and nobody from outside.

    The traceback tells: a signal handler is called with the frame that it interrupts, and what is set
    for a thread (``PyThreadState_SetAsyncExc``) is raised without arguments by an instruction that
    cannot fail or after a call that has succeeded. The end of the stack and of the memory are no news
    from outside.
    """
    if type(error) is RecursionError or type(error) is MemoryError:
        return True
    entry = error.__traceback__
    if entry is None:
        return True
    entries = [entry]
    while (inner := entries[-1].tb_next) is not None:
        entries.append(inner)
    if _was_set_from_outside(error, entries[-1]):
        return False
    # The innermost first: a handler seldom calls much, and what it raised is on its way.
    return not any(
        inner.tb_frame is not outer.tb_frame and _interrupts(inner.tb_frame, outer)
        for outer, inner in reversed([*pairwise(entries)])
    )


def pass_on(error: BaseException) -> None:
    """Raise *error* if it came from outside; otherwise do nothing."""
    if type(error) is not RecursionError and not is_own(error):
        raise error


def _instruction(entry: TracebackType) -> int:
    code = entry.tb_frame.f_code.co_code
    return code[entry.tb_lasti] if 0 <= entry.tb_lasti < len(code) else 0


def _interrupts(frame: FrameType, entry: TracebackType) -> bool:
    """Return whether *frame* was called in the middle of *entry*."""
    if _instruction(entry) in _PAUSES:
        return True
    code = frame.f_code
    flags = code.co_flags
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(flags & _TAKES_MORE) + bool(flags & _TAKES_KEYWORDS)
    held = frame.f_locals
    for name in code.co_varnames[:count]:
        value = held.get(name)
        if value is entry.tb_frame:
            return True
        if type(value) is tuple and any(item is entry.tb_frame for item in value):
            return True
    return any(_code_of(handler) is code for handler in map(getsignal, valid_signals()))


def _code_of(handler: object) -> CodeType | None:
    if type(handler) is MethodType:
        handler = handler.__func__
    return handler.__code__ if type(handler) is FunctionType else None


def _was_set_from_outside(error: BaseException, entry: TracebackType) -> bool:
    """Return whether *error* was raised into *entry* from outside."""
    kind = type(error)
    makes_arguments = any(
        type(type.__getattribute__(kind, name)) is FunctionType for name in ("__init__", "__new__")
    )
    if error.args and not makes_arguments:
        return False
    instruction = _instruction(entry)
    if instruction in _PAUSES:
        return True
    return instruction in _CALLS and not any(kind is bare for bare in _RAISED_BARE)
