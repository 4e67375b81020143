"""Made-up traces of a shop, to fill a store of any size: for benchmarks and trying the viewer.

    python -m benchmarks.synthetic --dispatches 100_000 --days 30

writes them into the store of the project that DJANGO_SETTINGS_MODULE names (CarSales), the same ones for
the same ``--seed``.

``Filler`` makes up to a million dispatches, each with its own times and names. A store of more is
made of that by the database itself, which ``repeat_stored`` has copy what it holds to later days.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import connections
from msgspec import json
from msgspec.structs import replace

from tracing.analysis.histogram import HOUR_NS
from tracing.spans.records import (
    Callsite,
    Dispatch,
    Kind,
    Method,
    Outcome,
    ReceiverCall,
    ReceiverLabel,
    Status,
    Trace,
    TransactionOutcome,
)
from tracing.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MODEL_SIGNALS = "django.db.models.signals."
_LARGEST_TRACE = 60
_KEYS = 500_000
"""Primary keys of the instances, as many as a busy shop has orders."""
_WHOLE = 2_500
"""So many traces are made from nothing; what comes after them is each time one of these, varied."""


@dataclass(frozen=True, slots=True)
class _Wiring:
    """A signal and a sender with the receivers that are connected for them."""

    signal: str
    sender: str
    receivers: tuple[ReceiverLabel, ...]
    callsites: tuple[Callsite, ...]
    transaction: TransactionOutcome
    named: tuple[str, ...]


class Filler:
    """Make up traces that look like those of a shop, the same for the same seed.

    Args:
        seed: Of the random numbers.
        newest_ns: When the last trace started (wall clock, ns since the epoch).
        days: Over how many days the traces are spread.
        apps: How many applications the shop has; signals and receivers grow with it.
        diagnose: Puts the hazards of a trace into it.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        newest_ns: int,
        days: float = 7,
        apps: int = 12,
        diagnose: Callable[[Trace], object] | None = None,
    ) -> None:
        self.diagnose = diagnose
        self.random = random.Random(seed)  # noqa: S311 - made-up data.
        self.newest_ns = newest_ns
        self.span_ns = int(days * 86_400 * SECOND_NS)
        self.wirings = [self._wiring(app, place) for app in range(apps) for place in range(8)]
        # Few signals make most of the dispatches, as everywhere.
        self.weights = [1 / (rank + 1) for rank in range(len(self.wirings))]
        self.random.shuffle(self.weights)
        self.routes = [
            (f"shop{app}:{verb}", f"/shop{app}/{verb}/", method)
            for app in range(apps)
            for verb, method in (("list", "GET"), ("detail", "GET"), ("save", "POST"))
        ]

    def _wiring(self, app: int, place: int) -> _Wiring:
        name = f"shop{app}"
        if place < 6:  # noqa: PLR2004 - six of eight are model signals.
            signal = _MODEL_SIGNALS + ("pre_save", "post_save", "post_delete")[place % 3]
            sender = f"{name}.{('Order', 'Customer')[place // 3]}"
            named: tuple[str, ...] = ()
        else:
            signal = f"{name}.signals.{('order_placed', 'stock_changed')[place - 6]}"
            sender = f"{name}.services.Checkout"
            named = ("order", "user")
        receivers = tuple(
            ReceiverLabel(
                name=f"{name}.receivers.{verb}_{place}",
                file=f"/srv/shop/{name}/receivers.py",
                line=20 + 17 * number,
                dispatch_uid=f"{name}.{verb}" if number % 2 else "",
                app=name,
                is_async=number == 4,  # noqa: PLR2004
                mine=True,
            )
            for number, verb in enumerate(
                ("index", "notify", "count", "invalidate", "push")[
                    : self.random.choice((1, 2, 3, 3, 4, 5))
                ]
            )
        )
        callsites = tuple(
            Callsite(f"/srv/shop/{name}/views.py", 30 + 11 * number, f"{verb}_view")
            for number, verb in enumerate(("create", "edit"))
        )
        transaction = self.random.choice(
            (TransactionOutcome.NONE, TransactionOutcome.COMMITTED, TransactionOutcome.COMMITTED)
        )
        return _Wiring(signal, sender, receivers, callsites, transaction, named)

    def traces(self, dispatches: int) -> Iterator[Trace]:
        """Yield traces with *dispatches* dispatches altogether, oldest first."""
        made = 0
        models: list[Trace] = []
        while made < dispatches:
            left = dispatches - made
            started_ns = self.newest_ns - int((1 - made / dispatches) * self.span_ns)
            if len(models) < _WHOLE:
                size = min(left, 1 + int(self.random.expovariate(1 / 19)), _LARGEST_TRACE)
                trace = self._trace(size, started_ns)
                models.append(trace)
            else:
                model = self.random.choice(models)
                if len(model.dispatches) > left:
                    model = self._trace(left, started_ns)
                trace = self._varied(model, started_ns)
            made += len(trace.dispatches)
            yield trace

    def _varied(self, model: Trace, started_ns: int) -> Trace:
        """Return *model* as it would have gone at another time, for another user and instance.

        That takes a fifth of the time of making a trace up; stores of millions are filled so.
        """
        roll = self.random
        pace, shift = roll.lognormvariate(0, 0.35), roll.randrange(_KEYS)
        dispatches = []
        for old in model.dispatches:
            start_ns = int(old.start_ns * pace)
            if old.instance:
                label, _, number = old.instance.partition(":")
                instance = f"{label}:{(int(number) + shift) % _KEYS + 1}"
            else:
                instance = ""
            dispatch = replace(
                old,
                start_ns=start_ns,
                duration_ns=int(old.duration_ns * pace),
                instance=instance,
                query_ns=int(old.query_ns * pace),
                receiver_calls=[],
            )
            add = dispatch.receiver_calls.append
            for call in old.receiver_calls:
                add(
                    replace(
                        call,
                        start_ns=int(call.start_ns * pace),
                        duration_ns=int(call.duration_ns * pace),
                        self_ns=int(call.self_ns * pace),
                        query_ns=int(call.query_ns * pace),
                    )
                )
            dispatches.append(dispatch)
        path = model.http_path.rstrip("/").rpartition("/")[0]
        return replace(
            model,
            trace_id=f"{roll.getrandbits(128):032x}",
            root_span_id="",  # The store gave the model one.
            started_ns=started_ns,
            duration_ns=int(model.duration_ns * pace),
            http_path=f"{path}/{roll.randrange(1, _KEYS)}/",
            user_id=self._user(),
            query_ns=int(model.query_ns * pace),
            signal_ns=int(model.signal_ns * pace),
            dispatches=dispatches,
            hazards=list(model.hazards),
        )

    def _user(self) -> str:
        """Return the id of a user, or nothing for one of the many who are not logged in."""
        return str(self.random.randrange(1, 20_000)) if self.random.random() < 0.6 else ""  # noqa: PLR2004

    def _trace(self, size: int, started_ns: int) -> Trace:
        roll = self.random
        name, path, method = roll.choice(self.routes)
        key = roll.randrange(1, _KEYS)
        trace = Trace(
            trace_id=f"{roll.getrandbits(128):032x}",
            kind=Kind.REQUEST if roll.random() < 0.95 else Kind.TASK,  # noqa: PLR2004
            name=name,
            started_ns=started_ns,
            duration_ns=0,
            http_method=method,
            http_path=f"{path}{key}/",
            http_status=200,
            user_id=self._user(),
            host="web1",
            process=4_000 + roll.randrange(8),
            thread="MainThread",
        )
        number, clock = 1, roll.randrange(200_000, 2_000_000)
        while len(trace.dispatches) < size:
            number, clock = self._dispatch(trace, size, number, clock, None, 0, key)
            clock += roll.randrange(50_000, 900_000)
        trace.duration_ns = clock + roll.randrange(200_000, 3_000_000)
        trace.dispatch_count = len(trace.dispatches)
        for dispatch in trace.dispatches:
            trace.receiver_call_count += len(dispatch.receiver_calls)
            if dispatch.parent_number is None:
                trace.signal_ns += dispatch.duration_ns
            for call in dispatch.receiver_calls:
                trace.query_count += call.query_count
                trace.query_ns += call.query_ns
                trace.error_count += call.outcome is Outcome.RAISED
        trace.status = Status.ERROR if trace.error_count else Status.OK
        if trace.error_count:
            trace.http_status = 500
            trace.error = "ValueError: out of stock"
        trace.orphans = [(_MODEL_SIGNALS + "post_init", "shop0.Order", roll.randrange(1, 90))]
        trace.orphan_count = trace.orphans[0][2]
        trace.overhead_ns = 900 * trace.dispatch_count
        if self.diagnose is not None:
            self.diagnose(trace)
            for hazard in trace.hazards:
                # It is shared with the traces that are made of this one.
                hazard.trace_id = None
        return trace

    def _dispatch(  # noqa: PLR0917 - private, and it calls itself.
        self,
        trace: Trace,
        size: int,
        number: int,
        clock: int,
        parent: ReceiverCall | None,
        depth: int,
        key: int,
    ) -> tuple[int, int]:
        """Add a dispatch and what it causes; return the next span number and the time after it."""
        roll = self.random
        wiring = roll.choices(self.wirings, self.weights)[0]
        saves = wiring.signal.endswith("_save")
        dispatch = Dispatch(
            number=number,
            signal=wiring.signal,
            sender=wiring.sender,
            method=Method.SEND,
            start_ns=clock,
            duration_ns=0,
            depth=depth,
            parent_number=None if parent is None else parent.number,
            instance=f"{wiring.sender}:{key + number}" if not wiring.named else "",
            created=roll.random() < 0.3 if saves and "post" in wiring.signal else None,  # noqa: PLR2004
            raw=False if saves else None,
            using="" if wiring.named else "default",
            named=wiring.named,
            callsite=roll.choice(wiring.callsites),
            transaction=wiring.transaction,
            transaction_depth=0 if wiring.transaction is TransactionOutcome.NONE else 1,
            thread=trace.thread,
        )
        number += 1
        trace.dispatches.append(dispatch)
        clock += roll.randrange(800, 4_000)
        failed = False
        for position, receiver in enumerate(wiring.receivers):
            call = ReceiverCall(number, position, receiver, clock, 0)
            number += 1
            dispatch.receiver_calls.append(call)
            if failed:
                call.outcome = Outcome.SKIPPED
                continue
            clock += int(roll.lognormvariate(11, 1.2))
            if roll.random() < 0.3:  # noqa: PLR2004
                call.query_count = roll.randrange(1, 4)
                call.query_ns = call.query_count * roll.randrange(40_000, 400_000)
                clock += call.query_ns
            nested = 0
            if depth < 3 and len(trace.dispatches) < size and roll.random() < 0.15:  # noqa: PLR2004
                before = clock
                number, clock = self._dispatch(trace, size, number, clock, call, depth + 1, key)
                nested = clock - before
            call.duration_ns = clock - call.start_ns
            call.self_ns = call.duration_ns - nested
            dispatch.query_count += call.query_count
            dispatch.query_ns += call.query_ns
            if roll.random() < 0.001:  # noqa: PLR2004
                call.outcome, failed = Outcome.RAISED, True
                call.exception_type = "ValueError"
                call.exception_message = "out of stock"
                dispatch.exception_type = "ValueError"
        dispatch.duration_ns = clock - dispatch.start_ns
        return number, clock


# -- Copying in the store --------------------------------------------------------------------

_ROWS_AT_ONCE = 200_000
_MADE: dict[str, dict[str, str]] = {
    "sqlite": {
        "trace_id": "lower(hex(randomblob(16)))",
        "root_span_id": "lower(hex(randomblob(8)))",
        "writer": "substr(writer, 1, 11) || '+{number}'",
        "instance": "':' || ((CAST(substr(instance, 2) AS integer) + {salt}) % {keys} + 1)",
    },
    "postgresql": {
        "trace_id": "md5(id::text || ':{salt}')",
        "root_span_id": "substr(md5(id::text || '/{salt}'), 1, 16)",
        "writer": "substr(writer, 1, 11) || '+{number}'",
        "instance": "':' || ((substr(instance, 2)::bigint + {salt}) % {keys} + 1)",
    },
    "mysql": {
        "trace_id": "MD5(CONCAT(id, ':{salt}'))",
        "root_span_id": "LEFT(MD5(CONCAT(id, '/{salt}')), 16)",
        "writer": "CONCAT(SUBSTR(writer, 1, 11), '+{number}')",
        "instance": "CONCAT(':', (CAST(SUBSTR(instance, 2) AS UNSIGNED) + {salt}) % {keys} + 1)",
    },
}
"""New ids and another instance of the same model, as each database writes them."""

_SEEN = 5
"""Where a root of a tree of paths has how many traces, and when the first and the last began."""

_SEQUENCES = {
    "tracing_trace": "trace",
    "tracing_dispatch": "dispatch",
    "tracing_receivercall": "dispatch",
    "tracing_failedcall": "dispatch",
    "tracing_orphan": "other",
    "tracing_hazardoccurrence": "other",
}
"""The tables that are copied, and what their ids are numbered with."""


def repeat_stored(
    using: str, times: int, hours: int, progress: Callable[[int], object] = lambda _: None
) -> None:
    """Copy all that ``Filler`` put into the store *times* times, each *hours* later than the last.

    The copies have other trace ids and other instances, and all the rest as it was.

    Args:
        using: Alias of a store that holds nothing else.
        times: How many copies to make.
        hours: From the beginning of one copy to that of the next.
        progress: Called with how many dispatches were added since it was called last.
    """
    _Repeating(using, hours, progress).run(times)


class _Repeating:
    def __init__(self, using: str, hours: int, progress: Callable[[int], object]) -> None:
        self.using = using
        self.connection = connections[using]
        self.hours = hours
        self.progress = progress
        self.last = {table: self._number(f"SELECT MAX(id) FROM {table}") for table in _SEQUENCES}
        self.step: dict[str, int] = {}
        for table, sequence in _SEQUENCES.items():
            self.step[sequence] = max(self.step.get(sequence, 0), self.last[table])
        self.last_rollup = self._number("SELECT MAX(id) FROM tracing_rollup")
        self.paths = list(apps.get_model("tracing", "PathRollup").objects.using(using))

    def run(self, times: int) -> None:
        for number in range(1, times + 1):
            for table, sequence in _SEQUENCES.items():
                for first in range(1, self.last[table] + 1, _ROWS_AT_ONCE):
                    final = min(first + _ROWS_AT_ONCE - 1, self.last[table])
                    count = self._copy(table, number, {"id": sequence}, "id", first, final)
                    if table == "tracing_dispatch":
                        self.progress(count)
            self._copy("tracing_rollup", number, {}, "id", 1, self.last_rollup)
            self._copy_paths(number)
        for sequence, step in self.step.items():
            self._execute(
                "UPDATE tracing_sequence SET value = %s WHERE name = %s",
                (step * (times + 1), sequence),
            )

    def _copy(  # noqa: PLR0917 - private.
        self, table: str, number: int, moved: dict[str, str], key: str, first: int, final: int
    ) -> int:
        """Copy the rows of *table* whose *key* is in a range for the time *number*."""
        quote = self.connection.ops.quote_name
        made = _MADE[self.connection.vendor]
        salt = 7_919 * number
        ids = {**moved, "dispatch_id": "dispatch"}
        if table != "tracing_trace":
            ids["trace_id"] = "trace"
        names, values = [], []
        for field in apps.get_model("tracing", table.removeprefix("tracing_"))._meta.local_fields:  # noqa: SLF001
            name = field.column
            if name == "id" and "id" not in moved:
                continue
            value = quote(name)
            if name in ids:
                value += f" + {self.step[ids[name]] * number}"
            elif name == "hour":
                value += f" + {self.hours * number}"
            elif name == "writer":
                # Made up from the middle of an hour, the last hour of one copy is the first of the
                # next: they are writers of it that must not have one name.
                value = made[name].format(number=number)
            elif name == "started_ns":
                value += f" + {self.hours * HOUR_NS * number}"
            elif name in {"trace_id", "root_span_id"}:
                value = made[name].format(salt=salt)
            elif name == "instance":
                changed = made[name].format(salt=salt, keys=_KEYS)
                value = f"CASE WHEN instance = '' THEN '' ELSE {changed} END"
            names.append(quote(name))
            values.append(value)
        return self._execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table} "
            f"WHERE {quote(key)} BETWEEN {first} AND {final}"
        )

    def _copy_paths(self, number: int) -> None:
        """Copy the sums by path: when they were first and last stands in each tree."""
        made, shift_ns = [], self.hours * HOUR_NS * number
        for row in self.paths:
            version, nested, roots = json.decode(zlib.decompress(bytes(row.tree)))
            for root in roots:
                traces, first_ns, last_ns, cut = root[_SEEN]
                root[_SEEN] = [traces, first_ns + shift_ns, last_ns + shift_ns, cut]
            copy = type(row)(
                hour=row.hour + self.hours * number,
                writer=f"{row.writer[:11]}+{number}",
                signal_id=row.signal_id,
                sender_id=row.sender_id,
                label=row.label,
                tree=zlib.compress(json.encode([version, nested, roots]), 1),
            )
            made.append(copy)
        apps.get_model("tracing", "PathRollup").objects.using(self.using).bulk_create(made, 500)

    def _execute(self, statement: str, parameters: Sequence[int | str] | None = None) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)

    def _number(self, statement: str) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.fetchone()[0] or 0)


# -- Filling a store ------------------------------------------------------------------------------

_MADE_UP = 1_000_000
"""Dispatches that are made up one by one; the rest are copies of these."""
_IN_A_BATCH = 5_000


def fill(
    alias: str,
    dispatches: int,
    *,
    days: int = 7,
    applications: int = 12,
    seed: int = 1,
    report: Callable[[int, int], object] = lambda done, whole: None,
) -> tuple[int, int]:
    """Store made-up traces; return how many, and how many dispatches they hold.

    Args:
        alias: The database of the store. Into an empty one only the first million dispatches are made
            up: the database copies them to later days, with other trace ids and instances. What is
            there already is never copied.
        dispatches: How many there shall be.
        days: How many days they are spread over.
        applications: How many applications the shop has.
        seed: The same traces for the same seed.
        report: Called with (dispatches written, dispatches wanted).
    """
    from tracing.analysis.hazards import diagnose
    from tracing.models import Rollup
    from tracing.models import Trace as StoredTrace
    from tracing.store.backends import beside_the_application
    from tracing.store.objects import index_until
    from tracing.store.retention import compact_rollups

    traces = StoredTrace.objects.using(alias)
    before = traces.count()
    is_empty = not before and not Rollup.objects.using(alias).exists()
    copies = -(-dispatches // _MADE_UP) - 1 if is_empty else 0
    hours = max(days * 24 // (copies + 1), 1)
    now_ns = time.time_ns()
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        report(done, dispatches)

    first = dispatches // (copies + 1)
    newest_ns = now_ns - copies * hours * HOUR_NS
    filler = Filler(
        seed, newest_ns=newest_ns, days=hours / 24, apps=applications, diagnose=diagnose
    )
    _store(alias, filler.traces(first), count)
    if copies:
        repeat_stored(alias, copies, hours, count)
        rest = dispatches - first * (copies + 1)
        filler = Filler(seed + 1, newest_ns=now_ns, days=0, apps=applications, diagnose=diagnose)
        _store(alias, filler.traces(rest), count)
    # As if the days had passed: their statistics would be added up by now.
    compact_rollups(alias)
    with beside_the_application(alias) as database:
        ((last,),) = database.rows("SELECT COALESCE(MAX(id), 0) FROM tracing_receivercall")
        index_until(database, last, lambda: False)
    return traces.count() - before, done


def _store(alias: str, traces: Iterator[Trace], count: Callable[[int], object]) -> None:
    """Store *traces* in batches, as the pipeline sends them."""
    from tracing.exporters.database import DatabaseExporter
    from tracing.store import path_sums

    # In days there is time to add every path; in the seconds that this takes there is not.
    share, path_sums._TIME = path_sums._TIME, math.inf  # noqa: SLF001
    exporter = DatabaseExporter(alias)
    batch: list[Trace] = []
    weight = 0
    try:
        for trace in traces:
            batch.append(trace)
            weight += len(trace.dispatches)
            if weight >= _IN_A_BATCH:
                exporter.export(batch)
                count(weight)
                batch, weight = [], 0
        exporter.export(batch)
        count(weight)
    finally:
        exporter.shutdown()
        path_sums._TIME = share  # noqa: SLF001


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dispatches", type=int, default=10_000, help="(default 10000)")
    parser.add_argument("--days", type=int, default=7, help="spread over (default 7)")
    parser.add_argument("--apps", type=int, default=12, help="of the shop (default 12)")
    parser.add_argument("--seed", type=int, default=1, help="the same traces for the same seed")
    options = parser.parse_args()

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "carsales.settings")
    django.setup()
    from tracing.conf import store_alias

    def report(done: int, whole: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:>12,} of {whole:,} dispatches", end="", file=sys.stderr)

    began = time.monotonic()
    made, done = fill(
        store_alias(),
        options.dispatches,
        days=options.days,
        applications=options.apps,
        seed=options.seed,
        report=report,
    )
    seconds = time.monotonic() - began
    print(f"\r{made:,} made-up traces with {done:,} dispatches written in {seconds:.1f} s.")


if __name__ == "__main__":
    main()
