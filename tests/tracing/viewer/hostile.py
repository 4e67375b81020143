"""A trace whose every text tries to be more than text."""

from __future__ import annotations

from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.traces import identify
from tracing.spans.records import (
    Hazard,
    Kind,
    LostReceiver,
    MissedReceiver,
    Outcome,
    ReceiverLabel,
    Status,
    TransactionOutcome,
    WaitingCallback,
)

MARK = "hostile-7"
"""Stands in every text, so that it can be found again."""
SCRIPT = f"</title></script><img src=x onerror=alert(1)><b id={MARK}>"
QUOTES = "\"' onmouseover='alert(2)' {{ 7|add:7 }} {% now 'Y' %} `${1}`"
MARKS = "\u202egnp.exe\u202c \u2066x\u2069 \u200f"
OTHERS = "\0\x1b[31m\x07 emoji \U0001f9e8\u200d\U0001f525 \ud7ff tab\tnewline\n"
EVIL = f"{SCRIPT}{QUOTES}{MARKS}{OTHERS}"
LONG = f"{SCRIPT}{'long ' * 200_000}end"


def hostile(number=666):
    """Return the trace."""
    build = TraceBuilder(
        Kind.REQUEST,
        EVIL,
        http_method="<b>",
        http_path=f"/{EVIL}",
        http_status=500,
        user_id="<i>1</i>",
        release="<u>r</u>",
        error=EVIL,
        attributes={EVIL: EVIL, "long": LONG, "__proto__": "x"},
    )
    saved = build.dispatch(
        EVIL,
        EVIL,
        at="a.b:3",
        instance=f"orders.Order:{EVIL}",
        action="<action>",
        using="<using>",
        update_fields=(EVIL,),
        named=(EVIL, "ok"),
        values={"note": LONG, EVIL: EVIL},
        transaction=TransactionOutcome.ROLLED_BACK,
        transaction_depth=1,
        exception_type=EVIL,
        thread=EVIL,
    )
    label = ReceiverLabel(EVIL, f"/app/{EVIL}.py", 3, EVIL, app="<app>")
    call = build.call(
        saved,
        label,
        outcome=Outcome.RAISED,
        exception_type=EVIL,
        exception_message=LONG,
        response_type=EVIL,
        query_count=1,
        statements=[(f"SELECT '{EVIL}'", 1, 5)],
    )
    inner = build.dispatch("post_save", "cars.Car", call)
    build.call(inner, label)
    build.call(inner, label)
    build.side_effect(call, target=EVIL)
    build.bypass(model=EVIL, receivers=(label,))
    build.trace.lost_receivers.append(LostReceiver(EVIL, EVIL, label))
    build.trace.missed_receivers.append(MissedReceiver(EVIL, EVIL, label, EVIL, EVIL))
    build.trace.waiting_callbacks.append(WaitingCallback(EVIL, parent_number=call.number))
    build.trace.orphans = [(EVIL, EVIL, 3)]
    build.trace.orphan_count = 3
    trace = identify(build.build(), number)
    trace.status = Status.ERROR
    trace.hazards.append(
        Hazard(
            "swallowed-error", "error", EVIL, trace.trace_id, EVIL, EVIL, EVIL, EVIL, 3,
            numbers=[call.number], evidence=[EVIL, LONG], remedy=EVIL,
        )
    )  # fmt: skip
    trace.hazard_count = len(trace.hazards)
    return trace
