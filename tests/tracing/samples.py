"""Traces for tests of store, pipeline and log: one that has everything, and plain ones."""

from __future__ import annotations

from tracing.spans.records import (
    Bypass,
    Callsite,
    DiscardedCallback,
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
    SilentWrite,
    Status,
    Trace,
    TransactionOutcome,
    WaitingCallback,
    derived_root_span_id,
)

STARTED_NS = 1_800_000_000_000_000_000
POST_SAVE = "django.db.models.signals.post_save"


def plain_trace(number: int = 1, *, dispatches: int = 1, **fields) -> Trace:
    """Return trace *number* with *dispatches* dispatches of one receiver call each."""
    label = ReceiverLabel("shop.receivers.count", "/srv/shop/receivers.py", 12, app="shop")
    trace = Trace(
        trace_id=f"{number:032x}",
        kind=Kind.REQUEST,
        name="shop:list",
        started_ns=STARTED_NS + number,
        duration_ns=5_000_000,
        dispatch_count=dispatches,
        receiver_call_count=dispatches,
        thread="MainThread",
    )
    for place in range(dispatches):
        call = ReceiverCall(2 * place + 2, 0, label, 1_000 * place + 100, 800, self_ns=800)
        trace.dispatches.append(
            Dispatch(
                number=2 * place + 1,
                signal=POST_SAVE,
                sender="shop.Order",
                method=Method.SEND,
                start_ns=1_000 * place,
                duration_ns=950,
                instance=f"shop.Order:{place}",
                thread="MainThread",
                receiver_calls=[call],
            )
        )
    for name, value in fields.items():
        setattr(trace, name, value)
    return trace


def decided(trace: Trace) -> list[tuple[str, bool]]:
    """Return each receiver of *trace* with whether it is mine, which equality does not look at."""
    labels = [call.receiver for dispatch in trace.dispatches for call in dispatch.receiver_calls]
    labels += [label for bypass in trace.bypasses for label in bypass.receivers]
    labels += [lost.receiver for lost in trace.lost_receivers]
    labels += [missed.receiver for missed in trace.missed_receivers]
    return [(label.name, label.mine) for label in labels]


def full_trace() -> Trace:
    """Return a trace in which every field of every span has a value that is not its default."""
    index = ReceiverLabel(
        "shop.receivers.index",
        "/srv/shop/receivers.py",
        30,
        "shop.index",
        False,
        True,
        "shop",
        True,
        True,
    )
    mail = ReceiverLabel("functools.partial(shop.receivers.mail)")
    site = Callsite("/srv/shop/models.py", 77, "Order.place")
    nested = Dispatch(
        number=4,
        signal="shop.signals.order_placed",
        sender="None",
        method=Method.ASEND_ROBUST,
        start_ns=3_000,
        duration_ns=2_000,
        depth=1,
        parent_number=2,
        is_detached=True,
        same_instance_as=1,
        named=("order", "user"),
        values={"order": "<Order: 42>", "user": "…"},
        transaction=TransactionOutcome.SAVEPOINT_ROLLED_BACK,
        transaction_depth=2,
        thread="ThreadPoolExecutor-0_0",
        in_event_loop=True,
        receiver_calls=[
            ReceiverCall(
                5,
                0,
                mail,
                3_100,
                1_500,
                self_ns=1_500,
                outcome=Outcome.CANCELLED,
                response_type="int",
                cpu_ns=70,
                thread_switch_ns=90,
                duplicate_of=0,
                statements=(("SELECT 1", 2, 300),),
            )
        ],
    )
    root = Dispatch(
        number=1,
        signal=POST_SAVE,
        sender="shop.Order",
        method=Method.SEND_ROBUST,
        start_ns=1_000,
        duration_ns=9_000,
        instance="shop.Order:42",
        created=True,
        raw=False,
        using="default",
        update_fields=("total", "count"),
        callsite=site,
        transaction=TransactionOutcome.COMMITTED,
        transaction_depth=1,
        thread="MainThread",
        exception_type="ValueError",
        query_count=3,
        query_ns=700,
        receiver_calls=[
            ReceiverCall(
                2,
                0,
                index,
                1_100,
                6_000,
                self_ns=4_000,
                query_count=3,
                query_ns=700,
            ),
            ReceiverCall(
                3,
                1,
                mail,
                7_200,
                50,
                self_ns=50,
                outcome=Outcome.RAISED,
                exception_type="ValueError",
                exception_message='no "mail"\tat all\n\\N é 🚗',
            ),
        ],
    )
    m2m = Dispatch(
        number=6,
        signal="django.db.models.signals.m2m_changed",
        sender="shop.Order_cars",
        method=Method.SEND,
        start_ns=20_000,
        duration_ns=10,
        instance="shop.Order:42",
        action="pre_add",
        reverse=True,
        pk_count=3,
        thread="MainThread",
        receiver_calls=[
            ReceiverCall(7, 0, index, 20_001, 0, outcome=Outcome.SKIPPED),
        ],
    )
    return Trace(
        trace_id="0af7651916cd43dd8448eb211c80319c",
        kind=Kind.TASK,
        name="shop.tasks.place",
        started_ns=STARTED_NS,
        duration_ns=40_000,
        status=Status.ERROR,
        parent_span_id="b7ad6b7169203331",
        parent_trace_id="1" * 32,
        http_method="POST",
        http_path="/orders/ü/",
        http_status=500,
        user_id="7",
        host="web1",
        process=4_242,
        thread="MainThread",
        release="1.2.3",
        error="ValueError: no mail",
        attributes={"request_id": "r-1", "signal": "SIGTERM"},
        dispatch_count=3,
        receiver_call_count=4,
        query_count=5,
        query_ns=900,
        signal_ns=9_010,
        error_count=1,
        hazard_count=1,
        excluded_count=4,
        arrival_key="0123456789ab",
        redirect_key="ba9876543210",
        dropped_count=2,
        left_out_count=3,
        orphan_count=9,
        overhead_ns=1_234,
        segment=3,
        dispatches=[root, nested, m2m],
        bypasses=[
            Bypass(
                "bulk_create",
                "shop.Order",
                ("pre_save", "post_save"),
                (index, mail),
                12,
                500,
                site,
                2,
            ),
            Bypass("update", "shop.Order", (), (), None, 600),
        ],
        orphans=[("django.db.models.signals.post_init", "shop.Order", 9)],
        side_effects=[
            SideEffect(
                "mail",
                "2 recipients",
                800,
                2,
                "django.core.mail.backends.smtp.EmailBackend",
                True,
                "default",
                TransactionOutcome.ROLLED_BACK,
                1,
                site,
            ),
            SideEffect("socket", "localhost:25", 900, ran_at_once_on="replica"),
        ],
        lost_receivers=[LostReceiver(POST_SAVE, "None", mail)],
        missed_receivers=[
            MissedReceiver(POST_SAVE, "shop.Sale", index, "shop.Order", "its parent model"),
            MissedReceiver(POST_SAVE, "shop.Order", mail, "shop.Order", "disconnected", site),
        ],
        waiting_callbacks=[WaitingCallback("default", 2, 2), WaitingCallback("replica")],
        silent_writes=[
            SilentWrite("m2m", "shop.Order_tags", ("m2m_changed",), site),
            SilentWrite("delete", "shop.Tag", ("pre_delete", "post_delete")),
        ],
        discarded_callbacks=[
            DiscardedCallback(
                "default", TransactionOutcome.ROLLED_BACK, "tell", "/shop/orders.py", 7, site, 2
            ),
            DiscardedCallback("replica", TransactionOutcome.TEST),
        ],
        hazards=[
            Hazard(
                "slow-receiver",
                "warning",
                "index took long",
                "0af7651916cd43dd8448eb211c80319c",
                POST_SAVE,
                "shop.Order",
                index.name,
                index.file,
                index.line,
                [2],
                ["6 ms"],
                "Do it in a task.",
                root_span_id=derived_root_span_id("0af7651916cd43dd8448eb211c80319c", STARTED_NS),
            )
        ],
    )
