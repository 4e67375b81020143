"""Callsites: which frame of the application sent a signal.

While the program runs, a callsite is a code object and the offset of an instruction in it; file,
line and function are worked out later from the code's own tables.
"""

from __future__ import annotations

import os
import re
import sys
from threading import get_ident
from typing import TYPE_CHECKING

import asgiref
import django

from tracing.instrumentation.failures import is_own
from tracing.spans.records import Callsite

if TYPE_CHECKING:
    from types import CodeType, FrameType

_OWN = os.path.dirname(os.path.abspath(sys.modules["tracing"].__file__ or "")) + os.sep
_LIBRARIES = (
    os.path.dirname(os.path.abspath(django.__file__)) + os.sep,
    os.path.dirname(os.path.abspath(asgiref.__file__)) + os.sep,
    os.path.dirname(os.path.abspath(os.__file__)) + os.sep,
)
_PACKAGES = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
"""Where packages are installed, whichever environment, host and system they are of."""
_NEIGHBOURS = tuple(
    f"{folder}{name}{os.sep}"
    for folder in (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
    for name in ("sentry_sdk", "opentelemetry", "scout_apm", "newrelic", "ddtrace", "elasticapm")
)
"""Tools that wrap what they watch, and send no signals themselves."""


def is_foreign(path: str) -> bool:
    """Return whether *path* is of a package or Python, not the project's.

    The one definition: of what is *mine*, of what hazards leave alone, and of whose code a callsite is.
    The tracer itself is foreign to the project wherever it lies.
    """
    return path.startswith((_OWN, *_LIBRARIES)) or _PACKAGES.search(path) is not None


_LIMIT = 20_000
"""Files and callsites that are remembered; beyond it begins anew."""

is_library: dict[str, bool] = {}
"""Whether a file belongs to Django, asgiref, the standard library or the tracer itself.

The tracer as a whole: its middleware is around every view, and sends nothing of what they send.

A third-party package is not skipped: when it sends a signal, it is the sender. An exact dictionary,
since that is the fastest thing to ask; ``classify`` fills it.
"""


def classify(filename: str) -> bool:
    """Enter *filename* into ``is_library`` and return what was entered."""
    if filename[:1] == "<":
        # A frozen module is Python's own; "<console>" and "<string>" are somebody typing.
        library = filename.startswith("<frozen")
    else:
        path = os.path.abspath(filename)
        library = path.startswith((_OWN, *_LIBRARIES[:2])) or (
            path.startswith(_LIBRARIES[2]) and not _PACKAGES.search(path)
        )
        library = library or any(folder in path for folder in _NEIGHBOURS)
    if len(is_library) >= _LIMIT:
        is_library.clear()  # Code that is made while running has a file name for each piece, perhaps.
    is_library[filename] = library
    return library


def application_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame that is the application's, or None."""
    while frame is not None:
        filename = frame.f_code.co_filename
        try:
            while is_library[filename]:
                frame = frame.f_back
                if frame is None:
                    return None
                filename = frame.f_code.co_filename
        except KeyError as error:
            if not is_own(error):
                raise
            classify(filename)
        else:
            return frame
    return None


handed: dict[int, tuple[CodeType, int]] = {}
"""Where the application handed the work over that a thread runs, by the thread's identity."""


def place_of(frame: FrameType | None) -> tuple[CodeType | None, int]:
    """Return (code, instruction) of the application on a stack.

    Where nothing of it is there, the place that handed the work to this thread; (None, 0) without one.
    """
    frame = application_frame(frame)
    if frame is not None:
        return frame.f_code, frame.f_lasti
    return handed.get(get_ident(), _NOWHERE)


_NOWHERE: tuple[None, int] = (None, 0)


def own_frame(frame: FrameType | None) -> FrameType | None:
    """Return the same, but preferably of the project's own code.

    A client library opens the socket; what is wanted is who called it.
    """
    first = frame = application_frame(frame)
    while frame is not None and is_foreign(os.path.abspath(frame.f_code.co_filename)):
        frame = application_frame(frame.f_back)
    return frame if frame is not None else first


_callsites: dict[tuple[int, int], tuple[CodeType, Callsite]] = {}


def callsite(code: CodeType, instruction: int) -> Callsite:
    """Return the place in *code* at a byte offset, with its function."""
    key = (id(code), instruction)
    known = _callsites.get(key)
    if known is not None and known[0] is code:
        return known[1]
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
            break
    found = Callsite(os.path.abspath(code.co_filename), line, code.co_qualname)
    if len(_callsites) >= _LIMIT:
        _callsites.clear()
    _callsites[key] = (code, found)
    return found
