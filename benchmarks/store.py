"""Speed and size of stored and logged traces, against bare drivers.

    python benchmarks/store.py [sqlite] [postgresql] [mariadb] [log] [size]

Servers are those of tests/services.py. Times are CPU seconds of this process and wall clock; the
ratios are what counts: machines differ, and both sides of a ratio ran here just now.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import django
from django.conf import settings

from tests.services import service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tracing.spans.records import Trace

PAGES = {
    "INSTALLED_APPS": [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "tracing",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "ALLOWED_HOSTS": ["testserver"],
    "ROOT_URLCONF": "benchmarks.viewer_urls",
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "STATIC_URL": "/static/",
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
}
"""Settings with which the viewer's pages are served."""
ROUNDS = 7
DISPATCHES = 10_000
BATCH = 1_000


def configure(
    scratch: Path,
    wanted: set[str],
    database: str = "sqlite",
    *,
    name: str | None = None,
    pages: bool = False,
) -> None:
    """Set Django up with an alias for each database in *wanted*, and the store in *database*.

    Args:
        scratch: Where the files are.
        wanted: The servers to use.
        database: Alias of the store.
        name: File or database of the store, if it is to be kept.
        pages: Also serve the viewer.
    """
    databases: dict[str, Any] = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(scratch / "a.sqlite3")},
        "sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(scratch / "t.sqlite3")},
    }
    for vendor, engine in (("postgresql", "postgresql"), ("mariadb", "mysql")):
        if vendor not in wanted:
            continue
        if vendor == "mariadb":
            import pymysql

            pymysql.install_as_MySQLdb()
        server = service(vendor)
        databases[vendor] = {
            "ENGINE": f"django.db.backends.{engine}",
            "NAME": "postgres" if vendor == "postgresql" else "",
            "HOST": server.host,
            "PORT": server.port,
            "USER": server.user,
            "PASSWORD": server.password,
            "TEST": {"NAME": f"benchmark_{os.getpid()}", "DEPENDENCIES": []},
        }
    if name is not None:
        databases[database]["NAME"] = name
    settings.configure(
        **(PAGES if pages else {"INSTALLED_APPS": ["tracing"]}),
        SECRET_KEY="benchmark",
        USE_TZ=True,
        DATABASES=databases,
        DATABASE_ROUTERS=["tracing.routers.TracingRouter"],
        TRACING={"ENABLED": False, "EXPORTERS": [], "DATABASE": database, "PRUNE": {}},
    )
    django.setup()


# -- What is written -------------------------------------------------------------------------


def flat_traces(dispatches: int, first: int = 0) -> list[Trace]:
    """Return traces of 20 dispatches with three receiver calls each, of 40 signals and senders."""
    from tracing import spans

    labels = [
        [spans.ReceiverLabel(f"shop{n}.receivers.r{p}", f"/srv/shop{n}.py", p) for p in range(3)]
        for n in range(40)
    ]
    sites = [spans.Callsite(f"/srv/shop{n}/views.py", n, "view") for n in range(40)]
    traces = []
    started = time.time_ns()
    for t in range(first, first + dispatches // 20):
        trace = spans.Trace(
            trace_id=f"{t * 2654435761 % 2**64:032x}",
            kind=spans.Kind.REQUEST,
            name=f"shop:{t % 30}",
            started_ns=started + t,
            duration_ns=40_000_000 + t,
            http_method="GET",
            http_path=f"/shop/{t}/",
            http_status=200,
            host="web1",
            process=4_242,
            thread="MainThread",
            dispatch_count=20,
            receiver_call_count=60,
        )
        for d in range(20):
            n = (t * 7 + d * d) % 40
            start = 100_000 + d * 1_900_000
            calls = [
                spans.ReceiverCall(
                    2 + 4 * d + p,
                    p,
                    label,
                    start + 1_000 + p * 300_000,
                    290_000 + t % 977,
                    290_000 + t % 977,
                    query_count=int(p == 1),
                    query_ns=80_000 if p == 1 else 0,
                )
                for p, label in enumerate(labels[n])
            ]
            trace.dispatches.append(
                spans.Dispatch(
                    number=1 + 4 * d,
                    signal=f"django.db.models.signals.s{n % 4}",
                    sender=f"shop{n}.Order",
                    method=spans.Method.SEND,
                    start_ns=start,
                    duration_ns=910_000 + t % 977,
                    instance=f"shop{n}.Order:{t * 20 + d}",
                    created=bool(d % 2),
                    raw=False,
                    using="default",
                    callsite=sites[n],
                    transaction=spans.TransactionOutcome.COMMITTED,
                    transaction_depth=1,
                    thread="MainThread",
                    query_count=1,
                    query_ns=80_000,
                    receiver_calls=calls,
                )
            )
        traces.append(trace)
    return traces


def batches(traces: Sequence[Trace], size: int = BATCH // 20) -> Iterable[Sequence[Trace]]:
    """Return *traces* in batches."""
    return (traces[start : start + size] for start in range(0, len(traces), size))


def timed(
    function: Callable[[], object], server_seconds: Callable[[], float] = lambda: 0.0
) -> tuple[float, float, float]:
    """Return the seconds that *function* takes: CPU of this process, wall clock, CPU of a server."""
    gc.collect()
    gc.disable()
    cpu, wall, server = time.process_time(), time.perf_counter(), server_seconds()
    try:
        function()
    finally:
        gc.enable()
    return (
        time.process_time() - cpu,
        time.perf_counter() - wall,
        server_seconds() - server,
    )


def server_seconds(database: Any, *, of_django: bool = False) -> Callable[[], float]:
    """Return what tells the CPU seconds of the server's process behind a connection, if it is here.

    Linux counts them in hundredths of a second; a round takes a fifth of one or more.

    Args:
        database: The exporter's connection.
        of_django: Not that one, but Django's to the same database.
    """
    from django.db import connections

    if database.vendor != "postgresql":
        return lambda: 0.0
    if of_django:
        with connections[database.alias].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            backend = cursor.fetchone()[0]
    else:
        backend = database.rows("SELECT pg_backend_pid()")[0][0]
    path = Path(f"/proc/{backend}/stat")
    ticks = os.sysconf("SC_CLK_TCK")

    def seconds() -> float:
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / ticks

    return seconds


# -- Databases -------------------------------------------------------------------------------


def compare_database(alias: str) -> None:
    """Print throughput of the exporter and of the bare driver on the same rows."""
    from django.db import connections

    from tracing.exporters.database import DatabaseExporter
    from tracing.store.backends import open_database
    from tracing.store.labels import Labels
    from tracing.store.trace_rows import TraceRows

    exporter = DatabaseExporter(alias)
    raw = open_database(alias)
    raw.connect()
    exporter.export(flat_traces(400, first=10**6))
    ours, bare = [], []
    our_server = server_seconds(exporter._database)  # noqa: SLF001
    bare_server = server_seconds(raw)
    for number in range(ROUNDS):
        first = number * DISPATCHES // 20
        traces = flat_traces(DISPATCHES, first)

        def export(traces: list[Trace] = traces) -> None:
            for batch in batches(traces):
                exporter.export(batch)

        # The same rows again, made beforehand, under ids beyond all others.
        labels = Labels()
        labels.resolve(raw, traces)
        base = 10**9 + number * 10**7
        prepared = []
        for place, batch in enumerate(batches(flat_traces(DISPATCHES, first + 10**7))):
            beyond = base + place * 10**5
            rows = TraceRows(labels, {}, {"trace": beyond, "dispatch": beyond, "other": beyond})
            prepared.append(list(rows.rows(batch).tables()))

        def insert(prepared: list[Any] = prepared) -> None:
            for tables in prepared:
                raw.begin()
                for table, (columns, values) in tables:
                    if values:
                        plain_insert(raw, table, columns, values)
                raw.commit()

        pair = [(ours, export, our_server), (bare, insert, bare_server)]
        for results, function, seconds in pair if number % 2 else reversed(pair):
            results.append(timed(function, seconds))
    report(alias, ours, bare, DISPATCHES, "dispatches with 3 receiver calls")
    exporter.shutdown()
    raw.close()
    connections[alias].close()


def plain_insert(raw: Any, table: str, columns: Sequence[str], rows: list[Any]) -> None:
    """Insert as the driver's documentation shows: executemany, or COPY with write_row."""
    if raw.vendor != "postgresql":
        raw.insert(table, columns, rows)
        return
    names = ", ".join(map(raw.quote, columns))
    with raw.raw.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def report(
    what: str,
    ours: list[tuple[float, float, float]],
    bare: list[tuple[float, float, float]],
    count: int,
    unit: str,
) -> None:
    """Print what each took and the ratios: medians over the rounds, sums for a server's CPU."""
    cpu = statistics.median(b[0] / o[0] for o, b in zip(ours, bare, strict=True))
    wall = statistics.median(b[1] / o[1] for o, b in zip(ours, bare, strict=True))
    print(f"{what}: {unit}")
    for name, times in (("exporter", ours), ("bare", bare)):
        rate = count / statistics.median(t[1] for t in times)
        each = 1e6 * statistics.median(t[0] for t in times) / count
        server = 1e6 * sum(t[2] for t in times) / count / len(times)
        note = f"   and {server:5.1f} us of the server" if server else ""
        print(f"  {name:9} {rate:10,.0f} /s   {each:6.1f} us CPU each{note}")
    both = sum(b[0] + b[2] for b in bare) / sum(o[0] + o[2] for o in ours)
    with_server = f"   CPU with the server's {both:.2f}" if any(o[2] for o in ours) else ""
    print(f"  ratio     wall {wall:.2f}   CPU {cpu:.2f}{with_server}")


def size_of(alias: str) -> None:
    """Print the bytes that a dispatch with three receiver calls takes on disk."""
    from tracing.exporters.database import DatabaseExporter
    from tracing.store.retention import store_size

    exporter = DatabaseExporter(alias)
    exporter.export(flat_traces(400, first=2 * 10**8))
    before = store_size(alias)
    dispatches = 100_000
    for start in range(0, dispatches, 10_000):
        for batch in batches(flat_traces(10_000, 3 * 10**8 + start // 20)):
            exporter.export(batch)
    each = (store_size(alias) - before) / dispatches
    print(f"{alias}: {each:.0f} bytes for each dispatch with 3 receiver calls")
    exporter.shutdown()


# -- Log -------------------------------------------------------------------------------------


def bare_logger(file: Any) -> Any:
    """Return the fastest logger that structlog's own manual knows, writing to *file*."""
    import msgspec
    import structlog

    return structlog.wrap_logger(
        structlog.BytesLogger(file),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(
                serializer=lambda event, **_: msgspec.json.encode(event)
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    )


def compare_log(scratch: Path) -> None:
    """Print the lines per second of the exporter and of structlog as its documentation tunes it."""
    import msgspec
    import structlog

    from tracing.exporters.log import LogExporter
    from tracing.spans.codec import lines

    ours, bare = [], []
    exporter = LogExporter(scratch / "ours.jsonl", max_bytes=0)
    traces = flat_traces(DISPATCHES)
    records = [
        {
            name: value
            for name, value in msgspec.json.decode(line).items()
            if name not in {"timestamp", "level"}
        }
        for trace in traces
        for _level, _event, line in lines(trace)
    ]
    with (scratch / "bare.jsonl").open("wb") as file:
        log = bare_logger(file)

        def write_bare() -> None:
            for record in records:
                log.info(**record)

        def write_ours() -> None:
            for batch in batches(traces):
                exporter.export(batch)

        with structlog.contextvars.bound_contextvars(request_id="r-1", user_id="7"):
            for number in range(ROUNDS):
                pair = [(ours, write_ours), (bare, write_bare)]
                for results, function in pair if number % 2 else reversed(pair):
                    results.append(timed(function))
    exporter.shutdown()
    report("log", ours, bare, len(records), "lines, dispatches with 3 receiver calls")


@contextmanager
def made(alias: str) -> Iterator[None]:
    """Make the tables in *alias*; on a server in a database of their own, dropped afterwards."""
    from django.core.management import call_command
    from django.core.signals import setting_changed
    from django.db import connections
    from django.test.utils import setup_databases, teardown_databases

    settings.TRACING = settings.TRACING | {"DATABASE": alias}
    setting_changed.send(sender=made, setting="TRACING", value=settings.TRACING, enter=True)
    if alias == "sqlite":
        call_command("migrate", "tracing", database=alias, verbosity=0)
        yield
        connections[alias].close()
        return
    created = setup_databases(verbosity=0, interactive=False, aliases=[alias])
    try:
        yield
    finally:
        teardown_databases(created, verbosity=0)


def analyze(alias: str) -> None:
    """Have the database look at what it holds, as servers do by themselves after a while."""
    from django.db import connections

    statements = ["VACUUM ANALYZE" if alias == "postgresql" else "ANALYZE"]
    if alias == "postgresql":
        # Filling adds up the hours of a month in one go, which leaves the table full of holes. In
        # the course of days it is done bit by bit, and what comes next fills them.
        statements.insert(0, "VACUUM FULL tracing_rollup")
    with connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def main() -> None:
    """Run what the command line asks for; everything on SQLite without arguments."""
    wanted = set(sys.argv[1:]) or {"sqlite", "log", "size"}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        configure(scratch, wanted)
        for alias in ("sqlite", "postgresql", "mariadb"):
            if alias in wanted:
                with made(alias):
                    compare_database(alias)
                    if "size" in wanted:
                        size_of(alias)
        if "log" in wanted:
            compare_log(scratch)


if __name__ == "__main__":
    main()
