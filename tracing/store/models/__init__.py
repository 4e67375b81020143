"""The store: traces, dispatches and calls, with names kept as labels.

Rows are written by ``tracing.store.writer`` in plain SQL and read through the querysets,
by the viewer, the admin and the command. There is no logic here. A name that ends in ``_ns`` is a
whole number of nanoseconds. Python sees the words of ``tracing.spans.records``, the database small
numbers (``CodeField``). docs/guides/storage.md explains the layout and what it costs.
"""

from __future__ import annotations

from tracing.store.models.hazards import SEVERITY_CODES, Hazard, HazardOccurrence
from tracing.store.models.labels import (
    CallsiteLabel,
    Label,
    ReceiverLabel,
    SenderLabel,
    Sequence,
    SharedAttributes,
    SignalLabel,
    StatementLabel,
    TraceLabel,
)
from tracing.store.models.operations import (
    ObjectIndex,
    PathRollup,
    RecorderControl,
    RecorderState,
    Rollup,
    SavedSearch,
    TaskLink,
    WiringVersion,
)
from tracing.store.models.traces import (
    KIND_CODES,
    METHOD_CODES,
    OUTCOME_CODES,
    STATUS_CODES,
    TRANSACTION_CODES,
    Bypass,
    Dispatch,
    FailedCall,
    Orphan,
    ReceiverCall,
    Trace,
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
    "FailedCall",
    "Hazard",
    "HazardOccurrence",
    "Label",
    "ObjectIndex",
    "Orphan",
    "PathRollup",
    "ReceiverCall",
    "ReceiverLabel",
    "RecorderControl",
    "RecorderState",
    "Rollup",
    "SavedSearch",
    "SenderLabel",
    "Sequence",
    "SharedAttributes",
    "SignalLabel",
    "StatementLabel",
    "TaskLink",
    "Trace",
    "TraceLabel",
    "WiringVersion",
]
