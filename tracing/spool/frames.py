"""The format of a spool file: a line, then frames with checksums.

A frame of names gives numbers to labels and texts; the traces after it refer to them by number. So each
file can be read by itself. A trace is mostly written as it was recorded, for the collector to assemble;
a segment of one that still runs, and one that somebody in the process has read, as finished spans.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

import msgspec
from msgspec.structs import astuple

from tracing.instrumentation.assembly.recorded import Receivers, Recorded, assemble_recorded
from tracing.instrumentation.attributes.names import exact
from tracing.instrumentation.buffer import VALUES_PER_DISPATCH
from tracing.instrumentation.connections.receiver_sets import ReceiverSet
from tracing.spans.records import Callsite, Carried, Dispatch, ReceiverCall, ReceiverLabel, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMAT: Final = 2
"""Goes up when a frame changes its meaning; the collector reads this one and the one before."""
READABLE: Final = frozenset({FORMAT - 1, FORMAT})
FIRST_LINE: Final = b"tracing spool %d\n"
NAMES: Final = ord("n")
TRACE: Final = ord("t")
"""Of finished spans."""
RECORDED: Final = ord("r")
"""A trace as it was recorded. Not in format 1."""
TRACES: Final = frozenset({TRACE, RECORDED})
LONGEST: Final = 1 << 30
"""Bytes of a frame; a larger length is none."""

_HEAD: Final = struct.Struct("<IIB")
_ARRAY: Final = struct.Struct(">BI")
_ARRAY_32: Final = 0xDD
"""Of msgpack: an array, whose length follows as four bytes."""
_encode: Final = msgspec.msgpack.Encoder().encode


def _plain(value: Any) -> Any:
    """Return a value of a class of the application's own as what it is."""
    kind = type(value)
    if issubclass(kind, str):
        return exact(value)
    if issubclass(kind, int):
        return int.__int__(value)
    raise TypeError(f"a value of the type {kind!r}")


_encode_recorded: Final = msgspec.msgpack.Encoder(enc_hook=_plain).encode


class Frame(NamedTuple):
    """A frame of a file, and where it stands."""

    kind: int
    payload: bytes
    end: int
    """Where the next one begins."""


class FrameError(ValueError):
    """A place of a file that holds no frame."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame."""
    check = crc32(payload, kind)
    return b"".join((_HEAD.pack(len(payload), check, kind), payload))


def frames(data: bytes, at: int = 0) -> Iterator[Frame]:
    """Yield the whole frames in *data* from *at* on.

    Raises:
        FrameError: What follows is damaged.
    """
    while at + _HEAD.size <= len(data):
        length, check, kind = _HEAD.unpack_from(data, at)
        if length > LONGEST:
            raise FrameError("a length that no frame has")
        begin, end = at + _HEAD.size, at + _HEAD.size + length
        if end > len(data):
            return
        payload = data[begin:end]
        if crc32(payload, kind) != check:
            raise FrameError("a wrong checksum")
        yield Frame(kind, payload, end)
        at = end


def wanted(data: bytes, at: int) -> int:
    """Return how many bytes the frame at *at* needs, as far as is known."""
    if at + _HEAD.size > len(data):
        return _HEAD.size
    return _HEAD.size + int(_HEAD.unpack_from(data, at)[0])


def _numbered(record: type[msgspec.Struct], **types: Any) -> type[msgspec.Struct]:
    """Return a struct with the fields of *record*, some of other *types*."""
    fields: list[Any] = []
    for each in msgspec.structs.fields(record):
        given: list[Any] = [each.name, types.get(each.name, each.type)]
        if each.default is not msgspec.NODEFAULT:
            given.append(each.default)
        elif each.default_factory is not msgspec.NODEFAULT:
            given.append(msgspec.field(default_factory=each.default_factory))
        fields.append(tuple(given))
    return msgspec.defstruct(f"Numbered{record.__name__}", fields, gc=False)


# Numbers stand in the place of names. Records have the same fields in the same order.
_Call: Any = _numbered(ReceiverCall, receiver=int)
_Dispatch: Any = _numbered(
    Dispatch, signal=int, sender=int, callsite=int | None, receiver_calls=list[_Call]
)
_Carried: Any = _numbered(Carried, unfinished=list[_Dispatch])
_Trace: Any = _numbered(Trace, dispatches=list[_Dispatch], diagnosis_context=_Carried | None)

_read_trace: Final = msgspec.msgpack.Decoder(_Trace).decode
_RECEIVER: Final = ReceiverCall.__struct_fields__.index("receiver")


class _Name(msgspec.Struct, array_like=True):
    """A name with its number: one of the four."""

    number: int
    text: str | None = None
    receiver: ReceiverLabel | None = None
    callsite: Callsite | None = None
    receivers: Receivers | None = None
    """Not in format 1."""


_read_names: Final = msgspec.msgpack.Decoder(list[_Name]).decode
_read_recorded: Final = msgspec.msgpack.Decoder(Recorded).decode


def write_name(number: int, value: Any) -> bytes:
    """Return a name for a frame of names.

    Args:
        number: Its number.
        value: A text, a label, a callsite or ``Receivers``.

    Raises:
        UnicodeEncodeError: It cannot be written.
    """
    if type(value) is str:
        return _encode(_Name(number, text=value))
    if type(value) is ReceiverLabel:
        return _encode(_Name(number, receiver=value))
    if type(value) is Receivers:
        return _encode(_Name(number, receivers=value))
    return _encode(_Name(number, callsite=value))


class Appendable(msgspec.Struct, gc=False):
    """A recorded trace that is ready to be appended."""

    trace_id: str
    weight: int
    """How many items it holds, roughly."""
    payload: bytes
    names: dict[int, bytes]
    """The names that it needs, by number."""


def appendable(recorded: Recorded, names: dict[int, bytes]) -> Appendable:
    """Return *recorded* as bytes.

    Raises:
        TypeError: A value in it is none that can be written.
        UnicodeEncodeError: A text is none.
        OverflowError: A number is too large.
    """
    values = sum(len(buffer.recorded) for buffer in recorded.buffers)
    weight = 1 + values // VALUES_PER_DISPATCH
    return Appendable(recorded.head.trace_id, weight, _encode_recorded(recorded), names)


class Encoder:
    """Makes the frames of traces for one file."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        """Of what finished spans name; from 1 on, by value."""
        self._new: list[Any] = []
        self._written: set[int] = set()
        """Numbers below 0: of names of recorded traces."""
        self._new_names: dict[int, bytes] = {}

    def encode(self, batch: Sequence[Trace | Appendable]) -> bytes:
        """Return the frames of *batch*, and of names new in the file.

        The traces are as they were afterwards; other exporters may have them, too.
        """
        made = [b""]
        for trace in batch:
            if isinstance(trace, Appendable):
                for number in trace.names.keys() - self._written:
                    self._new_names[number] = trace.names[number]
                self._written |= trace.names.keys()
                made.append(frame(RECORDED, trace.payload))
            else:
                made.append(frame(TRACE, self._trace(trace)))
        names = [write_name(self._numbers[value], value) for value in self._new]
        names += self._new_names.values()
        if names:
            made[0] = frame(NAMES, b"".join((_ARRAY.pack(_ARRAY_32, len(names)), *names)))
        return b"".join(made)

    def written(self) -> None:
        """Take note that what was encoded last is in the file."""
        self._new.clear()
        self._new_names.clear()

    def not_written(self) -> None:
        """Take note that it is not: its names are new the next time as well."""
        for value in self._new:
            del self._numbers[value]
        self._written -= self._new_names.keys()
        self.written()

    def _number(self, value: Any) -> int:
        self._numbers[value] = number = len(self._numbers) + 1
        self._new.append(value)
        return number

    def _trace(self, trace: Trace) -> bytes:
        """Return *trace* with numbers in the place of names."""
        known, number = self._numbers.get, self._number
        replaced: list[tuple[Any, ...]] = []
        try:
            for each in (*trace.dispatches, *trace.unfinished):
                dispatch: Any = each
                signal, sender, site = dispatch.signal, dispatch.sender, dispatch.callsite
                # What is unfinished may share a part with what is told already.
                if type(signal) is not int:
                    replaced.append((dispatch, signal, sender, site))
                    dispatch.signal = known(signal) or number(signal)
                    dispatch.sender = known(sender) or number(sender)
                    if site is not None:
                        dispatch.callsite = known(site) or number(site)
                for call in dispatch.receiver_calls:
                    receiver = call.receiver
                    if type(receiver) is not int:
                        replaced.append((call, receiver))
                        call.receiver = known(receiver) or number(receiver)
            return _encode(trace)
        finally:
            for found, *names in replaced:
                if len(names) == 1:
                    found.receiver = names[0]
                else:
                    found.signal, found.sender, found.callsite = names


class Decoder:
    """Makes traces of the frames of one file, read from its beginning."""

    def __init__(self, shared: dict[Any, Any]) -> None:
        self._values: dict[int, Any] = {}
        # What is one in the process that wrote it is one here: many look at labels by identity.
        self._shared = shared

    def learn(self, payload: bytes) -> None:
        """Take the names of a frame.

        Raises:
            FrameError: They are none.
        """
        try:
            found = _read_names(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            raise FrameError(f"names that cannot be read: {error}") from None
        for name in found:
            if name.receivers is not None:
                self._values[name.number] = self._receiver_set(name.receivers)
            else:
                value = name.receiver or name.callsite or name.text or ""
                self._values[name.number] = self._shared.setdefault(value, value)

    def _receiver_set(self, found: Receivers) -> ReceiverSet:
        share = self._shared.setdefault
        return ReceiverSet(
            None,
            share(found.sender, found.sender),
            tuple([share(label, label) for label in found.receivers]),
            found.sync_count,
            found.duplicate_of,
            signal_name=share(found.signal, found.signal),
        )

    def recorded(self, payload: bytes) -> Trace:
        """Return the trace of a frame that holds what was recorded.

        Raises:
            FrameError: It is none.
        """
        try:
            return assemble_recorded(_read_recorded(payload), self._values)
        except KeyError as error:
            raise FrameError(f"a trace with the name {error}, which is not in the file") from None
        except Exception as error:  # noqa: BLE001 - it was read from a file, and may hold anything.
            raise FrameError(f"a trace that cannot be read: {error}") from None

    def trace(self, payload: bytes) -> Trace:
        """Return the trace of a frame.

        Raises:
            FrameError: It is none.
        """
        try:
            found = _read_trace(payload)
            diagnosis_context = found.diagnosis_context
            if diagnosis_context is not None:
                diagnosis_context.unfinished = [
                    self._dispatch(each) for each in diagnosis_context.unfinished
                ]
                found.diagnosis_context = Carried(*astuple(diagnosis_context))
            found.dispatches = [self._dispatch(each) for each in found.dispatches]
            return Trace(*astuple(found))
        except (msgspec.DecodeError, RecursionError) as error:
            raise FrameError(f"a trace that cannot be read: {error}") from None
        except KeyError as error:
            raise FrameError(f"a trace with the name {error}, which is not in the file") from None

    def _dispatch(self, found: Any) -> Dispatch:
        values = self._values
        found.signal = values[found.signal]
        found.sender = values[found.sender]
        if found.callsite is not None:
            found.callsite = values[found.callsite]
        calls = []
        for each in found.receiver_calls:
            fields = list(astuple(each))
            fields[_RECEIVER] = values[each.receiver]
            calls.append(ReceiverCall(*fields))
        found.receiver_calls = calls
        return Dispatch(*astuple(found))
