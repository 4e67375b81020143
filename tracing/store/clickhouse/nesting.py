"""Dispatches that receivers sent in the newest traces."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tracing.store.clickhouse.asking import Binder
from tracing.store.clickhouse.traces import listed, load_all
from tracing.store.nesting import SentOn

_SAMPLE: Final = 60
_LARGEST: Final = 400


def sent_on() -> dict[SentOn, int]:
    """Return how often receivers sent what in the newest traces."""
    bind = Binder()
    # As many calls as a dispatch outside of any receiver has are no sign of another inside.
    small = listed(bind, ["Dispatches > 1", f"Dispatches <= {_LARGEST}"], _SAMPLE)
    counted: Counter[SentOn] = Counter()
    for trace in load_all(small):
        above = {
            call.number: (dispatch.signal, dispatch.sender, call.receiver.name)
            for dispatch in trace.dispatches
            for call in dispatch.receiver_calls
        }
        counted.update(
            SentOn(*above[dispatch.parent_number], dispatch.signal, dispatch.sender)
            for dispatch in trace.dispatches
            if dispatch.parent_number in above
        )
    return dict(counted)
