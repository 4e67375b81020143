"""What a trace is made of: its records, and nothing that records, reads or stores them."""

from __future__ import annotations

from tracing.spans.records import (
    Bypass,
    CallbackQueries,
    Callsite,
    Carried,
    ConnectionChange,
    Dispatch,
    Hazard,
    Kind,
    LostReceiver,
    Method,
    MissedReceiver,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    SideEffect,
    Status,
    Trace,
    TransactionOutcome,
    WaitingCallback,
)

__all__ = [
    "Bypass",
    "CallbackQueries",
    "Callsite",
    "Carried",
    "ConnectionChange",
    "Dispatch",
    "Hazard",
    "Kind",
    "LostReceiver",
    "Method",
    "MissedReceiver",
    "Outcome",
    "ReceiverCall",
    "ReceiverLabel",
    "SideEffect",
    "Status",
    "Trace",
    "TransactionOutcome",
    "WaitingCallback",
]
