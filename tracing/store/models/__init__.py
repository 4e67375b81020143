"""The store: traces, dispatches and receiver calls, with names kept once as label rows.

Rows are written by ``tracing.store.writer`` in plain SQL and read through the querysets,
by the viewer, the admin and the command. There is no logic here. A name that ends in ``_ns`` is a
whole number of nanoseconds. Python sees the words of ``tracing.spans.records``, the database small
numbers (``CodeField``). docs/storage.md explains the layout and what it costs.
"""

from __future__ import annotations

from tracing.store.models.hazards import SEVERITY_CODES, Hazard, HazardSighting
from tracing.store.models.labels import (
    CallsiteLabel,
    FactsLabel,
    Label,
    ReceiverLabel,
    SenderLabel,
    Sequence,
    SignalLabel,
    StatementLabel,
    TraceLabel,
)
from tracing.store.models.operations import RecorderControl, RecorderState, Rollup, SavedSearch
from tracing.store.models.traces import (
    KIND_CODES,
    METHOD_CODES,
    OUTCOME_CODES,
    STATUS_CODES,
    TRANSACTION_CODES,
    Bypass,
    Dispatch,
    FailedCall,
    ReceiverCall,
    Trace,
    Unheard,
)

__all__ = [
    "KIND_CODES",
    "METHOD_CODES",
    "OUTCOME_CODES",
    "SEVERITY_CODES",
    "STATUS_CODES",
    "TRANSACTION_CODES",
    "Bypass",
    "CallsiteLabel",
    "Dispatch",
    "FactsLabel",
    "FailedCall",
    "Hazard",
    "HazardSighting",
    "Label",
    "ReceiverCall",
    "ReceiverLabel",
    "RecorderControl",
    "RecorderState",
    "Rollup",
    "SavedSearch",
    "SenderLabel",
    "Sequence",
    "SignalLabel",
    "StatementLabel",
    "Trace",
    "TraceLabel",
    "Unheard",
]
