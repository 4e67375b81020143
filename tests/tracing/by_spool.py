"""Traces that go to another process and are assembled there."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from tracing.instrumentation.assembly.assembler import assemble
from tracing.instrumentation.assembly.resolving import Names, UnwritableError, resolve
from tracing.instrumentation.connections import receiver_sets
from tracing.spool.frames import NAMES, Decoder, Encoder, appendable, frames, write_name

if TYPE_CHECKING:
    from tracing.instrumentation.buffer import ActiveTrace
    from tracing.spans.records import Trace


def by_spool(active: ActiveTrace) -> Trace:
    """Return the spans of an ended trace as a collector makes them. Leaves it as it is.

    Raises:
        UnwritableError: It goes through a spool in spans alone.
        UnicodeEncodeError: So does it.
    """
    ready = appendable(*resolve(active, Names(write_name), []))
    decoder = Decoder({})
    for frame in frames(Encoder().encode([ready])):
        if frame.kind == NAMES:
            decoder.learn(frame.payload)
    return decoder.recorded(frame.payload)


def assembled(active: ActiveTrace) -> Trace:
    """Return the spans of an ended trace, after proving that they come out of a spool the same."""
    told = None
    # A signal that goes in between is named otherwise by the second reading: taken by a collection,
    # or with the last thread that held it.
    held = [each._signal() for each in receiver_sets._by_parts.values() if each._signal]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        if active.reading is None and active.root.spans is None:
            # Those that cannot be written go in spans.
            with suppress(UnwritableError, UnicodeEncodeError):
                told = by_spool(active)
        trace = assemble(active)
        held.clear()
    finally:
        if was_enabled:
            gc.enable()
    if told is not None:
        assert asdict(told) == asdict(trace)
    return trace
