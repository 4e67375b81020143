"""Times of the lines of a function, by ``sys.monitoring`` (3.12).

Only that function's code is watched: everything else runs as fast as ever, but for exceptions, whose every
frame is looked at. For development; nothing of it is loaded until somebody asks.
"""

from __future__ import annotations

import sys
from collections import Counter
from sys import _getframe as getframe
from threading import RLock, local
from typing import TYPE_CHECKING, Any, Final, Self

from tracing.clocks import perf_counter_ns as clock

if TYPE_CHECKING:
    from types import CodeType

_TOOL_IDS: Final = (2, 3, 4)
"""The one for profilers, and those that are nobody's."""

_monitoring: Final[Any] = getattr(sys, "monitoring", None)


class ProfilingError(RuntimeError):
    """Lines cannot be timed here."""


class LineTimes:
    """The hits and times of the lines of *code* while a ``with`` block runs.

    A line has the time until the next one, with what it calls. While a coroutine waits in an ``await``
    nothing is counted.

    Raises:
        ProfilingError: Python is older than 3.12, or other tools have taken what it offers.
    """

    def __init__(self, code: CodeType) -> None:
        if _monitoring is None:
            version = ".".join(map(str, sys.version_info[:3]))
            raise ProfilingError(f"Timing lines needs Python 3.12 or newer; this is {version}.")
        self.code = code
        self.calls = 0
        self.total_ns = 0
        """Of all calls, those inside one another once."""
        self.hits: Counter[int] = Counter()
        self.spent_ns: Counter[int] = Counter()
        self._lock = RLock()
        self._here = local()
        self._tool: int | None = None

    def __enter__(self) -> Self:
        """Begin to watch."""
        free = [each for each in _TOOL_IDS if _monitoring.get_tool(each) is None]
        if not free:
            raise ProfilingError(
                "Timing lines needs a tool of sys.monitoring, and others have taken them all: "
                + ", ".join(str(_monitoring.get_tool(each)) for each in _TOOL_IDS)
            )
        self._tool = tool = free[0]
        _monitoring.use_tool_id(tool, "tracing profile")
        events = _monitoring.events
        for event, callback in self._callbacks().items():
            _monitoring.register_callback(tool, event, callback)
        _monitoring.set_local_events(
            tool,
            self.code,
            events.PY_START | events.PY_RESUME | events.PY_RETURN | events.PY_YIELD | events.LINE,
        )
        # These two are of no place in the code, and cannot be asked of one function alone.
        _monitoring.set_events(tool, events.PY_UNWIND | events.PY_THROW)
        return self

    def __exit__(self, *_error: object) -> None:
        """Watch no longer."""
        tool, self._tool = self._tool, None
        if tool is None:
            return
        _monitoring.set_events(tool, 0)
        _monitoring.set_local_events(tool, self.code, 0)
        for event in self._callbacks():
            _monitoring.register_callback(tool, event, None)
        _monitoring.free_tool_id(tool)

    def _callbacks(self) -> dict[int, Any]:
        events = _monitoring.events
        return {
            events.PY_START: self._start,
            events.PY_RESUME: self._resume,
            events.PY_THROW: self._throw,
            events.LINE: self._line,
            events.PY_RETURN: self._end,
            events.PY_YIELD: self._end,
            events.PY_UNWIND: self._unwind,
        }

    def _stack(self) -> list[list[int]]:
        """Return [line, since, start] of each running frame of this thread."""
        try:
            found: list[list[int]] = self._here.stack
        except AttributeError:
            found = self._here.stack = []
        return found

    def _start(self, _code: CodeType, _offset: int) -> None:
        with self._lock:
            self.calls += 1
        now = clock()
        # What stands before the first line, as the making of cells, is of no line.
        self._stack().append([0, now, now])

    def _resume(self, _code: CodeType, _offset: int) -> None:
        line, now = getframe(1).f_lineno, clock()
        self._stack().append([line, now, now])

    def _throw(self, code: CodeType, _offset: int, _error: object) -> None:
        if code is self.code:
            line, now = getframe(1).f_lineno, clock()
            self._stack().append([line, now, now])

    def _line(self, _code: CodeType, line: int) -> None:
        now = clock()
        stack = self._stack()
        if not stack:
            return  # It ran before anybody watched.
        running = stack[-1]
        with self._lock:
            self.spent_ns[running[0]] += now - running[1]
            self.hits[line] += 1
        # What was done here is nobody's time.
        running[0], running[1] = line, clock()

    def _end(self, _code: CodeType, _offset: int, _value: object) -> None:
        now = clock()
        stack = self._stack()
        if stack:
            line, since, start = stack.pop()
            with self._lock:
                self.spent_ns[line] += now - since
                if not stack:
                    self.total_ns += now - start

    def _unwind(self, code: CodeType, offset: int, error: object) -> None:
        if code is self.code:
            self._end(code, offset, error)
