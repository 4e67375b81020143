"""Readings of the CPU clock in the send loops, for ``CAPTURE_CPU``.

They are put into the code of the loops when that is installed: without the setting nothing asks for it. A
reading stands where a dispatch opens and where each receiver ends, the end of one being the start of the
next. Async receivers, and sync ones under ``asend``, are not read: between two steps of theirs the clock
counts what others do in their thread.
"""

from __future__ import annotations

import ast
from time import thread_time_ns
from typing import Any, Final

from tracing.instrumentation.inlining import Addition, InliningError, statements_at
from tracing.instrumentation.words import CPU

NAMES: Final[dict[str, Any]] = {"CPU": CPU, "thread_clock": thread_time_ns}
"""What the readings take from the hook."""
_READING: Final = "events += (hook.CPU, hook.thread_clock())"
_OPENED: Final = "events += kept"
_RAISED: Final = "events += end"
_RETURNED: Final = "response is None"


def addition() -> Addition:
    """Return what is put into the send loops."""
    return Addition("CAPTURE_CPU", with_readings, NAMES)


def with_readings(definition: ast.AST) -> Any:
    """Return the *definition* of a send loop with readings in it.

    Raises:
        InliningError: It has not the places that they belong to.
    """
    readings = _Readings()
    made = readings.visit(definition)
    if readings.places != [_OPENED, _RAISED, _RETURNED]:
        raise InliningError(f"readings of the CPU clock have their places at {readings.places}")
    return made


class _Readings(ast.NodeTransformer):
    """Insert a reading behind each opening and before each end."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        text = ast.unparse(node)
        if text not in {_OPENED, _RAISED}:
            return node
        self.places.append(text)
        reading = statements_at(_READING, node)
        return [node, *reading] if text == _OPENED else [*reading, node]

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        if ast.unparse(node.test) != _RETURNED:
            return node
        self.places.append(_RETURNED)
        return [*statements_at(_READING, node), node]
