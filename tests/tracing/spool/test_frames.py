"""Tests of the format of a spool file."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.tracing.samples import full_trace, plain_trace
from tracing.spans.records import Carried
from tracing.spool.frames import NAMES, TRACE, Decoder, Encoder, FrameError, frame, frames, wanted


def decoded(data):
    """Return the traces in *data*."""
    decoder, found = Decoder({}), []
    for each in frames(data):
        if each.kind == NAMES:
            decoder.learn(each.payload)
        else:
            found.append(decoder.trace(each.payload))
    return found


def test_a_trace_is_read_as_it_was_written_and_is_the_same_afterwards():
    trace = full_trace()
    trace.diagnosis_context = Carried(
        counted={("shop.Order", "post_save"): [(1, 2)]}, unfinished=[replace(trace.dispatches[0])]
    )
    before = repr(trace.dispatches)

    (read,) = decoded(Encoder().encode([trace]))

    assert read == full_trace()
    assert read.diagnosis_context == trace.diagnosis_context
    assert repr(trace.dispatches) == before
    assert {type(each) for each in read.dispatches} == {type(trace.dispatches[0])}


def test_a_name_is_written_once():
    trace = plain_trace(1)
    call = trace.dispatches[0].receiver_calls[0]
    names = (trace.dispatches[0].signal, call.receiver.name)
    encoder = Encoder()
    first = encoder.encode([trace, plain_trace(2)])
    encoder.written()
    second = encoder.encode([plain_trace(3)])

    assert [first.count(name.encode()) for name in names] == [1, 1]
    assert not any(name.encode() in second for name in names)
    assert decoded(first + second) == [plain_trace(1), plain_trace(2), plain_trace(3)]


def test_labels_that_are_one_are_one_again():
    first, second = decoded(Encoder().encode([full_trace(), full_trace()]))

    calls = [trace.dispatches[0].receiver_calls[0] for trace in (first, second)]
    assert calls[0].receiver is calls[1].receiver


def test_names_of_what_was_not_written_are_written_again():
    encoder = Encoder()
    encoder.encode([full_trace()])
    encoder.not_written()

    assert decoded(encoder.encode([full_trace()])) == [full_trace()]


@pytest.mark.parametrize("cut", [1, 5, 8, 9, 30])
def test_the_beginning_of_a_frame_is_none(cut):
    whole = frame(TRACE, b"x" * 40)

    assert list(frames(whole[:cut])) == []
    assert [each.payload for each in frames(whole + whole[:cut])] == [b"x" * 40]
    assert wanted(whole[:9], 0) == len(whole)


def test_what_was_changed_is_noticed():
    data = bytearray(frame(TRACE, b"payload") + frame(TRACE, b"another"))
    data[12] ^= 1

    with pytest.raises(FrameError, match="checksum"):
        list(frames(bytes(data)))
    data = bytearray(frame(TRACE, b"payload"))
    data[8] = NAMES
    with pytest.raises(FrameError, match="checksum"):
        list(frames(bytes(data)))


def test_a_length_that_no_frame_has_is_noticed():
    with pytest.raises(FrameError, match="length"):
        list(frames(b"\xff" * 20))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x01\x02", b"\x80", b"\x91" * 3000])
def test_what_is_no_trace_is_told(payload):
    with pytest.raises(FrameError):
        Decoder({}).trace(payload)
    if payload:
        with pytest.raises(FrameError):
            Decoder({}).learn(payload)


def test_a_trace_without_its_names_is_told():
    encoder = Encoder()
    encoder.encode([full_trace()])
    encoder.written()
    (only,) = frames(encoder.encode([full_trace()]))

    with pytest.raises(FrameError, match="not in the file"):
        Decoder({}).trace(only.payload)


def test_a_trace_of_nothing_but_itself_needs_no_names():
    assert decoded(Encoder().encode([plain_trace(3)])) == [plain_trace(3)]
